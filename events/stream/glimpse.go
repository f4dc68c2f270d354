package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Glimpse is a message of RETRIES or HELD that is not decoded: enough to pass over most of them at little cost.
type Glimpse struct {
	m *stored
}

// Sequence is the message's in its stream.
func (g Glimpse) Sequence() uint64 { return g.m.Sequence }

// Since is when the delivery was put there.
func (g Glimpse) Since() time.Time { return g.m.Time }

// Place is where the delivery waits; "" for a message that is not ours.
func (g Glimpse) Place() Place {
	switch s := g.m.Subject; {
	case strings.HasPrefix(s, SubjectRetry):
		return PlaceTimer
	case strings.HasPrefix(s, SubjectDue):
		return PlaceDue
	case strings.HasPrefix(s, SubjectHeld):
		return PlaceHeld
	default:
		return ""
	}
}

// Subscription is the id of the delivery's subscription.
func (g Glimpse) Subscription() string {
	tokens := strings.Split(g.m.Subject, ".")
	return tokens[max(0, len(tokens)-2)]
}

// Due is when a timer fires; ok is false for what is none.
func (g Glimpse) Due() (at time.Time, ok bool) {
	text, ok := strings.CutPrefix(headerValue(g.m.Header, scheduleHeader), "@at ")
	if !ok {
		return time.Time{}, false
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	return at, err == nil
}

// Parked decodes the delivery.
func (g Glimpse) Parked() (*Parked, error) { return parseParked(g.m, g.Place()) }

// Walk calls visit for up to limit messages of RETRIES or HELD from a sequence on, in order, and returns the sequence to
// go on from; 0 = the end was reached. They are work queues, so that no consumer may read them besides the workers'.
func (w *Waitlist) Walk(ctx context.Context, stream string, from uint64, limit int, visit func(Glimpse) error) (next uint64, err error) {
	next = max(from, 1)
	for visited := 0; visited < limit; {
		batch, err := w.batch(ctx, stream, "", next, walkBatch)
		if err != nil {
			return next, err
		}
		if len(batch) == 0 {
			return 0, nil
		}
		for _, m := range batch {
			if err := visit(Glimpse{m}); err != nil {
				return next, err
			}
			next = m.Sequence + 1
		}
		visited += len(batch)
	}
	return next, nil
}

// Rearm sets a timer again at its own time, which has passed, so that it fires at once. It returns false when the timer
// is not the one that was seen any more.
func (w *Waitlist) Rearm(ctx context.Context, p *Parked) (bool, error) {
	msg, err := p.TimerMessage()
	if err != nil {
		return false, err
	}
	msg.Header[nats.ExpectedLastSubjSeqHdr] = []string{strconv.FormatUint(p.Sequence, 10)}
	_, err = w.js.PublishMsg(ctx, msg)
	if e, ok := errors.AsType[*jetstream.APIError](err); ok && e.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("rearm the timer of %s: %w", p.Delivery.ID, err)
	}
	return true, nil
}

// headerValue is Header.Get for a name in the spelling that we write.
func headerValue(h nats.Header, name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}
