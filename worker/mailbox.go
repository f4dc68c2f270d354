package worker

import (
	"sync"
	"time"
)

// mailbox takes what an actor is to do, from anybody, in order. An actor that has nothing to do gives its goroutine up: a
// thousand of them with their stacks cost as much memory as all else that they have.
type mailbox struct {
	poke chan struct{} // of an actor that has a goroutine

	mu     sync.Mutex
	all    []func()
	closed bool
	resume func() // of one that is parked; nil = it has a goroutine
	alarm  *time.Timer
}

// put returns false when nobody takes anything from the box any more.
func (b *mailbox) put(do func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.all = append(b.all, do)
	b.rouse()
	return true
}

// nudge has the actor look at what there is.
func (b *mailbox) nudge() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rouse()
}

func (b *mailbox) rouse() {
	if resume := b.resume; resume != nil {
		b.resume = nil
		resume()
		return
	}
	select {
	case b.poke <- struct{}{}:
	default:
	}
}

// park has resume called, once, when there is something in the box, somebody nudges, or d is over: the actor may end its
// goroutine. It returns false, and does nothing, when that is so already.
func (b *mailbox) park(d time.Duration, resume func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.all) > 0 || len(b.poke) > 0 || b.closed {
		return false
	}
	b.resume = resume
	if b.alarm == nil {
		b.alarm = time.AfterFunc(d, b.nudge)
	} else {
		b.alarm.Reset(d)
	}
	return true
}

func (b *mailbox) take() []func() {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.all
	b.all = nil
	return all
}

// close returns what was not taken.
func (b *mailbox) close() []func() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	if b.alarm != nil {
		b.alarm.Stop()
	}
	return b.all
}
