package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// layer is a set of components that end together, after what stands on them and before what they stand on.
type layer struct {
	ctx  context.Context //nolint:containedctx // the life of the layer, which is what it is
	end  context.CancelFunc
	fail func(error)
	wait sync.WaitGroup

	mu   sync.Mutex
	errs []error
}

// newLayer makes a layer that outlives ctx: it ends when stop is called. fail is told the first thing that goes wrong.
func newLayer(ctx context.Context, fail func(error)) *layer {
	l := &layer{fail: fail}
	l.ctx, l.end = context.WithCancel(context.WithoutCancel(ctx))
	return l
}

// run starts a component. Its end before the layer's is a failure, error or not.
func (l *layer) run(name string, component func(ctx context.Context) error) {
	l.wait.Go(func() {
		err := component(l.ctx)
		if err == nil && l.ctx.Err() == nil {
			err = errors.New("ended by itself")
		}
		if err == nil {
			return
		}
		err = fmt.Errorf("%s: %w", name, err)
		l.mu.Lock()
		l.errs = append(l.errs, err)
		l.mu.Unlock()
		l.fail(err)
	})
}

// stop ends the layer and waits for its components.
func (l *layer) stop() error {
	l.end()
	l.wait.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.errs...)
}
