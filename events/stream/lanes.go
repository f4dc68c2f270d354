package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// LaneLease says who runs a lane, and how far its schedule is.
type LaneLease struct {
	Owner string    `json:"owner,omitempty"` // worker id; "" = it was given up
	Tick  time.Time `json:"tick,omitzero"`   // the last that began; zero = none yet
	Until uint64    `json:"until,omitempty"` // the EVENTS sequence up to which that takes events
	Done  bool      `json:"done,omitempty"`  // that is through
	Fence uint64    `json:"fence,omitempty"` // events up to it were taken by an owner before this one
	Since time.Time `json:"since,omitzero"`  // what such an owner settled of them, it recorded then at the earliest
	Ended time.Time `json:"ended,omitzero"`  // when the last owner gave it up, if a take-over that came to nothing wrote it since

	Written  time.Time `json:"-"` // when it was; zero = never
	revision uint64
}

// ErrLaneTaken says that another worker wrote the lease meanwhile.
var ErrLaneTaken = errors.New("another worker has the lane")

// Lanes keeps what must be known of lanes by all workers: the leases, and the lanes' consumers.
type Lanes struct {
	reader

	mu sync.Mutex
	kv jetstream.KeyValue // nil = not opened yet
}

// NewLanes works through js.
func NewLanes(js jetstream.JetStream) *Lanes { return &Lanes{reader: newReader(js)} }

func (l *Lanes) bucket(ctx context.Context) (jetstream.KeyValue, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.kv != nil {
		return l.kv, nil
	}
	kv, err := l.js.KeyValue(ctx, BucketLanes)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", BucketLanes, err)
	}
	l.kv = kv
	return kv, nil
}

// GivenUp is when the last owner gave the lane up, of a lease without an owner; zero = nobody ever had it.
func (l *LaneLease) GivenUp() time.Time {
	if !l.Ended.IsZero() {
		return l.Ended
	}
	return l.Written
}

// Lease reads a lane's lease; a zero one when it never had any.
func (l *Lanes) Lease(ctx context.Context, subscription string) (LaneLease, error) {
	kv, err := l.bucket(ctx)
	if err != nil {
		return LaneLease{}, err
	}
	entry, err := kv.Get(ctx, subscription)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return LaneLease{}, nil
	}
	if err != nil {
		return LaneLease{}, fmt.Errorf("read lease of lane %s: %w", subscription, err)
	}
	var lease LaneLease
	if err := json.Unmarshal(entry.Value(), &lease); err != nil {
		return LaneLease{}, fmt.Errorf("decode lease of lane %s: %w", subscription, err)
	}
	lease.revision, lease.Written = entry.Revision(), entry.Created()
	return lease, nil
}

// Write stores lease over the one that it was read or last written as. ErrLaneTaken when that is not the newest.
func (l *Lanes) Write(ctx context.Context, subscription string, lease *LaneLease) error {
	kv, err := l.bucket(ctx)
	if err != nil {
		return err
	}
	text, err := json.Marshal(lease)
	if err != nil {
		return fmt.Errorf("encode lease of lane %s: %w", subscription, err)
	}
	var revision uint64
	if lease.revision == 0 {
		revision, err = kv.Create(ctx, subscription, text)
	} else {
		revision, err = kv.Update(ctx, subscription, text, lease.revision)
	}
	switch {
	case errors.Is(err, jetstream.ErrKeyExists), errors.Is(err, jetstream.ErrKeyRevisionMismatch):
		return ErrLaneTaken
	case err != nil:
		return fmt.Errorf("write lease of lane %s: %w", subscription, err)
	}
	lease.revision = revision
	return nil
}

// Forget removes the lease of a lane that is no more.
func (l *Lanes) Forget(ctx context.Context, subscription string) error {
	kv, err := l.bucket(ctx)
	if err != nil {
		return err
	}
	if err := kv.Purge(ctx, subscription); err != nil {
		return fmt.Errorf("remove lease of lane %s: %w", subscription, err)
	}
	return l.purge(ctx, laneCancels(subscription, "*"))
}

// LaneConsumerConfig says which events a lane's consumer is for.
type LaneConsumerConfig struct {
	Subscription string
	From         uint64 // it takes those after this one
	Tenant       string
	Types        []string
	AckWait      time.Duration
	Window       int // how many may be in hand at a time
}

// Ensure makes the consumer, if it is not there.
func (l *Lanes) Ensure(ctx context.Context, c LaneConsumerConfig) error {
	name := LaneConsumer(c.Subscription, c.From)
	_, err := l.js.CreateOrUpdateConsumer(ctx, Events, jetstream.ConsumerConfig{
		Durable: name, FilterSubjects: EventSubjects(c.Tenant, c.Types),
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: c.From + 1,
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: c.AckWait, MaxDeliver: -1, MaxAckPending: c.Window, MaxWaiting: 16,
	})
	if err != nil {
		return fmt.Errorf("make consumer %s: %w", name, err)
	}
	return nil
}

// Rewind takes the consumer back to its ack floor: what is not acknowledged comes again, in order, and with it what was
// acknowledged after the floor.
func (l *Lanes) Rewind(ctx context.Context, consumer string) error {
	if _, err := l.js.ResetConsumer(ctx, Events, consumer); err != nil {
		return fmt.Errorf("rewind consumer %s: %w", consumer, err)
	}
	return nil
}

// Drop removes the consumer of a version whose events are all settled.
func (l *Lanes) Drop(ctx context.Context, consumer string) error {
	err := l.js.DeleteConsumer(ctx, Events, consumer)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("remove consumer %s: %w", consumer, err)
	}
	return nil
}

// Next is when the first event of the given tenant and types after a sequence was stored; ok is false when there is none.
func (l *Lanes) Next(ctx context.Context, tenant string, types []string, after uint64) (at time.Time, ok bool, err error) {
	for _, subject := range EventSubjects(tenant, types) {
		m, err := l.leader(ctx, Events, getRequest{Sequence: after + 1, Next: subject})
		if err != nil {
			return at, ok, err
		}
		if m != nil && (!ok || m.Time.Before(at)) {
			at, ok = m.Time, true
		}
	}
	return at, ok, nil
}

// LastEvent is the sequence of the newest event.
func (l *Lanes) LastEvent(ctx context.Context) (uint64, error) {
	s, err := l.state(ctx, Events)
	return s.Last, err
}

// LastRecord is when something was last recorded in the history; zero = never.
func (l *Lanes) LastRecord(ctx context.Context) (time.Time, error) {
	s, err := l.js.Stream(ctx, Attempts)
	if err != nil {
		return time.Time{}, fmt.Errorf("look at stream %s: %w", Attempts, err)
	}
	return s.CachedInfo().State.LastTime, nil
}

// TellHeld tells the owner of a lane that a delivery was held for it, which is all it can miss: it looks by itself too.
func (l *Lanes) TellHeld(subscription, delivery string) error {
	if err := l.nc.Publish(SubjectLane+subscription, []byte(delivery)); err != nil {
		return fmt.Errorf("tell of held delivery %s: %w", delivery, err)
	}
	return nil
}

// HeldFor calls fn for each delivery that is held for a lane from now on, as TellHeld says, until the subscription ends.
func (l *Lanes) HeldFor(fn func(subscription, delivery string)) (*nats.Subscription, error) {
	sub, err := l.nc.Subscribe(SubjectLane+"*", func(m *nats.Msg) { fn(m.Subject[len(SubjectLane):], string(m.Data)) })
	if err != nil {
		return nil, fmt.Errorf("listen for held deliveries: %w", err)
	}
	return sub, nil
}
