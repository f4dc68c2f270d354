package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
	"time"

	"github.com/hookfleet/hookfleet/test/partners"
	"github.com/hookfleet/hookfleet/test/partners/caf"
	"github.com/hookfleet/hookfleet/test/partners/idpay"
	"github.com/hookfleet/hookfleet/test/partners/raas"
	"github.com/hookfleet/hookfleet/test/partners/secutix"
	"github.com/hookfleet/hookfleet/test/partners/steadfast"
)

// Times of the demo in place of those of the examples, fast enough to see and slow enough to read.
const (
	demoTick  = 3 * time.Second // in place of minutes
	demoRetry = "1s"
	demoBeat  = 700 * time.Millisecond // between events
)

// scene is one of the five systems, ready to be played once.
type scene struct {
	id        string // of the subscription whose state is shown
	server    http.Handler
	proxied   bool // the partner's server is the operator's proxy too
	documents []adaptation
	beat      time.Duration
	next      func(ctx context.Context, st *stage, n int) error // what happens at the nth beat
	watch     func(func(*partners.Call))
	faults    func() []string
	counts    func() (calls, taken, repeats, peak int)
}

// adaptation takes a document of the example and puts it to an address of the demo, with base as the partner's server.
type adaptation func(docs map[string]partners.Settings, base string) (path string, doc partners.Settings)

// receiver is what all partners have.
type demoReceiver interface {
	http.Handler
	Watch(f func(*partners.Call))
	Answer(f func(*partners.Call) partners.Answer)
	Faults() []string
	Counts() (calls, taken, repeats, peak int)
}

// newScene makes a scene of one partner that fails now and then, with answers that it may give then.
func newScene(id string, p demoReceiver, failures ...int) *scene {
	p.Answer(func(c *partners.Call) partners.Answer {
		if len(failures) > 0 && c.Number%5 == 4 {
			return partners.Answer{Status: failures[rand.IntN(len(failures))]} //nolint:gosec // a demo's dice
		}
		return partners.Answer{After: 20 * time.Millisecond}
	})
	return &scene{id: id, server: p, beat: demoBeat, watch: p.Watch, faults: p.Faults, counts: p.Counts}
}

// subscribe adapts the scene's subscription.
func (s *scene) subscribe(sink string, adapt func(d partners.Settings)) {
	s.documents = append(s.documents, func(docs map[string]partners.Settings, base string) (string, partners.Settings) {
		d := docs[s.id].Set("sink", base+sink)
		adapt(d)
		return subscriptions + path(s.id), d
	})
}

// scenes are the five.
var scenes = map[string]func() *scene{
	"steadfast": steadfastScene, "caf": cafScene, "raas": raasScene, "secutix": secutixScene, "idpay": idpayScene,
}

func pick(list ...string) string { return list[rand.IntN(len(list))] } //nolint:gosec // a demo's dice

// steadfastScene: orders go through their statuses in the internal system, which is asked at each tick.
func steadfastScene() *scene {
	system := steadfast.NewSystem()
	p := steadfast.New(steadfast.Config{
		Path: "/webhooks/orders", Auth: steadfast.Header("X-Api-Key", "change-me"), Terminal: []string{"Cancelled", "Ended"}, Unsent: "Booked", MaxCalls: 2,
	})
	s := newScene("steadfast-partner", p, http.StatusServiceUnavailable)
	mux := http.NewServeMux()
	mux.Handle("/orders/", system)
	mux.Handle("/", p)
	s.server = mux
	s.documents = append(s.documents, func(docs map[string]partners.Settings, base string) (string, partners.Settings) {
		d := docs["steadfast-orders"].Set("url", base+"/orders/${key}/status").Set("every", demoTick.String())
		return "/v1/sources/steadfast-orders", d
	})
	s.subscribe("/webhooks/orders", func(d partners.Settings) { d.Set("config.retry.initial", demoRetry) })
	s.next = func(ctx context.Context, st *stage, n int) error { return steadfastBeat(ctx, st, system, n) }
	return s
}

// steadfastBeat books an order every third beat, and moves another one on.
func steadfastBeat(ctx context.Context, st *stage, system *steadfast.System, n int) error {
	if n%3 == 0 {
		order := fmt.Sprint("order-", 1001+n/3)
		system.Set(order, "Booked")
		st.view.published(order + " is booked")
		_, err := st.client.do(ctx, http.MethodPost, "/v1/sources/steadfast-orders/items", "application/json", fmt.Appendf(nil, `{"key":%q}`, order))
		return err
	}
	order := fmt.Sprint("order-", 1001+rand.IntN(n/3+1)) //nolint:gosec // a demo's dice
	next := map[string]string{"Booked": "Packed", "Packed": "In Transit", "In Transit": "Out for Delivery", "Out for Delivery": "Ended"}[system.Status(order)]
	if next == "" {
		return nil
	}
	if next == "Packed" && rand.IntN(8) == 0 { //nolint:gosec // a demo's dice
		next = "Cancelled"
	}
	system.Set(order, next)
	st.view.published("the internal system says: " + order + " is " + next)
	return nil
}

// cafScene: transactions that are pending and then finished.
func cafScene() *scene {
	p := caf.New(caf.Config{Workflows: []string{"onboarding"}, Attempts: 5})
	s := newScene("caf-onboarding", p, http.StatusInternalServerError, http.StatusBadGateway)
	s.subscribe("/caf/onboarding", func(d partners.Settings) { d.Set("config.retry.schedule", []string{demoRetry, "2s"}) })
	s.next = func(ctx context.Context, st *stage, n int) error {
		typ, status := "TransactionPending", "PENDING"
		if n%2 == 1 {
			typ, status = "TransactionFinished", pick("APPROVED", "REPROVED")
		}
		workflow := pick("onboarding", "onboarding", "renewal")
		transaction := fmt.Sprint("tx-", 5001+n/2)
		return st.publish(ctx, fmt.Sprintf("%s of %s: %s is %s", typ, workflow, transaction, status), map[string]any{
			"id": fmt.Sprint("caf-", n), "source": "https://caf.example", "type": typ,
			"data": map[string]any{"transactionId": transaction, "workflowId": workflow, "status": status, "date": time.Now().UTC().Format(time.RFC3339)},
		})
	}
	return s
}

// raasScene: signed events, of which some are too early for the client.
func raasScene() *scene {
	p := raas.New(raas.Config{Path: "/raas/events", Subscription: "raas-client", Every: time.Second, Clock: time.Minute}, "change-me-to-a-long-random-text")
	s := newScene("raas-client", p, http.StatusConflict)
	s.subscribe("/raas/events", func(d partners.Settings) {
		d.Set("config.responses", []map[string]any{{"status": 409, "action": "retry", "every": demoRetry}, {"status": "*", "action": "deadletter"}})
	})
	s.next = func(ctx context.Context, st *stage, n int) error {
		name, data := "resource.created", map[string]any{"resourceId": fmt.Sprint("res-", 300+n)}
		if n%2 == 1 {
			name, data = "tag.status", map[string]any{"resourceId": fmt.Sprint("tag-", 300+n), "tags": []string{"new", pick("red", "green", "blue")}}
		}
		if n%3 == 0 {
			data["userId"] = fmt.Sprint("user-", n)
		}
		return st.publish(ctx, fmt.Sprint(name, " of ", data["resourceId"]), map[string]any{
			"id": fmt.Sprint("raas-", n), "source": "https://raas.example", "type": name, "data": data,
		})
	}
	return s
}

// secutixScene: orders, of which those with one product go out at a tick by the operator's proxy.
func secutixScene() *scene {
	p := secutix.New(secutix.Config{Method: http.MethodGet, Target: regexp.MustCompile(`^/orders/(\d+)\?update=true$`), Proxy: true})
	s := newScene("secutix-get", p, http.StatusServiceUnavailable)
	gate := &secutix.Proxy{}
	s.proxied = true
	s.server = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.IsAbs() {
			gate.ServeHTTP(w, r)
			return
		}
		p.ServeHTTP(w, r)
	})
	s.subscribe("/orders/${orderId}?update=true", func(d partners.Settings) {
		d.Set("config.schedule.every", demoTick.String()).Set("config.retry.initial", demoRetry)
	})
	s.next = func(ctx context.Context, st *stage, n int) error {
		number, product, kind := fmt.Sprint(710000+n), pick("10228506", "10228506", "10228777"), pick("SALE", "SALE", "REFUND")
		return st.publish(ctx, fmt.Sprintf("order %s: %s of %s", number, kind, product), map[string]any{
			"id": fmt.Sprint("secutix-", n), "source": "https://secutix.example", "type": "order.saved", "subject": number,
			"data": map[string]any{"orderId": number, "OrderDetailsData": map[string]any{
				"OrderType": kind, "OperationDatas": []map[string]any{{"ProductCode": product, "BasePrice": 10000}},
			}},
		})
	}
	return s
}

// idpayScene: statuses of transactions, of which the client wants some.
func idpayScene() *scene {
	p := idpay.New(idpay.Config{
		Header: "Authorization", Value: "Basic dXNlcjpjaGFuZ2UtbWU=", Statuses: []string{"approved", "inconclusive", "expired"},
		MaxRetries: 5, Interval: time.Second, Simultaneous: 50,
	})
	s := newScene("idpay-client", p, http.StatusInternalServerError, http.StatusNotFound)
	s.subscribe("/callbacks/idpay", func(d partners.Settings) { d.Set("config.retry.initial", demoRetry) })
	s.next = func(ctx context.Context, st *stage, n int) error {
		id, status := fmt.Sprintf("tx-%06d", 100+n/2), "processing"
		if n%2 == 1 {
			status = pick(idpay.Statuses...)
		}
		return st.publish(ctx, fmt.Sprintf("%s is %s", id, status), map[string]any{
			"id": fmt.Sprint("idpay-", n), "source": "https://idpay.example", "type": "transaction.status", "subject": id,
			"data": map[string]any{"id": id, "status": status, "amount": 100 * rand.IntN(500)}, //nolint:gosec // a demo's dice
		})
	}
	return s
}
