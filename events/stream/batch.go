package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
)

// MaxBatch is the most messages of one atomic batch (JetStream's limit, where a server's settings give no other).
const MaxBatch = 1000

// maxJoined bounds the bytes of requests that are joined: as much as one request may have (API.md 2).
const maxJoined = 8 << 20

// JetStream's header of a condition, and one that cannot hold.
const (
	expectedLastIDHeader  = "Nats-Expected-Last-Msg-Id"
	impossibleLastMessage = "hookfleet-probe-that-no-message-has-as-its-id"
)

// Batches stores several messages at once, all or nothing, also in a crash. Each costs the broker a store of its own to
// stage it, some milliseconds, so batches that come while one is being stored are joined into the next.
type Batches struct {
	nc   *nats.Conn
	sync Syncer
	most int // messages of one atomic batch

	turns *Turns // nil = batches are always atomic ones of the broker

	mu      sync.Mutex
	waiting []*batch
	busy    bool // somebody stores
}

// batch is one caller's entries.
type batch struct {
	stream  string
	entries []Entry
	bytes   int
	done    chan struct{} // closed when first and err are set
	lead    chan struct{} // closed when it is this caller's turn to store for all
	first   uint64
	err     error
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

// InTurns lets what is stored in EVENTS take turns with others, and returns b. To be called before Store.
func (b *Batches) InTurns(t *Turns) *Batches {
	b.turns = t
	return b
}

// Write is Store of messages, which it does not change.
func (b *Batches) Write(ctx context.Context, stream string, msgs []*nats.Msg) (first uint64, err error) {
	entries := make([]Entry, len(msgs))
	for i, m := range msgs {
		entries[i] = Entry{Subject: m.Subject, Header: m.Header, Data: m.Data}
		if m.Header == nil {
			entries[i].Header = nats.Header{}
		}
	}
	return b.Store(ctx, stream, entries)
}

// Store stores entries (1 to MaxBatch) in stream, and returns the sequence of the first once all are durable; the others
// follow without gaps. When one is known already, nothing is stored and the error is ErrDuplicateInBatch: the broker does
// not say which, Known does. What waits for others is given up when ctx ends, or a stop would wait for all of them; what is being
// stored takes as long as the broker does, whatever becomes of the caller: at most some ackTimeouts.
func (b *Batches) Store(ctx context.Context, stream string, entries []Entry) (first uint64, err error) {
	return b.join(ctx, &batch{stream: stream, entries: entries})
}

// join stores a batch, with others that come at the same time.
func (b *Batches) join(ctx context.Context, own *batch) (first uint64, err error) {
	own.done, own.lead = make(chan struct{}), make(chan struct{})
	for i := range own.entries {
		own.bytes += len(own.entries[i].Data)
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
	group := b.take()
	b.storeGroup(group)
	b.settle(group)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next()
}

// take takes batches that fit in one atomic batch from those that wait.
func (b *Batches) take() []*batch {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, size, bytes := 1, len(b.waiting[0].entries), b.waiting[0].bytes
	for ; n < len(b.waiting); n++ {
		next := b.waiting[n]
		if next.stream != b.waiting[0].stream || size+len(next.entries) > b.most || bytes+next.bytes > maxJoined {
			break
		}
		size, bytes = size+len(next.entries), bytes+next.bytes
	}
	group := b.waiting[:n:n]
	b.waiting = b.waiting[n:]
	return group
}

// storeGroup stores batches as one. When one of them has a duplicate, each is stored by itself.
func (b *Batches) storeGroup(group []*batch) {
	b.store(group)
	if errors.Is(group[0].err, ErrDuplicateInBatch) && len(group) > 1 {
		for i := range group {
			b.store(group[i : i+1])
		}
	}
}

// settle makes durable what is stored of a group, and tells its callers.
func (b *Batches) settle(group []*batch) {
	isStored := func(one *batch) bool { return one.err == nil }
	var err error
	if slices.ContainsFunc(group, isStored) {
		err = b.Sync(group[0].stream)
	}
	for _, one := range group {
		if err != nil && isStored(one) {
			one.first, one.err = 0, err
		}
		close(one.done)
	}
}

// store stores batches as one atomic batch.
func (b *Batches) store(group []*batch) {
	size := 0
	for _, one := range group {
		size += len(one.entries)
	}
	ack, err := b.publishInTurn(group, size)
	first := ack.Sequence - uint64(size-1)
	for _, one := range group {
		one.first, one.err = first, err
		first += uint64(len(one.entries))
	}
}

// publishInTurn publishes all entries when it is their turn, and awaits the answer.
func (b *Batches) publishInTurn(group []*batch, size int) (Ack, error) {
	if b.turns == nil || group[0].stream != Events {
		return b.publish(group, newEnvelope(nuid.Next(), size))
	}
	if err := b.turns.take(); err != nil {
		return Ack{}, err
	}
	defer b.turns.give()
	if !b.turns.own {
		return b.publishAtomic(group, size)
	}
	if known, err := b.turns.knows(group); known || err != nil {
		return Ack{}, cmp.Or(err, ErrDuplicateInBatch)
	}
	ack, done, err := b.publishPlain(group, size)
	if !done {
		ack, err = b.publishAtomic(group, size)
	}
	switch {
	case err == nil:
		b.turns.noteBatches(group, ack.Sequence-uint64(size-1))
	case errors.Is(err, ErrDuplicateInBatch): // of what others have stored
		b.turns.late = true
	}
	return ack, err
}

// publishAtomic publishes all entries as an atomic batch of the broker. The caller has the turn.
func (b *Batches) publishAtomic(group []*batch, size int) (Ack, error) {
	ack, err := b.publish(group, newEnvelope(nuid.Next(), size))
	if errors.Is(err, ErrUnknown) {
		b.turns.late = true
	}
	return ack, err
}

// publish publishes all entries, and awaits the answer to the last.
func (b *Batches) publish(group []*batch, out *envelope) (Ack, error) {
	place := 0
	for _, one := range group {
		for i := range one.entries {
			place++
			msg := out.put(&one.entries[i], place)
			if place == out.last {
				break
			}
			if err := b.nc.PublishMsg(msg); err != nil {
				return Ack{}, fmt.Errorf("publish to %s: %w", msg.Subject, err)
			}
		}
	}
	answer, err := request(context.Background(), b.nc, &out.msg)
	if err != nil {
		return Ack{}, err
	}
	return parseAck(answer)
}

// Sync makes durable what is stored in stream, by whomever: what Probe has found may not be yet.
func (b *Batches) Sync(stream string) error {
	if b.sync == nil {
		return nil
	}
	if err := b.sync(stream); err != nil {
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return nil
}

// Known asks for entries at which sequences they are stored already; 0 = not.
func (b *Batches) Known(ctx context.Context, entries []Entry) ([]uint64, error) {
	if b.turns != nil {
		if sequences, own, err := b.turns.find(entries); own || err != nil {
			return sequences, err
		}
	}
	sequences := make([]uint64, len(entries))
	for i := range entries {
		var err error
		if sequences[i], err = b.Probe(ctx, entries[i].Message()); err != nil {
			return nil, err
		}
	}
	return sequences, nil
}

// Probe asks the broker whether msg would be a duplicate, without storing it: the broker looks for duplicates before it looks at
// the condition that cannot hold. sequence is the stored message's, 0 when there is none.
func (b *Batches) Probe(ctx context.Context, msg *nats.Msg) (sequence uint64, err error) {
	h := maps.Clone(msg.Header)
	h[expectedLastIDHeader] = []string{impossibleLastMessage}
	answer, err := request(ctx, b.nc, &nats.Msg{Subject: msg.Subject, Header: h, Data: msg.Data})
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

func request(ctx context.Context, nc *nats.Conn, msg *nats.Msg) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	answer, err := nc.RequestMsgWithContext(ctx, msg)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return answer, nil
}
