package worker

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events/stream"
)

// retry takes one delivery whose timer fired through its next attempt.
func (w *Worker) retry(m *nats.Msg) {
	from, ok := parseDelivered(m.Reply)
	if !ok {
		w.log.Error().Str("reply", m.Reply).Msg("message without a place in the stream")
		return
	}
	held := w.keeper.add(stream.Retries, from.Sequence, m.Reply)
	if held == nil {
		return
	}
	if w.registry.HasLanes() {
		taken, err := w.retryInLane(held, m, from)
		if err != nil {
			w.letGo(held, m, err)
		}
		if taken || err != nil {
			return
		}
	}
	if !w.due.take(w.turns) {
		w.letGo(held, m, errReturned)
		return
	}
	defer w.due.give()
	if ackFirst {
		w.finish(m, nil)
	}
	w.letGo(held, m, w.resumeOne(w.sends, w.turns, m, from, w.due, nil))
}

// resumeOne takes a waiting delivery, from its timer or from HELD, through its next attempt.
func (w *Worker) resumeOne(ctx, turn context.Context, m *nats.Msg, from delivered, l *slots, by *asides) error {
	if w.stopping() {
		return errReturned
	}
	waiting, err := stream.ParseWaiting(m.Header, m.Data)
	if err != nil {
		return fmt.Errorf("message %d of %s: %w", from.Sequence, l.stream, err)
	}
	entry, _ := w.registry.Lookup(waiting.Delivery.Subscription) // nil: deleted, the delivery is cancelled
	d := &delivery{Delivery: waiting.Delivery, event: waiting.Event, entry: entry, slots: l, asides: by}
	return w.attempt(ctx, turn, d, from, false)
}
