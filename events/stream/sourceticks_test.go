package stream

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/test/natstest"
)

func TestSourceTicks(t *testing.T) {
	t.Parallel()
	f := setup(t)
	writer := NewWriter(f.nc, nil)
	run(t, writer.Run)
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	first := SourceTick{At: at, Until: 7}
	must(t, WriteSourceTick(t.Context(), writer, "orders", first))
	s := NewSourceTicks(f.read, zerolog.Nop())
	run(t, s.Run)
	<-s.Loaded()
	if got, ok := s.Last("orders"); !ok || got != first {
		t.Fatalf("last tick %+v, %v", got, ok)
	}
	if _, ok := s.Last("others"); ok {
		t.Error("a source without a tick has one")
	}
	slow, cancelSlow := s.Watch("orders")
	quick, cancel := s.Watch("orders")
	if got := <-quick; got != first {
		t.Errorf("first %+v", got)
	}
	second, third := SourceTick{At: at.Add(time.Minute), Until: 7}, SourceTick{At: at.Add(2 * time.Minute), Until: 9}
	must(t, WriteSourceTick(t.Context(), writer, "orders", second))
	if got := <-quick; got != second {
		t.Errorf("second %+v", got)
	}
	cancel()
	must(t, WriteSourceTick(t.Context(), writer, "orders", third))
	natstest.Eventually(t, patience, func() bool { got, _ := s.Last("orders"); return got == third })
	if got := <-slow; got != third {
		t.Errorf("who is slow gets %+v", got)
	}
	cancelSlow()
	if len(s.watchers) != 0 {
		t.Errorf("watchers %v", s.watchers)
	}
}

// run runs a part until the test ends.
func run(t *testing.T, part func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		if err := part(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
