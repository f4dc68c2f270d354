package e2e

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

// testDeadLetters: list, read, replay and delete.
func testDeadLetters(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, `"retry":{"policy":"fixed","initial":"50ms","maxattempts":2}`, sinktest.Answer{Status: 500, Body: "broken"})
	since := time.Now().UTC().Add(-time.Second)
	texts := map[string]string{}
	var receipts []fleettest.Receipt
	for range 3 {
		id := unique("letter")
		texts[id] = event(id, f.name, `{ "n" : 1.0 }`)
		receipts = append(receipts, f.client.Publish(t, texts[id]))
	}
	f.awaitAll(receipts, "dead")
	letters := f.client.DeadLetters(t, f.name)
	if len(letters) != 3 {
		t.Fatalf("%d dead letters, want 3", len(letters))
	}
	for i, l := range letters {
		if i > 0 && l.DeadAt.After(letters[i-1].DeadAt) {
			t.Error("the list is not newest first")
		}
		f.checkLetter(l, texts, since)
	}
	f.sink.On(f.path, sinktest.Answer{})
	f.replay(letters[0])
	f.forget(letters[1])
	left := f.client.DeadLetters(t, f.name)
	if len(left) != 1 || left[0].ID != letters[2].ID {
		t.Errorf("left are %+v", left)
	}
	byReason := fleettest.List[fleettest.DeadLetter](t, f.client, "/v1/dead-letters?subscription="+f.name+"&reason=rejected")
	if len(byReason) != 0 {
		t.Errorf("dead letters with another reason: %+v", byReason)
	}
	// What is replayed into a sink that still fails becomes a dead letter again, of the replay.
	f.sink.On(f.path, sinktest.Answer{Status: 400})
	var again fleettest.Delivery
	f.client.Must(t, http.StatusCreated, http.MethodPost, "/v1/dead-letters/"+letters[2].ID+"/replay", nil, &again)
	fleettest.Eventually(t, "the replay is a dead letter", func() (bool, any) {
		now := f.client.DeadLetters(t, f.name)
		return len(now) == 1 && now[0].ID == again.ID && now[0].Reason == "rejected" && now[0].AttemptCount == 1, now
	})
}

// checkLetter checks what a dead letter shows: the whole event, as it came.
func (f *flow) checkLetter(l fleettest.DeadLetter, texts map[string]string, since time.Time) {
	f.t.Helper()
	var e struct{ ID string }
	if err := json.Unmarshal(l.Event, &e); err != nil || string(l.Event) != texts[e.ID] {
		f.t.Errorf("event %s of the dead letter is not what was published", l.Event)
	}
	a := l.LastAttempt
	if l.Reason != "exhausted" || l.Subscription != f.name || l.Tenant != "default" || l.AttemptCount != 2 || l.DeadAt.Before(since) ||
		a == nil || a.Status != 500 || a.Response == nil || a.Response.Body != "broken" {
		f.t.Errorf("dead letter %+v, last attempt %+v", l, a)
	}
	var one fleettest.DeadLetter
	f.client.Must(f.t, http.StatusOK, http.MethodGet, "/v1/dead-letters/"+l.ID, nil, &one)
	if one.ID != l.ID || string(one.Event) != string(l.Event) {
		f.t.Errorf("dead letter by its id is %+v", one)
	}
}

// replay makes a new delivery with the same webhook-id, and takes the dead letter off the list.
func (f *flow) replay(l fleettest.DeadLetter) {
	f.t.Helper()
	before := f.sink.Got(f.path)
	var d fleettest.Delivery
	r := f.client.Must(f.t, http.StatusCreated, http.MethodPost, "/v1/dead-letters/"+l.ID+"/replay", nil, &d)
	if d.ReplayOf != l.ID || d.ID == l.ID || r.Header.Get("Location") != "/v1/deliveries/"+d.ID {
		f.t.Errorf("replay %+v, Location %q", d, r.Header.Get("Location"))
	}
	got := f.sink.Wait(f.path, len(before)+1)[len(before)]
	if string(got.Body) != string(l.Event) {
		f.t.Errorf("replayed %s, want %s", got.Body, l.Event)
	}
	first := ""
	for _, b := range before {
		if string(b.Body) == string(got.Body) {
			first = b.ID()
		}
	}
	if got.ID() != first {
		f.t.Errorf("webhook-id %s of a replay, the delivery's was %s", got.ID(), first)
	}
	fleettest.Eventually(f.t, "the replay is delivered", func() (bool, any) {
		r := f.client.Do(f.t, http.MethodGet, "/v1/deliveries/"+d.ID, nil)
		var d fleettest.Delivery
		_ = json.Unmarshal(r.Body, &d)
		return d.State == "delivered" && d.AttemptCount == 1 && d.ReplayOf == l.ID, string(r.Body)
	})
	f.client.Do(f.t, http.MethodGet, "/v1/dead-letters/"+l.ID, nil).Refused(f.t, http.StatusNotFound, "not_found")
	// Asked again, as after a lost answer: the same replay, and nothing more is sent.
	var same fleettest.Delivery
	f.client.Must(f.t, http.StatusCreated, http.MethodPost, "/v1/dead-letters/"+l.ID+"/replay", nil, &same)
	if same.ID != d.ID {
		f.t.Errorf("replay asked for twice is %s and %s", d.ID, same.ID)
	}
}

func (f *flow) forget(l fleettest.DeadLetter) {
	f.t.Helper()
	f.do(http.StatusNoContent, http.MethodDelete, "/v1/dead-letters/"+l.ID)
	f.client.Do(f.t, http.MethodDelete, "/v1/dead-letters/"+l.ID, nil).Refused(f.t, http.StatusNotFound, "not_found")
	if d := f.client.Delivery(f.t, l.ID); d.State != "dead" {
		f.t.Errorf("the delivery of a deleted dead letter is %s", d.State)
	}
}

// testGone: a 410 disables the subscription, what comes then is held, and resuming it goes on.
func testGone(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, "", sinktest.Answer{Status: 410}, sinktest.Answer{})
	if d := f.await(f.publish(), "dead"); d.Reason != "gone" {
		t.Errorf("delivery %+v", d)
	}
	sub := f.client.AwaitState(t, f.name, "disabled")
	if sub.Status.Reason != "gone" {
		t.Errorf("status %+v", sub.Status)
	}
	held := f.publishMany(10)
	f.awaitAll(held, "held")
	if sub := f.awaitWaiting(10); sub.Status.State != "disabled" {
		t.Errorf("status %+v", sub.Status)
	}
	if n := len(f.sink.Got(f.path)); n != 1 {
		t.Errorf("%d requests to a disabled subscription's sink, want the 410's alone", n)
	}
	f.do(http.StatusOK, http.MethodPost, "/v1/subscriptions/"+f.name+"/resume")
	f.client.AwaitState(t, f.name, "active")
	f.awaitAll(held, "delivered")
	f.once(11)
}
