package embedded

import (
	"runtime"
	"testing"
)

// TestInsideKeepsGuestsOut: who may do everything is let in when what nobody may see has ended, and then nothing of the kind begins.
func TestInsideKeepsGuestsOut(t *testing.T) {
	t.Parallel()
	b := &Broker{}
	in, end, entered := make(chan struct{}), make(chan struct{}), make(chan struct{})
	ran := make(chan bool, 1)
	go func() {
		ran <- b.Inside(func() { close(in); <-end })
	}()
	<-in
	go func() {
		b.guests.enter(nil)
		close(entered)
	}()
	for !b.guests.some.Load() {
		runtime.Gosched()
	}
	select {
	case <-entered:
		t.Error("a guest was let in")
	default:
	}
	close(end)
	<-entered
	if !<-ran || b.Inside(func() {}) {
		t.Error("it did not run, or does with a guest")
	}
}
