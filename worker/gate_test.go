package worker

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestGateNeverExceedsItsLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		var mu sync.Mutex
		now, most := 0, 0
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if !g.acquire(t.Context(), 7, time.Hour) {
					t.Error("refused")
					return
				}
				mu.Lock()
				now++
				most = max(most, now)
				mu.Unlock()
				time.Sleep(time.Second) //nolint:forbidigo // fake time
				mu.Lock()
				now--
				mu.Unlock()
				g.release(time.Second)
			})
		}
		all.Wait()
		if most != 7 || !g.idle() {
			t.Errorf("at most %d at a time, idle %t", most, g.idle())
		}
	})
}

func TestGateRefusesWhatWouldWaitTooLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		if !g.acquire(t.Context(), 1, 0) {
			t.Fatal("free gate refused")
		}
		time.Sleep(2 * time.Second) //nolint:forbidigo // fake time, in which the sink hangs
		begin := time.Now()
		if g.acquire(t.Context(), 1, time.Second) || time.Since(begin) != 0 {
			t.Errorf("a sink silent for 2 s was waited for, %s long", time.Since(begin))
		}
		g.release(2 * time.Second)
		if !g.acquire(t.Context(), 1, 0) {
			t.Error("free gate refused")
		}
	})
}

func TestGateGivesUpInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		g.acquire(t.Context(), 1, 0)
		begin := time.Now()
		if g.acquire(t.Context(), 1, time.Second) || time.Since(begin) != time.Second {
			t.Errorf("waited %s", time.Since(begin))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if g.acquire(ctx, 1, time.Hour) {
			t.Error("admitted after the end")
		}
		g.release(time.Second)
		if !g.idle() || !g.tryAcquire(1, time.Now()) {
			t.Error("the permit was lost to who gave up")
		}
	})
}

func TestGateWithoutShare(t *testing.T) {
	t.Parallel()
	if g := (&gate{}); g.acquire(t.Context(), 0, time.Hour) {
		t.Error("a worker without a share was admitted")
	}
}

func TestShareAddsUpToTheLimit(t *testing.T) {
	t.Parallel()
	for limit := range 20 {
		for n := 1; n < 8; n++ {
			sum := 0
			for rank := range n {
				part := share(limit, rank, n)
				if n > 1 && limit >= n && part == 0 {
					t.Errorf("limit %d, %d workers: rank %d has nothing", limit, n, rank)
				}
				sum += part
			}
			if sum != limit {
				t.Errorf("limit %d, %d workers: %d in all", limit, n, sum)
			}
		}
	}
}

func TestParseDelivered(t *testing.T) {
	t.Parallel()
	want := delivered{Sequence: 7, Times: 2, Stored: time.Unix(0, 1700000000123456789)}
	for _, reply := range []string{
		"$JS.ACK.EVENTS.dispatch.2.7.9.1700000000123456789.3",
		"$JS.ACK.hub.ACCHASH.EVENTS.dispatch.2.7.9.1700000000123456789.3",
		"$JS.ACK.hub.ACCHASH.EVENTS.dispatch.2.7.9.1700000000123456789.3.random",
	} {
		if got, ok := parseDelivered(reply); !ok || got != want {
			t.Errorf("%s: %+v %t", reply, got, ok)
		}
	}
	for _, reply := range []string{"", "_INBOX.x", "$JS.ACK.EVENTS.dispatch.x.7.9.1.3"} {
		if _, ok := parseDelivered(reply); ok {
			t.Errorf("%q was parsed", reply)
		}
	}
}

// The gates of sinks that events have for themselves are forgotten when nobody uses them, and none that is in use or closed.
func TestPruneGates(t *testing.T) {
	t.Parallel()
	now := time.Now()
	g := newGates()
	for _, name := range []string{"idle", "used", "busy", "closed"} {
		g.of(name).used.Store(now.Add(-time.Hour).UnixNano())
	}
	g.of("used").used.Store(now.UnixNano())
	g.of("busy").tryAcquire(1, now)
	g.of("closed").close(now.Add(time.Minute))
	g.prune(now)
	if _, ok := g.all["idle"]; ok || len(g.all) != 3 {
		t.Errorf("%v are left", slices.Collect(maps.Keys(g.all)))
	}
	g.prune(now.Add(time.Hour))
	if _, ok := g.all["busy"]; !ok || len(g.all) != 1 {
		t.Errorf("%v are left", slices.Collect(maps.Keys(g.all)))
	}
}
