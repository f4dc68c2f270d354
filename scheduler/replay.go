package scheduler

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/events/stream"
)

// Bounds of one replay.
const (
	// replayStep is how often a replay that makes deliveries makes some at most: a few at a time, never a burst.
	replayStep = 5 * time.Millisecond
	// replayTally is how often it looks what became of them, and replayTallySoon how often when it waits for that. The
	// records' writers wait while the broker looks.
	replayTally     = 250 * time.Millisecond
	replayTallySoon = 25 * time.Millisecond
	// replayQuiet is after how long without a record it asks where their end is: by then each server of a cluster has what came before.
	replayQuiet = 10 * time.Second
	// replayAhead is how far a plan reaches, and how often a replay is stored: each time syncs, which events wait for.
	replayAhead = 2 * time.Second
	// maxPlan and maxPlanBytes bound a plan, whose events are in memory until they are made.
	maxPlan      = 1000
	maxPlanBytes = 4 << 20
	// replayStale is after how long what is planned is read again before it is made: a page lasts for hours where the rate is low,
	// and somebody may have replayed a dead letter of it by hand. The broker knows that delivery for two minutes.
	replayStale = 10 * time.Second
	// replayIdle is how soon one looks again that waits for others: a retry, a turn, its owner.
	replayIdle = 500 * time.Millisecond
	// replayLook is how many messages one step reads at most, to find any: 20,000 a second, some ten percent of a core.
	replayLook = 512
	// maxUnmarked bounds the rows of events that wait to be marked, 20 bytes each in every write of the run. Marking costs a
	// write more.
	maxUnmarked = 128
	// maxOpen bounds the deliveries of a replay that have not ended. A sink that is down gets no more of them than that.
	maxOpen = 5000
	// maxFresh bounds those whose first attempt has not ended, whatever the sink takes at a time.
	maxFresh = 1000
	// replayPatience is how often a replay looks for deliveries that ended without a record, as after a power cut; each time
	// at so many.
	replayPatience = time.Minute
	replayCheck    = 100
)

// replay is one job in the hands of the scheduler that acts. Its goroutine owns it, but for wish and wake.
//
// It stores, in one write, what it has done and what it is about to make (the plan), makes that in steps, and goes on so. A process that is killed leaves a plan of which some deliveries were made: whoever takes
// over finds those where they wait, or their records, and makes the others.
type replay struct {
	*replays
	id   string
	log  zerolog.Logger
	wish atomic.Pointer[events.ReplayState]
	wake chan struct{}

	job      *stream.StoredReplay
	finished bool
	changed  bool // since the run was stored
	stored   time.Time
	tallied  time.Time
	heard    time.Time // when it was last known to be at the end of the records
	checked  time.Time // when it was last looked for deliveries without a record
	told     bool      // the workers know that it is cancelled

	fresh, open map[string]struct{} // as those of the run
	queue       []*candidate        // the plan, ready to be made
	bytes       int                 // of the events in queue
	safe        int                 // so many of queue are in what is stored, and may be made
	unsynced    bool                // some of what was made may not be on disk
	marks       *stream.Marks
	matcher     matcher
	pace        replayPace
	interval    time.Duration // between two deliveries, when it last made some
	reach       time.Duration // that these were made ahead of their time
	awaits      bool          // it has little to do before some of its deliveries have ended
}

func newReplay(s *replays, job *events.Replay) *replay {
	r := &replay{
		replays: s, id: job.ID, wake: make(chan struct{}, 1), job: &stream.StoredReplay{Replay: *job},
	}
	r.log = s.Log.With().Str("replay", job.ID).Str("subscription", job.Subscription).Logger()
	r.wish.Store(&job.Wish)
	return r
}

// want says what the owner wants now.
func (r *replay) want(wish events.ReplayState) {
	r.wish.Store(&wish)
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run works until the replay has ended or ctx does. After an error it begins anew from what is stored.
func (r *replay) run(ctx context.Context) {
	for ctx.Err() == nil && !r.finished {
		err := r.work(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		r.log.Warn().Err(err).Msg("replay step failed; trying again")
		r.wait(ctx, replayRetry)
	}
}

func (r *replay) wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-r.wake:
	}
}

// work takes the replay over and goes on with it.
func (r *replay) work(ctx context.Context) error {
	if gone, err := r.takeOver(ctx); gone || err != nil {
		return err
	}
	for ctx.Err() == nil {
		began := time.Now()
		moved, err := r.step(ctx)
		if err != nil {
			return err
		}
		if err := r.save(ctx); err != nil || r.finished {
			return err
		}
		pause := replayIdle
		switch {
		case moved:
			pause = max(replayStep, min(max(r.interval, r.reach), replayTally)) - time.Since(began)
		case len(r.fresh) > 0:
			pause, r.awaits = replayTallySoon, true
		}
		r.wait(ctx, max(pause, time.Millisecond))
	}
	return nil
}

// takeOver reads the replay and writes it once, so that whoever ran it before cannot go on, and then finds out what became
// of what that one was about to make.
func (r *replay) takeOver(ctx context.Context) (gone bool, err error) {
	job, ok, err := r.store.Get(ctx, r.id)
	if err != nil {
		return false, err
	}
	if r.finished = !ok || job.Finished(); r.finished {
		return true, nil
	}
	if err := r.Registry.Fresh(ctx); err != nil {
		return false, err
	}
	r.job, r.marks, r.matcher, r.pace, r.checked = job, nil, matcher{}, replayPace{}, time.Now()
	r.queue, r.bytes, r.safe, r.unsynced = nil, 0, 0, false
	r.fresh, r.open = setOf(job.Run.Fresh), setOf(job.Run.Open)
	if r.job.Run.Number == 0 {
		if err := r.begin(ctx); err != nil {
			return false, err
		}
	}
	if err := r.store.SaveRun(ctx, r.job); err != nil {
		return false, err
	}
	return false, r.resolve(ctx)
}

// begin finds out where to start.
func (r *replay) begin(ctx context.Context) (err error) {
	run := &r.job.Run
	run.Number = r.job.Revision
	if run.Records, err = r.records.End(ctx); err != nil {
		return err
	}
	source := stream.Events
	if r.job.From == events.ReplayDeadLetters {
		source = stream.DeadName
	}
	run.Next, err = r.records.SinceIn(ctx, source, r.job.Since)
	run.Next = max(run.Next, 1)
	r.log.Info().Uint64("from", run.Next).Uint64("through", r.job.Through).Msg("replay begins")
	return err
}

// step does what can be done now. moved says that there may be more at once.
func (r *replay) step(ctx context.Context) (moved bool, err error) {
	if since := time.Since(r.tallied); since >= replayTally || r.awaits && since >= replayTallySoon {
		if err := r.tally(ctx); err != nil {
			return false, err
		}
	}
	run := &r.job.Run
	entry, ok := r.subscription()
	switch wish := *r.wish.Load(); {
	case run.State == "" && wish == events.ReplayCancelled:
		err = r.end(ctx, events.ReplayCancelled, events.ReasonNone)
	case run.State == "" && !ok:
		err = r.end(ctx, events.ReplayCancelled, events.ReasonUnsubscribed)
	case run.State != "":
	case wish != events.ReplayRunning:
		err = r.rest(ctx)
	case r.job.DryRun:
		moved, err = r.dryRun(ctx, entry)
	default:
		moved, err = r.advance(ctx, entry)
	}
	if err != nil {
		return false, err
	}
	if err := r.look(ctx); err != nil {
		return false, err
	}
	if len(r.fresh)+len(r.open) == 0 && (run.State != "" || r.through()) {
		r.finish()
	}
	return moved, err
}

// subscription is the one that the replay is of; false when that is gone, whatever has its id now.
func (r *replay) subscription() (*registry.Entry, bool) {
	e, ok := r.Registry.Lookup(r.job.Subscription)
	return e, ok && e.CreatedAt.Equal(r.job.Subscribed)
}

// through reports whether everything is made.
func (r *replay) through() bool { return r.job.Run.Next > r.job.Through && len(r.job.Run.Plan) == 0 }

// rest gives up what others may wait for.
func (r *replay) rest(ctx context.Context) error {
	if err := r.mark(ctx); err != nil {
		return err
	}
	r.yield(r)
	r.share(r, false)
	r.pace, r.queue, r.bytes, r.safe = replayPace{}, nil, 0, 0
	return nil
}

// end makes no more deliveries. Those that were planned and not made are not made.
func (r *replay) end(ctx context.Context, state events.ReplayState, reason events.Reason) error {
	if err := r.rest(ctx); err != nil {
		return err
	}
	r.job.Run.State, r.job.Run.Reason, r.job.Run.Plan, r.changed = state, reason, nil, true
	return nil
}

// finish ends it: all its deliveries have ended.
func (r *replay) finish() {
	run := &r.job.Run
	if run.State == "" {
		run.State = events.ReplayDone
	}
	run.EndedAt, r.finished, r.changed = time.Now().UTC(), true, true
	c := run.Counts
	r.log.Info().Str("state", string(run.State)).Uint64("matched", c.Matched).Uint64("sent", c.Sent).Uint64("delivered", c.Delivered).
		Uint64("dead", c.Dead).Uint64("skipped", c.Skipped).Msg("replay has ended")
}

// save stores how far it is, when that has changed and is worth it. What a step plans is stored before it is made.
func (r *replay) save(ctx context.Context) error {
	if !r.changed || !r.finished && time.Since(r.stored) < replayAhead {
		return nil
	}
	return r.saveNow(ctx)
}

func (r *replay) saveNow(ctx context.Context) error {
	if len(r.job.Run.Unmarked) > maxUnmarked || r.finished {
		if err := r.mark(ctx); err != nil {
			return err
		}
	}
	if err := r.syncMade(); err != nil { // before the plan that they are in is forgotten
		return err
	}
	r.job.Run.Fresh, r.job.Run.Open = listOf(r.fresh), listOf(r.open)
	if err := r.store.SaveRun(ctx, r.job); err != nil {
		r.finished = false
		return err
	}
	r.changed, r.stored, r.safe = false, time.Now(), len(r.queue)
	return nil
}

func setOf(list []string) map[string]struct{} {
	set := make(map[string]struct{}, len(list))
	for _, id := range list {
		set[id] = struct{}{}
	}
	return set
}

func listOf(set map[string]struct{}) []string {
	list := make([]string, 0, len(set))
	for id := range set {
		list = append(list, id)
	}
	slices.Sort(list) // so that a record says the same for the same
	return list
}
