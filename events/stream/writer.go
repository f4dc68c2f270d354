package stream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
)

// Bounds of the writer.
const (
	// maxGroup bounds a group, so that its first message does not wait long for its answer: 128 messages and one sync
	// take 1.3 ms, and beyond 500 a group gets no cheaper per message.
	maxGroup = 512
	// maxGroupBytes bounds what one group hands to the connection at once.
	maxGroupBytes = 4 << 20
	// maxQueued bounds what waits for a group. Callers of Write are bounded by themselves; Submit is refused beyond.
	maxQueued = 16 << 10
	// crowd is how many writes of a group show that more come by themselves while a paced writer rests.
	crowd = 4
	// maxTries bounds how often a write is repeated whose twin is being stored: each try takes a round through the cluster.
	maxTries = 100
	// ackTimeout is when a missing answer means that the broker is away or its disk is full. The write is then unknown.
	ackTimeout = 5 * time.Second
)

// Errors that callers of the Writer branch on.
var (
	// ErrUnknown: the broker did not answer in time. The message may be stored; writing it again with the same
	// Nats-Msg-Id is safe. Returned by Write, WriteBatch and to Submit's done.
	ErrUnknown = errors.New("the broker did not answer")
	// ErrBusy: too much waits already. Returned by Submit.
	ErrBusy = errors.New("too many writes wait")
	// ErrRefusedFull: the stream's or the store's limit is reached. Returned by Write and WriteBatch.
	ErrRefusedFull = errors.New("the store is full")
	// ErrDuplicateInBatch: a message of an atomic batch is known already, and nothing was stored. Returned by WriteBatch.
	ErrDuplicateInBatch = errors.New("a message of the batch is a duplicate")
	// ErrExists: the subject may hold one message and has it. Returned by Write to HELD.
	ErrExists = errors.New("the subject holds a message already")
	// ErrMoved: the subject's last message is another than Nats-Expected-Last-Subject-Sequence says. Returned by Write.
	ErrMoved = errors.New("the subject's last message is another")
)

// Ack is JetStream's answer to a stored message.
type Ack struct {
	Sequence  uint64
	Duplicate bool
}

// Syncer makes acknowledged messages of streams durable. It is nil where the broker's own acknowledgement is durability.
type Syncer func(streams ...string) error

// Writer stores messages in groups: it takes what waits, publishes it, awaits all answers, makes the group durable with
// one sync, and then answers. It never waits for more to come. On a cluster a group is one atomic batch, which is one
// entry of the quorum's log and so one sync of each server.
type Writer struct {
	nc      *nats.Conn
	sync    Syncer
	inbox   string
	id      string   // of this writer, in the names of its fast batches
	batches *Batches // of a cluster; nil = groups are synced by us
	stream  string   // that the batches go to
	turns   *Turns   // of who stores events; nil = it stores none, or takes no turns

	mu     sync.Mutex
	queue  []*write
	wake   chan struct{}
	closed bool

	group groupState
	pace  time.Duration // from the start of one group to that of the next at least; 0 = none
}

type write struct {
	msg     *nats.Msg
	loose   bool   // nobody asks for its sequence
	stream  string // to sync; "" = none
	done    func(Ack, error)
	ack     Ack
	err     error
	settled bool
	tries   int
}

// groupState is the group whose answers are awaited. The answer's subject names the group and the place in it, so that
// an answer that comes too late is told apart.
type groupState struct {
	mu      sync.Mutex
	number  uint64
	writes  []*write
	loose   int // of writes, the first ones: they are settled together
	bundles int // messages that the loose ones became; several are a fast batch
	missing int
	full    chan struct{}
}

// NewWriter makes a writer on nc. sync may be nil.
func NewWriter(nc *nats.Conn, sync Syncer) *Writer {
	w := &Writer{nc: nc, sync: sync, wake: make(chan struct{}, 1), inbox: nc.NewInbox() + ".", id: nuid.Next()}
	w.group.full = make(chan struct{}, 1)
	return w
}

// NewClusterWriter makes a writer to one stream of a cluster: its groups are atomic batches.
func NewClusterWriter(nc *nats.Conn, streamName string) *Writer {
	w := NewWriter(nc, nil)
	w.batches, w.stream = NewBatches(nc, nil), streamName
	return w
}

// Paced lets a group begin no sooner than d after the one before, and returns w: for what nobody waits for, of which larger
// groups cost less. Where fewer than a crowd come at a time, as of one key in order, nobody waits. To be called before Run.
func (w *Writer) Paced(d time.Duration) *Writer {
	w.pace = d
	return w
}

// InTurns lets its groups, which are of events, take turns with others, and returns w. To be called before Run.
func (w *Writer) InTurns(t *Turns) *Writer {
	w.turns = t
	return w
}

// Write stores msg and returns when it is durable, or only acknowledged when stream is "". It waits for ctx no longer
// than the group takes; once ctx has ended the outcome is unknown.
func (w *Writer) Write(ctx context.Context, msg *nats.Msg, stream string) (Ack, error) {
	type result struct {
		ack Ack
		err error
	}
	answer := make(chan result, 1)
	if err := w.submit(&write{msg: msg, stream: stream, done: func(a Ack, err error) { answer <- result{a, err} }}); err != nil {
		return Ack{}, err
	}
	if ctx.Done() == nil { // cheaper, and most who settle have none
		r := <-answer
		return r.ack, r.err
	}
	select {
	case r := <-answer:
		return r.ack, r.err
	case <-ctx.Done():
		return Ack{}, fmt.Errorf("%w: %w", ErrUnknown, context.Cause(ctx))
	}
}

// Append stores a line of text in a stream that takes fast batches, and returns when it is acknowledged, not durable. Its
// sequence does not matter: the lines of a group share one answer, and those of one subject share messages. A line with
// headers has a message of its own.
func (w *Writer) Append(ctx context.Context, msg *nats.Msg) error {
	answer := make(chan error, 1)
	if err := w.submit(&write{msg: msg, loose: true, done: func(_ Ack, err error) { answer <- err }}); err != nil {
		return err
	}
	if ctx.Done() == nil {
		return <-answer
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnknown, context.Cause(ctx))
	}
}

// Submit stores msg and calls done when it is durable. done runs on the writer's goroutine and must not block.
func (w *Writer) Submit(msg *nats.Msg, stream string, done func(Ack, error)) error {
	return w.submit(&write{msg: msg, stream: stream, done: done})
}

func (w *Writer) submit(one *write) error {
	w.mu.Lock()
	if w.closed || len(w.queue) >= maxQueued {
		w.mu.Unlock()
		return ErrBusy
	}
	w.queue = append(w.queue, one)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
	return nil
}

// Sync makes durable what was acknowledged of a stream before.
func (w *Writer) Sync(stream string) error {
	if w.sync == nil {
		return nil
	}
	return w.sync(stream)
}

// Run writes until ctx ends and everything that was queued by then is answered.
func (w *Writer) Run(ctx context.Context) error {
	sub, err := w.nc.Subscribe(w.inbox+">", w.answered)
	if err != nil {
		return fmt.Errorf("listen for the broker's answers: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection may be closed already
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return fmt.Errorf("listen for the broker's answers: %w", err)
	}
	for {
		select {
		case <-w.wake:
			for group := w.take(false); len(group) > 0; group = w.take(false) {
				began := time.Now()
				w.store(group)
				if len(group) >= crowd {
					w.rest(ctx, began)
				}
			}
		case <-ctx.Done():
			for group := w.take(true); len(group) > 0; group = w.take(true) {
				w.store(group)
			}
			return nil
		}
	}
}

// rest waits until the next group may begin.
func (w *Writer) rest(ctx context.Context, began time.Time) {
	left := w.pace - time.Since(began)
	if left <= 0 {
		return
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// take takes the next group off the queue. closing refuses what comes later.
func (w *Writer) take(closing bool) []*write {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = w.closed || closing
	n, size := 0, 0
	for n < len(w.queue) && n < maxGroup && size < maxGroupBytes {
		size += len(w.queue[n].msg.Data)
		n++
	}
	group := w.queue[:n:n]
	if n == len(w.queue) {
		w.queue = nil
	} else {
		w.queue = w.queue[n:]
	}
	return group
}

// store publishes a group, awaits its answers, syncs, and tells the callers.
func (w *Writer) store(group []*write) {
	if w.batches != nil && len(group) > 1 && w.storeBatch(group) {
		return
	}
	if err := w.publishInTurn(group); err != nil {
		for _, m := range group {
			m.done(Ack{}, err)
		}
		return
	}
	err := w.syncGroup(group)
	for _, m := range group {
		switch {
		case !m.settled:
			m.done(Ack{}, ErrUnknown)
		case errors.Is(m.err, errInProcess) && m.tries < maxTries:
			w.again(m)
		case m.err != nil:
			m.done(Ack{}, m.err)
		case err != nil && m.stream != "":
			m.done(Ack{}, fmt.Errorf("%w: %w", ErrUnknown, err))
		default:
			m.done(m.ack, nil)
		}
	}
}

// storeBatch stores a group as one atomic batch and tells the callers. It returns false when a member is a duplicate: the
// broker refuses the whole batch then, and does not say which, so each is to be published by itself.
func (w *Writer) storeBatch(group []*write) bool {
	msgs := make([]*nats.Msg, len(group))
	for i, m := range group { // copies: who has stopped waiting may do with the message what it wants
		h := make(nats.Header, len(m.msg.Header)+3)
		maps.Copy(h, m.msg.Header)
		msgs[i] = &nats.Msg{Subject: m.msg.Subject, Header: h, Data: m.msg.Data}
	}
	first, err := w.batches.Write(context.Background(), w.stream, msgs)
	if errors.Is(err, ErrDuplicateInBatch) {
		return false
	}
	for i, m := range group {
		if err != nil {
			m.done(Ack{}, err)
		} else {
			m.done(Ack{Sequence: first + uint64(i)}, nil)
		}
	}
	return true
}

// publishInTurn publishes a group when it is its turn, and awaits the answers.
func (w *Writer) publishInTurn(group []*write) error {
	if w.turns == nil {
		w.publish(group)
		w.await()
		return nil
	}
	if err := w.turns.take(); err != nil {
		return err
	}
	defer w.turns.give()
	fresh := w.turns.fresh(group)
	if len(fresh) == 0 {
		return nil
	}
	w.publish(fresh)
	if !w.await() {
		w.turns.late = true
	}
	w.turns.noteWrites(fresh)
	return nil
}

func (w *Writer) publish(group []*write) {
	loose := looseFirst(group)
	together := bundles(group[:loose])
	g := &w.group
	g.mu.Lock()
	g.number++
	g.writes, g.loose, g.bundles, g.missing = group, loose, len(together), len(group)
	select { // a leftover of a group that timed out
	case <-g.full:
	default:
	}
	number := g.number
	g.mu.Unlock()
	w.publishLoose(number, together)
	prefix := append([]byte(w.inbox), strconv.FormatUint(number, 36)+"."...)
	for i := loose; i < len(group); i++ {
		m := group[i]
		m.msg.Reply = string(strconv.AppendUint(prefix, uint64(i), 36))
		if err := w.nc.PublishMsg(m.msg); err != nil {
			w.settle(number, i, Ack{}, fmt.Errorf("publish to %s: %w", m.msg.Subject, err))
		}
	}
}

// await awaits the answers to a group; false = some did not come in time, and the broker may still store what they are to.
func (w *Writer) await() (all bool) {
	timeout := time.NewTimer(ackTimeout)
	defer timeout.Stop()
	select {
	case <-w.group.full:
		all = true
	case <-timeout.C:
	}
	w.group.mu.Lock()
	w.group.writes = nil // what comes now is too late
	w.group.mu.Unlock()
	return all
}

func (w *Writer) settle(number uint64, i int, ack Ack, err error) {
	g := &w.group
	g.mu.Lock()
	defer g.mu.Unlock()
	if number != g.number || i >= len(g.writes) || g.writes[i].settled {
		return
	}
	m := g.writes[i]
	m.ack, m.err, m.settled = ack, err, true
	if g.missing--; g.missing == 0 {
		g.full <- struct{}{}
	}
}

// answered takes one answer of the broker.
func (w *Writer) answered(msg *nats.Msg) {
	tail := msg.Subject[len(w.inbox):]
	if strings.HasSuffix(tail, fastSuffix) {
		w.answeredLoose(tail, msg)
		return
	}
	dot := len(tail) - 1
	for dot >= 0 && tail[dot] != '.' {
		dot--
	}
	if dot < 0 {
		return
	}
	number, err := strconv.ParseUint(tail[:dot], 36, 64)
	if err != nil {
		return
	}
	i, err := strconv.ParseUint(tail[dot+1:], 36, 32)
	if err != nil {
		return
	}
	ack, err := parseAck(msg)
	if int(i) < w.looseOf(number) {
		w.settleLoose(number, err) // all of them are in this message
		return
	}
	w.settle(number, int(i), ack, err)
}

// again queues a write once more: its twin is being stored by the cluster at this moment, and will be known then.
func (w *Writer) again(m *write) {
	m.tries, m.settled, m.err = m.tries+1, false, nil
	w.mu.Lock()
	w.queue = append(w.queue, m)
	w.mu.Unlock()
}

// syncGroup syncs the streams that some write of the group needs.
func (w *Writer) syncGroup(group []*write) error {
	if w.sync == nil {
		return nil
	}
	var streams []string
	for _, m := range group {
		if m.stream != "" && m.settled && m.err == nil && !slices.Contains(streams, m.stream) {
			streams = append(streams, m.stream)
		}
	}
	if len(streams) == 0 {
		return nil
	}
	return w.sync(streams...)
}
