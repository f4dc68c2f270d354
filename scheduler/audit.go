package scheduler

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/events/stream"
)

const (
	// shutGrace and openGrace leave what has just expired to the workers: in a sink's queue that is drained they come to it by
	// themselves.
	shutGrace = time.Second
	openGrace = time.Minute
	// slowRate is from when on the pause between two deliveries is one to expire in.
	slowRate = 5 * time.Second
	// learnTime bounds what is read of HELD in one step, at 20 µs a message; the next step goes on.
	learnTime = 250 * time.Millisecond
	// learnPage is how many are read between two looks at the clock.
	learnPage = 1024
)

// auditor is where the looks through HELD stand, and what they found.
type auditor struct {
	lap  uint64             // sequence that the slow look through all goes on from
	tail uint64             // sequence that what is new is read from
	of   map[string]*agenda // by subscription

	audited time.Time // when the last page of the slow look was read
}

// agenda says where the deliveries of a subscription are that expire by a time.
type agenda struct {
	created calendar // by when they were made: how long they may wait is the subscription's business, and may change
	expires calendar // by when their events expire
}

func newAuditor() auditor { return auditor{of: map[string]*agenda{}} }

// lookAfterHeld ends what has expired, and now and then looks through all.
func (s *Scheduler) lookAfterHeld(ctx context.Context) error {
	if time.Since(s.auditor.audited) >= s.cfg.Audit {
		if err := s.audit(ctx); err != nil {
			return err
		}
		s.auditor.audited = time.Now()
	}
	return s.expireHeld(ctx)
}

// audit looks through all of HELD, a page at a time: that the workers know of every subscription that has some, and that
// what expires is known.
func (s *Scheduler) audit(ctx context.Context) error {
	met := map[string]bool{}
	next, err := s.waitlist.Walk(ctx, stream.HeldName, s.auditor.lap, s.cfg.AuditPage, func(g stream.Glimpse) error {
		if id := g.Subscription(); !met[id] {
			met[id] = true
			if err := s.markBacklog(ctx, id); err != nil {
				return err
			}
		}
		s.learn(g)
		return nil
	})
	if err != nil {
		return fmt.Errorf("audit held deliveries: %w", err)
	}
	s.auditor.lap = next
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

// learn puts a held delivery into the agenda of its subscription.
func (s *Scheduler) learn(g stream.Glimpse) {
	p, err := g.Parked()
	if err != nil {
		s.Log.Error().Err(err).Uint64("sequence", g.Sequence()).Msg("a held delivery cannot be read")
		return
	}
	of := s.auditor.of[p.Delivery.Subscription]
	if of == nil {
		of = &agenda{}
		s.auditor.of[p.Delivery.Subscription] = of
	}
	of.created.note(p.Delivery.CreatedAt, g.Sequence())
	if at, ok := p.Event.ExpiryTime(); ok {
		of.expires.note(at, g.Sequence())
	}
}

// expireHeld ends what is held for longer than it may be. Nothing is read while no sink with held deliveries is shut: the
// workers come to them.
func (s *Scheduler) expireHeld(ctx context.Context) error {
	if !s.anyShut() {
		return nil
	}
	if err := s.learnNew(ctx); err != nil {
		return fmt.Errorf("look at what is held: %w", err)
	}
	for id, of := range s.auditor.of {
		if err := s.expireOf(ctx, id, of); err != nil {
			return fmt.Errorf("expire what is held for %s: %w", id, err)
		}
		if len(of.created.spans) == 0 && len(of.expires.spans) == 0 {
			delete(s.auditor.of, id)
		}
	}
	return nil
}

// anyShut reports whether there are held deliveries that no worker drains now.
func (s *Scheduler) anyShut() bool {
	for id := range s.Registry.Backlogged() {
		if entry, ok := s.Registry.Lookup(id); ok && !entry.Subscription.Laned() && s.shut(entry) {
			return true
		}
	}
	return false
}

// shut reports whether held deliveries of a subscription stay where they are, or leave so slowly that it makes no
// difference.
func (s *Scheduler) shut(entry *registry.Entry) bool {
	h := s.Registry.Health(entry.Subscription.ID)
	if entry.GivesUp(&h) {
		return false
	}
	door, _ := entry.Door(&h, time.Now())
	r := entry.Subscription.Config.Rate
	return door != registry.Open || r != nil && time.Duration(r.Per)/time.Duration(max(r.Permit, 1)) >= slowRate
}

// learnNew reads what was held since the last time, as far as the time allows.
func (s *Scheduler) learnNew(ctx context.Context) error {
	until := time.Now().Add(learnTime)
	for time.Now().Before(until) {
		n := 0
		_, err := s.waitlist.Walk(ctx, stream.HeldName, s.auditor.tail, learnPage, func(g stream.Glimpse) error {
			s.learn(g)
			s.auditor.tail = g.Sequence() + 1
			n++
			return nil
		})
		if err != nil || n < learnPage {
			return err
		}
	}
	return nil
}

// expireOf ends what has expired of a subscription's.
func (s *Scheduler) expireOf(ctx context.Context, id string, of *agenda) error {
	entry, ok := s.Registry.Lookup(id)
	if !ok || entry.Subscription.Laned() {
		return nil // its deliveries are drained, into cancels; a lane looks after its own
	}
	grace := openGrace
	if s.shut(entry) {
		grace = shutGrace
	}
	now := time.Now().Add(-grace)
	due := of.expires.take(now)
	if maxAge := time.Duration(entry.Subscription.Config.Retry.MaxAge); maxAge > 0 {
		due = append(due, of.created.take(now.Add(-maxAge))...)
	}
	if len(due) == 0 {
		return nil
	}
	hand, err := s.inHand(ctx, id)
	for i := 0; err == nil && i < len(due); i++ {
		err = s.expireSpan(ctx, entry, due[i], now, hand, of)
	}
	if err != nil { // all of it again
		for _, d := range due {
			of.expires.put(d)
		}
	}
	return err
}

// errBehind ends a walk that has come to the end of its span.
var errBehind = errors.New("behind the span")

// expireSpan ends what has expired in a span of HELD. What is not to be ended yet goes back into the agenda, with a time
// of its own.
func (s *Scheduler) expireSpan(ctx context.Context, entry *registry.Entry, at span, now time.Time, hand inHand, of *agenda) error {
	for from := at.first; from != 0; {
		var page []*stream.Parked
		next, err := s.waitlist.Walk(ctx, stream.HeldName, from, expirePage, func(g stream.Glimpse) error {
			if g.Sequence() > at.last {
				return errBehind
			}
			if g.Subscription() != entry.Subscription.ID {
				return nil
			}
			p, err := g.Parked()
			if err != nil {
				return nil //nolint:nilerr // learn has said so
			}
			switch ends := endOf(p, entry, now); {
			case ends && !hand.has(p.Sequence):
				page = append(page, p)
			case ends: // a worker may be sending it
				of.expires.note(time.Now().Add(handAgain), p.Sequence)
			default:
				s.learn(g)
			}
			return nil
		})
		if err != nil && !errors.Is(err, errBehind) {
			return err
		}
		if err != nil {
			next = 0
		}
		if err := s.expireAll(ctx, page, now); err != nil {
			return err
		}
		from = next
	}
	return nil
}
