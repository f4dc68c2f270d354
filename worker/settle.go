package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/events/stream"
)

// settleTimeout bounds a request to the broker that no writer bounds.
const settleTimeout = 10 * time.Second

// errReturned says that a delivery was handed back uncounted; its message must not be acknowledged.
var errReturned = errors.New("handed back")

// settle carries out a verdict in the durable order: the record, then the timer, the held delivery or the dead letter,
// each confirmed by the broker. Only when it returns nil may the message be acknowledged. A crash between repeats, and
// never loses.
func (w *Worker) settle(ctx context.Context, d *delivery, v events.Verdict, attempt *events.Attempt) error {
	if v.Outcome == events.Returned {
		return errReturned
	}
	// What was sent must be recorded, also when we are told to stop meanwhile. The writers answer within their own time.
	ctx = context.WithoutCancel(ctx)
	w.metrics.settled(d, v, attempt)
	w.report(d, v, attempt)
	switch v.Outcome {
	case events.Delivered:
		return w.record(ctx, d, events.StateDelivered, v, attempt)
	case events.Retry:
		if err := w.record(ctx, d, events.StateRetrying, v, attempt); err != nil {
			return err
		}
		return w.setTimer(ctx, d)
	case events.Held:
		if err := w.record(ctx, d, events.StateHeld, v, attempt); err != nil {
			return err
		}
		return w.hold(ctx, d)
	case events.Dead:
		if err := w.record(ctx, d, events.StateDead, v, attempt); err != nil {
			return err
		}
		return w.bury(ctx, d, attempt)
	case events.Cancelled:
		return w.record(ctx, d, events.StateCancelled, v, attempt)
	case events.Skipped:
		return w.record(ctx, d, events.StateSkipped, v, attempt)
	case events.Returned:
		return errReturned
	default:
		return fmt.Errorf("%s: unknown outcome %q", d, v.Outcome)
	}
}

// record writes the history record and moves the delivery on: what is stored next carries the new count.
func (w *Worker) record(ctx context.Context, d *delivery, state events.State, v events.Verdict, attempt *events.Attempt) error {
	first := d.Record == 0
	if attempt != nil {
		d.Attempts = attempt.Number
		if v.Uncounted {
			d.Uncounted++
		}
	}
	d.Reason, d.NextAt, d.state = v.Reason, v.NextAt.UTC(), state
	r := events.Record{Delivery: d.Delivery, State: state, First: first, Attempt: attempt}
	if state.Ended() {
		r.EndedAt = time.Now().UTC()
	}
	if state == events.StateDelivered || state == events.StateCancelled { // nothing follows that names this record
		if err := w.records.Append(ctx, stream.RecordMessage(&r)); err != nil {
			return fmt.Errorf("record %s: %w", d, err)
		}
		return nil
	}
	ack, err := w.records.Write(ctx, stream.RecordMessage(&r), "")
	if err != nil {
		return fmt.Errorf("record %s: %w", d, err)
	}
	d.Record = ack.Sequence
	return nil
}

func (w *Worker) setTimer(ctx context.Context, d *delivery) error {
	msg, err := d.waiting().TimerMessage()
	if err != nil {
		return err
	}
	if _, err := w.waits.Write(ctx, msg, stream.Retries); err != nil {
		return fmt.Errorf("set timer of %s: %w", d, err)
	}
	return nil
}

// hold puts the delivery into its sink's held queue, and says that there is one.
func (w *Worker) hold(ctx context.Context, d *delivery) error {
	msg, err := d.waiting().HeldMessage()
	if err != nil {
		return err
	}
	if err := w.park(ctx, d, msg); err != nil {
		return fmt.Errorf("hold %s: %w", d, err)
	}
	w.backlogs.held(d.Subscription)
	return w.markBacklog(ctx, d.Subscription)
}

// parkTries bounds how often one delivery is written into the held queue: one time more for each that lies there from
// before, which is one, or two when another worker held it meanwhile.
const parkTries = 10

// park writes the delivery into the held queue, unless it lies there as it is now.
func (w *Worker) park(ctx context.Context, d *delivery, msg *nats.Msg) error {
	for range parkTries {
		_, err := w.waits.Write(ctx, msg, stream.HeldName)
		if !errors.Is(err, stream.ErrExists) {
			return err
		}
		if stays, err := w.heldAlready(ctx, d); stays || err != nil {
			return err
		}
	}
	return fmt.Errorf("written %d times, and each time its place in the held queue was taken by an older attempt of it, which was removed", parkTries)
}

// heldAlready reports whether what lies in the held queue is the delivery as it is now: held before by one who was killed.
// What lies there from before its last attempt goes: it was drained, its retry was due before its ack had arrived, and
// with that ack the delivery would be nowhere.
func (w *Worker) heldAlready(ctx context.Context, d *delivery) (bool, error) {
	parked, ok, err := w.waitlist.Held(ctx, d.Subscription, d.ID)
	if err != nil || !ok {
		return false, err
	}
	if parked.Delivery.Attempts >= d.Attempts {
		return true, nil
	}
	_, err = w.waitlist.Remove(ctx, parked)
	return false, err
}

func (w *Worker) markBacklog(ctx context.Context, subscription string) error {
	if w.registry.Health(subscription).Backlog {
		return nil
	}
	err := w.registry.SetHealth(ctx, subscription, func(h *registry.Health) bool {
		changed := !h.Backlog
		h.Backlog = true
		return changed
	})
	if err != nil {
		return fmt.Errorf("mark backlog of %s: %w", subscription, err)
	}
	return nil
}

func (w *Worker) bury(ctx context.Context, d *delivery, attempt *events.Attempt) error {
	letter := &events.DeadLetter{Delivery: d.Delivery, LastAttempt: attempt, DeadAt: time.Now(), Payload: d.event}
	msg, err := stream.DeadMessage(letter, nil, nil)
	if err != nil {
		return err
	}
	if _, err := w.waits.Write(ctx, msg, stream.DeadName); err != nil {
		return fmt.Errorf("dead letter of %s: %w", d, err)
	}
	return nil
}

// invalidEvent is what lies in the event stream and is no event.
type invalidEvent struct {
	tenant string
	header nats.Header
	data   []byte
	cause  error
}

// buryInvalid settles what is no event: a dead letter without subscription.
func (w *Worker) buryInvalid(ctx context.Context, what invalidEvent, from delivered) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	letter := &events.DeadLetter{
		Delivery: events.Delivery{
			ID: events.DeliveryID(from.Sequence, string(events.ReasonInvalidEvent), 0), Tenant: what.tenant,
			Event: events.EventRef{Sequence: from.Sequence}, CreatedAt: from.Stored.UTC(), Reason: events.ReasonInvalidEvent,
		},
		DeadAt: time.Now(),
	}
	w.log.Warn().Err(what.cause).Uint64("sequence", from.Sequence).Msg("invalid event in the stream")
	msg, err := stream.DeadMessage(letter, what.header, what.data)
	if err != nil {
		return err
	}
	if _, err := w.waits.Write(ctx, msg, stream.DeadName); err != nil {
		return fmt.Errorf("dead letter of event %d: %w", from.Sequence, err)
	}
	w.metrics.dead(events.ReasonInvalidEvent)
	return nil
}

// judgeSink carries the part of a verdict that is about the sink, not the delivery. It comes before the record: if we
// die between, the delivery is repeated against a sink that is already held or disabled, and nothing is sent. What the
// target of a sinkoverride answers says nothing of the sink: it closes its own gate alone.
func (w *Worker) judgeSink(ctx context.Context, d *delivery, v *events.Verdict, g *gate) {
	now := time.Now()
	if v.HoldFor > 0 {
		g.close(now.Add(v.HoldFor)) // here at once: telling the fleet takes some milliseconds
	}
	if d.override != nil {
		return
	}
	w.failures.tell(ctx, d.entry, tallyOf(v, d.probe, now))
	if h := w.registry.Health(d.Subscription); h.State == registry.SinkHeld {
		g.reopen()
	}
}

func (d *delivery) waiting() *stream.Waiting {
	return &stream.Waiting{Delivery: d.Delivery, Event: d.event, At: d.at}
}

// letGo answers the broker about a message that is in our hands no more: what is handed back may come again at once.
func (w *Worker) letGo(held *kept, m *nats.Msg, err error) {
	w.keeper.remove(held)
	w.finish(m, err)
}

// finish answers the broker about a message, once all of its deliveries are settled: this is the only ack. What was
// handed back goes to another worker at once; what failed to settle comes again after its AckWait.
func (w *Worker) finish(m *nats.Msg, err error) {
	switch {
	case err == nil:
		err = w.nc.Publish(m.Reply, nil)
	case errors.Is(err, errReturned):
		err = w.nc.Publish(m.Reply, nak)
	}
	if err != nil {
		w.log.Error().Err(err).Str("subject", m.Subject).Msg("not settled; it will come again")
	}
}
