package scheduler

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/events/stream"
)

const (
	// expirePage bounds what is in memory while deliveries are ended: events of at most 1 MB, usually 1 KB.
	expirePage = 512
	// expiring is how many are ended at a time, so that the writer stores them in groups.
	expiring = 32
	// handAgain is when what a worker had in hand is looked at again.
	handAgain = 2 * time.Second
)

// endOf reports whether a held delivery has expired at now: its event, or it by its subscription.
func endOf(p *stream.Parked, entry *registry.Entry, now time.Time) bool {
	c := entry.Subscription.Config
	if p.Delivery.Batch != nil { // a worker may be sending it in a batch that another delivery leads
		now = now.Add(-time.Duration(c.Timeout) - openGrace)
	}
	maxAge := time.Duration(c.Retry.MaxAge)
	return p.Event.Expired(now) || maxAge > 0 && now.After(p.Delivery.CreatedAt.Add(maxAge))
}

// inHand says which messages of a sink's held queue workers may have.
type inHand struct {
	upTo uint64 // sequence; 0 = none
}

func (h inHand) has(sequence uint64) bool { return sequence <= h.upTo }

// inHand asks the broker what it has handed out: everything that was not acknowledged is among what it delivered. What it
// hands out from now on is as old, and a worker ends it as we do.
func (s *Scheduler) inHand(ctx context.Context, id string) (inHand, error) {
	c, err := s.JS.Consumer(ctx, stream.HeldName, stream.HeldConsumer(id))
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return inHand{}, nil
	}
	if err != nil {
		return inHand{}, fmt.Errorf("look at what workers have: %w", err)
	}
	info := c.CachedInfo()
	if info.NumAckPending == 0 {
		return inHand{}, nil
	}
	return inHand{info.Delivered.Stream}, nil
}

// expireAll ends held deliveries side by side.
func (s *Scheduler) expireAll(ctx context.Context, page []*stream.Parked, now time.Time) error {
	if len(page) == 0 {
		return nil
	}
	deliveries := make([]*events.Delivery, len(page))
	for i, p := range page {
		deliveries[i] = &p.Delivery
	}
	ended, err := s.history.Ends(ctx, deliveries)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(expiring)
	for _, p := range page {
		g.Go(func() error {
			if err := s.expire(ctx, p, ended[p.Delivery.ID], now); err != nil {
				return fmt.Errorf("delivery %s: %w", p.Delivery.ID, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// expire ends a held delivery in the durable order: record, dead letter, and only then it is removed. One whose event has
// expired is skipped, and has no dead letter. ended is what the history says of its end already: we were killed in the
// midst of this, or a worker, after it had ended it.
func (s *Scheduler) expire(ctx context.Context, p *stream.Parked, ended *events.Record, now time.Time) error {
	if ended == nil {
		var err error
		if ended, err = s.end(ctx, p, now); err != nil {
			return err
		}
	}
	if ended.State == events.StateDead {
		if err := s.bury(ctx, p, ended); err != nil {
			return err
		}
	}
	_, err := s.waitlist.Remove(ctx, p)
	return err
}

// end records the end of a delivery.
func (s *Scheduler) end(ctx context.Context, p *stream.Parked, now time.Time) (*events.Record, error) {
	r := &events.Record{Delivery: p.Delivery, State: events.StateDead, EndedAt: time.Now().UTC(), First: p.Delivery.Record == 0}
	r.Reason, r.NextAt = events.ReasonExpiredRetry, time.Time{}
	if p.Event.Expired(now) {
		r.State, r.Reason = events.StateSkipped, events.ReasonExpired
	}
	ack, err := s.Writer.Write(ctx, stream.RecordMessage(r), "")
	if err != nil {
		return nil, err
	}
	r.Record = ack.Sequence // for what names it
	if r.State == events.StateDead {
		s.letters.WithLabelValues(string(r.Reason)).Inc()
	}
	return r, nil
}

// bury makes the dead letter of a delivery.
func (s *Scheduler) bury(ctx context.Context, p *stream.Parked, ended *events.Record) error {
	last, err := s.history.LastAttempt(ctx, &p.Delivery)
	if err != nil {
		return err
	}
	if ended.Attempt != nil {
		last = ended.Attempt
	}
	letter, err := stream.DeadMessage(&events.DeadLetter{
		Delivery: ended.Delivery, LastAttempt: last, DeadAt: time.Now().UTC(), Payload: p.Event,
	}, nil, nil)
	if err != nil {
		return err
	}
	_, err = s.Writer.Write(ctx, letter, stream.DeadName)
	return err
}
