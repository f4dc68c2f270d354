package scheduler

import (
	"context"
	"sync/atomic"

	"github.com/hookfleet/hookfleet/events/stream"
)

// Desk is where a process asks for statuses whose scheduler keeps the index of them: as by the broker, which else each question and
// each answer would pass through. The zero value is ready; while this process keeps no index, nothing is known there. It is safe for
// concurrent use.
type Desk struct {
	to atomic.Pointer[desk]
}

// desk is that of an index that runs.
type desk struct {
	askers chan *asker
	closed chan struct{}
}

// Ask returns the newest status of a name once all events that were accepted before are in the index, nil when the broker has to say
// which that is. ok is false when that is not known here: then the broker leads to who knows it.
func (d *Desk) Ask(ctx context.Context, name stream.StatusName) (s *stream.Status, ok bool) {
	to := d.to.Load()
	if to == nil || name.Subject == "" {
		return nil, false
	}
	answer := make(chan reply, 1)
	select {
	case to.askers <- &asker{StatusQuestion: stream.StatusQuestion{StatusName: name, Take: true}, reply: answer}:
	default: // so many wait that the broker says so
		return nil, false
	}
	select {
	case r := <-answer:
		if r.behind || r.status == nil {
			return nil, !r.behind
		}
		return r.status.Status(name), true
	case <-to.closed:
		return nil, false
	case <-ctx.Done():
		return nil, false
	}
}

// open has who asks come to an index, until close.
func (d *Desk) open() (askers <-chan *asker, shut func()) {
	to := &desk{make(chan *asker, maxAskers), make(chan struct{})}
	d.to.Store(to)
	return to.askers, func() {
		d.to.Store(nil)
		close(to.closed)
	}
}
