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
	x := w.newErrand(from.Sequence, m)
	if x == nil {
		return
	}
	if w.feed != nil && w.feed.settledIt(from.Sequence) {
		x.done(nil)
		return
	}
	if w.feed != nil && w.feed.straggled(from.Sequence) {
		from.Times = max(from.Times, 2) // read on: its end is not among what was known when we began to pull
	}
	if ackFirst {
		w.finish(m, nil)
	}
	turn := w.turns
	if w.feed != nil {
		turn = w.feed.turnOfPulled()
	}
	x.done(w.fanOut(w.sends, turn, x, from))
}

func (w *Worker) fanOut(ctx, turn context.Context, x *errand, from delivered) error {
	if w.stopping() {
		return errReturned
	}
	m := x.m
	e, err := events.ParseNATS(m.Header, m.Data)
	if err == nil && !e.Own(tenantOf(m.Subject)) {
		err = fmt.Errorf("tenant %s was stored as %s", e.Tenant(), tenantOf(m.Subject))
	}
	if err != nil {
		return w.buryInvalid(ctx, invalidEvent{tenantOf(m.Subject), m.Header, m.Data, err}, from)
	}
	return w.fanOutEvent(ctx, turn, e, x, from)
}

// dispatchFed is dispatch of what came from the feed, which knows when it is settled.
func (w *Worker) dispatchFed(turn context.Context, one *fed) {
	x := &errand{w: w, fed: one, open: 1}
	if ackFirst {
		x.add() // never done: it counts as settled already
		w.feed.settle(one, nil)
	}
	x.done(w.fanOutFed(w.sends, turn, x))
}

func (w *Worker) fanOutFed(ctx, turn context.Context, x *errand) error {
	if w.stopping() {
		return errReturned
	}
	one := x.fed
	event, stored := one.event, one.stored
	one.event, one.stored = nil, nil // it may be in hand for long, with the memory of a batch behind it
	if event != nil {
		return w.fanOutEvent(ctx, turn, event.Detached(), x, one.from)
	}
	e, err := stored.Event()
	if err != nil {
		header, data := stored.Raw()
		return w.buryInvalid(ctx, invalidEvent{stored.Tenant, header, data, err}, one.from)
	}
	return w.fanOutEvent(ctx, turn, e, x, one.from)
}

func (w *Worker) fanOutEvent(ctx, turn context.Context, e *events.Event, x *errand, from delivered) error {
	var room [4]registry.Match
	matches := w.registry.Match(e, from.Sequence, room[:0])
	switch len(matches) {
	case 0:
		return nil
	case 1:
		return w.begin(ctx, turn, w.newDelivery(e, from, matches[0], x), from)
	default:
		return w.beginAll(ctx, turn, e, from, matches, x)
	}
}

// beginAll starts the deliveries of one event, each as soon as there is a slot.
func (w *Worker) beginAll(ctx, turn context.Context, e *events.Event, from delivered, matches []registry.Match, x *errand) error {
	errs := make([]error, len(matches))
	var all sync.WaitGroup
	for i, match := range matches {
		if !w.first.take(turn) {
			errs[i] = errReturned
			break
		}
		all.Go(func() {
			defer w.first.give()
			errs[i] = w.attempt(ctx, turn, w.newDelivery(e, from, match, x), from, true)
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

func (w *Worker) begin(ctx, turn context.Context, d *delivery, from delivered) error {
	if !w.first.take(turn) {
		return errReturned
	}
	defer w.first.give()
	return w.attempt(ctx, turn, d, from, true)
}

func (w *Worker) newDelivery(e *events.Event, from delivered, match registry.Match, x *errand) *delivery {
	return &delivery{
		Delivery: events.Delivery{
			ID: events.DeliveryID(from.Sequence, match.ID, 0), Subscription: match.ID, Tenant: e.Tenant(),
			Event: events.Ref(e, from.Sequence), CreatedAt: from.Stored.UTC(),
		},
		event: e, entry: match.Entry, slots: w.first, errand: x,
	}
}

// attempt takes a delivery through its next attempt and settles it, unless that happened before. One that has an errand
// may be settled later, with the others of its batch: the errand knows.
func (w *Worker) attempt(ctx, turn context.Context, d *delivery, from delivered, first bool) error {
	if w.settled.suspect(d.slots.stream, from) {
		if done, err := w.resumed(ctx, d, from, first); done || err != nil {
			return err
		}
		if done, err := w.interrupted(ctx, d, from); done || err != nil {
			return err
		}
	}
	if batches(d.entry) {
		return w.attemptInBatch(ctx, turn, d, from)
	}
	return w.attemptAlone(ctx, turn, d)
}

// attemptAlone takes a delivery through an attempt of its own.
func (w *Worker) attemptAlone(ctx, turn context.Context, d *delivery) error {
	d.Batch = nil // if it was sent in one, it is not any more
	verdict, attempt := w.deliver(ctx, turn, d)
	err := w.advance(context.WithoutCancel(ctx), d, verdict)
	if err == nil {
		err = w.settle(ctx, d, verdict, attempt)
	}
	if d.slot {
		<-d.slots.sends
	}
	return err
}

// tenantOf is the tenant of a subject hookfleet.events.<tenant>.<type…>.
func tenantOf(subject string) string {
	tenant, _, _ := strings.Cut(strings.TrimPrefix(subject, stream.SubjectEvents), ".")
	return tenant
}
