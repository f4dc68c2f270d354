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
		return w.pull(ctx, w.first, stream.ConsumerDispatch, w.dispatch, func(*puller) {})
	}
	w.feed.newTurn()
	var over sync.WaitGroup // what was pulled and is in hand still
	defer over.Wait()
	handlers := newHandlers(w.feed.handle)
	defer handlers.wait()
	defer handlers.dismiss()
	patience, wait := w.cfg.QuietLook, time.Duration(0)
	for ctx.Err() == nil {
		on, err := w.feed.begin(ctx, wait)
		if on {
			patience = w.cfg.QuietLook
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
		if err := w.pullBeside(ctx, &over, patience); err != nil {
			return err
		}
		patience, wait = min(2*patience, maxPatience), joinWait
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

// pullBeside pulls from the consumer until ctx ends, or this worker has been alone for as long as patience, or is alone and nothing is
// in hand. What came may take long: over waits for it, and nobody else does.
func (w *Worker) pullBeside(ctx context.Context, over *sync.WaitGroup, patience time.Duration) error {
	pulling, stop := context.WithCancel(ctx)
	var looking sync.WaitGroup
	defer looking.Wait()
	defer stop()
	looking.Go(func() {
		defer stop()
		w.feed.awaitChance(pulling, patience)
	})
	return w.pull(pulling, w.first, stream.ConsumerDispatch, w.dispatch, func(p *puller) {
		p.over = over
		p.fresh = func(context.Context) error { return w.registry.Fresh(ctx) } // what has come when pulling stops is begun
	})
}

// awaitChance waits until nobody else works with the broker, and that for as long as patience unless nothing is to be done.
func (f *feed) awaitChance(ctx context.Context, patience time.Duration) {
	tick := time.NewTicker(f.w.cfg.QuietLook)
	defer tick.Stop()
	var since time.Time // when we were alone first; zero = we are not
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if !f.alone(nil) {
				since = time.Time{}
				continue
			}
			if since.IsZero() {
				since = now
			}
			// What others had in hand has come again by then, to us.
			if now.Sub(since) >= patience {
				return
			}
			if quiet, err := f.place.Quiet(ctx); quiet && err == nil { // else the broker is away: asked again
				return
			}
		}
	}
}
