package scheduler

import (
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/events/stream"
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
	must(t, f.audit(t.Context()))
	for id, want := range map[string]bool{"known": true, "lost": true, "deleted": true, "idle": false} {
		if got := f.Registry.Health(id).Backlog; got != want {
			t.Errorf("backlog of %s: %v", id, got)
		}
	}
	if h := f.Registry.Health("known"); h.State != registry.SinkHeld {
		t.Errorf("known is %s now", h.State)
	}
}

func TestAuditExpires(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.subscribe("paused", true)
	f.subscribe("active", false)
	old, young := f.hold(1, "paused", 3*time.Hour), f.hold(2, "paused", time.Minute)
	active := f.hold(3, "active", 3*time.Hour)
	for range 2 {
		must(t, f.audit(t.Context()))
	}
	for _, c := range []struct {
		d    events.Delivery
		want events.State
	}{{old, events.StateDead}, {young, events.StateHeld}, {active, events.StateHeld}} {
		found, ok, err := f.history.Find(t.Context(), c.d.ID)
		if err != nil || !ok || found.Record.State != c.want {
			t.Fatalf("%s: %+v, %v, %v", c.d.ID, found, ok, err)
		}
		if _, held, _ := f.waitlist.Find(t.Context(), c.d.Subscription, c.d.ID); held != (c.want == events.StateHeld) {
			t.Errorf("%s is in HELD: %v", c.d.ID, held)
		}
	}
	letter, ok, err := stream.NewDeadList(f.JS).Find(t.Context(), old.ID)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if letter.Reason != events.ReasonExpiredRetry || letter.LastAttempt == nil || letter.LastAttempt.Number != 1 || letter.Payload == nil {
		t.Errorf("dead letter %+v", letter)
	}
	found, _, err := f.history.Find(t.Context(), old.ID)
	must(t, err)
	if found.Record.Reason != events.ReasonExpiredRetry || found.Record.EndedAt.IsZero() || found.Record.First {
		t.Errorf("record %+v", found.Record)
	}
}
