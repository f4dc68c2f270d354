package registry

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/test/natstest"
)

// A broker that restarts forgets its consumers. What changed behind the back of a registry that was cut off is seen all
// the same, deletions included.
func TestWatchIsTakenUpAfterARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := natstest.Server(t, dir)
	own, js := natstest.Connect(t, first)
	topology(t, js)
	own.Close()

	var b natstest.Successive
	b.Use(first)
	_, far := b.Connect(t)
	r, stopFar := run(t, far)
	defer stopFar() // before the second broker goes
	for _, id := range []string{"stays", "deleted", "purged", "changed"} {
		put(t, r, toType(t, id, "order"))
		setHealth(t, r, id, func(h *Health) { h.Backlog = true })
	}

	b.Use(nil)
	natstest.Stop(first)
	second := natstest.Server(t, dir)
	_, js = natstest.Connect(t, second)
	writer, stop := run(t, js)
	put(t, writer, toType(t, "changed", "refund"))
	put(t, writer, toType(t, "new", "order"))
	for _, id := range []string{"deleted", "purged"} {
		setHealth(t, writer, id, func(h *Health) { h.Backlog = false })
		if err := writer.Delete(t.Context(), id, 0); err != nil {
			t.Fatal(err)
		}
	}
	// Not even a marker tells of this one.
	s, err := js.Stream(t.Context(), "KV_"+stream.BucketSubscriptions)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(t.Context(), jetstream.WithPurgeSubject("$KV."+stream.BucketSubscriptions+".purged")); err != nil {
		t.Fatal(err)
	}
	stop()
	b.Use(second)

	natstest.Eventually(t, patience, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		return r.Fresh(ctx) == nil
	})
	wantMatches(t, r, "order", 1, "new stays")
	wantMatches(t, r, "refund", 1, "changed")
	for _, id := range []string{"deleted", "purged"} {
		if e, there := r.Lookup(id); there {
			t.Errorf("%s is still there: %+v", id, e)
		}
	}
	natstest.Eventually(t, patience, func() bool { return !r.Health("deleted").Backlog })
	put(t, r, toType(t, "after", "order"))
}

// A watch that does not bring what is there is made anew by who misses it.
func TestStuckWatchIsMadeAnew(t *testing.T) {
	t.Parallel()
	js := fleet(t)
	r, writer := start(t, js), start(t, js)
	r.cfg.Timeout = 50 * time.Millisecond
	// As if messages were lost: the registry's consumer is gone.
	s, err := js.Stream(t.Context(), r.subscriptions.stream())
	if err != nil {
		t.Fatal(err)
	}
	for name := range s.ConsumerNames(t.Context()).Name() {
		if err := s.DeleteConsumer(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	go func() { _, _, _ = writer.Put(context.WithoutCancel(t.Context()), toType(t, "a", "order"), 0) }()
	natstest.Eventually(t, patience, func() bool {
		_, there := r.Lookup("a")
		return r.Fresh(t.Context()) == nil && there
	})
}

func TestBucketThatComesLater(t *testing.T) {
	t.Parallel()
	_, js := natstest.Start(t)
	r, err := New(js, DefaultConfig(), testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.Run(ctx) })
	defer wg.Wait()
	defer cancel()
	short, cancelShort := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancelShort()
	if err := r.Fresh(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	topology(t, js)
	select {
	case <-r.Loaded():
	case <-time.After(patience):
		t.Fatal("not loaded")
	}
}

// Everything at once, for the race detector; and at the end all see the same.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	js := fleet(t)
	regs := []*Registry{start(t, js), start(t, js)}
	ctx := t.Context()
	e := event(t, "order")
	done := make(chan struct{})
	var readers, writers sync.WaitGroup
	for i := range 4 {
		r := regs[i%2]
		readers.Go(func() {
			var dst []Match
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := r.Fresh(ctx); err != nil {
					t.Error(err)
					return
				}
				for _, m := range r.Match(e, 1<<40, dst[:0]) {
					if m.Entry == nil || m.Entry.Subscription.ID != m.ID {
						t.Errorf("%+v", m)
					}
				}
				r.List("", "", 10)
				r.Broken()
			}
		})
		writers.Go(func() {
			for n := range 60 {
				id := fmt.Sprint("s", n%7)
				var err error
				switch (n + i) % 4 {
				case 0, 1:
					_, _, err = r.Put(ctx, toType(t, id, []string{"order", "order.*"}[n%2]), 0)
				case 2:
					_, err = r.SetPaused(ctx, id, n%8 == 0)
				default:
					err = r.Delete(ctx, id, 0)
				}
				if err != nil && !errors.Is(err, ErrNotFound) {
					t.Error(err)
				}
				if n%10 == 0 {
					accept(t, js)
					if err := r.Prune(ctx, uint64(n/10)); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	for _, r := range regs {
		if err := r.Fresh(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := matches(t, regs[0], "order", 1<<40), matches(t, regs[1], "order", 1<<40); a != b {
		t.Errorf("%q and %q", a, b)
	}
}
