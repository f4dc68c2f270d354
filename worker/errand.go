package worker

import (
	"sync"

	"github.com/nats-io/nats.go"
)

// errand is a message in our hands, whose deliveries may end at different times: those that wait for a batch to fill
// outlive the handler that took the message. The broker is answered when all have ended.
type errand struct {
	w    *Worker
	m    *nats.Msg
	kept *kept

	mu   sync.Mutex
	open int // whoever has not said done yet
	err  error
}

// newErrand keeps a message alive until its maker, and everybody who was added since, has said done.
func (w *Worker) newErrand(m *nats.Msg) *errand {
	return &errand{w: w, m: m, kept: w.keeper.add(m.Reply), open: 1}
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
	if last {
		x.w.finish(x.m, err)
		x.w.keeper.remove(x.kept)
	}
}
