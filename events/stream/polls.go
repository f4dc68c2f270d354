package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Poll is how far the poll of a source at one tick has come: what the processes that share it agree on. Each takes the
// next items by moving Next on, over the revision that it has read, so that an item is taken once a tick.
type Poll struct {
	Of    time.Time `json:"of"`             // when the source was made: another source of the same id begins anew
	At    time.Time `json:"at"`             // the tick
	Until uint64    `json:"until"`          // items up to this revision are asked for: those that were there at the tick
	Next  uint64    `json:"next"`           // items before this revision are taken
	Busy  []string  `json:"busy,omitempty"` // processes that have taken some, or are about to
	Done  bool      `json:"done,omitempty"`

	Began     time.Time `json:"began"`
	Ended     time.Time `json:"ended,omitzero"`
	Asked     int       `json:"asked"`
	Changed   int       `json:"changed"`
	Completed int       `json:"completed"`
	Failed    int       `json:"failed"`
	Error     string    `json:"error,omitempty"` // of one of those that failed
}

// Taken reports whether nothing is left to be taken.
func (p *Poll) Taken() bool { return p.Next > p.Until }

// Join notes that a process works on the poll.
func (p *Poll) Join(process string) {
	if !slices.Contains(p.Busy, process) {
		p.Busy = append(p.Busy, process)
	}
}

// Leave notes that a process works on the poll no more.
func (p *Poll) Leave(process string) {
	p.Busy = slices.DeleteFunc(p.Busy, func(id string) bool { return id == process })
}

// Polls keeps the polls of sources, one record each. Records are not synced: what a power cut takes is that some items
// were asked for at the last tick.
type Polls struct{ reader }

// NewPolls works through js.
func NewPolls(js jetstream.JetStream) *Polls { return &Polls{newReader(js)} }

// Get returns the record of a source as the leader has it, and its revision; the zero Poll when there is none.
func (s *Polls) Get(ctx context.Context, source string) (p Poll, revision uint64, err error) {
	m, err := s.leader(ctx, "KV_"+BucketPolls, getRequest{Last: pollSubject(source)})
	if m == nil || err != nil {
		return p, 0, err
	}
	if len(m.Data) > 0 { // else it is the marker of one that was deleted
		if err := json.Unmarshal(m.Data, &p); err != nil {
			return p, 0, fmt.Errorf("decode poll of %s: %w", source, err)
		}
	}
	return p, m.Sequence, nil
}

// Put stores a record over the one of this revision, 0 = none, and returns its own. ErrMoved when there is another.
func (s *Polls) Put(ctx context.Context, source string, p *Poll, revision uint64) (uint64, error) {
	text, err := json.Marshal(p)
	if err != nil {
		return 0, fmt.Errorf("encode poll of %s: %w", source, err)
	}
	msg := &nats.Msg{Subject: pollSubject(source), Data: text}
	ack, err := s.js.PublishMsg(ctx, msg, jetstream.WithExpectLastSequencePerSubject(revision))
	if e, ok := errors.AsType[*jetstream.APIError](err); ok && e.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence {
		return 0, ErrMoved
	}
	if err != nil {
		return 0, fmt.Errorf("store poll of %s: %w", source, err)
	}
	return ack.Sequence, nil
}

func pollSubject(source string) string { return "$KV." + BucketPolls + "." + source }

// Forget removes what is known of the polls of a source, its last tick too.
func (s *Polls) Forget(ctx context.Context, source string) error {
	for _, bucket := range []string{BucketPolls, BucketSourceTicks} {
		kv, err := s.js.KeyValue(ctx, bucket)
		if err != nil {
			return fmt.Errorf("open bucket %s: %w", bucket, err)
		}
		if err := kv.Purge(ctx, source); err != nil {
			return fmt.Errorf("remove from bucket %s: %w", bucket, err)
		}
	}
	return nil
}
