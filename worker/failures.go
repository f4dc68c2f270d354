package worker

import (
	"context"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/events/registry"
)

// failuresInterval is how often counts are stored that nothing depends on: each is a write of a KV entry, and during a
// storm there would be thousands a second.
const failuresInterval = time.Second

// failures tells the fleet what this worker's attempts say about sinks: counts of consecutive failures, and what opens
// and closes their circuits. The order of the fleet is the order in which that is stored.
type failures struct {
	registry *registry.Registry
	log      zerolog.Logger

	mu    sync.Mutex
	sinks map[string]*report
}

// report is what is to be stored of one sink. Those who wait for it share one write.
type report struct {
	turn chan struct{} // who holds it writes
	next *telling      // nil = nothing to say
}

// telling is what is stored with one write.
type telling struct {
	tally
	stored chan struct{}
}

func newFailures(r *registry.Registry, log zerolog.Logger) *failures {
	return &failures{registry: r, log: log, sinks: map[string]*report{}}
}

// tell takes what an attempt said about a sink, and returns when it is stored if that matters to anyone: when it may open
// or close a circuit. What a healthy sink says again costs nothing.
func (f *failures) tell(ctx context.Context, e *registry.Entry, t tally) {
	if t.empty() {
		return
	}
	h := f.registry.Health(e.Subscription.ID)
	healthy := h.ConsecutiveFailures == 0 && h.RetryableFailures == 0 && !h.Broken()
	matters := t.disable || !t.until.IsZero() || h.Broken() && (t.answered || t.probe)
	if c := e.Subscription.Config; t.failed > 0 && !h.Broken() {
		matters = matters || c.Breaker.Failures > 0 || c.Pause != nil
	} else if t.succeeded && !healthy {
		matters = true
	}
	r, b := f.add(e.Subscription.ID, t, healthy && !matters && t.failed == 0)
	if b != nil && matters {
		f.await(ctx, e.Subscription.ID, r, b)
	}
}

// add adds t to what is to be stored. There is nothing to add (nil) when t is what the fleet knows already, and nothing
// waits that it would end.
func (f *failures) add(id string, t tally, known bool) (*report, *telling) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.sinks[id]
	switch {
	case r == nil && known:
		return nil, nil
	case r == nil:
		r = &report{turn: make(chan struct{}, 1)}
		f.sinks[id] = r
	}
	if r.next == nil {
		r.next = &telling{stored: make(chan struct{})}
	}
	r.next.add(t)
	return r, r.next
}

// await returns when b is stored: by another who waits for it too, or by us.
func (f *failures) await(ctx context.Context, id string, r *report, b *telling) {
	select {
	case <-b.stored:
		return
	case r.turn <- struct{}{}:
	}
	defer func() { <-r.turn }()
	select {
	case <-b.stored: // by who had the turn before
	default:
		f.store(ctx, id, r)
	}
}

// store stores what is to be told of a sink. The caller has the turn.
func (f *failures) store(ctx context.Context, id string, r *report) {
	f.mu.Lock()
	b := r.next
	r.next = nil
	f.mu.Unlock()
	if b == nil {
		return
	}
	defer close(b.stored)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	err := f.registry.SetHealth(ctx, id, func(h *registry.Health) bool {
		e, ok := f.registry.Lookup(id)
		return ok && b.apply(h, e.Subscription.Config, time.Now())
	})
	if err != nil {
		f.log.Error().Err(err).Str(fieldSubscription, id).Msg("state of the sink not stored")
	}
}

// run stores what nobody waits for until ctx ends, and once more then.
func (f *failures) run(ctx context.Context) error {
	tick := time.NewTicker(failuresInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			f.storeAll(ctx)
			return nil
		case <-tick.C:
			f.storeAll(ctx)
		}
	}
}

// storeAll stores all that waits, and forgets the sinks that nothing is to be told of.
func (f *failures) storeAll(ctx context.Context) {
	f.mu.Lock()
	waiting := make(map[string]*report)
	for id, r := range f.sinks {
		if r.next != nil {
			waiting[id] = r
		} else if len(r.turn) == 0 {
			delete(f.sinks, id)
		}
	}
	f.mu.Unlock()
	for id, r := range waiting {
		r.turn <- struct{}{} // held for as long as a write takes
		f.store(ctx, id, r)
		<-r.turn
	}
}
