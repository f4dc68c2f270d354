package worker

import (
	"context"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/events/registry"
)

// failuresInterval is how often counts of consecutive failures are written: each is a write of a KV entry, and during a
// storm there would be thousands a second.
const failuresInterval = time.Second

// failures counts each subscription's consecutive failed attempts, and adds this worker's to the fleet's.
type failures struct {
	registry *registry.Registry
	log      zerolog.Logger

	mu    sync.Mutex
	tally map[string]tally
}

// tally is what happened since the last write.
type tally struct {
	failed    int // since the last success, or since the last write
	succeeded bool
}

func newFailures(r *registry.Registry, log zerolog.Logger) *failures {
	return &failures{registry: r, log: log, tally: map[string]tally{}}
}

// count takes note of an attempt. A success is noted only where there is something to reset, so that a healthy sink costs
// nothing.
func (f *failures) count(subscription string, succeeded bool) {
	if succeeded && f.registry.Health(subscription).ConsecutiveFailures == 0 {
		f.mu.Lock()
		delete(f.tally, subscription)
		f.mu.Unlock()
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.tally[subscription]
	if succeeded {
		t = tally{succeeded: true}
	} else {
		t.failed++
	}
	f.tally[subscription] = t
}

// run writes the counts until ctx ends, and once more then.
func (f *failures) run(ctx context.Context) error {
	tick := time.NewTicker(failuresInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			f.write(context.WithoutCancel(ctx))
			return nil
		case <-tick.C:
			f.write(ctx)
		}
	}
}

func (f *failures) write(ctx context.Context) {
	f.mu.Lock()
	pending := f.tally
	f.tally = make(map[string]tally, len(pending))
	f.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	for id, t := range pending {
		err := f.registry.SetHealth(ctx, id, func(h *registry.Health) bool {
			before := h.ConsecutiveFailures
			if t.succeeded {
				h.ConsecutiveFailures = 0
			}
			h.ConsecutiveFailures += t.failed
			return h.ConsecutiveFailures != before
		})
		if err != nil && ctx.Err() == nil {
			f.log.Warn().Err(err).Str(fieldSubscription, id).Msg("count of failures not stored")
		}
	}
}
