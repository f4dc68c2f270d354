package scheduler

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

// cancelAgain is how soon a cancelled replay looks again at its deliveries that were in workers' hands.
const cancelAgain = time.Second

// tally counts what became of the deliveries, by their records.
func (r *replay) tally(ctx context.Context) error {
	r.tallied = time.Now()
	if len(r.fresh)+len(r.open) == 0 {
		return nil
	}
	last, err := r.records.Follow(ctx, stream.RecordsOf(r.job.Subscription, r.underWay), r.job.Run.Records, r.note)
	if err != nil {
		return err
	}
	if last > r.job.Run.Records {
		r.job.Run.Records, r.heard = last, time.Now()
	}
	return nil
}

// catchUp is called before deliveries are made, and lets records be counted from their end on: nobody's are awaited before, or nothing came for
// long where those of what is under way are. That of the next may be elsewhere, and all that live deliveries left meanwhile would be read.
func (r *replay) catchUp(ctx context.Context) error {
	underWay := len(r.fresh)+len(r.open) > 0
	if underWay && time.Since(r.heard) < replayQuiet {
		return nil
	}
	end, err := r.records.End(ctx)
	if err != nil {
		return err
	}
	if underWay {
		if err := r.tally(ctx); err != nil {
			return err
		}
		end = max(end, r.job.Run.Records)
	}
	r.job.Run.Records, r.heard = end, time.Now()
	return nil
}

// underWay visits the deliveries that have not ended.
func (r *replay) underWay(yield func(id string) bool) {
	for _, set := range []map[string]struct{}{r.fresh, r.open} {
		for id := range set {
			if !yield(id) {
				return
			}
		}
	}
}

// note takes one record. A delivery counts once, whatever its records say after its end.
func (r *replay) note(id string, state events.State) {
	_, fresh := r.fresh[id]
	_, open := r.open[id]
	if !fresh && !open {
		return
	}
	delete(r.fresh, id)
	r.open[id] = struct{}{}
	if state.Ended() {
		delete(r.open, id)
		r.job.Run.Counts.Ended(state)
		r.metrics.replayed.WithLabelValues(string(state)).Inc()
	}
	r.changed = true
}

// look looks at the deliveries themselves, when their records may not tell.
func (r *replay) look(ctx context.Context) error {
	cancelled := r.job.Run.State == events.ReplayCancelled
	switch {
	case len(r.fresh)+len(r.open) == 0:
		return nil
	case cancelled && !r.told:
		if err := r.tellWorkers(ctx); err != nil {
			return err
		}
	case cancelled && time.Since(r.checked) < cancelAgain, !cancelled && time.Since(r.checked) < replayPatience:
		return nil
	}
	most := replayCheck // any ones: a map has no order
	if cancelled {
		most = maxFresh + maxOpen
	}
	var ids []string
	for id := range r.underWay {
		if len(ids) == most {
			break
		}
		ids = append(ids, id)
	}
	for _, id := range ids {
		if err := r.lookAt(ctx, id, cancelled); err != nil {
			return err
		}
	}
	r.checked = time.Now()
	return nil
}

// tellWorkers makes every worker cancel what the replay made before its next attempt, durably.
func (r *replay) tellWorkers(ctx context.Context) error {
	msg := &nats.Msg{Subject: "$KV." + stream.BucketCancels + "." + stream.CancelledReplay(r.id), Data: []byte(`{}`)}
	if _, err := r.ReplayWriter.Write(ctx, msg, "KV_"+stream.BucketCancels); err != nil {
		return fmt.Errorf("tell the workers: %w", err)
	}
	r.told = true
	return nil
}

// lookAt takes a delivery out of where it waits, when it is cancelled, and finds one that has no record of its end. What is
// due, or drained, is in a worker's hands, who cancels it himself.
func (r *replay) lookAt(ctx context.Context, id string, cancel bool) error {
	p, waits, err := r.waitlist.Find(ctx, r.job.Subscription, id)
	switch {
	case err != nil:
		return err
	case !waits:
		return r.lost(ctx, id, cancel)
	case !cancel || p.Place == stream.PlaceDue:
		return nil
	case p.Place == stream.PlaceHeld:
		if drained, err := r.waitlist.Drained(ctx, p); drained || err != nil {
			return err
		}
	}
	removed, err := r.waitlist.Remove(ctx, p)
	if !removed || err != nil {
		return err
	}
	return r.recordCancelled(ctx, p.Delivery)
}

// recordCancelled writes that a delivery is cancelled. The tally finds the record.
func (r *replay) recordCancelled(ctx context.Context, d events.Delivery) error {
	msg := stream.RecordMessage(events.CancelRecord(d, events.ReasonCancelled, time.Now()))
	if _, err := r.ReplayWriter.Write(ctx, msg, stream.Attempts); err != nil {
		return fmt.Errorf("record the cancel of %s: %w", d.ID, err)
	}
	return nil
}

// lost settles a delivery that waits nowhere. It has just ended, which its record tells; or somebody took it out and was
// killed before he recorded that; or its record was lost in a power cut: of those that leave nothing else behind most
// were delivered.
func (r *replay) lost(ctx context.Context, id string, cancel bool) error {
	if err := r.tally(ctx); err != nil {
		return err
	}
	_, fresh := r.fresh[id]
	if _, open := r.open[id]; !fresh && !open {
		return nil
	}
	f, ok, err := r.records.Find(ctx, id)
	switch {
	case err != nil:
		return err
	case ok && f.Record.State.Ended():
		r.note(id, f.Record.State)
	case ok && cancel:
		return r.recordCancelled(ctx, f.Record.Delivery)
	default:
		r.log.Warn().Str("delivery", id).Msg("a delivery has ended without a record")
		r.note(id, events.StateDelivered)
	}
	return nil
}
