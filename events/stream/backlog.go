package stream

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// maxBacklogEvents bounds the events that one count looks at, to some five seconds.
const maxBacklogEvents = 1 << 20

// Backlog tells what is not delivered yet. It is safe for concurrent use and keeps nothing.
type Backlog struct {
	*History
	unsettledHere func() (n uint64, ok bool)
}

// NewBacklog reads as History does.
func NewBacklog(h *History) *Backlog {
	return &Backlog{h, func() (uint64, bool) { return 0, false }}
}

// WithUnsettled returns one that asks a worker of this process how many events are not settled, if the worker knows: then the consumer
// does not.
func (b *Backlog) WithUnsettled(here func() (n uint64, ok bool)) *Backlog {
	if here == nil {
		return b
	}
	return &Backlog{b.History, here}
}

// Pending counts, by subscription, the deliveries that were accepted and have no record yet: no attempt of theirs has
// ended. subscription "" counts for all, else for this one; tenant "" is any. It is exact while at most 1,048,576 events
// lie behind the floors of the workers and of lanes, and what is beyond that is not counted, but for a lane that takes all
// events of its types. looked is how many events it read.
func (b *Backlog) Pending(ctx context.Context, tenant, subscription string) (counts map[string]uint64, looked uint64, err error) {
	state, err := b.state(ctx, Events)
	if err != nil {
		return nil, 0, err
	}
	if b.match == nil {
		return nil, 0, nil
	}
	p, err := b.positions(ctx, subscription, state.Last)
	if err != nil {
		return nil, 0, err
	}
	c := &counting{Backlog: b, positions: p, tenant: tenant, subscription: subscription, counts: map[string]uint64{}, taken: map[string]string{}}
	if err := c.all(ctx, state); err != nil || len(c.taken) == 0 {
		return c.counts, c.looked, err
	}
	return c.counts, c.looked, b.leaveOutRecorded(ctx, subscription, c.since, c.taken, c.counts)
}

// leaveOutRecorded takes what has a record since then out of the counts.
func (b *Backlog) leaveOutRecorded(ctx context.Context, subscription string, since time.Time, taken map[string]string, counts map[string]uint64) error {
	start, err := b.leader(ctx, Attempts, getRequest{StartTime: &since})
	if start == nil || err != nil {
		return err
	}
	state, err := b.state(ctx, Attempts)
	if err != nil {
		return err
	}
	s := scan{stream: Attempts, from: start.Sequence, to: state.Last}
	if subscription != "" {
		s.filter = HistorySubjects(subscription)
	}
	return b.read(ctx, s, func(_ uint64, msg *nats.Msg) bool {
		for r := range recordsOf(msg.Data) {
			id := recordID(r)
			if of, ok := taken[id]; ok {
				delete(taken, id)
				counts[of]--
			}
		}
		return len(taken) > 0
	})
}

// State is how much the fleet has before it, and since when.
type State struct {
	// Pending counts events that are not settled. One counts once for all the subscriptions that it goes to from dispatch, and
	// once for each lane that has it before it, or one of its types and tenant that it does not take.
	Pending  uint64
	Retrying uint64    // timers, set or fired
	Held     uint64    // in HELD
	Oldest   time.Time // acceptance of the oldest event or replay of all these, as far as a look at the first of each tells
}

// oldestLook is how many of what waits longest are looked at for the oldest: what was put there first need not be what
// was accepted first, because a delivery goes to the end with each retry.
const oldestLook = 64

// State looks at the whole fleet.
func (b *Backlog) State(ctx context.Context) (State, error) {
	var s State
	waiting, err := b.waiting.Total(ctx)
	if err != nil {
		return s, err
	}
	s.Retrying, s.Held = waiting.Timers, waiting.Held
	all, err := b.state(ctx, Events)
	if err != nil {
		return s, err
	}
	if s.Pending, s.Oldest, err = b.unsettled(ctx, all); err != nil {
		return s, err
	}
	if err := b.lanesState(ctx, all, &s); err != nil {
		return s, err
	}
	for _, in := range []string{Retries, HeldName} {
		if err := b.oldest(ctx, in, &s.Oldest); err != nil {
			return s, err
		}
	}
	return s, nil
}

// unsettled counts the events that are not settled, and tells the time of the first.
func (b *Backlog) unsettled(ctx context.Context, all streamState) (n uint64, oldest time.Time, err error) {
	floor := uint64(0)
	switch c, err := b.js.Consumer(ctx, Events, ConsumerDispatch); {
	case errors.Is(err, jetstream.ErrConsumerNotFound): // no worker was ever there
		n = all.Messages
	case err != nil:
		return 0, oldest, err
	default:
		info := c.CachedInfo()
		n, floor = info.NumPending+uint64(max(info.NumAckPending, 0)), info.AckFloor.Stream
		if here, ok := b.unsettledHere(); ok {
			n = min(n, here)
		}
	}
	if n == 0 {
		return 0, oldest, nil
	}
	m, err := b.direct(ctx, Events, getRequest{Sequence: max(floor+1, all.First), Next: SubjectEvents + ">"})
	if err != nil || m == nil {
		return n, oldest, err
	}
	return n, m.Time, nil
}

// lanesState adds what lanes have before them.
func (b *Backlog) lanesState(ctx context.Context, all streamState, s *State) error {
	if b.lanes == nil {
		return nil
	}
	versions := b.lanes("")
	consumers, err := b.laneConsumers(ctx, versions)
	if err != nil {
		return err
	}
	var behind []behindLane
	for _, v := range versions {
		c := consumers[LaneConsumer(v.Subscription, v.From)]
		if c == nil || c.idle() {
			continue
		}
		floor := max(c.Floor.Stream, v.From)
		s.Pending += min(c.Pending+c.AckPending, v.Until-min(floor, v.Until))
		behind = append(behind, behindLane{v, max(floor+1, all.First)})
	}
	return b.oldestOfLanes(ctx, behind, &s.Oldest)
}

// behindLane is a lane with something before it, from a sequence on.
type behindLane struct {
	LaneVersion
	from uint64
}

// oldestOfLanes moves at to the time of the earliest event that a lane has before it. Those that are farthest behind are
// looked at first: the others cannot have an older one.
func (b *Backlog) oldestOfLanes(ctx context.Context, behind []behindLane, at *time.Time) error {
	slices.SortFunc(behind, func(a, b behindLane) int { return cmp.Compare(a.from, b.from) })
	first := uint64(math.MaxUint64)
	for _, l := range behind[:min(len(behind), oldestLook)] {
		if l.from >= first {
			return nil
		}
		for _, subject := range EventSubjects(l.Tenant, l.Types) {
			m, err := b.direct(ctx, Events, getRequest{Sequence: l.from, Next: subject})
			if err != nil {
				return err
			}
			if m == nil || m.Sequence > l.Until || m.Sequence >= first {
				continue
			}
			if first = m.Sequence; at.IsZero() || m.Time.Before(*at) {
				*at = m.Time
			}
		}
	}
	return nil
}

// oldest moves at to the earliest creation among the first deliveries of a stream.
func (b *Backlog) oldest(ctx context.Context, in string, at *time.Time) error {
	next := uint64(1)
	for range oldestLook {
		m, err := b.direct(ctx, in, getRequest{Sequence: next, Next: ">"})
		if m == nil || err != nil {
			return err
		}
		next = m.Sequence + 1
		w, err := ParseWaiting(m.Header, m.Data)
		if err != nil {
			continue
		}
		if created := w.Delivery.CreatedAt; at.IsZero() || created.Before(*at) {
			*at = created
		}
	}
	return nil
}
