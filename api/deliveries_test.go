package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/api"
	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/test/natstest"
)

func TestDeliveryAndItsAttempts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.subscribe("s", "acme")
	w := b.first(b.publish("1", "acme", "order.status"), "s")
	path := "/v1/deliveries/" + w.Delivery.ID
	pending := b.get(path).want(http.StatusOK)
	if pending.at("state") != "pending" || pending.at("attempts") != "[]" || pending.at("attemptcount") != "0" {
		t.Errorf("accepted: %s", pending.body)
	}
	b.retry(w)
	b.retry(w)
	r := b.get(path).want(http.StatusOK)
	for _, want := range [][2]string{
		{"state", "retrying"}, {"reason", "server_error"}, {"attemptcount", "2"}, {"subscription", "s"}, {"tenant", "acme"}, {"endedat", ""},
		{"replayof", ""},
	} {
		if got := r.at(want[0]); got != want[1] {
			t.Errorf("%s is %q, want %q", want[0], got, want[1])
		}
	}
	for _, at := range []string{"createdat", "nextat"} {
		if !isMillis(r.at(at)) {
			t.Errorf("%s is %q", at, r.at(at))
		}
	}
	var v struct {
		Event struct {
			Sequence                  uint64
			ID, Source, Type, Subject string
		}
		Attempts []struct {
			Number              int
			At, Outcome, Reason string
			Status              int
			URL                 string
			Response            struct{ Body string }
		}
	}
	r.into(&v)
	if v.Event.ID != "1" || v.Event.Source != "/orders" || v.Event.Subject != "order-1" || v.Event.Sequence == 0 {
		t.Errorf("event %+v", v.Event)
	}
	if len(v.Attempts) != 2 || v.Attempts[0].Number != 1 || v.Attempts[1].Outcome != "retry" || v.Attempts[1].Status != 503 || v.Attempts[0].Response.Body != "busy" {
		t.Errorf("attempts %+v", v.Attempts)
	}
	b.record(w, events.StateDelivered, "", true)
	if r := b.get(path); r.at("state") != "delivered" || !isMillis(r.at("endedat")) || r.at("nextat") != "" || r.at("attemptcount") != "3" {
		t.Errorf("delivered: %s", r.body)
	}
}

func TestFindDeliveries(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.subscribe("s", "acme")
	b.subscribe("g", "globex")
	var all []*stream.Waiting
	for i := range 12 {
		tenant, subscription := "acme", "s"
		if i%3 == 2 {
			tenant, subscription = "globex", "g"
		}
		all = append(all, b.first(b.publish(fmt.Sprint(i), tenant, "order.status"), subscription))
	}
	for i, settle := range []func(w *stream.Waiting){
		func(w *stream.Waiting) { b.record(w, events.StateDelivered, "", true) }, b.retry, b.hold, b.bury,
	} {
		m := b.dispatch()
		settle(all[i])
		b.ack(m)
	}
	ids := func(keep func(i int) bool) []string {
		var list []string
		for i, w := range slices.Backward(all) {
			if keep(i) {
				list = append(list, w.Delivery.ID)
			}
		}
		return list
	}
	since := all[6].Delivery.CreatedAt.UTC().Format(time.RFC3339Nano)
	for query, want := range map[string][]string{
		"":                    ids(func(int) bool { return true }),
		"subscription=s":      ids(func(i int) bool { return i%3 != 2 }),
		"tenant=globex":       ids(func(i int) bool { return i%3 == 2 }),
		"state=pending":       ids(func(i int) bool { return i >= 4 }),
		"state=delivered":     ids(func(i int) bool { return i == 0 }),
		"state=retrying":      ids(func(i int) bool { return i == 1 }),
		"state=held":          ids(func(i int) bool { return i == 2 }),
		"state=dead":          ids(func(i int) bool { return i == 3 }),
		"state=cancelled":     nil,
		"since=" + since:      ids(func(i int) bool { return i >= 6 }),
		"until=" + since:      ids(func(i int) bool { return i < 6 }),
		"subscription=nobody": nil,
		"event=" + fmt.Sprint(all[5].Delivery.Event.Sequence): ids(func(i int) bool { return i == 5 }),
		"state=pending&tenant=acme":                           ids(func(i int) bool { return i >= 4 && i%3 != 2 }),
	} {
		for _, limit := range []string{"", "&limit=2"} {
			got := b.pages("/v1/deliveries?" + strings.TrimPrefix(query+limit, "&"))
			if limit != "" { // a page is sorted; pages follow each other by what came first
				slices.SortFunc(got, func(x, y string) int { return slices.Index(want, x) - slices.Index(want, y) })
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s%s: %v, want %v", query, limit, got, want)
			}
		}
	}
}

func TestRetryNow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.subscribe("s", "acme")
	w := b.first(b.publish("1", "acme", "order.status"), "s")
	path := "/v1/deliveries/" + w.Delivery.ID + "/retry"
	b.post(path, "").want(http.StatusAccepted) // pending: on its way
	b.retry(w)                                 // due in an hour
	b.post(path, "").want(http.StatusAccepted)
	b.post(path, "").want(http.StatusAccepted)
	got := b.fired()
	if got.Delivery.ID != w.Delivery.ID || got.Delivery.Attempts != 1 { // the timer was due in an hour
		t.Errorf("fired %+v", got.Delivery)
	}
	if n, err := stream.NewWaitlist(b.js).Total(t.Context()); err != nil || n.Timers != 0 {
		t.Errorf("a second timer was set: %+v, %v", n, err)
	}
	b.record(got, events.StateDelivered, "", true)
	b.post(path, "").problem(http.StatusConflict, api.CodeEnded)

	paused := b.first(b.publish("2", "acme", "order.status"), "s")
	b.hold(paused)
	b.post("/v1/subscriptions/s/pause", "").want(http.StatusOK)
	b.post("/v1/deliveries/"+paused.Delivery.ID+"/retry", "").problem(http.StatusConflict, api.CodeHeld)
	b.post("/v1/subscriptions/s/resume", "").want(http.StatusOK)
	b.setHealth("s", registry.Health{State: registry.SinkDisabled, Reason: events.ReasonGone, Since: time.Now()})
	b.post("/v1/deliveries/"+paused.Delivery.ID+"/retry", "").problem(http.StatusConflict, api.CodeHeld)
}

// TestRetryIsAcceptedAndNoAttemptFollows: between the record of a failed attempt and its timer a delivery waits nowhere, or
// where it lay before the attempt. A retry that was asked for then was answered 202, and the timer that the worker set next
// stood for its hour.
func TestRetryIsAcceptedAndNoAttemptFollows(t *testing.T) {
	t.Parallel()
	for name, attempts := range map[string]int{"first attempt": 1, "second attempt": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.subscribe("s", "acme")
			w := b.first(b.publish("1", "acme", "order.status"), "s")
			if attempts > 1 {
				b.retry(w)
				w.Delivery.NextAt = time.Now()
				b.setTimer(w)
				natstest.Eventually(t, soon, func() bool { return b.place(w) == stream.PlaceDue })
			}
			w.Delivery.NextAt = time.Now().Add(time.Hour)
			b.record(w, events.StateRetrying, events.ReasonTimeout, true)
			before, answer := b.nc.Stats().OutMsgs, make(chan *reply, 1)
			go func() { answer <- b.post("/v1/deliveries/"+w.Delivery.ID+"/retry", "") }()
			natstest.Eventually(t, soon, func() bool { // it has looked, and looked again
				select {
				case r := <-answer:
					t.Fatalf("answered before there was a timer: %d %s", r.status, r.body)
				default:
				}
				return b.nc.Stats().OutMsgs > before+100
			})
			if attempts > 1 {
				b.fired()
			}
			b.setTimer(w)
			(<-answer).want(http.StatusAccepted)
			if got := b.fired(); got.Delivery.Attempts != attempts { // the timer was due in an hour
				t.Errorf("fired %+v", got.Delivery)
			}
		})
	}
}

// TestRetryOfWhatIsNeverSettled: the worker died between the record and the timer, and no other came: no attempt is promised.
func TestRetryOfWhatIsNeverSettled(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.subscribe("s", "acme")
	w := b.first(b.publish("1", "acme", "order.status"), "s")
	w.Delivery.NextAt = time.Now().Add(time.Hour)
	b.record(w, events.StateRetrying, events.ReasonTimeout, true)
	b.post("/v1/deliveries/"+w.Delivery.ID+"/retry", "").problem(http.StatusServiceUnavailable, api.CodeUnavailable)
}

func TestCancel(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.subscribe("s", "acme")
	retrying := b.first(b.publish("1", "acme", "order.status"), "s")
	b.retry(retrying)
	held := b.first(b.publish("2", "acme", "order.status"), "s")
	b.hold(held)
	b.post("/v1/subscriptions/s/pause", "").want(http.StatusOK)
	for _, w := range []*stream.Waiting{retrying, held} {
		path := "/v1/deliveries/" + w.Delivery.ID
		for range 2 { // cancelling again changes nothing
			if r := b.post(path+"/cancel", "").want(http.StatusOK); r.at("state") != "cancelled" || r.at("reason") != "cancelled" {
				t.Errorf("cancelled: %s", r.body)
			}
		}
		if r := b.get(path); r.at("state") != "cancelled" || !isMillis(r.at("endedat")) || r.at("nextat") != "" {
			t.Errorf("afterwards: %s", r.body)
		}
	}
	if n, err := stream.NewWaitlist(b.js).Total(t.Context()); err != nil || n.Timers+n.Held != 0 {
		t.Errorf("still waiting: %+v, %v", n, err)
	}
	delivered := b.first(b.publish("3", "acme", "order.status"), "s")
	b.record(delivered, events.StateDelivered, "", true)
	b.post("/v1/deliveries/"+delivered.Delivery.ID+"/cancel", "").problem(http.StatusConflict, api.CodeEnded)
}

// TestCancelInFlight: the attempt that a worker is making goes on, and nothing follows it.
func TestCancelInFlight(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.subscribe("s", "acme")
	w := b.first(b.publish("1", "acme", "order.status"), "s")
	path := "/v1/deliveries/" + w.Delivery.ID
	if r := b.post(path+"/cancel", "").want(http.StatusAccepted); r.at("state") != "pending" {
		t.Errorf("in flight: %s", r.body)
	}
	kv, err := b.js.KeyValue(t.Context(), stream.BucketCancels)
	must(t, err)
	if _, err := kv.Get(t.Context(), w.Delivery.ID); err != nil {
		t.Errorf("the workers are not told: %v", err)
	}
	b.retry(w) // the attempt failed; a worker that is behind sets a timer
	natstest.Eventually(t, soon, func() bool { return b.get(path).at("state") == "cancelled" })
	if n, err := stream.NewWaitlist(b.js).Total(t.Context()); err != nil || n.Timers != 0 {
		t.Errorf("the timer is still set: %+v, %v", n, err)
	}
}

// TestCancelledDeliveryKeepsItsTimer: between the record of a failed attempt and its timer a delivery waits nowhere. A cancel
// that came then was recorded at once, and the timer that the worker set next was never removed: it blocked the key of a lane
// until it was due, and was sent when the workers had forgotten the cancel.
func TestCancelledDeliveryKeepsItsTimer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.subscribe("s", "acme")
	w := b.first(b.publish("1", "acme", "order.status"), "s")
	m := b.dispatch()
	w.Delivery.NextAt = time.Now().Add(time.Hour)
	b.record(w, events.StateRetrying, events.ReasonTimeout, true)
	path := "/v1/deliveries/" + w.Delivery.ID
	if r := b.post(path+"/cancel", "").want(http.StatusAccepted); r.at("state") != "retrying" {
		t.Errorf("before the timer is set: %s", r.body)
	}
	b.setTimer(w)
	b.ack(m)
	natstest.Eventually(t, soon, func() bool { return b.get(path).at("state") == "cancelled" })
	if n, err := stream.NewWaitlist(b.js).Total(t.Context()); err != nil || n.Timers != 0 {
		t.Errorf("the timer is still set: %+v, %v", n, err)
	}
}

// TestCancelIsFinishedByTheNextProcess: one was told of the cancel and ended before it carried it out.
func TestCancelIsFinishedByTheNextProcess(t *testing.T) {
	t.Parallel()
	nc, js := natstest.Start(t)
	one := setupOn(t, nc, js)
	one.subscribe("s", "acme")
	set := one.first(one.publish("1", "acme", "order.status"), "s")
	one.retry(set)
	lost := one.first(one.publish("2", "acme", "order.status"), "s")
	lost.Delivery.NextAt = time.Now().Add(time.Hour)
	one.record(lost, events.StateRetrying, events.ReasonTimeout, true) // its timer is removed, its end not recorded
	for range 2 {
		one.ack(one.dispatch())
	}
	kv, err := js.KeyValue(t.Context(), stream.BucketCancels)
	must(t, err)
	for _, w := range []*stream.Waiting{set, lost} {
		_, err = kv.Put(t.Context(), w.Delivery.ID, []byte("{}"))
		must(t, err)
	}
	two := setupOn(t, nc, js)
	for _, w := range []*stream.Waiting{set, lost} {
		natstest.Eventually(t, soon, func() bool { return two.get("/v1/deliveries/"+w.Delivery.ID).at("state") == "cancelled" })
	}
}
