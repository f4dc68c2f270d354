package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/events/stream"
)

// dispatch takes one event from the stream to all subscriptions that match it. The event is acknowledged when all of its
// deliveries are settled.
func (w *Worker) dispatch(m *nats.Msg) {
	from, ok := parseDelivered(m.Reply)
	if !ok {
		w.log.Error().Str("reply", m.Reply).Msg("message without a place in the stream")
		return
	}
	held := w.keeper.add(m.Reply)
	defer w.keeper.remove(held)
	if ackFirst {
		w.finish(m, nil)
	}
	w.finish(m, w.fanOut(w.sends, w.turns, m, from))
}

func (w *Worker) fanOut(ctx, turn context.Context, m *nats.Msg, from delivered) error {
	if w.stopping() {
		return errReturned
	}
	e, err := events.ParseNATS(m.Header, m.Data)
	if err == nil && !e.Own(tenantOf(m.Subject)) {
		err = fmt.Errorf("tenant %s was stored as %s", e.Tenant(), tenantOf(m.Subject))
	}
	if err != nil {
		return w.buryInvalid(ctx, m, from, err)
	}
	var room [4]registry.Match
	matches := w.registry.Match(e, from.Sequence, room[:0])
	switch len(matches) {
	case 0:
		return nil
	case 1:
		return w.begin(ctx, turn, e, from, matches[0])
	default:
		return w.beginAll(ctx, turn, e, from, matches)
	}
}

// beginAll starts the deliveries of one event, each as soon as there is a slot.
func (w *Worker) beginAll(ctx, turn context.Context, e *events.Event, from delivered, matches []registry.Match) error {
	errs := make([]error, len(matches))
	var all sync.WaitGroup
	for i, match := range matches {
		if !w.first.take(turn) {
			errs[i] = errReturned
			break
		}
		all.Go(func() {
			defer w.first.give()
			errs[i] = w.attempt(ctx, turn, w.newDelivery(e, from, match), from, true)
		})
	}
	all.Wait()
	return worst(errs)
}

// worst is what is answered for a message with several deliveries: a failure to settle before a hand-back.
func worst(errs []error) error {
	var returned error
	for _, err := range errs {
		switch {
		case errors.Is(err, errReturned):
			returned = err
		case err != nil:
			return err
		}
	}
	return returned
}

func (w *Worker) begin(ctx, turn context.Context, e *events.Event, from delivered, match registry.Match) error {
	if !w.first.take(turn) {
		return errReturned
	}
	defer w.first.give()
	return w.attempt(ctx, turn, w.newDelivery(e, from, match), from, true)
}

func (w *Worker) newDelivery(e *events.Event, from delivered, match registry.Match) *delivery {
	return &delivery{
		Delivery: events.Delivery{
			ID: events.DeliveryID(from.Sequence, match.ID, 0), Subscription: match.ID, Tenant: e.Tenant(),
			Event: events.Ref(e, from.Sequence), CreatedAt: from.Stored.UTC(),
		},
		event: e, entry: match.Entry, lane: w.first,
	}
}

// attempt takes a delivery through its next attempt and settles it, unless that happened before.
func (w *Worker) attempt(ctx, turn context.Context, d *delivery, from delivered, first bool) error {
	if w.settled.suspect(d.lane.stream, from) {
		if done, err := w.resumed(ctx, d, from, first); done || err != nil {
			return err
		}
	}
	verdict, attempt := w.deliver(ctx, turn, d)
	err := w.settle(ctx, d, verdict, attempt)
	if d.slot {
		<-d.lane.slots
	}
	return err
}

// tenantOf is the tenant of a subject hookfleet.events.<tenant>.<type…>.
func tenantOf(subject string) string {
	tenant, _, _ := strings.Cut(strings.TrimPrefix(subject, stream.SubjectEvents), ".")
	return tenant
}
