package scheduler

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events/stream"
)

// veryTight is the use of the store above which everything settled is deleted at once; between tight and this, half of
// it each time, so that what was settled last stays longest.
const veryTight = 0.85

// idleTrim is how often is trimmed while no event comes and none is old enough: to list the consumers of a thousand lanes takes 30 ms.
const idleTrim = time.Minute

// trimmer trims when it is time.
type trimmer struct {
	s    *Scheduler
	last time.Time // when it trimmed
	seen uint64    // where the events ended then
}

func (t *trimmer) step(ctx context.Context) error {
	if time.Since(t.last) < t.s.cfg.Trim && t.s.Storage.Ratio() < stream.StorageTight {
		return nil
	}
	if idle, err := t.idle(ctx); idle || err != nil {
		return err
	}
	t.last = time.Now()
	return t.s.trim(ctx)
}

// idle reports whether there is nothing to trim, for the time being.
func (t *trimmer) idle(ctx context.Context) (bool, error) {
	first, end, err := t.s.events.Bounds(ctx)
	if err != nil {
		return false, fmt.Errorf("trim events: %w", err)
	}
	if end != t.seen || time.Since(t.last) >= idleTrim || t.s.Storage.Ratio() >= stream.StorageTight {
		t.seen = end
		return false, nil
	}
	young, err := t.s.events.Since(ctx, time.Now().Add(-t.s.cfg.Retention), end)
	if err != nil {
		return false, fmt.Errorf("trim events: %w", err)
	}
	return young <= first, nil
}

// trim deletes events that are settled by all consumers and older than the retention, or settled only, while the store
// is tight. What is not settled is never deleted, by age or by size.
func (s *Scheduler) trim(ctx context.Context) error {
	floor, ok, err := s.floor(ctx)
	if err != nil {
		return fmt.Errorf("trim events: %w", err)
	}
	if !ok {
		return nil
	}
	first, end, err := s.events.Bounds(ctx)
	if err != nil {
		return fmt.Errorf("trim events: %w", err)
	}
	young, err := s.events.Since(ctx, time.Now().Add(-s.cfg.Retention), end)
	if err != nil {
		return fmt.Errorf("trim events: %w", err)
	}
	if keep := keepFrom(first, floor, young, s.Storage.Ratio()); keep > first && !s.Storage.Exhausted() {
		if err := s.purge(ctx, keep); err != nil {
			return fmt.Errorf("trim events below %d: %w", keep, err)
		}
		s.Log.Debug().Uint64("below", keep).Msg("trimmed events")
	}
	if err := s.Registry.Prune(ctx, floor); err != nil {
		return fmt.Errorf("forget versions of subscriptions: %w", err)
	}
	return nil
}

// keepFrom is the sequence below which events are deleted: never above what is settled.
func keepFrom(first, floor, young uint64, ratio float64) uint64 {
	settled := floor + 1
	if settled <= first {
		return first
	}
	keep := min(settled, young)
	switch {
	case ratio >= veryTight:
		keep = settled
	case ratio >= stream.StorageTight:
		keep = max(keep, first+(settled-first+1)/2)
	}
	return max(keep, first)
}

func (s *Scheduler) purge(ctx context.Context, below uint64) error {
	events, err := s.JS.Stream(ctx, stream.Events)
	if err != nil {
		return err
	}
	return events.Purge(ctx, jetstream.WithPurgeSequence(below))
}

// floor is the sequence up to which every durable consumer of EVENTS and the index of statuses is done. ok is false when
// the workers' is not there, or it is not known yet how far the index is: then nothing is known to be settled.
func (s *Scheduler) floor(ctx context.Context) (floor uint64, ok bool, err error) {
	// The end comes first: a consumer that has nothing left afterwards is done with all before it. Its ack floor alone
	// would not say so, because it stands still where its filter matches nothing.
	_, end, err := s.events.Bounds(ctx)
	if err != nil {
		return 0, false, err
	}
	events, err := s.JS.Stream(ctx, stream.Events)
	if err != nil {
		return 0, false, err
	}
	consumers, err := durables(ctx, events)
	if err != nil {
		return 0, false, err
	}
	consumers, lanes, err := s.lanes(ctx, events, consumers)
	if err != nil {
		return 0, false, err
	}
	floor = min(end-1, lanes)
	if s.cfg.Index {
		if !s.index.loaded.Load() {
			return 0, false, nil
		}
		floor = min(floor, s.index.saved.Load()) // statuses are to outlive their events
	}
	for _, c := range consumers {
		ok = ok || c.Name == stream.ConsumerDispatch
		if c.NumPending > 0 || c.NumAckPending > 0 {
			floor = min(floor, c.AckFloor.Stream)
		}
	}
	return floor, ok, nil
}

// durables returns the durable consumers of a stream, or an error: in a cluster the list lacks those whose leader did not
// answer in time, and what they have not got yet must not be deleted.
func durables(ctx context.Context, s jetstream.Stream) (infos []*jetstream.ConsumerInfo, err error) {
	known := map[string]bool{}
	add := func(c *jetstream.ConsumerInfo) {
		known[c.Name] = true
		if c.Config.Durable != "" { // else a reader's
			infos = append(infos, c)
		}
	}
	list := s.ListConsumers(ctx)
	for c := range list.Info() {
		add(c)
	}
	if err := list.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
		return nil, err
	}
	names := s.ConsumerNames(ctx)
	for name := range names.Name() {
		if known[name] {
			continue
		}
		c, err := s.Consumer(ctx, name)
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("consumer %s: %w", name, err)
		}
		add(c.CachedInfo())
	}
	if err := names.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
		return nil, err
	}
	return infos, nil
}
