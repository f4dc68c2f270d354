package worker

import "sync"

// handlers handle what they are given, each on a goroutine that is its own for that time. Goroutines are used again because their
// stacks have grown to what a delivery needs: growing that anew for each message took a tenth of all CPU. Whoever gives
// bounds how many there are.
type handlers[T any] struct {
	handle func(T)
	work   chan T // to a goroutine that has handled one already; closed: such goroutines end
	all    sync.WaitGroup
}

func newHandlers[T any](handle func(T)) *handlers[T] {
	return &handlers[T]{handle: handle, work: make(chan T)}
}

// give has it handled. It does not wait.
func (c *handlers[T]) give(one T) {
	select {
	case c.work <- one:
	default:
		c.all.Go(func() { c.handleAll(one) })
	}
}

// handleAll handles one and then what else comes.
func (c *handlers[T]) handleAll(one T) {
	for more := true; more; one, more = <-c.work {
		c.handle(one)
	}
}

// dismiss lets the goroutines end once they have nothing to handle. Nothing is given any more.
func (c *handlers[T]) dismiss() { close(c.work) }

// wait returns when all have ended.
func (c *handlers[T]) wait() { c.all.Wait() }
