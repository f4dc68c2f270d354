package stream

import (
	"context"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// replayedChunk is how many neighbouring events share one mark record: 2 KiB of bits.
const replayedChunk = 16 << 10

// Replayed remembers the events whose delivery to a subscription a replay has made, for as long as the events are stored.
// It is safe for concurrent use and keeps nothing; one replay at a time marks for a subscription.
type Replayed struct {
	reader
	writer *Writer
}

// NewReplayed reads through js, and writes durably by writer.
func NewReplayed(js jetstream.JetStream, writer *Writer) *Replayed {
	return &Replayed{reader: newReader(js), writer: writer}
}

const (
	replayedStream  = "KV_" + BucketReplayed
	replayedSubject = "$KV." + BucketReplayed + "."
)

// Marks are those of one chunk of events.
type Marks struct {
	subject  string
	revision uint64
	first    uint64 // of the chunk
	bits     []byte
	changed  bool
}

// replayedPlace is the subject of a chunk. A subscription that is deleted and made again is another.
func replayedPlace(subscription string, created time.Time, chunk uint64) string {
	return replayedSubject + subscription + "." + strconv.FormatInt(created.UnixMilli(), 36) + "." + strconv.FormatUint(chunk, 36)
}

// Load reads the marks of the chunk that the event at sequence is in. created is when the subscription was.
func (r *Replayed) Load(ctx context.Context, subscription string, created time.Time, sequence uint64) (*Marks, error) {
	chunk := sequence / replayedChunk
	m := &Marks{subject: replayedPlace(subscription, created, chunk), first: chunk * replayedChunk, bits: make([]byte, replayedChunk/8)}
	stored, err := r.leader(ctx, replayedStream, getRequest{Last: m.subject})
	if err != nil {
		return nil, fmt.Errorf("read what was replayed: %w", err)
	}
	if stored != nil {
		copy(m.bits, stored.Data)
		m.revision = stored.Sequence
	}
	return m, nil
}

// Save stores marks that have changed. ErrMoved when another has written them meanwhile.
func (r *Replayed) Save(ctx context.Context, m *Marks) error {
	if !m.changed {
		return nil
	}
	ack, err := r.writer.Write(ctx, &nats.Msg{
		Subject: m.subject, Data: m.bits, Header: nats.Header{jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(m.revision, 10)}},
	}, replayedStream)
	if err != nil {
		return fmt.Errorf("store what was replayed: %w", err)
	}
	m.revision, m.changed = ack.Sequence, false
	return nil
}

// Covers reports whether the event at sequence is in the chunk.
func (m *Marks) Covers(sequence uint64) bool { return sequence/replayedChunk == m.first/replayedChunk }

// Has reports whether the event is marked.
func (m *Marks) Has(sequence uint64) bool {
	at := sequence - m.first
	return m.bits[at/8]&(1<<(at%8)) != 0
}

// Set marks the event.
func (m *Marks) Set(sequence uint64) {
	at := sequence - m.first
	m.bits[at/8] |= 1 << (at % 8)
	m.changed = true
}

// Count is how many are marked.
func (m *Marks) Count() (n int) {
	for _, b := range m.bits {
		n += bits.OnesCount8(b)
	}
	return n
}

// Prune removes the marks of events before first, and those of subscriptions that are gone: exists says which are there,
// and since when.
func (r *Replayed) Prune(ctx context.Context, first uint64, exists func(subscription string) (created time.Time, ok bool)) error {
	names, err := r.subjects(ctx, replayedStream, replayedSubject+">")
	if err != nil {
		return err
	}
	for _, name := range names {
		tokens := strings.Split(strings.TrimPrefix(name, replayedSubject), ".")
		if len(tokens) != 3 {
			continue
		}
		created, ok := exists(tokens[0])
		chunk, err := strconv.ParseUint(tokens[2], 36, 64)
		if err == nil && ok && strconv.FormatInt(created.UnixMilli(), 36) == tokens[1] && (chunk+1)*replayedChunk > first {
			continue
		}
		if _, err := r.purge(ctx, replayedStream, name); err != nil {
			return err
		}
	}
	return nil
}
