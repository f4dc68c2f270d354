package registry

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// tide is how far a watch has come in its bucket: everything up to that sequence is in memory.
type tide struct {
	at atomic.Uint64

	mu      sync.Mutex
	waiting []*waiter
}

type waiter struct {
	sequence uint64
	there    chan struct{}
}

// rise notes that the watch has come to sequence. It never goes back.
func (t *tide) rise(sequence uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if sequence <= t.at.Load() {
		return
	}
	t.at.Store(sequence)
	t.waiting = slices.DeleteFunc(t.waiting, func(w *waiter) bool {
		if w.sequence > sequence {
			return false
		}
		close(w.there)
		return true
	})
}

// wait returns when the watch has come to sequence.
func (t *tide) wait(ctx context.Context, sequence uint64) error {
	if t.at.Load() >= sequence {
		return nil
	}
	t.mu.Lock()
	if t.at.Load() >= sequence {
		t.mu.Unlock()
		return nil
	}
	w := &waiter{sequence, make(chan struct{})}
	t.waiting = append(t.waiting, w)
	t.mu.Unlock()
	select {
	case <-w.there:
		return nil
	case <-ctx.Done():
		t.mu.Lock()
		defer t.mu.Unlock()
		t.waiting = slices.DeleteFunc(t.waiting, func(o *waiter) bool { return o == w })
		return fmt.Errorf("watch is at %d, wanted %d: %w", t.at.Load(), sequence, context.Cause(ctx))
	}
}
