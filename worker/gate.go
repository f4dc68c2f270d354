package worker

import (
	"context"
	"iter"
	"sync"
	"sync/atomic"
	"time"
)

// When a delivery goes to HELD instead of waiting in a worker for its sink's turn. The longer it waits the longer it keeps
// a place in hand from others; the shorter, the more often the deliveries of a busy but healthy sink take the long way,
// which costs three times as much.
const (
	maxWait    = time.Second            // the queue before it takes longer
	maxSilence = 500 * time.Millisecond // the sink has all it may have and answers nothing
)

// serviceWeight is the weight of the newest exchange in a sink's mean service time.
const serviceWeight = 0.1

// gate bounds the simultaneous sends to one sink, and knows whether waiting for it is worth while.
type gate struct {
	used atomic.Int64 // of a sinkoverride's target: when it was last asked for, in nanoseconds

	mu       sync.Mutex
	limit    int // this worker's share
	inflight int
	waiting  []*waiter
	spare    *waiter       // no more than have waited at a time
	service  time.Duration // mean time of an exchange
	progress time.Time     // when a permit was last returned, or first taken
	until    time.Time     // closed until then: the sink asked for it, and the fleet is being told
}

// waiter is one in the queue. When its permit has come it is used again: to make a channel and a timer for each costs as much as to wait.
type waiter struct {
	granted chan struct{} // takes one
	timeout *time.Timer
	gone    bool
	next    *waiter // when it is spare
}

// tryAcquire takes a permit if one is free.
func (g *gate) tryAcquire(limit int, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limit = limit
	if g.inflight >= g.limit || len(g.waiting) > 0 {
		return false
	}
	if g.inflight == 0 {
		g.progress = now
	}
	g.inflight++
	return true
}

// acquire takes a permit, waiting for at most patience, and not at all when the queue before it is expected to take
// longer: false then. A worker without a share of the limit has no permits.
func (g *gate) acquire(ctx context.Context, limit int, patience time.Duration) bool {
	now := time.Now()
	if g.tryAcquire(limit, now) {
		return true
	}
	w, ok := g.enqueue(now, patience)
	if !ok {
		return false
	}
	select {
	case <-w.granted:
	case <-w.timeout.C:
		ok = g.leave(w)
	case <-ctx.Done():
		ok = g.leave(w)
	}
	w.timeout.Stop()
	if ok { // else it stands in the queue
		g.keep(w)
	}
	return ok
}

func (g *gate) enqueue(now time.Time, patience time.Duration) (*waiter, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	// The patient wait for whatever comes: they are held already.
	if g.limit <= 0 || patience <= maxWait && (g.expected() > patience || now.Sub(g.progress) > maxSilence) {
		return nil, false
	}
	w := g.take(patience)
	g.waiting = append(g.waiting, w)
	if g.inflight < g.limit {
		g.grant(now)
	}
	return w, true
}

// take makes a waiter, or uses one again. The caller holds mu.
func (g *gate) take(patience time.Duration) *waiter {
	w := g.spare
	if w == nil {
		return &waiter{granted: make(chan struct{}, 1), timeout: time.NewTimer(patience)}
	}
	g.spare, w.next = w.next, nil
	w.timeout.Reset(patience)
	return w
}

// keep lets a waiter be used again.
func (g *gate) keep(w *waiter) {
	g.mu.Lock()
	w.next, g.spare = g.spare, w
	g.mu.Unlock()
}

// expected is how long the next one in the queue will wait: as many rounds as the queue is long, each as long as an
// exchange takes. The limit of a busy lane changes with each send, so what is being sent counts where it is more.
func (g *gate) expected() time.Duration {
	return time.Duration(len(g.waiting)/max(g.limit, g.inflight)+1) * g.service
}

// leave gives up waiting. It returns true when the permit came all the same.
func (g *gate) leave(w *waiter) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-w.granted:
		return true
	default:
		w.gone = true
		return false
	}
}

// release returns a permit after an exchange that took this long.
func (g *gate) release(took time.Duration) {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inflight--
	g.progress = now
	if g.service == 0 {
		g.service = took
	} else {
		g.service += time.Duration(serviceWeight * float64(took-g.service))
	}
	g.grant(now)
}

// giveBack returns a permit that was not used.
func (g *gate) giveBack() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inflight--
	g.grant(time.Now())
}

// lower lowers the limit, if it is higher, and reports whether more is in flight.
func (g *gate) lower(limit int) (over bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limit = min(g.limit, limit)
	return g.inflight > limit
}

// close closes the gate here until then, at once: telling the fleet takes some milliseconds, in which the next in the
// queue would be sent.
func (g *gate) close(until time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if until.After(g.until) {
		g.until = until
	}
}

// reopen takes back what close said: the fleet knows.
func (g *gate) reopen() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.until = time.Time{}
}

// closedUntil is until when close closed the gate.
func (g *gate) closedUntil() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.until
}

// grant hands free permits to those who wait, in order. The caller holds mu.
func (g *gate) grant(now time.Time) {
	for g.inflight < g.limit && len(g.waiting) > 0 {
		w := g.waiting[0]
		g.waiting = g.waiting[1:]
		if w.gone {
			continue
		}
		if g.inflight == 0 {
			g.progress = now
		}
		g.inflight++
		w.granted <- struct{}{} // has room
	}
	if len(g.waiting) == 0 {
		g.waiting = nil
	}
}

// idle reports whether nobody uses or awaits the gate.
func (g *gate) idle() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inflight == 0 && len(g.waiting) == 0
}

// gates are the gates of all sinks that this worker sends to.
type gates struct {
	mu  sync.RWMutex
	all map[string]*gate
}

func newGates() *gates { return &gates{all: map[string]*gate{}} }

func (g *gates) of(subscription string) *gate {
	g.mu.RLock()
	one, ok := g.all[subscription]
	g.mu.RUnlock()
	if ok {
		return one
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if one, ok = g.all[subscription]; !ok {
		one = &gate{}
		g.all[subscription] = one
	}
	return one
}

// each yields the gates that there are, by subscription. The loop may not ask for one.
func (g *gates) each() iter.Seq2[string, *gate] {
	return func(yield func(string, *gate) bool) {
		g.mu.RLock()
		defer g.mu.RUnlock()
		for id, one := range g.all {
			if !yield(id, one) {
				return
			}
		}
	}
}

// forget drops the gate of a subscription that is gone.
func (g *gates) forget(subscription string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if one, ok := g.all[subscription]; ok && one.idle() {
		delete(g.all, subscription)
	}
}

// share is the part of a fleet-wide limit that the worker of this rank (from 0) has among n: at least one for as many
// workers as the limit has, and nothing for the rest, who pass on to HELD.
func share(limit, rank, n int) int {
	if n <= 1 {
		return limit
	}
	part := limit / n
	if rank < limit%n {
		part++
	}
	return part
}
