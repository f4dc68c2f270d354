package poll

import (
	"context"
	"errors"
	"time"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

// visit asks for one item, and publishes what has changed before it is noted: a crash in between finds the same change
// once more, under the same id.
func (t *tick) visit(ctx context.Context, item *stream.StoredItem) {
	status, err := t.statusOf(ctx, item.Key)
	if ctx.Err() != nil {
		return // the process ends: it waits for the next tick
	}
	outcome := outcomeSame
	completed := false
	if err == nil {
		outcome, completed, err = t.take(ctx, item, status)
	}
	if err != nil {
		outcome = outcomeFailed
		t.noteError(ctx, item, err)
	}
	t.metrics.asked.WithLabelValues(outcome).Inc()
	t.tallies.count(outcome, completed, err)
}

func (t *tick) statusOf(ctx context.Context, key string) (events.Value, error) {
	if t.asker == nil {
		return events.Value{}, t.problem
	}
	return t.asker.ask(ctx, key)
}

// take carries out what a status means for an item.
func (t *tick) take(ctx context.Context, item *stream.StoredItem, status events.Value) (outcome string, completed bool, err error) {
	text, now := status.Text(), time.Now().UTC()
	changed, terminal := text != item.Status, t.source.IsTerminal(text)
	if terminal {
		done, err := t.items.IsCompleted(ctx, t.source.ID, item.Key)
		if err != nil {
			return outcomeFailed, false, err
		}
		if done { // a crash came before it was taken away
			return outcomeSame, false, t.items.Drop(ctx, item)
		}
	}
	outcome, next := outcomeSame, *item
	next.Error, next.FailingSince = "", time.Time{}
	if changed {
		if err := t.publish(ctx, item, status, now); err != nil {
			return outcomeFailed, false, err
		}
		outcome = outcomeChanged
		next.Status, next.ChangedAt, next.Changes = text, now, item.Changes+1
	}
	switch {
	case terminal:
		next.CompletedAt = now
		err = t.items.Complete(ctx, t.source.ID, &next)
	case changed, item.Error != "":
		err = t.items.Update(ctx, t.source.ID, &next)
	}
	if errors.Is(err, stream.ErrMoved) {
		err = nil // the source was deleted, or we were taken for dead
	}
	return outcome, terminal, err
}

func (t *tick) publish(ctx context.Context, item *stream.StoredItem, status events.Value, at time.Time) error {
	e, err := t.source.Change(&item.Item, status, at)
	if err != nil {
		return err
	}
	return t.deps.Publish(ctx, e)
}

// noteError keeps why there was no status, when it is another reason than at the tick before: a source that is down costs
// one write an item, not one a tick.
func (t *tick) noteError(ctx context.Context, item *stream.StoredItem, why error) {
	if item.Error == why.Error() {
		return
	}
	if item.Error == "" {
		item.FailingSince = time.Now().UTC()
	}
	item.Error = why.Error()
	if err := t.items.Update(ctx, t.source.ID, item); err != nil && !errors.Is(err, stream.ErrMoved) {
		t.log.Warn().Err(err).Str("source", t.source.ID).Msg("error of an item not stored")
	}
}

func (t *tallies) count(outcome string, completed bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked++
	switch outcome {
	case outcomeChanged:
		t.changed++
	case outcomeFailed:
		t.failed++
		t.problem = err.Error()
	}
	if completed {
		t.completed++
	}
}
