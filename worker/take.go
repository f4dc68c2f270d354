package worker

import (
	"context"
	"sync"
	"time"

	"github.com/hookfleet/hookfleet/events/stream"
)

// takeEvents takes events to their deliveries until ctx ends: from the feed while nobody else works with the broker, and from
// the consumer that all workers share otherwise.
func (w *Worker) takeEvents(ctx context.Context) error {
	if w.feed == nil {
		return w.pull(ctx, w.first, stream.ConsumerDispatch, w.dispatch, nil, nil)
	}
	var over sync.WaitGroup // what was pulled and is in hand still
	defer over.Wait()
	handlers := newHandlers(w.feed.handle)
	defer handlers.wait()
	defer handlers.dismiss()
	for ctx.Err() == nil {
		on, err := w.feed.begin(ctx)
		if on {
			w.log.Info().Msg("alone with the broker: events go from memory to their deliveries")
			err = w.feed.run(ctx, handlers)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			w.log.Warn().Err(err).Msg("the consumer of events may be behind")
		}
		if on || err != nil {
			w.prepareAgain(ctx)
		}
		if err := w.pullBeside(ctx, &over); err != nil {
			return err
		}
	}
	return nil
}

// prepareAgain learns what was settled above the consumer's floor: it comes again.
func (w *Worker) prepareAgain(ctx context.Context) {
	for ctx.Err() == nil {
		err := w.prepare(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		w.log.Warn().Err(err).Msg("consumers and history not read; trying again")
		select {
		case <-ctx.Done():
		case <-time.After(feedPause):
		}
	}
}

// pullBeside pulls from the consumer until ctx ends, or this worker is alone and has nothing in hand. What comes at the last moment may
// take long: over waits for it, and nobody else does.
func (w *Worker) pullBeside(ctx context.Context, over *sync.WaitGroup) error {
	pulling, stop := context.WithCancel(ctx)
	var looking sync.WaitGroup
	defer looking.Wait()
	defer stop()
	looking.Go(func() {
		tick := time.NewTicker(quietLook)
		defer tick.Stop()
		for {
			select {
			case <-pulling.Done():
				return
			case <-tick.C:
				if w.feed.couldBegin(pulling) {
					stop()
				}
			}
		}
	})
	return w.pull(pulling, w.first, stream.ConsumerDispatch, w.dispatch, nil, over)
}

// couldBegin reports whether nobody else works with the broker, and nothing is to be done.
func (f *feed) couldBegin(ctx context.Context) bool {
	if !f.alone(nil) {
		return false
	}
	quiet, err := f.place.Quiet(ctx)
	return quiet && err == nil // else the broker is away: asked again
}
