package stream

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hookfleet/hookfleet/events"
)

const later = time.Hour // of timers that are not to fire within a test

// findCase is a delivery in some state, made by make, and what Find says of it.
type findCase struct {
	name     string
	make     func(f *fixture, e *events.Event, d *events.Delivery)
	state    events.State
	attempts int
}

var findCases = []findCase{
	{"delivered at once", func(f *fixture, _ *events.Event, d *events.Delivery) {
		f.record(d, events.StateDelivered, true)
	}, events.StateDelivered, 1},
	{"retrying", func(f *fixture, e *events.Event, d *events.Delivery) {
		f.record(d, events.StateRetrying, true)
		f.record(d, events.StateRetrying, true)
		f.timer(e, *d, time.Now().Add(later))
	}, events.StateRetrying, 2},
	{"retrying, recorded, its timer not yet replaced", func(f *fixture, e *events.Event, d *events.Delivery) {
		f.record(d, events.StateRetrying, true)
		f.timer(e, *d, time.Now().Add(later))
		f.record(d, events.StateRetrying, true)
	}, events.StateRetrying, 2},
	{"delivered, its timer not yet removed", func(f *fixture, e *events.Event, d *events.Delivery) {
		f.record(d, events.StateRetrying, true)
		f.timer(e, *d, time.Now().Add(later))
		f.record(d, events.StateDelivered, true)
	}, events.StateDelivered, 2},
	{"recorded, no timer yet", func(f *fixture, _ *events.Event, d *events.Delivery) {
		f.record(d, events.StateRetrying, true)
	}, events.StateRetrying, 1},
	{"delivered after retries", func(f *fixture, _ *events.Event, d *events.Delivery) {
		f.record(d, events.StateRetrying, true)
		f.record(d, events.StateRetrying, true)
		f.record(d, events.StateDelivered, true)
	}, events.StateDelivered, 3},
	{"held before any attempt", func(f *fixture, e *events.Event, d *events.Delivery) {
		f.record(d, events.StateHeld, false)
		f.hold(e, *d)
	}, events.StateHeld, 0},
	{"held after a retry", func(f *fixture, e *events.Event, d *events.Delivery) {
		f.record(d, events.StateRetrying, true)
		f.record(d, events.StateHeld, false)
		f.hold(e, *d)
	}, events.StateHeld, 1},
	{"dead", func(f *fixture, e *events.Event, d *events.Delivery) {
		f.record(d, events.StateRetrying, true)
		f.record(d, events.StateDead, true)
		f.bury(e, *d, events.ReasonExhausted)
	}, events.StateDead, 2},
	{"dead, its letter deleted", func(f *fixture, _ *events.Event, d *events.Delivery) {
		f.record(d, events.StateRetrying, true)
		f.record(d, events.StateDead, true)
	}, events.StateDead, 2},
	{"cancelled", func(f *fixture, _ *events.Event, d *events.Delivery) {
		f.record(d, events.StateHeld, false)
		f.record(d, events.StateCancelled, false)
	}, events.StateCancelled, 0},
	{"a replay that is due", func(f *fixture, e *events.Event, d *events.Delivery) {
		d.ID, d.ReplayOf = events.DeliveryID(d.Event.Sequence, d.Subscription, 1), d.ID
		f.timer(e, *d, time.Now().Add(later))
	}, events.StatePending, 0},
	{"a replay that was delivered", func(f *fixture, _ *events.Event, d *events.Delivery) {
		first := *d
		f.record(&first, events.StateDead, true)
		d.ID, d.ReplayOf = events.DeliveryID(d.Event.Sequence, d.Subscription, 1), d.ID
		f.record(d, events.StateDelivered, true)
	}, events.StateDelivered, 1},
}

func TestFind(t *testing.T) {
	t.Parallel()
	f := setup(t)
	h := NewHistory(f.read, nil)
	for _, c := range findCases {
		e := f.event("acme", c.name)
		seq, at := f.accept(e)
		// Neighbours in the same subject, before and after.
		for _, s := range []string{"sub", "other"} {
			d := f.delivery(e, seq, s, at)
			if s == "sub" {
				c.make(f, e, &d)
			} else {
				f.record(&d, events.StateDelivered, true)
			}
			if s != "sub" {
				continue
			}
			found, ok, err := h.Find(t.Context(), d.ID)
			if err != nil || !ok {
				t.Fatalf("%s: Find = %v, %v", c.name, ok, err)
			}
			if found.Record.State != c.state || len(found.Attempts) != c.attempts {
				t.Errorf("%s: state %s with %d attempts, want %s with %d", c.name, found.Record.State, len(found.Attempts), c.state, c.attempts)
			}
			if found.Record.ID != d.ID || found.Record.Event.ID != c.name || !found.Record.CreatedAt.Equal(at) {
				t.Errorf("%s: found %+v", c.name, found.Record.Delivery)
			}
			for i, a := range found.Attempts {
				if a.Number != i+1 {
					t.Errorf("%s: attempt %d has number %d", c.name, i, a.Number)
				}
			}
		}
	}
}

func TestFindAfterTrimming(t *testing.T) {
	t.Parallel()
	f := setup(t)
	e := f.event("acme", "e")
	seq, at := f.accept(e)
	d := f.delivery(e, seq, "sub", at)
	f.record(&d, events.StateRetrying, true)
	f.record(&d, events.StateDelivered, true)
	s, err := f.js.Stream(t.Context(), Events)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	found, ok, err := NewHistory(f.read, nil).Find(t.Context(), d.ID)
	if err != nil || !ok || found.Record.State != events.StateDelivered || len(found.Attempts) != 2 {
		t.Fatalf("Find = %+v, %v, %v", found, ok, err)
	}
}

func TestFindManyNeighbours(t *testing.T) {
	t.Parallel()
	f := setup(t)
	e := f.event("acme", "e")
	seq, at := f.accept(e)
	d := f.delivery(e, seq, "sub", at)
	f.record(&d, events.StateRetrying, true)
	for range 3 * followGets { // of the same subject
		n := f.delivery(e, seq, "sub", at)
		n.ID = events.DeliveryID(seq, "sub", 7)
		f.record(&n, events.StateDelivered, true)
	}
	f.record(&d, events.StateDelivered, true)
	found, ok, err := NewHistory(f.read, nil).Find(t.Context(), d.ID)
	if err != nil || !ok || found.Record.State != events.StateDelivered || len(found.Attempts) != 2 {
		t.Fatalf("Find = %+v, %v, %v", found, ok, err)
	}
}

func TestFindPendingAndUnknown(t *testing.T) {
	t.Parallel()
	f := setup(t)
	e := f.event("acme", "e")
	seq, at := f.accept(e)
	match := func(_ context.Context, got *events.Event, sequence uint64) ([]string, error) {
		if got.ID() != "e" || sequence != seq {
			t.Errorf("asked to match %s at %d", got.ID(), sequence)
		}
		return []string{"sub"}, nil
	}
	h := NewHistory(f.read, match)
	found, ok, err := h.Find(t.Context(), events.DeliveryID(seq, "sub", 0))
	if err != nil || !ok {
		t.Fatalf("Find = %v, %v", ok, err)
	}
	want := &events.Record{Delivery: f.delivery(e, seq, "sub", at), State: events.StatePending}
	if diff := cmp.Diff(want, found.Record); diff != "" {
		t.Errorf("pending delivery (-want +got):\n%s", diff)
	}
	for _, id := range []string{
		events.DeliveryID(seq, "other", 0), events.DeliveryID(seq, "sub", 3), events.DeliveryID(seq+9, "sub", 0),
		"", "nonsense", "1-*", "1->", "*-sub",
	} {
		if found, ok, err := h.Find(t.Context(), id); ok || err != nil {
			t.Errorf("Find(%q) = %+v, %v, %v", id, found, ok, err)
		}
	}
}

func TestSettled(t *testing.T) {
	t.Parallel()
	f := setup(t)
	h := NewHistory(f.read, nil)
	type entry struct {
		id       string
		state    events.State
		attempts int
		record   uint64
	}
	var got, want []entry
	var lists []*BatchList
	take := Settled{
		Record: func(id string, state events.State, attempts int, record uint64) {
			got = append(got, entry{id, state, attempts, record})
		},
		Batch: func(l *BatchList) { lists = append(lists, l) },
	}
	if last, err := h.SettledSince(t.Context(), time.Time{}, take); last != 0 || err != nil || got != nil {
		t.Fatalf("of an empty history: %d, %v, %v", last, got, err)
	}
	e := f.event("acme", `"attempts":99,"first":true`)
	seq, at := f.accept(e)
	var middle time.Time
	for i := range 20 {
		d := f.delivery(e, seq+uint64(i), "sub", at)
		if i == 10 {
			middle = time.Now()
		}
		f.record(&d, events.StateRetrying, true)
		want = append(want, entry{d.ID, events.StateRetrying, 1, d.Record})
		f.record(&d, events.StateDelivered, true)
		want = append(want, entry{d.ID, events.StateDelivered, 2, d.Record})
	}
	for _, to := range []uint64{30, 1} { // up to a sequence, also one before the time
		got = nil
		if last, err := h.SettledUntil(t.Context(), middle, to, take); last != to || err != nil {
			t.Errorf("until %d: last %d, %v", to, last, err)
		}
		if diff := cmp.Diff(want[20:max(20, to)], got, cmp.AllowUnexported(entry{}), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("until %d (-want +got):\n%s", to, diff)
		}
	}
	list := &BatchList{ID: "msg_x", Subscription: "sub", Members: []string{"1-sub", "2R1-sub"}}
	msg, err := list.Message()
	if err != nil {
		t.Fatal(err)
	}
	f.publish(msg)
	for _, c := range []struct {
		name string
		call func() (uint64, error)
		want []entry
	}{
		{"all", func() (uint64, error) { return h.SettledSince(t.Context(), at, take) }, want},
		{"from a time", func() (uint64, error) { return h.SettledSince(t.Context(), middle, take) }, want[20:]},
		{"from a sequence", func() (uint64, error) { return h.SettledFrom(t.Context(), 31, take) }, want[30:]},
		{"after the end", func() (uint64, error) { return h.SettledFrom(t.Context(), 42, take) }, nil},
		{"from the future", func() (uint64, error) { return h.SettledSince(t.Context(), time.Now().Add(time.Hour), take) }, nil},
	} {
		got, lists = nil, nil
		if last, err := c.call(); last != 41 || err != nil {
			t.Errorf("%s: last %d, %v", c.name, last, err)
		}
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(entry{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
		if c.want == nil {
			continue
		}
		if list.Sequence = 41; len(lists) != 1 || !cmp.Equal(lists[0], list) {
			t.Errorf("%s: lists %+v", c.name, lists)
		}
	}
	back, err := h.BatchList(t.Context(), 41)
	if err != nil || back == nil || back.Stored.IsZero() || !slices.Equal(back.Members, list.Members) {
		t.Errorf("%+v, %v", back, err)
	}
	for _, other := range []uint64{40, 42} {
		if l, err := h.BatchList(t.Context(), other); l != nil || err != nil {
			t.Errorf("%d: %+v, %v", other, l, err)
		}
	}
	// A list is no delivery.
	if items, _, err := h.List(t.Context(), Query{}); err != nil || len(items) != 20 {
		t.Errorf("%d deliveries, %v", len(items), err)
	}
}
