package stream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
)

// MaxBatch is the most messages of one atomic batch (JetStream's limit, where a server's settings give no other).
const MaxBatch = 1000

// maxJoined bounds the bytes of requests that are joined: as much as one request may have (API.md 2).
const maxJoined = 8 << 20

// JetStream's headers of atomic batches (ADR-50) and of conditions.
const (
	batchIDHeader         = "Nats-Batch-Id"
	batchSequenceHeader   = "Nats-Batch-Sequence"
	batchCommitHeader     = "Nats-Batch-Commit"
	expectedLastIDHeader  = "Nats-Expected-Last-Msg-Id"
	impossibleLastMessage = "hookfleet-probe-that-no-message-has-as-its-id"
)

// Batches stores several messages at once, all or nothing, also in a crash. Each costs the broker a store of its own to
// stage it, some milliseconds, so batches that come while one is being stored are joined into the next.
type Batches struct {
	nc   *nats.Conn
	sync Syncer
	most int // messages of one atomic batch

	mu      sync.Mutex
	waiting []*batch
	busy    bool // somebody stores
}

// batch is one caller's messages.
type batch struct {
	stream string
	msgs   []*nats.Msg
	bytes  int
	done   chan struct{} // closed when first and err are set
	lead   chan struct{} // closed when it is this caller's turn to store for all
	first  uint64
	err    error
}

// NewBatches makes it on nc. sync may be nil, where the broker's acknowledgement is durability.
func NewBatches(nc *nats.Conn, sync Syncer) *Batches {
	return &Batches{nc: nc, sync: sync, most: MaxBatch}
}

// UpTo sets how many messages may be joined into one atomic batch, where the broker takes more than MaxBatch, and returns b.
// To be called before Write.
func (b *Batches) UpTo(most int) *Batches {
	b.most = most
	return b
}

// Write stores msgs (1 to MaxBatch, each with a header map of its own) in stream, and returns the sequence of the first once all are durable; the others
// follow without gaps. When one is known already, nothing is stored and the error is ErrDuplicateInBatch: the broker does
// not say which, Probe does. What waits for others is given up when ctx ends, or a stop would wait for all of them; what is being
// stored takes as long as the broker does, whatever becomes of the caller: at most some ackTimeouts.
func (b *Batches) Write(ctx context.Context, stream string, msgs []*nats.Msg) (first uint64, err error) {
	own := &batch{stream: stream, msgs: msgs, done: make(chan struct{}), lead: make(chan struct{})}
	for _, m := range msgs {
		own.bytes += len(m.Data)
	}
	b.mu.Lock()
	b.waiting = append(b.waiting, own)
	leads := !b.busy
	b.busy = true
	b.mu.Unlock()
	if !leads {
		select {
		case <-own.done:
			return own.first, own.err
		case <-own.lead:
		case <-ctx.Done():
			if b.giveUp(own) {
				return 0, fmt.Errorf("wait for other batches: %w", context.Cause(ctx))
			}
			<-own.done
			return own.first, own.err
		}
	}
	b.storeNext()
	<-own.done // the oldest is always in the next one
	return own.first, own.err
}

// giveUp takes a batch from those that wait; false = it is being stored. Whose turn it would be is passed over.
func (b *Batches) giveUp(own *batch) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := slices.Index(b.waiting, own)
	if at < 0 {
		return false
	}
	b.waiting = slices.Concat(b.waiting[:at], b.waiting[at+1:]) // a copy: the one before is of who stores
	select {
	case <-own.lead:
		b.next()
	default:
	}
	return true
}

// next hands on to the oldest that waits. b.mu is held.
func (b *Batches) next() {
	if b.busy = len(b.waiting) > 0; b.busy {
		close(b.waiting[0].lead)
	}
}

// storeNext stores what waits, as much as fits in one atomic batch, and hands on to who is next.
func (b *Batches) storeNext() {
	b.mu.Lock()
	n, size, bytes := 1, len(b.waiting[0].msgs), b.waiting[0].bytes
	for ; n < len(b.waiting); n++ {
		next := b.waiting[n]
		if next.stream != b.waiting[0].stream || size+len(next.msgs) > b.most || bytes+next.bytes > maxJoined {
			break
		}
		size, bytes = size+len(next.msgs), bytes+next.bytes
	}
	group := b.waiting[:n:n]
	b.waiting = b.waiting[n:]
	b.mu.Unlock()

	b.storeGroup(group)

	b.mu.Lock()
	defer b.mu.Unlock()
	b.next()
}

// storeGroup stores batches as one. When one of them has a duplicate, each is stored by itself.
func (b *Batches) storeGroup(group []*batch) {
	var all []*nats.Msg
	for _, one := range group {
		all = append(all, one.msgs...)
	}
	first, err := b.store(group[0].stream, all)
	if errors.Is(err, ErrDuplicateInBatch) && len(group) > 1 {
		for _, one := range group {
			one.first, one.err = b.store(one.stream, one.msgs)
			close(one.done)
		}
		return
	}
	for _, one := range group {
		one.first, one.err = first, err
		first += uint64(len(one.msgs))
		close(one.done)
	}
}

// store stores msgs as one atomic batch.
func (b *Batches) store(stream string, msgs []*nats.Msg) (first uint64, err error) {
	defer unmark(msgs)
	id := []string{nuid.Next()}
	last := len(msgs) - 1
	for i, m := range msgs[:last] {
		mark(m, id, i)
		if err := b.nc.PublishMsg(m); err != nil {
			return 0, fmt.Errorf("publish to %s: %w", m.Subject, err)
		}
	}
	mark(msgs[last], id, last)
	msgs[last].Header[batchCommitHeader] = []string{"1"}
	answer, err := b.request(context.Background(), msgs[last])
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

// mark makes m member i (from 0) of the batch. It stays the caller's message, with two headers more: a copy of each took a
// twentieth of what is allocated for a batch.
func mark(m *nats.Msg, id []string, i int) {
	m.Header[batchIDHeader] = id
	m.Header[batchSequenceHeader] = []string{strconv.Itoa(i + 1)}
}

// unmark makes messages of no batch again: they may be probed, stored by themselves or in another one.
func unmark(msgs []*nats.Msg) {
	for _, m := range msgs {
		delete(m.Header, batchIDHeader)
		delete(m.Header, batchSequenceHeader)
		delete(m.Header, batchCommitHeader)
	}
}
