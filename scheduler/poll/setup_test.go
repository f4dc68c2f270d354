package poll

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/auth/egress"
	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/test/natstest"
)

const patience = 30 * time.Second

// desk is a server that is asked for statuses.
type desk struct {
	*httptest.Server
	mu       sync.Mutex
	statuses map[string]string // by key; what is not there is 404
	asked    map[string]int
	handle   func(w http.ResponseWriter, r *http.Request) bool // true = it has answered
}

func newDesk(t testing.TB) *desk {
	d := &desk{statuses: map[string]string{}, asked: map[string]int{}}
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.URL.Query().Get("key")
		d.mu.Lock()
		d.asked[key]++
		status, ok := d.statuses[key]
		handle := d.handle
		d.mu.Unlock()
		if handle != nil && handle(w, r) {
			return
		}
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		fmt.Fprintf(w, `{"order":{"status":%q}}`, status)
	}))
	t.Cleanup(d.Close)
	return d
}

func (d *desk) set(key, status string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.statuses[key] = status
}

// counts are how often each key was asked for.
func (d *desk) counts() map[string]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.asked)
}

// bench is a broker with what sources need, and the parts of the process that looks at it.
type bench struct {
	testing.TB
	srv      *server.Server
	js       jetstream.JetStream
	registry *registry.Registry
	writer   *stream.Writer
	items    *stream.ItemStore
	polls    *stream.Polls
	desk     *desk
}

func setup(t testing.TB) *bench {
	t.Helper()
	srv := natstest.Server(t, t.TempDir())
	_, js := natstest.Connect(t, srv)
	topology, err := stream.NewTopology(js, stream.DefaultConfig(), zerolog.Nop())
	must(t, err)
	must(t, topology.Ensure(t.Context()))
	b := &bench{TB: t, srv: srv, js: js, desk: newDesk(t)}
	b.registry, b.writer = b.process(b.connect())
	b.items, b.polls = stream.NewItemStore(js, b.writer), stream.NewPolls(js)
	return b
}

func (b *bench) connect() *nats.Conn {
	nc, _ := natstest.Connect(b, b.srv)
	return nc
}

// process runs what a poller stands on.
func (b *bench) process(nc *nats.Conn) (*registry.Registry, *stream.Writer) {
	b.Helper()
	js, err := jetstream.New(nc)
	must(b, err)
	reg, err := registry.New(js, registry.DefaultConfig(), zerolog.Nop())
	must(b, err)
	writer := stream.NewWriter(nc, nil)
	start(b, reg.Run, writer.Run)
	<-reg.Loaded()
	return reg, writer
}

// poller is one more process. It is not run yet.
func (b *bench) poller(nc *nats.Conn, cfg Config) *Poller {
	b.Helper()
	reg, writer := b.process(nc)
	js, err := jetstream.New(nc)
	must(b, err)
	egressConfig := egress.DefaultConfig()
	egressConfig.Allow, egressConfig.PlainHTTP = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, true
	client, err := egress.New(egressConfig)
	must(b, err)
	b.Cleanup(client.Close)
	p, err := New(Deps{
		JS: js, Registry: reg, Writer: writer, Egress: client, Tokens: stream.NewTokens(js, nil), Metrics: prometheus.NewRegistry(),
		Publish: func(ctx context.Context, e *events.Event) error {
			h, data := e.Message()
			msg := &nats.Msg{Subject: stream.EventSubject(e.Tenant(), e.Type()), Header: nats.Header{nats.MsgIdHdr: {e.MsgID()}}, Data: data}
			maps.Copy(msg.Header, h)
			_, err := writer.Write(ctx, msg, stream.Events)
			return err
		},
		Log: zerolog.New(zerolog.NewTestWriter(b)).Level(zerolog.ErrorLevel),
	}, cfg)
	must(b, err)
	return p
}

// source makes the source orders, with items at Booked.
func (b *bench) source(every time.Duration, concurrency int, keys ...string) *events.StatusSource {
	b.Helper()
	s := &events.StatusSource{
		ID: "orders", Tenant: "acme", URL: b.desk.URL + "/status?key=${key}", Every: events.Duration(every), Status: "order.status", Type: "order.status",
		Initial: "Booked", Terminal: []string{"Ended"}, Concurrency: concurrency, Timeout: events.Duration(5 * time.Second),
	}
	_, _, err := b.registry.PutSource(b.Context(), s, 0)
	must(b, err)
	for len(keys) > 0 {
		n := min(len(keys), events.MaxItemBatch)
		_, err = b.items.Add(b.Context(), "orders", keys[:n], s.Initial)
		must(b, err)
		keys = keys[n:]
	}
	return s
}

// awaitTick waits until a poll after the one before is through, and returns it.
func (b *bench) awaitTick(after time.Time) stream.Poll {
	b.Helper()
	var p stream.Poll
	natstest.Eventually(b, patience, func() bool {
		var err error
		p, _, err = b.polls.Get(b.Context(), "orders")
		return err == nil && p.Done && p.At.After(after)
	})
	return p
}

// published are the events of the source so far: subject and status.
func (b *bench) published() (all []string) {
	b.Helper()
	s, err := b.js.Stream(b.Context(), stream.Events)
	must(b, err)
	for n := uint64(1); ; n++ {
		m, err := s.GetMsg(b.Context(), n)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return all
		}
		must(b, err)
		var e struct {
			Source, Subject, Type, Tenant string
			Data                          struct{ Status string }
		}
		must(b, json.Unmarshal(m.Data, &e))
		if e.Source != "/sources/orders" || e.Type != "order.status" || e.Tenant != "acme" {
			b.Errorf("event %s", m.Data)
		}
		all = append(all, e.Subject+" "+e.Data.Status)
	}
}

func (b *bench) item(state events.ItemState, key string) *stream.StoredItem {
	b.Helper()
	page, _, err := b.items.List(b.Context(), stream.ItemQuery{Source: "orders", State: state, Limit: 1000})
	must(b, err)
	for _, item := range page {
		if item.Key == key {
			return item
		}
	}
	return nil
}

// start runs parts until the test ends.
func start(t testing.TB, parts ...func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	for _, run := range parts {
		running.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	stop = func() {
		cancel()
		running.Wait()
	}
	t.Cleanup(stop)
	return stop
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
