package stream

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events"
)

// replayMsgID makes the broker keep one of two messages that make the same replay: of two callers at the same time, or of
// one who had no answer, also when the first has been taken by a worker.
func replayMsgID(delivery string) string { return "replay:" + delivery }

// ReplayOf is the delivery that replays a dead letter once more, due now. ok is false for what is no valid event.
func ReplayOf(l *Letter, now time.Time) (w *Waiting, ok bool) {
	next, ok := events.NextReplay(l.ID)
	if !ok || l.Payload == nil {
		return nil, false
	}
	return &Waiting{Event: l.Payload, Delivery: events.Delivery{
		ID: next, Subscription: l.Subscription, Tenant: l.Tenant, Event: l.Event, CreatedAt: now, NextAt: now, ReplayOf: l.ID,
	}}, true
}

// ReplayMessage is the message that makes a replay: it is due, and goes to the next worker that has room, beside the
// retries. There is one of each replay, however often it is written within two minutes.
func (w *Waiting) ReplayMessage() (*nats.Msg, error) {
	msg, err := w.message(DueSubject(w.Delivery.Subscription, w.Delivery.ID))
	if err != nil {
		return nil, err
	}
	msg.Header[nats.MsgIdHdr] = []string{replayMsgID(w.Delivery.ID)}
	if after := min(w.After, MaxAfter).Milliseconds(); after > 0 {
		msg.Header[HeaderAfter] = []string{strconv.FormatInt(after, 10)}
	}
	return msg, nil
}

// MaxAfter bounds Waiting.After: a message that nobody answers for longer is kept alive, which costs.
const MaxAfter = time.Second

// AfterOf is how long a delivery that came by a ReplayMessage is to wait; 0 = not at all.
func AfterOf(header nats.Header) time.Duration {
	text, ok := header[HeaderAfter]
	if !ok {
		return 0
	}
	n, err := strconv.ParseUint(text[0], 10, 16)
	if err != nil {
		return 0 // it is none that we wrote
	}
	return min(time.Duration(n)*time.Millisecond, MaxAfter)
}

// Replay makes the delivery w that replays a dead letter, durably, and only then removes the letter. When a process ended
// between, the delivery is there already: waiting, in flight, or with records; then only the letter is left to remove.
func (d *DeadList) Replay(ctx context.Context, writer *Writer, known bool, w *Waiting) error {
	if !known {
		msg, err := w.ReplayMessage()
		if err != nil {
			return err
		}
		if _, err := writer.Write(ctx, msg, Retries); err != nil {
			return fmt.Errorf("replay %s: %w", w.Delivery.ReplayOf, err)
		}
	}
	_, err := d.Delete(ctx, w.Delivery.ReplayOf)
	return err
}

// RecordsOf is where the records of a subscription's deliveries are, and perhaps others': where those of the given ones are
// near each other, as of a replay's neighbours, the live ones' are elsewhere.
func RecordsOf(subscription string, deliveries iter.Seq[string]) (subject string) {
	for id := range deliveries {
		sequence, _, _, ok := events.ParseDeliveryID(id)
		own := HistorySubject(subscription, sequence)
		if !ok || subject != "" && subject != own {
			return HistorySubjects(subscription)
		}
		subject = own
	}
	return cmp.Or(subject, HistorySubjects(subscription))
}

// Follow calls fn with every record of a subject of RecordsOf after a sequence of ATTEMPTS, in order, up to the end. It
// returns the sequence of the last one; that of the caller when there is none.
func (h *History) Follow(ctx context.Context, subject string, after uint64, fn func(delivery string, state events.State)) (last uint64, err error) {
	for last = after; ; {
		batch, err := h.batch(ctx, Attempts, subject, last+1, walkBatch)
		if err != nil {
			return last, fmt.Errorf("follow the records of %s: %w", subject, err)
		}
		for _, m := range batch {
			last = m.Sequence
			for text := range recordsOf(m.Data) {
				fn(recordID(text), recordState(text))
			}
		}
		if len(batch) < walkBatch {
			return last, nil
		}
	}
}

// End returns the sequence of the newest record.
func (h *History) End(ctx context.Context) (uint64, error) {
	s, err := h.state(ctx, Attempts)
	return s.Last, err
}

// SinceIn returns the sequence of the first message of a stream that was stored at or after t, or shortly before; zero =
// the first there is.
func (h *History) SinceIn(ctx context.Context, stream string, t time.Time) (uint64, error) {
	s, err := h.state(ctx, stream)
	if err != nil {
		return 0, err
	}
	return h.since(ctx, stream, t, s)
}
