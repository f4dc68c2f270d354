package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events"
)

// replicaLag is how long a read waits for the replica it got to catch up before it looks again.
const replicaLag = 50 * time.Millisecond

// Settled takes what the history says about what was done before.
type Settled struct {
	// Record is called for a record: the delivery's state after it, the attempts made by then, and the record's sequence.
	Record func(delivery string, state events.State, attempts int, record uint64)
	// Batch is called for the list of a batch that was about to be sent; nil = those are passed over.
	Batch func(*BatchList)
}

func (s *Settled) take(sequence uint64, msg *nats.Msg) error {
	if !isBatchList(msg.Header) {
		for r := range recordsOf(msg.Data) {
			s.Record(recordID(r), recordState(r), recordAttempts(r), sequence)
		}
		return nil
	}
	if s.Batch == nil {
		return nil
	}
	l, err := parseBatchList(msg.Data, sequence, time.Time{})
	if err == nil {
		s.Batch(l)
	}
	return err
}

// SettledSince calls fn for everything written since from, in order, up to the newest when it began, whose sequence
// it returns. What was recorded since the time of a consumer's ack floor need not be done again.
func (h *History) SettledSince(ctx context.Context, from time.Time, fn Settled) (last uint64, err error) {
	return h.SettledUntil(ctx, from, math.MaxUint64, fn)
}

// SettledUntil is SettledSince up to a sequence, or to the newest when that is before it.
func (h *History) SettledUntil(ctx context.Context, from time.Time, to uint64, fn Settled) (last uint64, err error) {
	first, err := h.leader(ctx, Attempts, getRequest{StartTime: &from})
	if err != nil {
		return 0, err
	}
	if first == nil {
		s, err := h.state(ctx, Attempts)
		return min(s.Last, to), err
	}
	return h.settled(ctx, first.Sequence, to, fn)
}

// SettledFrom is SettledSince from a sequence on.
func (h *History) SettledFrom(ctx context.Context, sequence uint64, fn Settled) (last uint64, err error) {
	return h.settled(ctx, sequence, math.MaxUint64, fn)
}

func (h *History) settled(ctx context.Context, from, to uint64, fn Settled) (last uint64, err error) {
	state, err := h.state(ctx, Attempts)
	if err != nil {
		return 0, err
	}
	next := max(from, state.First)
	to = min(to, state.Last)
	for next <= to {
		var failed error
		err := h.read(ctx, scan{stream: Attempts, from: next, to: to}, func(at uint64, msg *nats.Msg) bool {
			next = at + 1
			failed = fn.take(at, msg)
			return failed == nil
		})
		if err = errors.Join(err, failed); err != nil {
			return 0, fmt.Errorf("read settled deliveries: %w", err)
		}
		if next > to {
			break
		}
		if err := h.lagging(ctx, &next); err != nil {
			return 0, fmt.Errorf("read settled deliveries: %w", err)
		}
	}
	return to, nil
}

// Record returns the record of a delivery at a sequence, or nil when it is not there any more.
func (h *History) Record(ctx context.Context, sequence uint64, delivery string) (*events.Record, error) {
	m, err := h.leader(ctx, Attempts, getRequest{Sequence: sequence})
	if m == nil || err != nil {
		return nil, err
	}
	text := recordOf(m.Data, delivery)
	if text == nil {
		return nil, nil
	}
	return ParseRecord(text)
}

// lagging waits a little for a replica that has not all yet, and passes over what has expired meanwhile.
func (h *History) lagging(ctx context.Context, next *uint64) error {
	state, err := h.state(ctx, Attempts)
	if err != nil {
		return err
	}
	if state.First > *next {
		*next = state.First
		return nil
	}
	select {
	case <-time.After(replicaLag):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Members of a record, as AppendRecord writes them. A quote in a string is always escaped, so that in the text of a
// record they are what they seem, and the delivery's own come first.
var (
	idMember       = []byte(`{"id":"`)
	stateMember    = []byte(`,"state":"`)
	attemptsMember = []byte(`,"attempts":`)
	firstMember    = []byte(`,"first":true`)
)

// recordID reads the delivery's id off a record without decoding it; "" when it is none.
func recordID(data []byte) string {
	rest, ok := bytes.CutPrefix(data, idMember)
	end := bytes.IndexByte(rest, '"')
	if !ok || end < 0 {
		return ""
	}
	return string(rest[:end])
}

// recordState reads the state off a record without decoding it.
func recordState(data []byte) events.State {
	_, after, _ := bytes.Cut(data, stateMember)
	return events.State(after[:max(0, bytes.IndexByte(after, '"'))])
}

// recordAttempts reads the number of attempts off a record without decoding it.
func recordAttempts(data []byte) int {
	_, after, ok := bytes.Cut(data, attemptsMember)
	if !ok {
		return 0
	}
	n := 0
	for _, c := range after {
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + int(c-'0')
	}
	return n
}
