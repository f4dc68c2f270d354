package scheduler

import (
	"context"
	"fmt"
	"time"

	"github.com/hookfleet/hookfleet/events/stream"
)

// troubled is the use of the store from which on the broker may have refused to fire.
const troubled = 0.95

// sweeper is where the look through the timers stands.
type sweeper struct {
	next    uint64 // sequence in RETRIES
	trouble bool   // there may be dropped timers: read on to the end
}

// sweep sets timers again that should have fired and are still there: the broker tries once, and when the fired message
// cannot be stored (no room), it forgets the timer until it is restarted. Timers lie in the order they were set, not of
// their time, so all must be read, a page at a time; more only when there is a reason.
func (s *Scheduler) sweep(ctx context.Context) error {
	if s.Storage.Ratio() >= troubled {
		s.sweeper.trouble = true
	}
	for {
		rearmed, err := s.sweepPage(ctx)
		if rearmed > 0 {
			s.sweeper.trouble = true
			s.Log.Warn().Int("timers", rearmed).Msg("the broker dropped timers; set again")
		}
		if err != nil {
			return err
		}
		if s.sweeper.next == 0 { // the end
			s.sweeper.trouble = false
		}
		if !s.sweeper.trouble {
			return nil
		}
	}
}

func (s *Scheduler) sweepPage(ctx context.Context) (rearmed int, err error) {
	stuck := time.Now().Add(-s.cfg.StuckAfter)
	s.sweeper.next, err = s.waitlist.Walk(ctx, stream.Retries, s.sweeper.next, s.cfg.SweepPage, func(g stream.Glimpse) error {
		due, ok := g.Due()
		if !ok || g.Place() != stream.PlaceTimer || due.After(stuck) || g.Since().After(stuck) {
			return nil
		}
		p, err := g.Parked()
		if err != nil {
			s.Log.Error().Err(err).Uint64("sequence", g.Sequence()).Msg("a timer cannot be read")
			return nil
		}
		again, err := s.waitlist.Rearm(ctx, p)
		if again {
			rearmed++
		}
		return err
	})
	if err != nil {
		return rearmed, fmt.Errorf("sweep timers: %w", err)
	}
	return rearmed, nil
}
