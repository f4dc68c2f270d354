package stream

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookfleet/hookfleet/events"
)

func TestReplays(t *testing.T) {
	t.Parallel()
	f := setup(t)
	r := NewReplays(f.read, f.writer())
	day := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i, id := range []string{"old", "new"} {
		s, err := r.Create(t.Context(), &events.Replay{
			ID: id, Tenant: "acme", Subscription: "s", From: events.ReplayEvents, CreatedAt: day.Add(time.Duration(i) * time.Hour), Wish: events.ReplayRunning,
		})
		if err != nil || s.Revision == 0 || s.State() != events.ReplayRunning {
			t.Fatalf("%+v, %v", s, err)
		}
	}
	if _, err := r.Create(t.Context(), &events.Replay{ID: "old"}); !errors.Is(err, ErrReplayTaken) {
		t.Errorf("a second one of an id: %v", err)
	}
	s, ok, err := r.Get(t.Context(), "old")
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	stale := *s
	s.Run = ReplayRun{Number: 7, Next: 9, Plan: []Planned{{At: 8, Delivery: "8R1-s"}}, Fresh: []string{"7R1-s"}, Counts: events.ReplayCounts{Matched: 2, Sent: 1}}
	if err := r.SaveRun(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if err := r.SaveRun(t.Context(), &stale); !errors.Is(err, ErrMoved) {
		t.Errorf("a scheduler that lost its lease: %v", err)
	}
	if err := r.SetWish(t.Context(), s, events.ReplayPaused); err != nil {
		t.Fatal(err)
	}
	if err := r.SetWish(t.Context(), &stale, events.ReplayCancelled); !errors.Is(err, ErrMoved) {
		t.Errorf("a stale wish: %v", err)
	}
	all, err := r.List(t.Context())
	if err != nil || len(all) != 2 || all[0].ID != "new" {
		t.Fatalf("%+v, %v", all, err)
	}
	if diff := cmp.Diff(s, all[1]); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
	if err := r.Delete(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := r.Get(t.Context(), "old"); ok || err != nil {
		t.Errorf("after it was deleted: %v, %v", ok, err)
	}
	if _, err := r.Create(t.Context(), &events.Replay{ID: "old"}); err != nil {
		t.Errorf("its id is free again: %v", err)
	}
}

func TestReplayed(t *testing.T) {
	t.Parallel()
	f := setup(t)
	r := NewReplayed(f.read, f.writer())
	made := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	load := func(created time.Time, sequence uint64) *Marks {
		m, err := r.Load(t.Context(), "s", created, sequence)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	for _, at := range []uint64{1, 7, replayedChunk - 1, replayedChunk, 3*replayedChunk + 5} {
		m, other := load(made, at), load(made, at)
		if m.Has(at) {
			t.Errorf("%d is marked", at)
		}
		m.Set(at)
		if err := r.Save(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		if other.Set(at); !errors.Is(r.Save(t.Context(), other), ErrMoved) {
			t.Errorf("%d: written over what another has marked", at)
		}
		if m = load(made, at); !m.Has(at) || m.Covers(at+1) && m.Has(at+1) {
			t.Errorf("%d is not marked, or its neighbour is", at)
		}
	}
	if load(made.Add(time.Second), 7).Has(7) {
		t.Error("another subscription of the id has its marks")
	}
	err := r.Prune(t.Context(), 2*replayedChunk, func(string) (time.Time, bool) { return made, true })
	if err != nil || load(made, 7).Has(7) || !load(made, 3*replayedChunk+5).Has(3*replayedChunk+5) {
		t.Errorf("pruned to %d: %v", 2*replayedChunk, err)
	}
	err = r.Prune(t.Context(), 0, func(string) (time.Time, bool) { return time.Time{}, false })
	if err != nil || load(made, 3*replayedChunk+5).Has(3*replayedChunk+5) {
		t.Errorf("marks of a subscription that is gone: %v", err)
	}
}

func TestAfter(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for range 5 {
		f.accept(f.event("acme", "e"))
	}
	l := NewEventLog(f.read)
	stream, err := f.js.Stream(t.Context(), Events)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.DeleteMsg(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	var got []uint64
	for next := uint64(1); next <= 4; {
		page, n, err := l.After(t.Context(), next, 4, 2)
		if err != nil || n <= next {
			t.Fatal(n, err)
		}
		for _, e := range page {
			got = append(got, e.Sequence)
		}
		next = n
	}
	if diff := cmp.Diff([]uint64{1, 3, 4}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if page, next, err := l.After(t.Context(), 6, 100, 10); len(page) != 0 || next != 101 || err != nil {
		t.Errorf("beyond the end: %d, %d, %v", len(page), next, err)
	}
}
