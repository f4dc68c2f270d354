package stream

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events"
)

// countAlways is how many events before a lane are read in any case, in a tenth of a second. Of more, the broker's count is
// taken where the lane takes all events of its types: it has them all, those included that are no events.
const countAlways = 10_000

// counting counts pending deliveries.
type counting struct {
	*Backlog
	*positions
	tenant, subscription string // "" = any

	counts map[string]uint64
	looked uint64
	taken  map[string]string // counted deliveries that may have a record, and their subscriptions
	since  time.Time         // when the first event was accepted
}

// span is a part of the event stream, both ends included.
type span struct{ from, to uint64 }

// all counts what is in the stream, the newest first, until it has looked at too much.
func (c *counting) all(ctx context.Context, state streamState) error {
	filters := c.filters(state.Last)
	for _, s := range c.spans(state) {
		if c.looked >= maxBacklogEvents {
			return nil
		}
		if filters != nil {
			if err := c.warm(ctx, Events, s.from, s.to); err != nil {
				return err
			}
		} else {
			s.from = max(s.from, s.to-min(s.to, maxBacklogEvents-c.looked-1))
		}
		if err := c.countRange(ctx, scan{stream: Events, from: s.from, to: s.to, filters: filters}); err != nil {
			return err
		}
	}
	return nil
}

// spans are the parts in which something may be pending, the newest first. What the broker has counted is counted at once.
func (c *counting) spans(state streamState) []span {
	var spans []span
	add := func(floor, to uint64) {
		if from := max(floor+1, state.First); floor < to && from <= to {
			spans = append(spans, span{from, to})
		}
	}
	if !c.lanesOnly(state.Last) {
		add(c.floor, state.Last)
	}
	for _, versions := range c.lanes {
		for _, r := range versions {
			switch {
			case c.tenant != "" && c.tenant != r.Tenant, r.floor >= state.Last:
			case r.exact && r.left > countAlways:
				c.counts[r.Subscription] += r.left - r.cancelledAfter(r.taken)
				add(r.floor, min(r.taken, r.Until, state.Last))
			default:
				r.exact = false
				add(r.floor, min(r.Until, state.Last))
			}
		}
	}
	return merge(spans)
}

// cancelledAfter is how many deliveries after a sequence have a record although the lane has not come to them.
func (r *laneReach) cancelledAfter(after uint64) (n uint64) {
	for id, recorded := range r.cancelled {
		sequence, subscription, _, ok := events.ParseDeliveryID(id)
		if ok && recorded && subscription == r.Subscription && sequence > after && r.holds(sequence) {
			n++
		}
	}
	return n
}

// lanesOnly reports whether all that is pending of the one subscription that is counted waits for its lane.
func (c *counting) lanesOnly(last uint64) bool {
	if len(c.lanes[c.subscription]) == 0 {
		return false
	}
	covered := c.floor
	for _, r := range c.lanes[c.subscription] { // oldest first
		if r.From <= covered {
			covered = max(covered, r.Until)
		}
	}
	return covered >= last
}

// filters are the subjects that are enough to read; nil = all.
func (c *counting) filters(last uint64) []string {
	if !c.lanesOnly(last) {
		return nil
	}
	return laneSubjects(c.lanes[c.subscription])
}

// laneSubjects are where the events of a subscription's lanes are.
func laneSubjects(lanes []*laneReach) []string {
	var types []string
	for _, r := range lanes {
		if len(r.Types) == 0 {
			return EventSubjects(r.Tenant, nil)
		}
		types = append(types, r.Types...)
	}
	return EventSubjects(lanes[0].Tenant, types)
}

// merge orders spans, the newest first, and makes one of those that touch.
func merge(spans []span) (merged []span) {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(b.to, a.to) })
	for _, s := range spans {
		if n := len(merged); n > 0 && merged[n-1].from <= s.to+1 {
			merged[n-1].from = min(merged[n-1].from, s.from)
			continue
		}
		merged = append(merged, s)
	}
	return merged
}

// countRange counts the deliveries of a range of events.
func (c *counting) countRange(ctx context.Context, s scan) error {
	var failed error
	err := c.read(ctx, s, func(sequence uint64, msg *nats.Msg) bool {
		failed = c.take(ctx, sequence, msg)
		return failed == nil && c.looked < maxBacklogEvents
	})
	return cmp.Or(err, failed)
}

func (c *counting) take(ctx context.Context, sequence uint64, msg *nats.Msg) error {
	c.looked++
	tenant := subjectTenant(msg.Subject)
	if c.tenant != "" && tenant != c.tenant {
		return nil
	}
	e, err := events.ParseNATS(msg.Header, msg.Data)
	if err != nil || !e.Own(tenant) {
		return nil //nolint:nilerr // it becomes a dead letter, and has no delivery before
	}
	ids, err := c.match(ctx, e, sequence)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if c.subscription != "" && id != c.subscription {
			continue
		}
		pending, recorded := c.of(id, sequence)
		if r := c.laneOf(id, sequence); !pending || r != nil && r.exact && sequence > r.taken {
			continue // the latter is counted
		}
		c.counts[id]++
		if !recorded {
			continue
		}
		c.taken[events.DeliveryID(sequence, id, 0)] = id
		at, err := storedAt(msg)
		if err != nil {
			return err
		}
		if c.since.IsZero() || at.Before(c.since) {
			c.since = at
		}
	}
	return nil
}
