package scheduler

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/test/natstest"
)

// subscribe makes a subscription whose deliveries expire after an hour.
func (f *fixture) subscribe(id string, paused bool) {
	f.Helper()
	s := &events.Subscription{
		ID: id, Tenant: "acme", Sink: "https://partner.example/", Protocol: events.ProtocolHTTP, Paused: paused,
		ProtocolSettings: events.ProtocolSettings{Method: events.MethodPost, ContentMode: events.ModeStructured},
		Config:           new(events.DefaultDeliveryConfig()),
	}
	s.Config.Retry.MaxAge = events.Duration(time.Hour)
	_, err := f.Registry.Create(f.Context(), s)
	must(f, err)
}

// hold records and holds a delivery that was made age ago.
func (f *fixture) hold(sequence uint64, subscription string, age time.Duration) events.Delivery {
	f.Helper()
	w := f.waiting(sequence, subscription, 10)
	w.Delivery.CreatedAt = time.Now().Add(-age).UTC()
	r := &events.Record{
		Delivery: w.Delivery, State: events.StateHeld, First: true,
		Attempt: &events.Attempt{Number: 1, Outcome: events.Held, URL: "https://partner.example/"},
	}
	w.Delivery.Record = f.publish(stream.RecordMessage(r), nil)
	f.publish(w.HeldMessage())
	return w.Delivery
}

func TestAuditMarksBacklog(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.subscribe("known", false)
	f.subscribe("lost", false)
	f.subscribe("idle", false)
	must(t, f.Registry.SetHealth(t.Context(), "known", func(h *registry.Health) bool {
		h.Backlog, h.State = true, registry.SinkHeld
		return true
	}))
	f.hold(1, "known", 0)
	f.hold(2, "lost", 0)
	f.hold(3, "lost", 0)
	f.hold(4, "deleted", 0)
	f.lookAt()
	for id, want := range map[string]bool{"known": true, "lost": true, "deleted": true, "idle": false} {
		if got := f.Registry.Health(id).Backlog; got != want {
			t.Errorf("backlog of %s: %v", id, got)
		}
	}
	if h := f.Registry.Health("known"); h.State != registry.SinkHeld {
		t.Errorf("known is %s now", h.State)
	}
}

// lookAt makes the auditor look at what is held, as it does every second.
func (f *fixture) lookAt() {
	f.Helper()
	must(f, f.lookAfterHeld(f.Context()))
}

func (f *fixture) standing(id string) *stream.Found {
	f.Helper()
	found, ok, err := f.history.Find(f.Context(), id)
	if err != nil || !ok {
		f.Fatalf("%s: %v, %v", id, ok, err)
	}
	return found
}

func (f *fixture) counted(reason string) float64 {
	f.Helper()
	families, err := f.Metrics.(*prometheus.Registry).Gather()
	must(f, err)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == "hookfleet_dead_letters_total" && m.GetLabel()[0].GetValue() == reason {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func (f *fixture) isHeld(d *events.Delivery) bool {
	f.Helper()
	_, held, err := f.waitlist.Held(f.Context(), d.Subscription, d.ID)
	must(f, err)
	return held
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.subscribe("paused", true)
	f.subscribe("active", false)
	old, young := f.hold(1, "paused", 3*time.Hour), f.hold(2, "paused", time.Minute)
	active := f.hold(3, "active", 3*time.Hour)
	stale := f.holdEvent(4, "paused", time.Minute, time.Now().Add(-time.Minute))
	fresh := f.holdEvent(5, "paused", time.Minute, time.Now().Add(time.Minute))
	for range 2 {
		f.lookAt()
	}
	for _, c := range []struct {
		d      events.Delivery
		state  events.State
		reason events.Reason
	}{
		{old, events.StateDead, events.ReasonExpiredRetry}, {young, events.StateHeld, ""}, {active, events.StateDead, events.ReasonExpiredRetry},
		{stale, events.StateSkipped, events.ReasonExpired}, {fresh, events.StateHeld, ""},
	} {
		if r := f.standing(c.d.ID).Record; r.State != c.state || r.Reason != c.reason || r.State.Ended() == r.EndedAt.IsZero() {
			t.Errorf("%s: record %+v, want %s %s", c.d.ID, r, c.state, c.reason)
		}
		if held := f.isHeld(&c.d); held != (c.state == events.StateHeld) {
			t.Errorf("%s is in HELD: %v", c.d.ID, held)
		}
	}
	letters := stream.NewDeadList(f.JS)
	letter, ok, err := letters.Find(t.Context(), old.ID)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if letter.Reason != events.ReasonExpiredRetry || letter.LastAttempt == nil || letter.LastAttempt.Number != 1 || letter.Payload == nil {
		t.Errorf("dead letter %+v", letter)
	}
	if _, ok, err := letters.Find(t.Context(), stale.ID); ok || err != nil {
		t.Errorf("a skip has a dead letter: %v, %v", ok, err)
	}
	if got := f.counted("expired_retry"); got != 2 {
		t.Errorf("%v dead letters counted", got)
	}
	// What is held later is found without a look through all, also with a shorter age than before.
	late := f.hold(6, "paused", 61*time.Minute)
	f.lookAt()
	if f.isHeld(&late) {
		t.Error("what was held later is not found")
	}
	s, _ := f.Registry.Lookup("paused")
	changed := *s.Subscription
	changed.Paused, changed.Config.Retry.MaxAge = true, events.Duration(10*time.Second)
	_, _, err = f.Registry.Put(t.Context(), &changed, 0)
	must(t, err)
	natstest.Eventually(t, patience, func() bool {
		f.lookAt()
		return !f.isHeld(&young)
	})
	if r := f.standing(young.ID).Record; r.State != events.StateDead || r.Reason != events.ReasonExpiredRetry {
		t.Errorf("record %+v", r)
	}
}

// holdEvent is hold of an event with an expirytime.
func (f *fixture) holdEvent(sequence uint64, subscription string, age time.Duration, expires time.Time) events.Delivery {
	f.Helper()
	w := f.waiting(sequence, subscription, 10)
	e, err := events.ParseStructured(fmt.Appendf(nil,
		`{"specversion":"1.0","id":"e%d","source":"/s","type":"t","tenant":"acme","expirytime":%q}`, sequence, expires.UTC().Format(time.RFC3339Nano)))
	must(f, err)
	w.Event, w.Delivery.CreatedAt = e, time.Now().Add(-age).UTC()
	w.Delivery.Record = f.publish(stream.RecordMessage(&events.Record{Delivery: w.Delivery, State: events.StateHeld, First: true}), nil)
	f.publish(w.HeldMessage())
	return w.Delivery
}

// TestExpiryLeavesWhatIsInHand: what a worker has is not ended beside it, and when it was killed, later.
func TestExpiryLeavesWhatIsInHand(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.subscribe("paused", true)
	taken, free := f.hold(1, "paused", 3*time.Hour), f.hold(2, "paused", 3*time.Hour)
	c, err := f.js.CreateConsumer(t.Context(), stream.HeldName, jetstream.ConsumerConfig{
		Name: stream.HeldConsumer("paused"), FilterSubject: stream.SubjectHeld + "paused.>", AckPolicy: jetstream.AckExplicitPolicy,
	})
	must(t, err)
	m, err := c.Next()
	must(t, err)
	f.lookAt()
	if !f.isHeld(&taken) || f.isHeld(&free) {
		t.Errorf("in hand %v, free %v", f.isHeld(&taken), f.isHeld(&free))
	}
	must(t, m.Nak())
	must(t, f.js.DeleteConsumer(t.Context(), stream.HeldName, stream.HeldConsumer("paused")))
	natstest.Eventually(t, patience, func() bool {
		f.lookAt()
		return !f.isHeld(&taken)
	})
}

// TestExpiryGoesOn: one that was killed between the record and the removal is ended by the next one, once.
func TestExpiryGoesOn(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.subscribe("paused", true)
	d := f.hold(1, "paused", 3*time.Hour)
	r := &events.Record{Delivery: d, State: events.StateDead, EndedAt: time.Now()}
	r.Reason = events.ReasonExpiredRetry
	f.publish(stream.RecordMessage(r), nil)
	for range 2 {
		f.lookAt()
	}
	if f.isHeld(&d) {
		t.Error("it is still held")
	}
	letters, _, err := stream.NewDeadList(f.JS).List(t.Context(), stream.DeadQuery{Subscription: "paused", Limit: 10})
	if err != nil || len(letters) != 1 || letters[0].LastAttempt == nil {
		t.Errorf("dead letters %+v, %v", letters, err)
	}
	if got := f.counted("expired_retry"); got != 0 {
		t.Errorf("counted %v times again", got)
	}
}

func TestCalendar(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, step := range []time.Duration{10 * time.Millisecond, time.Second, time.Minute} {
		var c calendar
		const many = 20_000
		for i := range many {
			c.note(began.Add(time.Duration(i)*step), uint64(i+1))
		}
		if len(c.spans) > maxSpans {
			t.Errorf("%s: %d spans", step, len(c.spans))
		}
		seen := uint64(0)
		for i := range many {
			now := began.Add(time.Duration(i) * step)
			for _, s := range c.take(now) {
				if s.first != seen+1 || began.Add(time.Duration(s.last-1)*step).After(now) {
					t.Fatalf("%s: at %d: %+v follows %d", step, i, s, seen)
				}
				seen = s.last
			}
			if late := time.Duration(uint64(i)-seen) * step; late > max(2*time.Second, many*step/256) {
				t.Fatalf("%s: at %d what is %s old is not taken", step, i, late)
			}
		}
	}
}
