package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/hookfleet/hookfleet/config"
	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/producer"
)

// demoInterval is how often the demo publishes: fast enough to see, slow enough to read.
const demoInterval = 500 * time.Millisecond

// slowAnswer is how long the slow demo partner takes.
const slowAnswer = 2 * time.Second

// demoPartner is a receiver of the demo.
type demoPartner struct {
	id, description string
	config          string // of its subscription
	answer          http.HandlerFunc
}

// demoPartners are a healthy one, a slow one, one that fails and recovers, and a dead one.
func demoPartners() []demoPartner {
	var flaky atomic.Int64
	return []demoPartner{
		{"demo-healthy", "answers at once", `{}`, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }},
		{"demo-slow", "takes two seconds", `{}`, func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(slowAnswer):
			case <-r.Context().Done():
			}
			w.WriteHeader(http.StatusNoContent)
		}},
		{"demo-flaky", "fails two times of three, then takes it", `{"retry":{"policy":"fixed","initial":"2s","maxattempts":10}}`,
			func(w http.ResponseWriter, _ *http.Request) {
				if flaky.Add(1)%3 != 0 {
					http.Error(w, "try again", http.StatusServiceUnavailable)
					return
				}
				w.WriteHeader(http.StatusNoContent)
			}},
		{"demo-dead", "always fails, and is given up after three attempts", `{"retry":{"policy":"fixed","initial":"1s","maxattempts":3}}`,
			func(w http.ResponseWriter, _ *http.Request) {
				http.Error(w, "gone fishing", http.StatusInternalServerError)
			}},
	}
}

// prepareDemo opens the egress to the demo's partners, which listen on this machine.
func prepareDemo(cfg *config.Config) error {
	cfg.Egress.PlainHTTP = true
	cfg.Egress.Allow = append(cfg.Egress.Allow, netip.MustParsePrefix("127.0.0.0/8"))
	if !cfg.Has(config.RoleAPI) || !cfg.Has(config.RoleWorker) {
		return usagef("--demo needs the roles api and worker in one process")
	}
	return nil
}

// startDemo starts the partners, subscribes them, and publishes order statuses.
func (f *fleet) startDemo(ctx context.Context) error {
	if !f.demo {
		return nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("demo partners: %w", err)
	}
	mux := http.NewServeMux()
	for _, p := range demoPartners() {
		mux.HandleFunc("POST /"+p.id, p.answer)
		if err := f.subscribeDemo(ctx, p, "http://"+listener.Addr().String()+"/"+p.id); err != nil {
			return err
		}
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	f.support.run("demo partners", func(ctx context.Context) error {
		defer context.AfterFunc(ctx, func() { _ = server.Close() })() // its ends are seen by Serve
		if err := server.Serve(listener); ctx.Err() == nil {
			return err
		}
		return nil
	})
	f.roles.run("demo events", f.publishDemo)
	return nil
}

func (f *fleet) subscribeDemo(ctx context.Context, p demoPartner, sink string) error {
	text := fmt.Sprintf(`{"id":%q,"description":%q,"types":["order.status"],"sink":%q,"config":%s,
		"protocolsettings":{"signing":{"scheme":"standardwebhooks"}}}`, p.id, p.description, sink, p.config)
	s, err := events.DecodeSubscription([]byte(text), events.DefaultTenant, f.sinkPolicy())
	if err != nil {
		return fmt.Errorf("demo subscription %s: %w", p.id, err)
	}
	if _, _, err := f.registry.Put(ctx, s, 0); err != nil {
		return fmt.Errorf("demo subscription %s: %w", p.id, err)
	}
	return nil
}

// demoStatuses are what an order goes through.
var demoStatuses = []string{"Booked", "Packed", "In Transit", "Out for Delivery", "Ended"}

func (f *fleet) publishDemo(ctx context.Context) error {
	client := producer.New(f.front)
	tick := time.NewTicker(demoInterval)
	defer tick.Stop()
	run := time.Now().UnixMilli()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		e, err := demoEvent(fmt.Sprintf("%d-%d", run, n), fmt.Sprintf("order-%d", 1000+rand.IntN(50)), demoStatuses[rand.IntN(len(demoStatuses))]) //nolint:gosec // a demo's dice
		if err != nil {
			return err
		}
		if _, err := client.PublishParsed(ctx, e); err != nil && ctx.Err() == nil {
			f.log.Warn().Err(err).Msg("demo event not published")
		}
	}
}

func demoEvent(id, order, status string) (*events.Event, error) {
	data, err := json.Marshal(map[string]any{"orderId": order, "status": status, "at": time.Now().UTC()})
	if err != nil {
		return nil, fmt.Errorf("demo event: %w", err)
	}
	text := fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/demo/orders","type":"order.status","subject":%q,"time":%q,`+
		`"datacontenttype":"application/json","data":%s}`, id, order, time.Now().UTC().Format(time.RFC3339Nano), data)
	return events.ParseStructured([]byte(text))
}
