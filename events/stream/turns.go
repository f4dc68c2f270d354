package stream

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// batchHeader is what the first message of a plain batch has: how many there are.
const batchHeader = "Hookfleet-Batch"

// maxPlain is the most messages of a plain batch: so far back a start looks for a part of one.
const maxPlain = 4096

// Turns lets those of a process that store events do so one after the other. While nobody else stores any, a batch is then published
// as plain messages, which are stored one behind the other; unless all of them are, those that are get removed. An atomic batch has
// the broker store all twice, and make and remove a store for each (docs/decisions/0026).
type Turns struct {
	reader
	alone func(do func()) bool

	mu   sync.Mutex
	torn *torn // what is to be removed before anybody stores more
}

// torn is a part of a batch.
type torn struct {
	after uint64 // it lies behind this sequence
	ids   map[string]bool
}

// NewTurns works by js, whose connection is not the one that events are published on. alone runs do while no other process can store
// events, and nobody reads them who should not see a part of a batch; else it returns false without running it.
func NewTurns(js jetstream.JetStream, alone func(do func()) bool) *Turns {
	return &Turns{reader: newReader(js), alone: alone}
}

// take begins a turn, which ends with give. First it removes what could not be removed before.
func (t *Turns) take() error {
	t.mu.Lock()
	if t.torn == nil {
		return nil
	}
	if err := t.takeBack(context.Background()); err != nil {
		t.mu.Unlock()
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return nil
}

func (t *Turns) give() { t.mu.Unlock() }

// takeBack removes what is torn. The caller has the turn.
func (t *Turns) takeBack(ctx context.Context) error {
	state, err := t.state(ctx, Events)
	if err != nil {
		return err
	}
	var found []uint64
	s := scan{stream: Events, from: t.torn.after + 1, to: state.Last, headersOnly: true}
	err = t.read(ctx, s, func(sequence uint64, msg *nats.Msg) bool {
		if t.torn.ids[msg.Header.Get(nats.MsgIdHdr)] {
			found = append(found, sequence)
		}
		return true
	})
	if err != nil {
		return err
	}
	if err := t.removeAll(ctx, found); err != nil {
		return err
	}
	t.torn = nil
	return nil
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

// Mend removes the part of a batch that a crash left at the end of the stream, of which nothing was acknowledged to anybody, and returns how
// many messages that were. It is to be called before anybody stores or reads events.
func (t *Turns) Mend(ctx context.Context) (removed int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	state, err := t.state(ctx, Events)
	if err != nil || state.Messages == 0 {
		return 0, err
	}
	var part []uint64
	size := 0
	s := scan{stream: Events, from: max(state.First, state.Last-min(state.Last, maxPlain)+1), to: state.Last, headersOnly: true}
	err = t.read(ctx, s, func(sequence uint64, msg *nats.Msg) bool {
		if n, err := strconv.Atoi(msg.Header.Get(batchHeader)); err == nil {
			part, size = nil, n
		}
		part = append(part, sequence)
		return true
	})
	if err != nil || size == 0 || state.Last-part[0]+1 >= uint64(size) { //nolint:gosec // not negative
		return 0, err
	}
	return len(part), t.removeAll(ctx, part)
}

// publishPlain publishes entries as plain messages, if that may be. done is false when it may not, or when one of them was known
// already: then nothing is stored.
func (b *Batches) publishPlain(group []*batch, size int) (ack Ack, done bool, err error) {
	for _, one := range group {
		if !one.fresh {
			return ack, false, nil
		}
	}
	if size < 2 || size > maxPlain {
		return ack, false, nil
	}
	ran := b.turns.alone(func() { ack, done, err = b.inOneGo(group, size) })
	return ack, ran && done, err
}

// inOneGo publishes entries one behind the other, and removes what is not all of them. The caller has the turn.
func (b *Batches) inOneGo(group []*batch, size int) (ack Ack, done bool, err error) {
	t, ctx := b.turns, context.Background()
	before, err := t.state(ctx, Events)
	if err != nil {
		return Ack{}, true, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	ack, err = b.publish(group, newPlainEnvelope(size))
	if err == nil && !ack.Duplicate && ack.Sequence == before.Last+uint64(size) { //nolint:gosec // not negative
		return ack, true, nil
	}
	t.torn = &torn{before.Last, idsOf(group)}
	if failed := t.takeBack(ctx); failed != nil {
		return Ack{}, true, fmt.Errorf("%w: a part of a batch is not removed yet: %w", ErrUnknown, failed)
	}
	return Ack{}, err != nil, err
}

func idsOf(group []*batch) map[string]bool {
	ids := map[string]bool{}
	for _, one := range group {
		for i := range one.entries {
			e := &one.entries[i]
			id := e.ID
			if id == "" {
				id = e.Header.Get(nats.MsgIdHdr)
			}
			if id != "" {
				ids[id] = true
			}
		}
	}
	return ids
}
