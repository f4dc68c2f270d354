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
	died := time.Now()
	natstest.Eventually(t, patience, a.taken(2))
	if took := time.Since(died); took > cfg.LeaseExpiry+2*cfg.LeaseRenew+time.Second {
		t.Errorf("taking over took %v", took)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.max != 1 {
		t.Errorf("%d acted at the same time", a.max)
	}
}

func revision(t *testing.T, kv jetstream.KeyValue) uint64 {
	t.Helper()
	e, err := kv.Get(t.Context(), stream.KeyScheduler)
	must(t, err)
	return e.Revision()
}
