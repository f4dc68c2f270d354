package scheduler

import (
	"context"
	"time"

	"github.com/hookfleet/hookfleet/events/stream"
)

// keepWarm keeps look-ups fast that nobody has made for a while, or since the start, until ctx ends. When nobody has asked
// for long, it waits for who does.
func (x *indexer) keepWarm(ctx context.Context) {
	statuses := stream.NewStatuses(x.Replays) // while the broker reads a block, nothing goes over the connection
	tick := time.NewTicker(x.cfg.Warm)
	defer tick.Stop()
	asked := time.Now()
	for {
		if err := statuses.Warm(ctx); err != nil && ctx.Err() == nil {
			x.Log.Warn().Err(err).Msg("statuses not warmed, so that look-ups may take some milliseconds; trying again")
			pause(ctx)
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		select {
		case <-x.asked:
			asked = time.Now()
			continue
		default:
		}
		if time.Since(asked) < x.cfg.WarmFor {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-x.asked:
			asked = time.Now()
		}
	}
}
