package scheduler

import (
	"context"
	"time"

	"github.com/hookfleet/hookfleet/events/stream"
)

const (
	// tapGrace is how long the tap may take to bring what the broker has: as long as a group of events takes to become durable
	// and its publishers to be answered, on a busy machine.
	tapGrace = 250 * time.Millisecond
	// Following costs all events once more what the broker takes to hand one out. So it ends when the tap brings everything,
	// and is begun anew when it does not; each time that happens soon, as where another process takes many events, it lasts
	// twice as long.
	minFollow, maxFollow = time.Second, time.Minute
	// maxFill bounds what is read beside the tap at a time, in events: beyond, following costs less than half as much each.
	maxFill = 1024
	// fillRequest is what a request costs, in events.
	fillRequest = 8
)

// read takes in what the tap does not bring, until ctx ends.
func (x *indexer) read(ctx context.Context) {
	hold := time.Duration(0) // what was accepted before now was offered to nobody
	for ctx.Err() == nil {
		x.follow(ctx, hold)
		began := time.Now()
		x.rely(ctx)
		if time.Since(began) < 10*hold {
			hold = min(2*hold, maxFollow)
		} else {
			hold = minFollow
		}
	}
}

// follow reads all events until it has caught up with the tap, or with the end, and has lasted some time; without a tap it
// does not end. What goes wrong begins anew.
func (x *indexer) follow(ctx context.Context, hold time.Duration) {
	x.following.Store(true)
	defer x.following.Store(false)
	log, began := stream.NewEventLog(x.Index), time.Now()
	for ctx.Err() == nil {
		at := x.intake.next()
		err := log.Follow(ctx, at, func(e *stream.StoredEvent, behind uint64) bool {
			if !x.intake.put(ctx, e) {
				return false
			}
			x.intake.cover(at, e.Sequence) // there are none between
			at = e.Sequence + 1
			caught := behind == 0 || x.intake.next() > at
			return x.Tap == nil || !caught || time.Since(began) < hold
		})
		if err == nil {
			return
		}
		if ctx.Err() == nil {
			x.Log.Warn().Err(err).Msg("events not read for the index of statuses; trying again")
			pause(ctx)
		}
	}
}

// rely leaves the events to the tap, and reads the few that it does not bring in time. It returns when those are many.
func (x *indexer) rely(ctx context.Context) {
	tick := time.NewTicker(tapGrace)
	defer tick.Stop()
	var before uint64 // the end at the last look
	for {
		_, end, err := x.events.Bounds(ctx)
		few := true
		if err == nil && before > 0 {
			few, err = x.fill(ctx, before-1)
		}
		switch {
		case err == nil:
			before = end
		case ctx.Err() == nil:
			x.Log.Warn().Err(err).Msg("events not read for the index of statuses; trying again")
			pause(ctx)
		}
		if !few {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-x.lacking:
			return
		case <-tick.C:
		}
	}
}

// fill reads the events up to a sequence that are missing. It returns false, and has read nothing, when they are many.
func (x *indexer) fill(ctx context.Context, through uint64) (few bool, err error) {
	gaps, cost := x.intake.missing(through), uint64(0)
	for _, gap := range gaps {
		cost += gap.to - gap.from + fillRequest
	}
	if cost > maxFill {
		return false, nil
	}
	for _, gap := range gaps {
		for at := gap.from; at < gap.to; {
			page, next, err := x.events.After(ctx, at, gap.to-1, maxFill)
			if err != nil {
				return true, err
			}
			for _, e := range page {
				if !x.intake.put(ctx, e) {
					return true, context.Cause(ctx)
				}
			}
			next = min(next, gap.to)
			x.intake.cover(at, next) // there are no others
			at = next
		}
	}
	return true, nil
}
