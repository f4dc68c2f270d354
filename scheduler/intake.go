package scheduler

import (
	"context"
	"sync"

	"github.com/hookfleet/hookfleet/events/stream"
)

// Bounds of what waits to be put into the index.
const (
	maxIntake      = 4096
	maxIntakeBytes = 8 << 20
)

// intake is what was read of EVENTS and may have a status, and is not in the index yet.
type intake struct {
	mu    sync.Mutex
	found []*stream.StoredEvent
	bytes int
	read  uint64        // all events up to here were looked at
	busy  bool          // what was taken is not in the index yet
	wake  chan struct{} // there is something
	room  chan struct{} // there may be room again
	done  position      // all events up to here are in the index, or have no status
}

func newIntake(from uint64) *intake {
	in := &intake{read: from, wake: make(chan struct{}, 1), room: make(chan struct{}, 1)}
	in.done.rise(from)
	return in
}

// put takes the next event in. It waits while there is no room.
func (in *intake) put(ctx context.Context, e *stream.StoredEvent) {
	if !e.MayHaveStatus() {
		in.pass(e.Sequence)
		return
	}
	for !in.add(e) {
		select {
		case <-in.room:
		case <-ctx.Done():
			return
		}
	}
	signal(in.wake)
}

// pass takes note of an event that has no status.
func (in *intake) pass(sequence uint64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.read = sequence
	if !in.busy && len(in.found) == 0 {
		in.done.rise(sequence)
	}
}

func (in *intake) add(e *stream.StoredEvent) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.found) >= maxIntake || in.bytes >= maxIntakeBytes {
		return false
	}
	in.found = append(in.found, e)
	in.bytes += e.Size()
	in.read = e.Sequence
	return true
}

// take takes all that waits out; settled must follow when it is in the index.
func (in *intake) take() (found []*stream.StoredEvent, read uint64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	found, in.found, in.bytes, in.busy = in.found, nil, 0, true
	signal(in.room)
	return found, in.read
}

// settled says that all that was taken is in the index.
func (in *intake) settled(read uint64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.busy = false
	if len(in.found) == 0 {
		read = in.read
	}
	in.done.rise(read)
}

// next is the sequence to read on from.
func (in *intake) next() uint64 {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.read + 1
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// position is a sequence that rises, and that one may wait for.
type position struct {
	mu    sync.Mutex
	at    uint64
	want  uint64
	there chan struct{} // closed when it is at want; nil = nobody waits
}

func (p *position) rise(at uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at = max(p.at, at)
	if p.there != nil && p.at >= p.want {
		close(p.there)
		p.there = nil
	}
}

func (p *position) now() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at
}

// await returns what is closed when the position is at want. Only the last one who called waits.
func (p *position) await(want uint64) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	there := make(chan struct{})
	if p.at >= want {
		close(there)
		return there
	}
	p.want, p.there = want, there
	return there
}
