package stream

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events"
)

// maxBacklogEvents bounds the events that one count looks at, to some five seconds.
const maxBacklogEvents = 1 << 20

// Backlog tells what is not delivered yet. It is safe for concurrent use and keeps nothing.
type Backlog struct{ *History }

// NewBacklog reads as History does.
func NewBacklog(h *History) *Backlog { return &Backlog{h} }

// Pending counts, by subscription, the deliveries that were accepted and have no record yet: no attempt of theirs has
// ended. subscription "" counts for all, else for this one; tenant "" is any. It is exact while at most 1,048,576 events
// lie behind the workers' floor, and what is beyond that is not counted. looked is how many events it read.
func (b *Backlog) Pending(ctx context.Context, tenant, subscription string) (counts map[string]uint64, looked uint64, err error) {
	counts = map[string]uint64{}
	state, err := b.state(ctx, Events)
	if err != nil {
		return nil, 0, err
	}
	d, ok, err := b.dispatched(ctx)
	if err != nil || b.match == nil {
		return nil, 0, err
	}
	if !ok {
		d = dispatched{} // no worker was ever there: nothing is settled
	}
	first := max(d.floor+1, state.First)
	if first > state.Last {
		return counts, 0, nil
	}
	s := scan{stream: Events, from: first, to: min(state.Last, first+maxBacklogEvents-1)}
	looked = s.to - s.from + 1
	taken, since, err := b.countEvents(ctx, tenant, subscription, d.delivered, s, counts)
	if err != nil || len(taken) == 0 {
		return counts, looked, err
	}
	return counts, looked, b.leaveOutRecorded(ctx, subscription, since, taken, counts)
}

// countEvents counts the deliveries of a range of events. Those of events that a worker has taken may have a record: it
// returns their ids, and the time of the first event.
func (b *Backlog) countEvents(
	ctx context.Context, tenant, subscription string, delivered uint64, s scan, counts map[string]uint64,
) (taken map[string]string, since time.Time, err error) {
	taken = map[string]string{}
	var failed error
	err = b.read(ctx, s, func(sequence uint64, msg *nats.Msg) bool {
		if since.IsZero() {
			if since, failed = storedAt(msg); failed != nil {
				return false
			}
		}
		if tenant != "" && subjectTenant(msg.Subject) != tenant {
			return true
		}
		e, err := events.ParseNATS(msg.Header, msg.Data)
		if err != nil || !e.Own(subjectTenant(msg.Subject)) {
			return true
		}
		ids, err := b.match(ctx, e, sequence)
		if err != nil {
			failed = err
			return false
		}
		for _, id := range ids {
			if subscription != "" && id != subscription {
				continue
			}
			counts[id]++
			if sequence <= delivered {
				taken[events.DeliveryID(sequence, id, 0)] = id
			}
		}
		return true
	})
	if err == nil {
		err = failed
	}
	return taken, since, err
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
	Pending  uint64    // events that are not settled; one counts once, however many subscriptions it is for
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
