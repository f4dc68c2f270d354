package stream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
	"golang.org/x/sync/semaphore"
)

// MaxBatch is the most messages of one atomic batch (JetStream's limit).
const MaxBatch = 1000

// maxOpenBatches bounds the atomic batches of one process: a stream takes 50 open ones from everybody together, and more
// at a time only wait for each other.
const maxOpenBatches = 4

// JetStream's headers of atomic batches (ADR-50) and of conditions.
const (
	batchIDHeader         = "Nats-Batch-Id"
	batchSequenceHeader   = "Nats-Batch-Sequence"
	batchCommitHeader     = "Nats-Batch-Commit"
	expectedLastIDHeader  = "Nats-Expected-Last-Msg-Id"
	impossibleLastMessage = "hookfleet-probe-that-no-message-has-as-its-id"
)

// Batches stores several messages at once, all or nothing, also in a crash.
type Batches struct {
	nc   *nats.Conn
	sync Syncer
	open *semaphore.Weighted
}

// NewBatches makes it on nc. sync may be nil, where the broker's acknowledgement is durability.
func NewBatches(nc *nats.Conn, sync Syncer) *Batches {
	return &Batches{nc: nc, sync: sync, open: semaphore.NewWeighted(maxOpenBatches)}
}

// Write stores msgs (1 to MaxBatch) in stream, and returns the sequence of the first once all are durable; the others
// follow without gaps. When one is known already, nothing is stored and the error is ErrDuplicateInBatch: the broker does
// not say which, Probe does.
func (b *Batches) Write(ctx context.Context, stream string, msgs []*nats.Msg) (first uint64, err error) {
	if err := b.open.Acquire(ctx, 1); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrBusy, err)
	}
	defer b.open.Release(1)
	id := nuid.Next()
	last := len(msgs) - 1
	for i, m := range msgs[:last] {
		if err := b.nc.PublishMsg(batchMember(m, id, i, false)); err != nil {
			return 0, fmt.Errorf("publish to %s: %w", m.Subject, err)
		}
	}
	answer, err := b.request(ctx, batchMember(msgs[last], id, last, true))
	if err != nil {
		return 0, err
	}
	ack, err := parseAck(answer)
	if err != nil {
		return 0, err
	}
	if b.sync != nil {
		if err := b.sync(stream); err != nil {
			return 0, fmt.Errorf("%w: %w", ErrUnknown, err)
		}
	}
	return ack.Sequence - uint64(last), nil
}

// Probe asks whether msg would be a duplicate, without storing it: the broker looks for duplicates before it looks at
// the condition that cannot hold. sequence is the stored message's, 0 when there is none.
func (b *Batches) Probe(ctx context.Context, msg *nats.Msg) (sequence uint64, err error) {
	h := maps.Clone(msg.Header)
	h[expectedLastIDHeader] = []string{impossibleLastMessage}
	answer, err := b.request(ctx, &nats.Msg{Subject: msg.Subject, Header: h, Data: msg.Data})
	if err != nil {
		return 0, err
	}
	ack, err := parseAck(answer)
	switch {
	case errors.Is(err, errWrongLastMsgID):
		return 0, nil
	case err != nil:
		return 0, err
	case !ack.Duplicate:
		return 0, fmt.Errorf("probe of %s was stored at %d", msg.Subject, ack.Sequence)
	}
	return ack.Sequence, nil
}

func (b *Batches) request(ctx context.Context, msg *nats.Msg) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	answer, err := b.nc.RequestMsgWithContext(ctx, msg)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return answer, nil
}

func batchMember(m *nats.Msg, id string, i int, commit bool) *nats.Msg {
	h := make(nats.Header, len(m.Header)+3)
	maps.Copy(h, m.Header)
	h[batchIDHeader] = []string{id}
	h[batchSequenceHeader] = []string{strconv.Itoa(i + 1)}
	if commit {
		h[batchCommitHeader] = []string{"1"}
	}
	return &nats.Msg{Subject: m.Subject, Header: h, Data: m.Data}
}
