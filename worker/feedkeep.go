package worker

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events/stream"
)

const (
	// keepLook is how often the consumer is moved to where all below is settled. A kill repeats a look at what was settled since, not the
	// deliveries. When the broker takes long for it, because it counts what lies behind, it rests keepRest times as long.
	keepLook = 200 * time.Millisecond
	keepRest = 20
	// topLook is how often the stream is asked for events that nobody told of.
	topLook = time.Second
	// keepAnyway is how often the consumer is moved although nothing has changed, which shows that it is still there.
	keepAnyway = 5 * time.Second
	// quietLook is Config.QuietLook by default: how often a worker that could have a feed looks whether it is alone again. What others had in hand has come again
	// within that, since it is longer than ackWait.
	quietLook = 5 * time.Second
	// maxPatience is how long it is alone at most before it tries to begin although something is in hand. When that failed, because something is
	// in the hands of others, it waits twice as long: each time nothing is begun for joinWait.
	maxPatience = time.Minute
)

// keep moves the consumer until ctx ends. leave is called when the consumer is lost.
func (f *feed) keep(ctx context.Context, leave func()) {
	tick := time.NewTicker(keepLook)
	defer tick.Stop()
	var saved uint64
	var savedAt, rests, looks time.Time
	for {
		var now time.Time
		select {
		case <-ctx.Done():
			return
		case now = <-tick.C:
		}
		if f.hasDue(now) {
			f.poke()
		}
		if now.After(looks) {
			looks = now.Add(topLook)
			f.lookAhead(ctx)
		}
		floor, known := f.settled()
		if floor == saved { // while nothing comes it costs little
			tick.Reset(topLook)
		} else {
			tick.Reset(keepLook)
		}
		if !known || now.Before(rests) || floor == saved && now.Sub(savedAt) < keepAnyway {
			continue
		}
		switch err := f.place.Set(ctx, floor); {
		case errors.Is(err, jetstream.ErrConsumerNotFound), errors.Is(err, jetstream.ErrStreamNotFound):
			f.w.log.Error().Err(err).Msg("the consumer of events is gone")
			leave()
			return
		case err != nil && ctx.Err() == nil:
			f.w.log.Warn().Err(err).Msg("not noted how far events are delivered; trying again")
			rests = time.Now().Add(keepAnyway)
		case err == nil:
			saved, savedAt = floor, now
			rests = time.Now().Add(keepRest * time.Since(now))
		}
	}
}

// settled is the sequence up to which all is settled; ok is false while that is not known.
func (f *feed) settled() (floor uint64, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.floor(), f.next != unknown
}

// lookAhead asks the stream for its newest event.
func (f *feed) lookAhead(ctx context.Context) {
	_, end, err := f.log.Bounds(ctx)
	if err != nil {
		return // the broker is away: asked again
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.top < end-1 {
		f.top = end - 1
		f.poke()
	}
}

// tryAgain tries again what failed to settle, when it is due.
func (f *feed) tryAgain(ctx context.Context, handlers *handlers[*fed]) {
	for _, one := range f.due(time.Now()) {
		e, err := f.log.Get(ctx, one.from.Sequence)
		switch {
		case err != nil:
			f.settle(one, errReturned)
		case e == nil: // somebody deleted it
			f.settle(one, nil)
		default:
			one.stored, one.from.Stored = e, e.At
			one.from.Times++
			f.handOut(ctx, handlers, []*fed{one})
		}
	}
}

// hasDue reports whether something is to be tried again now. What failed first is due first.
func (f *feed) hasDue(now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.again) > 0 && !f.again[0].due.After(now)
}

// due takes what is to be tried again now.
func (f *feed) due(now time.Time) (due []*fed) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.leaves || len(f.again) == 0 || f.again[0].due.After(now) {
		return nil
	}
	var later []*fed
	for _, one := range f.again {
		if one.due.After(now) {
			later = append(later, one)
		} else {
			due = append(due, one)
		}
	}
	f.again = later
	return due
}

// handOver leaves what is not settled to the consumer: who pulls from it next goes on there. What waits for its turn or its batch is
// handed back, and what is sent may end.
func (f *feed) handOver(ctx context.Context) error {
	f.newTurn()
	f.w.gatherer.handBack(f.w.first)
	timer := time.NewTimer(leaveWait)
	defer timer.Stop()
	select {
	case <-f.empty:
	case <-timer.C:
	case <-ctx.Done():
	}
	f.mu.Lock()
	floor, known := f.floor(), f.next != unknown
	f.on = false // from here on what fails is left to who has it from the consumer
	f.over = map[uint64]struct{}{}
	if known {
		f.past = f.next
	}
	for _, one := range f.again {
		f.hand.remove(one)
		f.over[one.from.Sequence] = struct{}{}
	}
	f.hand.each(func(one *fed) {
		one.kept = f.w.keeper.add(stream.Events, one.from.Sequence, "")
		f.over[one.from.Sequence] = struct{}{}
	})
	f.mu.Unlock()
	if !known {
		return nil
	}
	return f.place.Set(ctx, floor)
}
