package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

// Bounds of cancelling.
const (
	cancelTries    = 3                      // looks at a delivery that moves meanwhile
	sweepInterval  = 500 * time.Millisecond // how soon a cancel follows an attempt that was in flight
	cancelLife     = time.Hour              // as long as the workers are told; no attempt takes longer
	tellTime       = 2 * time.Second        // by then every worker knows
	cancelBudget   = 10 * time.Second       // of a DELETE for what waits; the rest is cancelled after its answer
	maxOutstanding = 10_000                 // cancels in flight that one process follows; more are refused for now
)

// cancels are those that this process still has to bring to their end: of deliveries whose attempt is in flight, and of
// deleted subscriptions with very much that waits. A worker that gets such a delivery before an attempt cancels it by
// itself, so that what is forgotten in a crash is only late.
type cancels struct {
	mu            sync.Mutex
	deliveries    map[string]time.Time // until when to follow it
	subscriptions map[string]struct{}
}

func newCancels() *cancels {
	return &cancels{deliveries: map[string]time.Time{}, subscriptions: map[string]struct{}{}}
}

// follow has a cancel brought to its end. It returns false when there are too many.
func (c *cancels) follow(id string, until time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.deliveries) >= maxOutstanding {
		return false
	}
	c.deliveries[id] = until
	return true
}

func (c *cancels) followSubscription(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.subscriptions[id] = struct{}{}
}

func (c *cancels) done(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.deliveries, id)
}

func (c *cancels) doneSubscription(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.subscriptions, id)
}

// outstanding returns what is left, deliveries with whether every worker knows, and forgets what is too old.
func (c *cancels) outstanding(now time.Time) (deliveries map[string]bool, subscriptions []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	deliveries = make(map[string]bool, len(c.deliveries))
	for id, until := range c.deliveries {
		if now.After(until) {
			delete(c.deliveries, id)
		} else {
			deliveries[id] = now.Add(cancelLife).Sub(until) > tellTime
		}
	}
	for id := range c.subscriptions {
		subscriptions = append(subscriptions, id)
	}
	return deliveries, subscriptions
}

func (a *API) cancelDelivery(c *call) error {
	f, err := a.delivery(c)
	switch {
	case err != nil:
		return err
	case f.Record.State == events.StateCancelled:
		return c.json(http.StatusOK, viewRecord(f.Record))
	case f.Record.State.Ended():
		return problem(CodeEnded, "the delivery has ended as %s", f.Record.State)
	}
	id := f.Record.ID
	if !a.cancels.follow(id, time.Now().Add(cancelLife)) {
		p := problem(CodeUnavailable, "too many cancelled deliveries are in flight")
		p.RetryAfter = unavailableFor
		return p
	}
	if err := a.markInLane(c.r.Context(), f.Record); err != nil {
		return err
	}
	if err := a.tellWorkers(c.r.Context(), id); err != nil {
		return err
	}
	ended, err := a.endCancelled(c.r.Context(), f.Record, false)
	if err != nil {
		return err
	}
	if ended == nil {
		return c.json(http.StatusAccepted, viewRecord(f.Record))
	}
	a.cancels.done(id)
	return c.json(http.StatusOK, viewRecord(ended))
}

// tellWorkers makes every worker cancel the delivery before its next attempt, durably.
func (a *API) tellWorkers(ctx context.Context, id string) error {
	msg := &nats.Msg{Subject: "$KV." + stream.BucketCancels + "." + id, Data: []byte(`{}`)}
	if _, err := a.deps.Writer.Write(ctx, msg, "KV_"+stream.BucketCancels); err != nil {
		return fmt.Errorf("cancel %s: %w", id, err)
	}
	return nil
}

// endCancelled takes a delivery out of where it waits and records its end, which it returns. nil says that it is in a
// worker's hands, or about to be. It is removed before it is recorded: once it is removed it has surely not fired. What is
// held behind an open gate may be in hand at any time; when the workers are told, it is taken if it is not now, because
// it may wait for days for its sink's rate. In a lane its owner takes it.
func (a *API) endCancelled(ctx context.Context, r *events.Record, told bool) (*events.Record, error) {
	for range cancelTries {
		p, ok, err := a.waiting.Find(ctx, r.Subscription, r.ID)
		switch {
		case err != nil:
			return nil, err
		case !ok:
			return a.endLost(ctx, r.ID, told)
		case p.Place == stream.PlaceDue:
			return nil, nil
		case p.Place == stream.PlaceHeld && a.checkOpen(r.Subscription) == nil:
			if !told || a.deps.Registry.Laned(r.Subscription) {
				return nil, nil
			}
			if drained, err := a.waiting.Drained(ctx, p); drained || err != nil {
				return nil, err
			}
		}
		removed, err := a.waiting.Remove(ctx, p)
		if err != nil {
			return nil, err
		}
		if removed {
			return a.recordCancelled(ctx, p.Delivery, events.ReasonCancelled)
		}
	}
	return nil, nil
}

// endLost looks at a delivery that waits nowhere, or in the event stream for its lane. What is on its first attempt has no
// record, and what is on a later one is due. One whose last record says that it waits is about to be put there by the worker
// that wrote the record; when that one has let go of it, it was removed by a process that ended before it recorded that.
func (a *API) endLost(ctx context.Context, id string, told bool) (*events.Record, error) {
	f, ok, err := a.history.Find(ctx, id)
	switch {
	case err != nil || !ok:
		return nil, err
	case f.Record.State.Ended():
		return f.Record, nil
	case f.Record.State == events.StatePending && told:
		return a.endInLane(ctx, f.Record)
	case f.Record.State == events.StatePending:
		return nil, nil
	}
	if taken, err := a.history.Taken(ctx, f.Record.Subscription, f.Record.Event.Sequence); taken || err != nil {
		return nil, err
	}
	if _, waits, err := a.waiting.Find(ctx, f.Record.Subscription, id); waits || err != nil {
		return nil, err
	}
	return a.recordCancelled(ctx, f.Record.Delivery, events.ReasonCancelled)
}

// recordCancelled records the end of a delivery, durably.
func (a *API) recordCancelled(ctx context.Context, d events.Delivery, reason events.Reason) (*events.Record, error) {
	r := events.CancelRecord(d, reason, time.Now())
	if _, err := a.deps.Writer.Write(ctx, stream.RecordMessage(r), stream.Attempts); err != nil {
		return nil, fmt.Errorf("record the cancel of %s: %w", d.ID, err)
	}
	return r, nil
}

// errRecreated ends the cancelling for a deleted subscription when there is a new one of its id.
var errRecreated = errors.New("there is a new subscription of this id")

// cancelAll cancels what waits for a deleted subscription. What it does not get to within its budget is left to sweep.
func (a *API) cancelAll(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, cancelBudget)
	defer cancel()
	err := a.cancelSome(ctx, id)
	switch {
	case errors.Is(err, errRecreated):
		return nil
	case err != nil && ctx.Err() != nil:
		a.cancels.followSubscription(id)
		return nil
	}
	return err
}

func (a *API) cancelSome(ctx context.Context, id string) error {
	return a.waiting.CancelSubscription(ctx, id, func(ctx context.Context, parked []*stream.Parked) error {
		if err := a.deps.Registry.Fresh(ctx); err != nil {
			return err
		}
		if _, ok := a.deps.Registry.Lookup(id); ok {
			return errRecreated
		}
		return a.recordAll(ctx, parked)
	})
}

// recordAll records that these deliveries are cancelled, durably, in one group of writes.
func (a *API) recordAll(ctx context.Context, parked []*stream.Parked) error {
	results := make(chan error, len(parked))
	for _, p := range parked {
		msg := stream.RecordMessage(events.CancelRecord(p.Delivery, events.ReasonUnsubscribed, time.Now()))
		if err := a.deps.Writer.Submit(msg, stream.Attempts, func(_ stream.Ack, err error) { results <- err }); err != nil {
			results <- err
		}
	}
	var failed error
	for range parked {
		select {
		case err := <-results:
			failed = errors.Join(failed, err)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return failed
}

// sweep brings outstanding cancels to their end until ctx ends: those of this process, and those that an earlier one was
// told of and may have left half done.
func (a *API) sweep(ctx context.Context) error {
	if err := a.resumeCancels(ctx); err != nil && ctx.Err() == nil {
		a.log.Warn().Err(err).Msg("outstanding cancels not read; workers carry them out when they are due")
	}
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			deliveries, subscriptions := a.cancels.outstanding(now)
			for id, told := range deliveries {
				a.sweepDelivery(ctx, id, told)
			}
			for _, id := range subscriptions {
				a.sweepSubscription(ctx, id)
			}
		}
	}
}

func (a *API) resumeCancels(ctx context.Context) error {
	kv, err := a.deps.JetStream.KeyValue(ctx, stream.BucketCancels)
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", stream.BucketCancels, err)
	}
	keys, err := kv.ListKeys(ctx)
	if err != nil {
		return fmt.Errorf("list bucket %s: %w", stream.BucketCancels, err)
	}
	for id := range keys.Keys() {
		a.cancels.follow(id, time.Now().Add(cancelLife))
	}
	marks, err := a.lanes.Cancelled(ctx, "*")
	if err != nil {
		return err
	}
	for id, recorded := range marks {
		if !recorded {
			a.cancels.follow(id, time.Now().Add(cancelLife))
		}
	}
	return nil
}

// sweepDelivery brings one cancel to its end; told says that every worker knows of it.
func (a *API) sweepDelivery(ctx context.Context, id string, told bool) {
	ctx, cancel := context.WithTimeout(ctx, handlerTimeout)
	defer cancel()
	_, subscription, _, ok := events.ParseDeliveryID(id)
	if !ok {
		a.cancels.done(id)
		return
	}
	ended, err := a.endCancelled(ctx, &events.Record{Delivery: events.Delivery{ID: id, Subscription: subscription}}, told)
	if err != nil {
		a.sampled.Warn().Err(err).Str("delivery", id).Msg("cancel not carried out yet")
		return
	}
	if ended != nil {
		a.cancels.done(id)
	}
}

func (a *API) sweepSubscription(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(ctx, cancelBudget)
	defer cancel()
	switch err := a.cancelSome(ctx, id); {
	case err == nil, errors.Is(err, errRecreated):
		a.cancels.doneSubscription(id)
	case ctx.Err() == nil:
		a.sampled.Warn().Err(err).Str("subscription", id).Msg("waiting deliveries of a deleted subscription not cancelled yet")
	}
}
