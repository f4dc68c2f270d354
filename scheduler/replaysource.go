package scheduler

import (
	"context"
	"time"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/filter"
	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/events/stream"
)

// replayPage is how many messages a replay reads at a time: the broker stores no event while it answers, some 20 µs a
// message.
const replayPage = 16

// candidate is a delivery that a replay may make.
type candidate struct {
	stream.Planned
	waiting *stream.Waiting
	size    int       // of its event
	first   bool      // nobody has tried to make it before
	read    time.Time // when it was there
}

// candidates returns what the next messages ask for, and where to go on after them.
func (r *replay) candidates(ctx context.Context, entry *registry.Entry) (found []*candidate, next uint64, err error) {
	run := &r.job.Run
	if r.job.From == events.ReplayDeadLetters {
		letters, next, err := r.dead.After(ctx, r.job.Tenant, r.job.Subscription, run.Next, r.job.Through, replayPage)
		if err != nil {
			return nil, 0, err
		}
		for _, l := range letters {
			if c := r.ofLetter(l); c != nil && r.within(l.DeadAt) && r.matcher.passes(r.filters, r.job.Filters, l.Payload) {
				found = append(found, c)
			}
		}
		return found, next, nil
	}
	page, next, err := r.source.After(ctx, run.Next, r.job.Through, replayPage)
	if err != nil {
		return nil, 0, err
	}
	for _, stored := range page {
		if stored.Tenant != r.job.Tenant || !r.within(stored.At) {
			continue
		}
		if e, err := stored.Event(); err == nil && r.matcher.takes(r.filters, entry, e) && r.matcher.passes(r.filters, r.job.Filters, e) {
			found = append(found, r.ofEvent(e, stored.Sequence))
		}
	}
	return found, next, nil
}

// again returns what was planned; nil when it is not there any more.
func (r *replay) again(ctx context.Context, p stream.Planned) (*candidate, error) {
	if p.Letter != "" {
		l, ok, err := r.dead.Find(ctx, p.Letter)
		if !ok || err != nil {
			return nil, err
		}
		return r.ofLetter(l), nil
	}
	stored, err := r.source.Get(ctx, p.At)
	if stored == nil || err != nil {
		return nil, err
	}
	e, err := stored.Event()
	if err != nil {
		return nil, nil //nolint:nilerr // it is not what was planned
	}
	return r.ofEvent(e, p.At), nil
}

// within reports whether a time is in the range of the replay.
func (r *replay) within(at time.Time) bool {
	return !at.Before(r.job.Since) && (r.job.Until.IsZero() || at.Before(r.job.Until))
}

// ofEvent is the delivery of a stored event.
func (r *replay) ofEvent(e *events.Event, sequence uint64) *candidate {
	id := events.DeliveryID(sequence, r.job.Subscription, events.JobReplay(r.job.Run.Number))
	now := r.now()
	return &candidate{Planned: stream.Planned{At: sequence, Delivery: id}, waiting: &stream.Waiting{Event: e, Delivery: events.Delivery{
		ID: id, Subscription: r.job.Subscription, Tenant: r.job.Tenant, Event: events.Ref(e, sequence), CreatedAt: now, NextAt: now,
		ReplayOf: events.DeliveryID(sequence, r.job.Subscription, 0), Replay: r.id,
	}}}
}

// ofLetter is the delivery that replays a dead letter; nil for one that cannot be.
func (r *replay) ofLetter(l *stream.Letter) *candidate {
	w, ok := stream.ReplayOf(l, r.now())
	if !ok {
		return nil
	}
	w.Delivery.Replay = r.id
	return &candidate{Planned: stream.Planned{At: l.Sequence, Delivery: w.Delivery.ID, Letter: l.ID}, waiting: w}
}

// now is when a delivery is made: not before its subscription, by whatever clock that was made.
func (r *replay) now() time.Time {
	now := time.Now().UTC()
	if now.Before(r.job.Subscribed) {
		return r.job.Subscribed
	}
	return now
}

// matcher keeps the filters of a replay and of its subscription ready.
type matcher struct {
	entry        *registry.Entry
	subscription *filter.Set
	own          *filter.Set
	ready        bool
}

// takes reports whether the subscription, as it is now, takes the event.
func (m *matcher) takes(cache *filter.Cache, entry *registry.Entry, e *events.Event) bool {
	s := entry.Subscription
	if e.Type() == events.TypeTest || !s.Takes(e) {
		return false
	}
	if m.entry != entry {
		m.entry, m.subscription = entry, cache.Set(s.Filters)
	}
	return hold(m.subscription, s.Filters, e)
}

// passes reports whether the replay's own filters let the event through.
func (m *matcher) passes(cache *filter.Cache, filters []events.Filter, e *events.Event) bool {
	if !m.ready {
		m.own, m.ready = cache.Set(filters), true
	}
	return hold(m.own, filters, e)
}

func hold(set *filter.Set, filters []events.Filter, e *events.Event) bool {
	if set == nil {
		return events.JudgeAll(filters, e, nil) == events.True
	}
	evaluation := filter.NewEvaluation(e)
	evaluation.Quiet = true // it was evaluated when it was accepted
	return set.Judge(evaluation) == events.True
}
