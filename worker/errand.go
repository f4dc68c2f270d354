package worker

import (
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events/stream"
)

// errand is a message in our hands, whose deliveries may end at different times: those that wait for a batch to fill
// outlive the handler that took the message. The broker is answered when all have ended.
type errand struct {
	w    *Worker
	m    *nats.Msg // nil = fed is what it is for
	kept *kept
	fed  *fed

	mu   sync.Mutex
	open int // whoever has not said done yet
	err  error
}

// newErrand keeps the message of an event alive until its maker, and everybody who was added since, has said done. It is
// nil for one that is in our hands already.
func (w *Worker) newErrand(sequence uint64, m *nats.Msg) *errand {
	kept := w.keeper.add(stream.Events, sequence, m.Reply)
	if kept == nil {
		return nil
	}
	return &errand{w: w, m: m, kept: kept, open: 1}
}

// add lets the errand wait for one more.
func (x *errand) add() {
	x.mu.Lock()
	x.open++
	x.mu.Unlock()
}

// done is said once by everybody the errand waits for.
func (x *errand) done(err error) {
	x.mu.Lock()
	x.open--
	x.err = worst([]error{x.err, err})
	last, err := x.open == 0, x.err
	x.mu.Unlock()
	switch {
	case !last:
	case x.fed != nil:
		x.w.feed.settle(x.fed, err)
	default:
		x.w.keeper.remove(x.kept)
		if x.w.feed != nil {
			x.w.feed.settlePulled(x.kept.at.sequence, err)
		}
		x.w.finish(x.m, err)
	}
}
