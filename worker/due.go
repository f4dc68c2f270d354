package worker

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

// retry takes one delivery whose timer fired through its next attempt.
func (w *Worker) retry(m *nats.Msg) {
	held, from := w.takeDue(m)
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
	w.stagger(m, from)
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

// stagger lets a delivery wait that a replay made together with others, for the time between them. When half of our room
// waits so, what else comes has no time to wait: a burst is better than a retry that is late.
func (w *Worker) stagger(m *nats.Msg, from delivered) {
	after := stream.AfterOf(m.Header)
	if after == 0 || from.Times > 1 {
		return
	}
	defer w.staggered.Add(-1)
	if w.staggered.Add(1) > int64(cap(w.due.hands)/2) {
		return
	}
	timer := time.NewTimer(after)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-w.turns.Done():
	}
}

// takeDue takes a message of RETRIES into our hands; nil when there is nothing to do for it.
func (w *Worker) takeDue(m *nats.Msg) (*kept, delivered) {
	from, ok := parseDelivered(m.Reply)
	if !ok {
		w.log.Error().Str("reply", m.Reply).Msg("message without a place in the stream")
		return nil, from
	}
	return w.keeper.add(stream.Retries, from.Sequence, m.Reply), from
}

// replayInOrder gives what a replay made to its subscription's lane, one after the other as it came: handled side by side,
// those of a key would reach the lane in another order. It returns false for what goes by no lane, and for retries: a key has
// one of those at a time.
func (w *Worker) replayInOrder(m *nats.Msg) bool {
	if !w.registry.HasLanes() {
		return false
	}
	_, subscription, replay, ok := events.ParseDeliveryID(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:])
	if !ok || replay == 0 || !w.registry.Laned(subscription) {
		return false
	}
	held, from := w.takeDue(m)
	if held == nil {
		return true
	}
	taken, err := w.retryInLane(held, m, from)
	switch {
	case err != nil:
		w.letGo(held, m, err)
	case !taken: // it has no lane any more
		w.keeper.remove(held)
		return false
	}
	return true
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
