package scheduler

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/events/stream"
)

// advance makes the next deliveries, as many as its rate and those under way allow. moved says that there may be more soon.
func (r *replay) advance(ctx context.Context, entry *registry.Entry) (moved bool, err error) {
	if r.through() {
		return false, r.rest(ctx)
	}
	if r.job.From == events.ReplayEvents && !r.turn(r) {
		return false, nil
	}
	interval, burst := r.rate(entry)
	limit := freshLimit(entry.Subscription)
	r.interval, r.reach, r.awaits = interval, reachOf(entry.Subscription, interval, limit), 2*len(r.fresh) >= limit
	n := min(r.pace.allowed(time.Now(), r.reach, interval, burst), limit-len(r.fresh), maxOpen-len(r.fresh)-len(r.open))
	if n <= 0 {
		return len(r.open) < maxOpen, nil
	}
	if err := r.fill(ctx, entry, n, int(replayAhead/interval)); err != nil || len(r.queue) == 0 {
		return true, err
	}
	if n = min(n, len(r.queue)); n > r.safe {
		if err := r.saveNow(ctx); err != nil {
			return true, err
		}
	}
	if err := r.catchUp(ctx); err != nil {
		return true, err
	}
	made := r.queue[:n]
	r.queue, r.safe = r.queue[n:], r.safe-n
	r.pace.spread(made, time.Now(), interval)
	return true, r.make(ctx, made)
}

// fill reads on when less is planned than ahead, or than may be made now. It is one read a step where that is enough: live
// events wait for each, and for many in a row they wait long.
func (r *replay) fill(ctx context.Context, entry *registry.Entry, now, ahead int) error {
	run := &r.job.Run
	if len(r.queue) < len(run.Plan) || len(r.queue) > 0 && time.Since(r.queue[0].read) > replayStale {
		return r.planned(ctx)
	}
	for want, looked := max(now, ahead), 0; len(r.queue) < min(want, maxPlan) && looked < replayLook; looked += replayPage {
		if r.bytes >= maxPlanBytes || run.Next > r.job.Through {
			return nil
		}
		page, next, err := r.candidates(ctx, entry)
		if err != nil {
			return err
		}
		for _, c := range page {
			before, err := r.madeBefore(ctx, c.At)
			if err != nil {
				return err
			}
			if run.Counts.Matched++; before {
				r.skip()
				continue
			}
			c.first = true
			r.enqueue(c)
			run.Plan = append(run.Plan, c.Planned)
		}
		run.Next, r.changed, want = next, true, now
	}
	return nil
}

func (r *replay) enqueue(c *candidate) {
	_, payload := c.waiting.Event.Message()
	c.size, c.read = len(payload), time.Now()
	r.queue, r.bytes = append(r.queue, c), r.bytes+c.size
}

// planned reads again what is planned and was not made: by whoever planned it, before a pause, or too long ago. What others
// have made meanwhile is left out.
func (r *replay) planned(ctx context.Context) error {
	run := &r.job.Run
	var plan []stream.Planned
	first := make(map[string]bool, len(r.queue))
	for _, c := range r.queue {
		first[c.Delivery] = c.first
	}
	r.queue, r.bytes, r.safe = nil, 0, 0
	for _, p := range run.Plan {
		c, err := r.again(ctx, p)
		if err != nil {
			return err
		}
		before, err := r.madeBefore(ctx, p.At)
		if err != nil {
			return err
		}
		if c == nil || before { // nil: the event was trimmed, or somebody else replayed the dead letter
			r.skip()
			continue
		}
		c.first = first[p.Delivery]
		r.enqueue(c)
		plan = append(plan, p)
	}
	run.Plan, r.changed = plan, true
	return nil
}

// make makes the first deliveries of the plan. They are on disk when the run is stored the next time. Where we plan them
// for the first time, one that is there already is somebody else's.
func (r *replay) make(ctx context.Context, made []*candidate) error {
	type result struct {
		i   int
		ack stream.Ack
		err error
	}
	results := make(chan result, len(made))
	for i, c := range made {
		msg, err := c.waiting.ReplayMessage()
		if err == nil {
			err = r.ReplayWriter.Submit(msg, "", func(ack stream.Ack, err error) { results <- result{i, ack, err} })
		}
		if err != nil {
			results <- result{i, stream.Ack{}, err}
		}
	}
	var failed error
	acks := make([]stream.Ack, len(made))
	for range made { // the writer answers within its own time
		one := <-results
		failed, acks[one.i] = errors.Join(failed, one.err), one.ack
	}
	if failed != nil {
		return fmt.Errorf("make deliveries: %w", failed)
	}
	r.unsynced = true
	if err := r.keep(); err != nil {
		return err
	}
	for i, c := range made {
		if err := r.made(ctx, c.Planned, !c.first || !acks[i].Duplicate); err != nil {
			return err
		}
		r.bytes -= c.size
	}
	r.job.Run.Plan = r.job.Run.Plan[len(made):]
	return nil
}

// keep makes durable what was made of dead letters, before these are taken off the list: after a loss of power nothing else
// would know of them.
func (r *replay) keep() error {
	if r.job.From != events.ReplayDeadLetters {
		return nil
	}
	return r.syncMade()
}

// syncMade makes durable what was made.
func (r *replay) syncMade() error {
	if !r.unsynced {
		return nil
	}
	if err := r.ReplayWriter.Sync(stream.Retries); err != nil {
		return err
	}
	r.unsynced = false
	return nil
}

// made counts a delivery that was made, by us or by somebody else, and takes its dead letter off the list.
func (r *replay) made(ctx context.Context, p stream.Planned, ours bool) error {
	r.changed = true
	if ours {
		r.job.Run.Counts.Sent++
		r.fresh[p.Delivery] = struct{}{}
		r.metrics.replayed.WithLabelValues("sent").Inc()
	} else {
		r.skip()
	}
	if p.Letter != "" {
		_, err := r.dead.Delete(ctx, p.Letter)
		return err
	}
	r.job.Run.Made(p.At)
	return nil
}

func (r *replay) skip() {
	r.job.Run.Counts.Skipped++
	r.metrics.replayed.WithLabelValues("skipped").Inc()
}

// madeBefore reports whether a replay has made the delivery of the event at a sequence, and should have.
func (r *replay) madeBefore(ctx context.Context, at uint64) (bool, error) {
	if r.job.Again || r.job.From != events.ReplayEvents {
		return false, nil
	}
	err := r.marksAt(ctx, at)
	return err == nil && r.marks.Has(at), err
}

// mark marks what was made, so that it needs no place in the run any more.
func (r *replay) mark(ctx context.Context) error {
	for _, row := range r.job.Run.Unmarked {
		for at := row[0]; at <= row[1]; at++ {
			if err := r.marksAt(ctx, at); err != nil {
				return err
			}
			r.marks.Set(at)
		}
	}
	if r.marks != nil {
		if err := r.replayed.Save(ctx, r.marks); err != nil {
			return err
		}
	}
	r.changed = r.changed || len(r.job.Run.Unmarked) > 0
	r.job.Run.Unmarked = nil
	return nil
}

// marksAt has the marks of a sequence at hand.
func (r *replay) marksAt(ctx context.Context, at uint64) error {
	if r.marks != nil && r.marks.Covers(at) {
		return nil
	}
	if r.marks != nil {
		if err := r.replayed.Save(ctx, r.marks); err != nil {
			return err
		}
	}
	marks, err := r.replayed.Load(ctx, r.job.Subscription, r.job.Subscribed, at)
	r.marks = marks
	return err
}

// resolve finds out which planned deliveries were made by whoever planned them. Those wait, or have records: what is on
// its way has both for a moment, so the places come first.
func (r *replay) resolve(ctx context.Context) error {
	run := &r.job.Run
	if len(run.Plan)+len(run.Unmarked) == 0 {
		return nil
	}
	const theirs, ours = 1, 2
	found := map[string]int{}
	for _, p := range run.Plan {
		parked, waits, err := r.waitlist.Find(ctx, r.job.Subscription, p.Delivery)
		switch {
		case err != nil:
			return err
		case waits && parked.Delivery.Replay == r.id:
			found[p.Delivery] = ours
		case waits:
			found[p.Delivery] = theirs
		}
	}
	_, err := r.records.Follow(ctx, stream.HistorySubjects(r.job.Subscription), run.Records, func(id string, _ events.State) {
		if found[id] == 0 {
			found[id] = ours
		}
	})
	if err != nil {
		return err
	}
	r.unsynced = len(found) > 0 // whoever made them may have had no time to
	if err := r.keep(); err != nil {
		return err
	}
	plan := run.Plan
	run.Plan = nil
	for _, p := range plan {
		if found[p.Delivery] == 0 {
			run.Plan = append(run.Plan, p)
		} else if err := r.made(ctx, p, found[p.Delivery] == ours); err != nil {
			return err
		}
	}
	r.log.Info().Int("planned", len(plan)).Int("made", len(plan)-len(run.Plan)).Msg("replay taken over")
	if err := r.mark(ctx); err != nil {
		return err
	}
	return r.saveNow(ctx)
}

// dryRun counts what would be made.
func (r *replay) dryRun(ctx context.Context, entry *registry.Entry) (moved bool, err error) {
	run := &r.job.Run
	for looked := 0; looked < replayLook && run.Next <= r.job.Through; looked += replayPage {
		page, next, err := r.candidates(ctx, entry)
		if err != nil {
			return false, err
		}
		for _, c := range page {
			before, err := r.madeBefore(ctx, c.At)
			if err != nil {
				return false, err
			}
			if run.Counts.Matched++; before {
				run.Counts.Skipped++
			}
		}
		run.Next, r.changed = next, true
	}
	return true, nil
}
