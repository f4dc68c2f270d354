package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/api"
	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

func TestFindDeadLetters(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.subscribe("s", "acme")
	b.subscribe("g", "globex")
	var ids []string
	for i := range 6 {
		w := b.first(b.publish(fmt.Sprint(i), []string{"acme", "globex"}[i%2], "order.status"), []string{"s", "g"}[i%2])
		b.bury(w)
		ids = append([]string{w.Delivery.ID}, ids...)
	}
	for query, want := range map[string][]string{
		"":                              ids,
		"subscription=s":                {ids[1], ids[3], ids[5]},
		"tenant=globex":                 {ids[0], ids[2], ids[4]},
		"reason=rejected":               ids,
		"reason=exhausted":              nil,
		"since=2020-01-01T00:00:00Z":    ids,
		"since=2999-01-01T00:00:00Z":    nil,
		"subscription=s&reason=timeout": nil,
	} {
		for _, limit := range []string{"", "&limit=2"} {
			if got := b.pages("/v1/dead-letters?" + strings.TrimPrefix(query+limit, "&")); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s%s: %v, want %v", query, limit, got, want)
			}
		}
	}
	r := b.get("/v1/dead-letters/" + ids[0]).want(http.StatusOK)
	for _, want := range [][2]string{{"subscription", "g"}, {"tenant", "globex"}, {"reason", "rejected"}, {"attemptcount", "1"}} {
		if got := r.at(want[0]); got != want[1] {
			t.Errorf("%s is %q, want %q", want[0], got, want[1])
		}
	}
	if r.at("lastattempt", "status") != "400" || !isMillis(r.at("deadat")) || r.at("event", "id") != "5" {
		t.Errorf("a dead letter: %s", r.body)
	}
	b.delete("/v1/dead-letters/" + ids[0]).want(http.StatusNoContent)
	b.get("/v1/dead-letters/"+ids[0]).problem(http.StatusNotFound, api.CodeNotFound)
	b.delete("/v1/dead-letters/"+ids[0]).problem(http.StatusNotFound, api.CodeNotFound)
	if r := b.get("/v1/deliveries/" + ids[0]); r.at("state") != "dead" {
		t.Errorf("its delivery: %s", r.body)
	}
}

func TestReplay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.subscribe("s", "acme")
	w := b.first(b.publish("1", "acme", "order.status"), "s")
	b.bury(w)
	path := "/v1/dead-letters/" + w.Delivery.ID + "/replay"
	r := b.post(path, "").want(http.StatusCreated)
	id := r.at("id")
	if r.at("replayof") != w.Delivery.ID || r.at("state") != "pending" || r.at("attemptcount") != "0" || r.header.Get("Location") != "/v1/deliveries/"+id {
		t.Errorf("the replay: %s", r.body)
	}
	b.get("/v1/dead-letters/"+w.Delivery.ID).problem(http.StatusNotFound, api.CodeNotFound)
	if got := b.get("/v1/deliveries/" + id).want(http.StatusOK); got.at("state") != "pending" || got.at("replayof") != w.Delivery.ID {
		t.Errorf("before its first attempt: %s", got.body)
	}
	fired := b.fired()
	if fired.Delivery.ID != id || fired.Event.WebhookID("s") != w.Event.WebhookID("s") || !fired.Event.Same(w.Event) {
		t.Errorf("what a worker gets: %+v", fired.Delivery)
	}
	b.record(fired, events.StateDelivered, "", true)
	// The caller had no answer and asks again: the same replay, and none more.
	if again := b.post(path, "").want(http.StatusCreated); again.at("id") != id || again.at("state") != "delivered" {
		t.Errorf("asked again: %s", again.body)
	}
	b.nothingWaits()
	if got := b.pages("/v1/deliveries?event=" + fmt.Sprint(w.Delivery.Event.Sequence)); len(got) != 2 {
		t.Errorf("the event's deliveries: %v", got)
	}
	b.post("/v1/dead-letters/zz-s/replay", "").problem(http.StatusNotFound, api.CodeNotFound)
}

func (b *bench) nothingWaits() {
	b.t.Helper()
	n, err := stream.NewWaitlist(b.js).Total(b.t.Context())
	must(b.t, err)
	if n.Timers+n.Held != 0 {
		b.t.Errorf("something waits: %+v", n)
	}
}

// TestReplayAfterACrash: the replay was made, and the process ended before it removed the dead letter.
func TestReplayAfterACrash(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.subscribe("s", "acme")
	w := b.first(b.publish("1", "acme", "order.status"), "s")
	b.bury(w)
	letter, _, err := stream.NewDeadList(b.js).Find(t.Context(), w.Delivery.ID)
	must(t, err)
	path := "/v1/dead-letters/" + w.Delivery.ID + "/replay"
	id := b.post(path, "").want(http.StatusCreated).at("id")
	b.record(b.fired(), events.StateDelivered, "", true)
	b.buryOnly(&letter.DeadLetter) // as if it had never been removed
	if r := b.post(path, "").want(http.StatusCreated); r.at("id") != id {
		t.Errorf("another replay: %s", r.body)
	}
	b.nothingWaits()
	b.get("/v1/dead-letters/"+w.Delivery.ID).problem(http.StatusNotFound, api.CodeNotFound)
}

func TestReplayAskedForByManyIsOne(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.subscribe("s", "acme")
	w := b.first(b.publish("1", "acme", "order.status"), "s")
	b.bury(w)
	ids := make([]string, 16)
	var all sync.WaitGroup
	for i := range ids {
		all.Go(func() {
			r := b.post("/v1/dead-letters/"+w.Delivery.ID+"/replay", "")
			if r.status == http.StatusCreated {
				ids[i] = r.at("id")
			}
		})
	}
	all.Wait()
	for _, id := range ids {
		if id != ids[0] || id == "" {
			t.Errorf("answers %v", ids)
		}
	}
	b.record(b.fired(), events.StateDelivered, "", true)
	b.nothingWaits()
}

func TestReplayOfAReplay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.subscribe("s", "acme")
	w := b.first(b.publish("1", "acme", "order.status"), "s")
	b.bury(w)
	seen := map[string]bool{w.Delivery.ID: true}
	for range 3 {
		id := b.post("/v1/dead-letters/"+w.Delivery.ID+"/replay", "").want(http.StatusCreated).at("id")
		if seen[id] {
			t.Fatalf("%s was there before", id)
		}
		seen[id] = true
		w = b.fired()
		b.bury(w)
	}
}

func TestWhatCannotBeReplayed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	invalid := &events.DeadLetter{DeadAt: time.Now(), Delivery: events.Delivery{
		ID: events.DeliveryID(7, string(events.ReasonInvalidEvent), 0), Tenant: "acme", Reason: events.ReasonInvalidEvent, CreatedAt: time.Now(), Event: events.EventRef{Sequence: 7},
	}}
	b.buryOnly(invalid)
	list := b.get("/v1/dead-letters?reason=invalid_event").want(http.StatusOK)
	ids, _ := list.ids()
	if len(ids) == 1 {
		b.post("/v1/dead-letters/"+ids[0]+"/replay", "").problem(http.StatusConflict, api.CodeNotReplayable)
		if r := b.get("/v1/dead-letters/" + ids[0]); r.at("raw") == "" || r.at("event") != "" || r.at("subscription") != "" {
			t.Errorf("what is no event: %s", r.body)
		}
	} else {
		t.Errorf("invalid events: %s", list.body)
	}
	b.subscribe("s", "acme")
	w := b.first(b.publish("1", "acme", "order.status"), "s")
	b.bury(w)
	b.delete("/v1/subscriptions/s").want(http.StatusNoContent)
	b.post("/v1/dead-letters/"+w.Delivery.ID+"/replay", "").problem(http.StatusConflict, api.CodeNotReplayable)
	b.subscribe("s", "globex") // another tenant takes the name
	b.post("/v1/dead-letters/"+w.Delivery.ID+"/replay", "").problem(http.StatusConflict, api.CodeNotReplayable)
}
