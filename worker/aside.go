package worker

import (
	"sync/atomic"
	"time"

	"github.com/hookfleet/hookfleet/events/registry"
)

// maxAsides is how many deliveries of one drain step aside, at two writes each. More of them and the drain ends, as one
// does in which nothing may: a sink that never recovers moves no more than these each time it is tried.
const maxAsides = 1000

// asides lets the deliveries of one drain that have sinks of their own (sinkoverride) go on while the subscription's own
// sink is held again for a time, be it by what the first of them was answered: what is for that sink steps aside and
// waits by a timer for the end of the hold. Else it would keep its place in the drain's hands, and the others out.
type asides struct{ used atomic.Int64 }

// newAsides returns nil for a drain that ends when the sink is held: it has no others, or is held as it begins. A drain
// that began then would move all that waits for the sink out of HELD.
func (w *Worker) newAsides(id string) *asides {
	e, ok := w.registry.Lookup(id)
	if !ok || e.Subscription.SinkOverride == "" || e.Subscription.Laned() { // what has an order keeps it
		return nil
	}
	h := w.registry.Health(id)
	if door, _ := e.Door(&h, time.Now()); door != registry.Open {
		return nil
	}
	return new(asides)
}

// goesOn reports whether a drain goes on past a hold of its sink.
func (w *Worker) goesOn(id string, by *asides) bool {
	if by == nil || by.used.Load() >= maxAsides || !w.fleet.owns(id) {
		return false
	}
	e, ok := w.registry.Lookup(id)
	return ok && e.Subscription.SinkOverride != "" && w.part(id, e.Subscription.Config.Concurrency) > 0 && !w.reopens(e).IsZero()
}

// stepAside is until when a delivery that may not be sent now waits by a timer; zero when it does not.
func (w *Worker) stepAside(d *delivery) time.Time {
	if d.asides == nil || d.override != nil || w.stopping() {
		return time.Time{}
	}
	until := w.reopens(d.entry)
	if until.IsZero() || d.asides.used.Add(1) > maxAsides {
		return time.Time{}
	}
	return until
}

// reopens is when a sink that is held for a time may be sent to again: what the fleet knows of it, or what this worker
// was just told by the sink. Zero when it is not held, or by something else as well.
func (w *Worker) reopens(e *registry.Entry) time.Time {
	now, h := time.Now(), w.registry.Health(e.Subscription.ID)
	if door, _ := e.Door(&h, now); door == registry.Shut {
		return e.Reopens(&h, now)
	}
	if told := w.gates.of(e.Subscription.ID).closedUntil(); now.Before(told) {
		return told
	}
	return time.Time{}
}
