package stream

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/events/stream/ids"
)

// maxPlain is the most messages of a plain batch.
const maxPlain = 4096

// plainRest is how long batches are atomic after one that was torn: where the stream is full others would be too, and each costs a
// start of the broker.
const plainRest = time.Minute

// Turns lets those of a process that store events do so one after the other. While nobody else stores any, a batch is then published
// as plain messages, which are stored one behind the other; unless all of them are, those that are get removed. An atomic batch has
// the broker store all twice, and make and remove a store for each.
//
// The broker goes on knowing the ids of what is removed, and would answer whoever publishes them again that they are stored. What it
// knows it reads from the stream when it starts, so it is started anew after a removal. Until then nobody has a turn.
type Turns struct {
	reader
	front *nats.Conn // that events are published on
	deps  TurnsDeps

	mu   sync.Mutex
	seen map[string]struct{} // ids of this turn
	own  bool                // the index knows all ids, and the broker the newest only
	// The broker has been told to know the newest only; may be true with own only.
	short bool

	// How often the connection that events are published on was made anew when this was last looked at: the broker may be another one then, and
	// have less than was known.
	connected uint64

	late bool      // the broker may still store what was published in an earlier turn, or others have stored what the index has not
	torn *torn     // what is to be removed before anybody stores more
	rest time.Time // until then no batch is plain
}

// TurnsDeps is what Turns asks of who runs the broker.
type TurnsDeps struct {
	// Alone runs do while no other process can store events; else it returns false without running it. Quiet reports whether none could
	// for some time.
	Alone func(do func()) bool
	Quiet func(rest time.Duration) bool
	// Unseen is Alone where besides nobody reads events who should not see a part of a batch.
	Unseen func(do func()) bool
	// Recover returns once the broker knows the ids of all that is stored within its window. What was published meanwhile may be lost.
	Recover func(ctx context.Context) error
	// Index is to know the ids of events in place of the broker, those within Window; nil = the broker always does.
	Index  *ids.Index
	Window time.Duration
	Log    zerolog.Logger
	// Forget returns once the broker knows no ids but of what is stored.
	Forget func(ctx context.Context) error
}

// torn is a part of a batch.
type torn struct {
	mark    together
	removed bool // some of it, and the broker may still know their ids
}

// together is the mark of a plain batch: where it is meant to lie.
type together struct{ first, size uint64 }

func (m together) String() string {
	return strconv.FormatUint(m.first, 10) + "/" + strconv.FormatUint(m.size, 10)
}

func (m together) last() uint64 { return m.first + m.size - 1 }

// togetherOf reads the mark of a message; false = it has none.
func togetherOf(h nats.Header) (m together, ok bool) {
	first, size, ok := strings.Cut(headerValue(h, HeaderTogether), "/")
	if !ok {
		return m, false
	}
	var err1, err2 error
	m.first, err1 = strconv.ParseUint(first, 10, 64)
	m.size, err2 = strconv.ParseUint(size, 10, 16)
	return m, err1 == nil && err2 == nil && m.first > 0 && m.size <= maxPlain
}

// NewTurns works by js, whose connection is not front, the one that events are published on.
func NewTurns(js jetstream.JetStream, front *nats.Conn, deps TurnsDeps) *Turns {
	return &Turns{reader: newReader(js), front: front, deps: deps, seen: map[string]struct{}{}}
}

// take begins a turn, which ends with give. First what was published in earlier ones has to be stored or lost, and what could not be
// removed before is.
func (t *Turns) take() error {
	t.mu.Lock()
	if n := t.front.Stats().Reconnects; n != t.connected {
		t.connected, t.late = n, true
	}
	if !t.late && t.torn == nil {
		return nil
	}
	if err := t.repair(context.Background()); err != nil {
		t.mu.Unlock()
		return fmt.Errorf("%w: what came before is not settled: %w", ErrUnknown, err)
	}
	return nil
}

func (t *Turns) give() { t.mu.Unlock() }

// repair removes what is torn, and learns what was stored besides. The caller has the turn.
func (t *Turns) repair(ctx context.Context) error {
	if err := t.settleLate(ctx); err != nil {
		return err
	}
	if t.torn != nil {
		if err := t.takeBack(ctx); err != nil {
			return err
		}
		if t.torn.removed {
			t.rest = time.Now().Add(plainRest)
			if err := t.forget(ctx); err != nil {
				return err
			}
		}
		t.torn = nil
	}
	if t.own {
		if err := t.catchUp(ctx); err != nil {
			return err
		}
	}
	t.late = false
	return nil
}

// settleLate returns when nothing is on its way to the stream any more: the broker takes what a connection publishes in order, and
// answers to the last, which it does not store.
func (t *Turns) settleLate(ctx context.Context) error {
	h := nats.Header{expectedLastIDHeader: []string{impossibleLastMessage}}
	answer, err := request(ctx, t.front, &nats.Msg{Subject: SubjectEvents + "none.none", Header: h})
	if err != nil {
		return err
	}
	if len(answer.Header) > 0 && answer.Header.Get("Status") == statusNoResponders {
		return fmt.Errorf("%w: nobody stores it", ErrUnknown)
	}
	return nil
}

// takeBack removes what is stored of the torn batch.
func (t *Turns) takeBack(ctx context.Context) error {
	state, err := t.state(ctx, Events)
	if err != nil {
		return err
	}
	mark := t.torn.mark
	var found []uint64
	s := scan{stream: Events, from: mark.first, to: state.Last, headersOnly: true}
	err = t.read(ctx, s, func(sequence uint64, msg *nats.Msg) bool {
		if m, ok := togetherOf(msg.Header); ok && m == mark {
			found = append(found, sequence)
		}
		return true
	})
	if err != nil {
		return err
	}
	t.torn.removed = t.torn.removed || len(found) > 0
	return t.removeAll(ctx, found)
}

// removeAll removes events, the last first: what is left when that is cut short still lacks its end.
func (t *Turns) removeAll(ctx context.Context, sequences []uint64) error {
	for _, sequence := range slices.Backward(sequences) {
		if _, err := t.remove(ctx, Events, sequence); err != nil {
			return err
		}
	}
	return nil
}

// Mend removes the part of a batch that a crash left at the end of the stream, of which nothing was acknowledged to anybody, and returns
// how many messages that were. It is to be called before anybody stores or reads events. A part that somebody has stored events behind stays: they may have been told that it is stored.
func (t *Turns) Mend(ctx context.Context) (removed int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	state, err := t.state(ctx, Events)
	if err != nil || state.Messages == 0 {
		return 0, err
	}
	from, err := t.lastBatch(ctx, state)
	if err != nil || from == 0 {
		return 0, err
	}
	var part []uint64 // the last messages that have the same mark
	var mark together
	s := scan{stream: Events, from: from, to: state.Last, headersOnly: true}
	err = t.read(ctx, s, func(sequence uint64, msg *nats.Msg) bool {
		m, _ := togetherOf(msg.Header)
		if m != mark {
			part, mark = part[:0], m
		}
		part = append(part, sequence)
		return true
	})
	if err != nil || mark.size == 0 || state.Last >= mark.last() || part[0] != mark.first {
		return 0, err
	}
	if err := t.removeAll(ctx, part); err != nil {
		return 0, err
	}
	return len(part), t.forget(ctx)
}

// lastBatch is where the last batch begins, or before; 0 = the stream does not end with one.
func (t *Turns) lastBatch(ctx context.Context, state streamState) (uint64, error) {
	newest, err := t.certain(ctx, Events, getRequest{Sequence: state.Last})
	if err != nil {
		return 0, err
	}
	if newest == nil { // removed, as what lies before it may be: a batch may begin anywhere
		return max(state.First, state.Last-min(state.Last, maxPlain)+1), nil
	}
	m, ok := togetherOf(newest.Header)
	if !ok || m.first > state.Last || state.Last-m.first >= maxPlain {
		return 0, nil
	}
	return max(state.First, m.first), nil
}

// forget has the broker forget what is removed. It returns when our connections are to the broker that has: what is asked on one that has
// not noticed yet that it has ended is lost, and answered when it is too late.
func (t *Turns) forget(ctx context.Context) error {
	if err := t.deps.Recover(ctx); err != nil {
		return err
	}
	return t.reach(ctx)
}

// reach returns when our connections are to the broker as it is now.
func (t *Turns) reach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	for _, nc := range []*nats.Conn{t.front, t.nc} {
		if err := Flush(ctx, nc); err != nil {
			return fmt.Errorf("connect to the broker again: %w", err)
		}
	}
	return nil
}

// publishPlain publishes entries as plain messages, if that may be. done is false when it may not, or when one of them was known
// already: then nothing is stored. The caller has the turn.
func (b *Batches) publishPlain(group []*batch, size int) (ack Ack, done bool, err error) {
	if !b.turns.own || size < 2 || size > maxPlain || time.Now().Before(b.turns.rest) {
		return ack, false, nil
	}
	ran := b.turns.deps.Unseen(func() { ack, done, err = b.inOneGo(group, size) })
	if !ran {
		return Ack{}, false, nil
	}
	if b.turns.torn == nil {
		return ack, true, err
	}
	// A guest that waits to be let in would keep the broker from ending.
	if failed := b.turns.repair(context.Background()); failed != nil {
		return Ack{}, true, fmt.Errorf("%w: a part of a batch is not removed yet: %w", ErrUnknown, failed)
	}
	return Ack{}, done, err
}

// inOneGo publishes entries one behind the other. What is not all of them is removed, and torn until the broker has forgotten it.
func (b *Batches) inOneGo(group []*batch, size int) (ack Ack, done bool, err error) {
	t, ctx := b.turns, context.Background()
	before, err := t.state(ctx, Events)
	if err != nil {
		return Ack{}, true, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	mark := together{before.Last + 1, uint64(size)}
	ack, err = b.publish(group, newPlainEnvelope(mark.String(), size))
	if err == nil && !ack.Duplicate && ack.Sequence == mark.last() {
		return ack, true, nil
	}
	t.torn = &torn{mark: mark}
	if failed := t.settleLate(ctx); failed == nil {
		_ = t.takeBack(ctx) // who repairs tries again
	}
	return Ack{}, err != nil, err
}
