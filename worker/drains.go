package worker

import (
	"math"
	"time"

	"github.com/hookfleet/hookfleet/events/registry"
)

// paceDrainAhead is how long before a sink's next permit its drain begins. What is drained reserves all of the time that it
// waits for, and the drain must not end for that.
const paceDrainAhead = paceDrainWait + time.Second

// drains reports whether a sink's held deliveries may go: sent, one as the breaker's probe, or given up. Those of a sink
// that is used up for now stay where they are until shortly before its next permit.
func (w *Worker) drains(e *registry.Entry) bool {
	if !w.opens(e) {
		return false
	}
	h, now := w.registry.Health(e.Subscription.ID), time.Now()
	at := w.pace(e)
	return e.GivesUp(&h) || at.interval == 0 || !w.pacers.of(e.Subscription.ID).next(at, now).After(now.Add(paceDrainAhead))
}

// opens reports whether a sink may be sent to, if its rate lets it, or what comes to it is given up.
func (w *Worker) opens(e *registry.Entry) bool {
	h := w.registry.Health(e.Subscription.ID)
	if e.GivesUp(&h) {
		return true
	}
	door, _ := e.Door(&h, time.Now())
	return door != registry.Shut
}

// soon is how many of a sink's held deliveries there is something to do for soon: one when the breaker waits for its
// probe, and no more than its rate lets go while they wait.
func (w *Worker) soon(e *registry.Entry) int {
	h := w.registry.Health(e.Subscription.ID)
	if door, _ := e.Door(&h, time.Now()); door == registry.Ajar {
		return 1
	}
	at := w.pace(e)
	if at.interval == 0 || e.GivesUp(&h) {
		return math.MaxInt
	}
	return at.burst + int(paceDrainWait/at.interval) + 1
}
