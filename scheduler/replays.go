package scheduler

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/filter"
	"github.com/hookfleet/hookfleet/events/stream"
)

const (
	// keepReplays is how long a replay can be looked up after its end: as long as dead letters are.
	keepReplays = 30 * 24 * time.Hour
	// maxReplays bounds those that are kept: listing reads them all, 10 µs each.
	maxReplays = 10_000
	// replayPrune is how often what is too old is looked for.
	replayPrune = time.Hour
	// replayRetry is how long replays wait after something went wrong.
	replayRetry = time.Second
	// replayRate is how many deliveries a second replays make that say no rate, all of them together: with 100 the p99 of live
	// events was seen to move by up to a third, with 50 by a tenth (docs/decisions/0017).
	replayRate = 50
)

// replays are the jobs that this process runs while it holds the lease, each on a goroutine of its own. The API bounds how
// many are open.
type replays struct {
	*Scheduler
	store    *stream.Replays
	replayed *stream.Replayed
	dead     *stream.DeadList
	source   *stream.EventLog
	records  *stream.History
	filters  *filter.Cache
	jobs     sync.WaitGroup // the goroutines of running

	mu      sync.Mutex
	running map[string]*replay
	ended   map[string]bool     // those that need nothing any more
	turns   map[string]string   // by subscription: whose replay of events makes deliveries
	sharing map[string]struct{} // those that share replayRate
}

func newReplays(s *Scheduler) *replays {
	js, writer := s.Replays, s.ReplayWriter
	return &replays{
		Scheduler: s, store: stream.NewReplays(js, writer), replayed: stream.NewReplayed(js, writer), dead: stream.NewDeadList(js),
		source: stream.NewEventLog(js), records: stream.NewHistory(js, nil),
		filters: filter.NewCache(), running: map[string]*replay{}, ended: map[string]bool{}, turns: map[string]string{}, sharing: map[string]struct{}{},
	}
}

// run runs all replays until ctx ends.
func (s *replays) run(ctx context.Context) {
	defer s.jobs.Wait()
	s.jobs.Go(func() { s.every(ctx, replayPrune, "prune replays", s.prune) })
	s.every(ctx, replayRetry, "follow replays", func(ctx context.Context) error {
		if err := s.prune(ctx); err != nil {
			return err
		}
		return s.store.Watch(ctx, func(job *events.Replay) { s.changed(ctx, job) })
	})
}

// changed takes note of a job that is new, or of which something else is wanted.
func (s *replays) changed(ctx context.Context, job *events.Replay) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.running[job.ID]
	switch {
	case s.ended[job.ID]:
	case r != nil:
		r.want(job.Wish)
	default:
		r = newReplay(s, job)
		s.running[job.ID] = r
		s.metrics.replays.Inc()
		s.jobs.Go(func() {
			r.run(ctx)
			s.left(r)
		})
	}
}

// left takes note that a replay has ended, or that we have to.
func (s *replays) left(r *replay) {
	s.yield(r)
	s.share(r, false)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.running, r.id)
	s.metrics.replays.Dec()
	if r.finished {
		s.ended[r.id] = true
	}
}

// turn lets one replay of a subscription's events at a time make deliveries: what one made, the next one leaves out.
func (s *replays) turn(r *replay) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	who := s.turns[r.job.Subscription]
	if who == "" {
		s.turns[r.job.Subscription] = r.id
	}
	return who == "" || who == r.id
}

// yield gives the turn up. The next time, what others made meanwhile is looked at.
func (s *replays) yield(r *replay) {
	r.marks = nil
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.turns[r.job.Subscription] == r.id {
		delete(s.turns, r.job.Subscription)
	}
}

// share says whether the replay makes deliveries at its part of the common rate, and returns how many do.
func (s *replays) share(r *replay, takes bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if takes {
		s.sharing[r.id] = struct{}{}
	} else {
		delete(s.sharing, r.id)
	}
	return max(len(s.sharing), 1)
}

// prune forgets replays that ended long ago, and marks that nobody needs.
func (s *replays) prune(ctx context.Context) error {
	all, err := s.store.List(ctx)
	if err != nil {
		return err
	}
	ended := map[string]bool{}
	for i, job := range all {
		switch {
		case !job.Finished():
		case i < maxReplays && time.Since(job.Run.EndedAt) < keepReplays:
			ended[job.ID] = true
		default:
			if err := s.store.Delete(ctx, job); err != nil {
				return err
			}
		}
	}
	s.mu.Lock()
	s.ended = ended
	for _, job := range all { // who was about to make something is the next to make something
		if len(job.Run.Plan)+len(job.Run.Unmarked) > 0 && !job.Finished() && job.From == events.ReplayEvents && s.turns[job.Subscription] == "" {
			s.turns[job.Subscription] = job.ID
		}
	}
	s.mu.Unlock()
	first, _, err := s.events.Bounds(ctx)
	if err != nil {
		return err
	}
	err = s.replayed.Prune(ctx, first, func(subscription string) (time.Time, bool) {
		if e, ok := s.Registry.Lookup(subscription); ok {
			return e.CreatedAt, true
		}
		return time.Time{}, false
	})
	if err != nil {
		return fmt.Errorf("prune replays: %w", err)
	}
	return nil
}
