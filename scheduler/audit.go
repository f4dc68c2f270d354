package scheduler

import (
	"context"
	"fmt"
	"time"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/events/stream"
)

const (
	// expiryGrace leaves what has just expired to the workers, who may have it in hand.
	expiryGrace = time.Minute
	// maxExpired bounds the dead letters that one audit makes, at two durable writes each. The next one goes on.
	maxExpired = 2000
)

// auditor is where the look through HELD stands.
type auditor struct {
	next uint64 // sequence in HELD
}

// audit looks through held deliveries, a page at a time: that the workers know of every subscription that has some, and
// that none is kept for longer than its subscription wants.
func (s *Scheduler) audit(ctx context.Context) error {
	closed := map[string]time.Duration{} // subscriptions that were met: maxage of those nobody drains, 0 = not to be looked at
	var expired []*stream.Parked
	next, err := s.waitlist.Walk(ctx, stream.HeldName, s.auditor.next, s.cfg.AuditPage, func(g stream.Glimpse) error {
		id := g.Subscription()
		maxAge, met := closed[id]
		if !met {
			if err := s.markBacklog(ctx, id); err != nil {
				return err
			}
			maxAge = s.maxAge(id)
			closed[id] = maxAge
		}
		if maxAge == 0 || len(expired) >= maxExpired {
			return nil
		}
		if p, err := g.Parked(); err == nil && time.Since(p.Delivery.CreatedAt) > maxAge+expiryGrace {
			expired = append(expired, p)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("audit held deliveries: %w", err)
	}
	for _, p := range expired {
		if err := s.expire(ctx, p); err != nil {
			return fmt.Errorf("expire delivery %s: %w", p.Delivery.ID, err)
		}
	}
	if len(expired) < maxExpired {
		s.auditor.next = next
	}
	return nil
}

// markBacklog says that the subscription has held deliveries, where a crash lost it. Those of a subscription that is
// gone are drained too, into cancels.
func (s *Scheduler) markBacklog(ctx context.Context, id string) error {
	if s.Registry.Health(id).Backlog {
		return nil
	}
	s.Log.Warn().Str("subscription", id).Msg("held deliveries that nobody knew of; marked")
	return s.Registry.SetHealth(ctx, id, func(h *registry.Health) bool {
		changed := !h.Backlog
		h.Backlog = true
		return changed
	})
}

// maxAge is after how long held deliveries of a subscription expire; 0 = never, or a worker sees to it when it drains.
func (s *Scheduler) maxAge(id string) time.Duration {
	entry, ok := s.Registry.Lookup(id)
	if !ok {
		return 0
	}
	h := s.Registry.Health(id)
	if door, _ := entry.Door(&h, time.Now()); door == registry.Open || entry.GivesUp(&h) {
		return 0
	}
	return time.Duration(entry.Subscription.Config.Retry.MaxAge)
}

// expire makes a dead letter of a held delivery, in the durable order: record, dead letter, and only then it is removed.
func (s *Scheduler) expire(ctx context.Context, p *stream.Parked) error {
	d := p.Delivery
	found, ok, err := s.history.Find(ctx, d.ID)
	if err != nil {
		return err
	}
	var last *events.Attempt
	if ok && len(found.Attempts) > 0 {
		last = &found.Attempts[len(found.Attempts)-1]
	}
	now := time.Now().UTC()
	if !ok || found.Record.State != events.StateDead { // else we were killed between
		r := &events.Record{Delivery: d, State: events.StateDead, EndedAt: now, First: d.Record == 0}
		r.Reason, r.NextAt = events.ReasonExpiredRetry, time.Time{}
		ack, err := s.Writer.Write(ctx, stream.RecordMessage(r), "")
		if err != nil {
			return err
		}
		d = r.Delivery
		d.Record = ack.Sequence
	} else {
		d = found.Record.Delivery
	}
	letter, err := stream.DeadMessage(&events.DeadLetter{Delivery: d, LastAttempt: last, DeadAt: now, Payload: p.Event}, nil, nil)
	if err != nil {
		return err
	}
	if _, err := s.Writer.Write(ctx, letter, stream.DeadName); err != nil {
		return err
	}
	_, err = s.waitlist.Remove(ctx, p)
	return err
}
