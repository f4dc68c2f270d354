package scheduler

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/test/natstest"
)

// acting counts who acts at the same time.
type acting struct {
	mu       sync.Mutex
	now, max int
	turns    []string
}

func (a *acting) act(name string) func(context.Context) {
	return func(ctx context.Context) {
		a.mu.Lock()
		a.now++
		a.max = max(a.max, a.now)
		a.turns = append(a.turns, name)
		a.mu.Unlock()
		<-ctx.Done()
		a.mu.Lock()
		a.now--
		a.mu.Unlock()
	}
}

func (a *acting) taken(n int) func() bool {
	return func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(a.turns) >= n
	}
}

func TestLease(t *testing.T) {
	t.Parallel()
	srv := natstest.Server(t, t.TempDir())
	_, js := natstest.Connect(t, srv)
	_, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: stream.BucketFleet})
	must(t, err)
	cfg := DefaultConfig()
	cfg.LeaseRenew, cfg.LeaseExpiry = 100*time.Millisecond, 3*time.Second // a loaded machine stalls for a while
	var a acting
	dying, dyingJS := natstest.Connect(t, srv)
	start(t, func(ctx context.Context) error { return newLease(dyingJS, cfg, zerolog.Nop()).run(ctx, a.act("dying")) })
	natstest.Eventually(t, patience, a.taken(1))
	start(t,
		func(ctx context.Context) error { return newLease(js, cfg, zerolog.Nop()).run(ctx, a.act("b")) },
		func(ctx context.Context) error { return newLease(js, cfg, zerolog.Nop()).run(ctx, a.act("c")) },
	)
	// Renewals go on for a while, and nobody takes over.
	kv, err := js.KeyValue(t.Context(), stream.BucketFleet)
	must(t, err)
	began := revision(t, kv)
	natstest.Eventually(t, patience, func() bool { return revision(t, kv) >= began+10 })
	if a.taken(2)() {
		t.Fatalf("taken over from one that lives: %v", a.turns)
	}
	dying.Close()
	natstest.Eventually(t, patience, a.taken(2))
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.max != 1 {
		t.Errorf("%d acted at the same time", a.max)
	}
}

// TestLeaseWithoutAnswers: a write of the lease whose answer is lost leaves a revision that its holder does not know. It is
// its own all the same: given up at the end, and taken again without waiting for the expiry.
func TestLeaseWithoutAnswers(t *testing.T) {
	t.Parallel()
	_, js := natstest.Connect(t, natstest.Server(t, t.TempDir()))
	kv, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: stream.BucketFleet})
	must(t, err)
	cfg := DefaultConfig()
	cfg.LeaseRenew, cfg.LeaseExpiry = patience, 10*patience
	l := newLease(js, cfg, zerolog.Nop())
	known, err := l.create(t.Context(), kv)
	must(t, err)
	_, err = l.write(t.Context(), kv, known)
	must(t, err)
	l.release(t.Context(), kv, known)
	if _, found, _, err := l.look(t.Context()); err != nil || found != 0 {
		t.Fatalf("released over a lost answer: revision %d, %v", found, err)
	}
	_, err = l.create(t.Context(), kv)
	must(t, err)
	cfg.LeaseRenew = 100 * time.Millisecond // how often it looks
	l.cfg = cfg
	if _, _, ok := l.acquire(t.Context()); !ok {
		t.Error("its own lease is not acquired")
	}
	cfg.LeaseRenew = patience
	other := newLease(js, cfg, zerolog.Nop())
	_, found, _, err := other.look(t.Context())
	must(t, err)
	other.release(t.Context(), kv, found-1)
	if now := revision(t, kv); now != found {
		t.Errorf("another's lease was released: revision %d, was %d", now, found)
	}
}

func revision(t *testing.T, kv jetstream.KeyValue) uint64 {
	t.Helper()
	e, err := kv.Get(t.Context(), stream.KeyScheduler)
	must(t, err)
	return e.Revision()
}

// TestLeaseOfAKilledBroker: a process that was killed with the broker in it kept the next one over the same store waiting. What
// another has, who is connected to the broker, is waited for, and nobody else takes what the broker's process has.
func TestLeaseOfAKilledBroker(t *testing.T) {
	t.Parallel()
	_, js := natstest.Connect(t, natstest.Server(t, t.TempDir()))
	kv, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: stream.BucketFleet})
	must(t, err)
	cfg := DefaultConfig()
	cfg.LeaseRenew, cfg.LeaseExpiry = 50*time.Millisecond, 10*patience
	takes := func(broker bool, within time.Duration) bool {
		t.Helper()
		cfg.Broker = broker
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		_, _, ok := newLease(js, cfg, zerolog.Nop()).acquire(ctx)
		return ok
	}
	for range 2 {
		if !takes(true, patience) {
			t.Error("the lease of the one before is waited for")
		}
	}
	if takes(false, 10*cfg.LeaseRenew) {
		t.Error("the lease of the process with the broker was taken")
	}
	_, err = kv.Put(t.Context(), stream.KeyScheduler, []byte("other-7-ABCDEFGH"))
	must(t, err)
	if takes(true, 10*cfg.LeaseRenew) {
		t.Error("another's lease was taken")
	}
}

// TestSchedulerDoesNotWaitForTheCopyOfStatuses: reading what was left of statuses takes a minute where it is gigabytes on a slow disk,
// in which nobody looked after timers and held deliveries. Whoever ends it meanwhile does not wait either.
func TestSchedulerDoesNotWaitForTheCopyOfStatuses(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.Left = NewLeft(t.TempDir(), f.Scheduler.Log)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { must(t, f.Run(ctx)) })
	defer running.Wait()
	defer cancel()
	natstest.Eventually(t, patience, func() bool {
		l := f.lease.Load()
		return l != nil && l.ours()
	})
	if f.index.copied == f.Left.copied {
		t.Error("the copy is used before it is read")
	}
}
