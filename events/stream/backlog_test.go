package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events"
)

// TestRemoveOnlyWhatWasSeen: a timer that was replaced, and one that is gone, are not removed.
func TestRemoveOnlyWhatWasSeen(t *testing.T) {
	t.Parallel()
	f := setup(t)
	w := NewWaitlist(f.read)
	e := f.event("acme", "1")
	set := &Waiting{Delivery: f.delivery(e, 1, "s", time.Now()), Event: e}
	set.Delivery.NextAt = time.Now().Add(time.Hour)
	put := func() *Parked {
		t.Helper()
		msg, err := set.TimerMessage()
		if err != nil {
			t.Fatal(err)
		}
		f.publish(msg)
		p, ok, err := w.Find(t.Context(), "s", set.Delivery.ID)
		if err != nil || !ok {
			t.Fatalf("found %v, %v", ok, err)
		}
		return p
	}
	remove := func(p *Parked, want bool) {
		t.Helper()
		if got, err := w.Remove(t.Context(), p); err != nil || got != want {
			t.Errorf("removed %v, %v; want %v", got, err, want)
		}
	}
	first := put()
	second := put()
	remove(first, false)
	remove(second, true)
	remove(second, false)
	if _, ok, err := w.Find(t.Context(), "s", set.Delivery.ID); ok || err != nil {
		t.Errorf("still there: %v, %v", ok, err)
	}
	held, err := set.HeldMessage()
	if err != nil {
		t.Fatal(err)
	}
	f.publish(held)
	p, ok, err := w.Find(t.Context(), "s", set.Delivery.ID)
	if err != nil || !ok || p.Place != PlaceHeld {
		t.Fatalf("held: %+v, %v, %v", p, ok, err)
	}
	remove(p, true)
	remove(p, false)
}

// TestTimerReplacesOnlyWhatWasSeen: IfStill keeps one that has fired from being set twice.
func TestTimerReplacesOnlyWhatWasSeen(t *testing.T) {
	t.Parallel()
	f := setup(t)
	writer := NewWriter(f.nc, nil)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- writer.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	e := f.event("acme", "1")
	set := &Waiting{Delivery: f.delivery(e, 1, "s", time.Now()), Event: e}
	set.Delivery.NextAt = time.Now().Add(time.Hour)
	write := func(seen *Parked) error {
		msg, err := set.TimerMessage()
		if err != nil {
			return err
		}
		if seen != nil {
			for name, value := range IfStill(seen) {
				msg.Header[name] = []string{value}
			}
		}
		_, err = writer.Write(t.Context(), msg, Retries)
		return err
	}
	if err := write(nil); err != nil {
		t.Fatal(err)
	}
	seen, _, err := NewWaitlist(f.read).Find(t.Context(), "s", set.Delivery.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := write(seen); err != nil {
		t.Errorf("the one that was seen: %v", err)
	}
	if err := write(seen); !errors.Is(err, ErrMoved) {
		t.Errorf("another one: %v", err)
	}
}

// TestEventLog reads windows of every size, dense and sparse, and says where to go on.
func TestEventLog(t *testing.T) {
	t.Parallel()
	f := setup(t)
	l := NewEventLog(f.read)
	first, end, err := l.Bounds(t.Context())
	if err != nil || first != 1 || end != 1 {
		t.Fatalf("of an empty stream: %d %d %v", first, end, err)
	}
	var all, rare []uint64
	for i := range 700 {
		tenant := "acme"
		if i%97 == 0 {
			tenant = "rare"
		}
		seq, _ := f.accept(f.event(tenant, fmt.Sprint(i)))
		if all = append(all, seq); tenant == "rare" {
			rare = append(rare, seq)
		}
	}
	walk := func(r EventRange, stop int) (got []uint64) {
		t.Helper()
		for r.Before > max(r.First, 1) {
			n := 0
			next, err := l.Walk(t.Context(), r, func(s *StoredEvent) bool {
				e, err := s.Event()
				if err != nil || e.Tenant() != s.Tenant || s.At.IsZero() {
					t.Errorf("event %d: %v", s.Sequence, err)
				}
				got = append(got, s.Sequence)
				n++
				return n < stop
			})
			if err != nil {
				t.Fatal(err)
			}
			r.Before = next
		}
		slices.Reverse(got)
		return got
	}
	for _, stop := range []int{1, 7, 1000} {
		if got := walk(EventRange{Tenant: "rare", Before: 701}, stop); !slices.Equal(got, rare) {
			t.Errorf("stop %d: %v, want %v", stop, got, rare)
		}
		if got := walk(EventRange{First: 600, Before: 650}, stop); !slices.Equal(got, all[599:649]) {
			t.Errorf("stop %d: %v", stop, got)
		}
		if got := walk(EventRange{Type: "order", Before: 701}, stop); len(got) != 0 {
			t.Errorf("a type that none has: %v", got)
		}
	}
	s, err := l.Get(t.Context(), all[5])
	if err != nil || s.Tenant != "acme" {
		t.Fatalf("%+v, %v", s, err)
	}
	if at, err := l.Since(t.Context(), s.At, 701); err != nil || at != all[5] {
		t.Errorf("since its own time: %d, %v", at, err)
	}
	if at, err := l.Since(t.Context(), time.Now().Add(time.Hour), 701); err != nil || at != 701 {
		t.Errorf("since the future: %d, %v", at, err)
	}
	if s, err := l.Get(t.Context(), 701); s != nil || err != nil {
		t.Errorf("what is not there: %+v, %v", s, err)
	}
}

// TestBacklogState looks at a fleet in which something is in every state.
func TestBacklogState(t *testing.T) {
	t.Parallel()
	f := setup(t)
	b := NewBacklog(NewHistory(f.read, func(context.Context, *events.Event, uint64) ([]string, error) { return []string{"s"}, nil }))
	if s, err := b.State(t.Context()); err != nil || s != (State{}) {
		t.Errorf("at first: %+v, %v", s, err)
	}
	_, at := f.accept(f.event("acme", "1"))
	f.accept(f.event("acme", "2"))
	s, err := b.State(t.Context())
	if err != nil || s.Pending != 2 || !s.Oldest.Equal(at) {
		t.Errorf("no worker was ever there: %+v, %v", s, err)
	}
	c, err := f.js.CreateConsumer(t.Context(), Events, jetstream.ConsumerConfig{Durable: ConsumerDispatch, AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	m, err := c.Next()
	if err != nil {
		t.Fatal(err)
	}
	if s, err := b.State(t.Context()); err != nil || s.Pending != 2 || !s.Oldest.Equal(at) {
		t.Errorf("one in flight: %+v, %v", s, err)
	}
	if err := m.DoubleAck(t.Context()); err != nil {
		t.Fatal(err)
	}
	old := at.Add(-time.Hour)
	e := f.event("acme", "0")
	w := &Waiting{Delivery: f.delivery(e, 9, "s", old), Event: e}
	held, err := w.HeldMessage()
	if err != nil {
		t.Fatal(err)
	}
	f.publish(held)
	if s, err := b.State(t.Context()); err != nil || s.Pending != 1 || s.Held != 1 || s.Retrying != 0 || !s.Oldest.Equal(old) {
		t.Errorf("one held, one pending: %+v, %v", s, err)
	}
	counts, looked, err := b.Pending(t.Context(), "", "")
	if err != nil || looked != 1 || counts["s"] != 1 {
		t.Errorf("pending %v of %d, %v", counts, looked, err)
	}
}
