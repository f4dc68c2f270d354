package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/events/stream"
)

// runItem takes a delivery of a lane through its next attempt, settles it and lets go of it. It runs on a goroutine of
// its own; of the tenure it uses what does not change.
func (w *Worker) runItem(t *tenure, entry *registry.Entry, key string, it *laneItem) laneResult {
	d, parked, err := w.openItem(it, entry)
	if err != nil || d == nil {
		return laneResult{err: err}
	}
	d.tenure, d.key, d.superseded = t, key, it.superseded
	if err := w.attemptItem(t, d, it); err != nil {
		if errors.Is(err, errReturned) && it.due {
			err = w.parkItem(d, it)
		}
		return laneResult{err: err}
	}
	if err := w.closeItem(it, parked); err != nil {
		// It is settled, and found so when it comes again.
		w.log.Warn().Err(err).Str(fieldDelivery, d.ID).Msg("settled delivery of a lane not removed")
	}
	return laneResult{waits: !d.state.Ended()}
}

// openItem makes a delivery of what waits. It is nil when what lay in HELD is gone: cancelled.
func (w *Worker) openItem(it *laneItem, entry *registry.Entry) (*delivery, *stream.Parked, error) {
	if it.held == 0 {
		l := w.first
		if it.due {
			l = w.due
		}
		return &delivery{Delivery: it.delivery, event: it.event, entry: entry, slots: l}, nil, nil
	}
	ctx, cancel := context.WithTimeout(w.sends, settleTimeout)
	defer cancel()
	p, ok, err := w.waitlist.HeldAt(ctx, it.held)
	if err != nil || !ok {
		return nil, nil, err
	}
	it.from = delivered{Sequence: p.Sequence, Times: 1, Stored: p.Since}
	return &delivery{Delivery: p.Delivery, event: p.Event, entry: entry, slots: w.held}, p, nil
}

func (w *Worker) attemptItem(t *tenure, d *delivery, it *laneItem) error {
	if it.suspect || it.due && w.settled.suspect(stream.Retries, it.from) {
		from := it.from
		from.Times = max(from.Times, 2)
		if done, err := w.resumed(w.sends, d, from, it.held == 0 && !it.due); done || err != nil {
			return err
		}
	}
	if it.cancelled {
		return w.cancelItem(t, d)
	}
	if batches(d.entry) {
		return w.attemptInBatch(w.sends, t.ctx, d, it.from)
	}
	return w.attemptAlone(w.sends, t.ctx, d)
}

// parkItem puts a retry that may not go now into HELD, where it waits for its turn in the lane.
func (w *Worker) parkItem(d *delivery, it *laneItem) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.sends), settleTimeout)
	defer cancel()
	if err := w.hold(ctx, d); err != nil {
		return err
	}
	return w.parked(ctx, it, d.ID)
}

// parked makes the item that was put into HELD one that lies there, and lets go of its message: errReturned. It returns
// nil when it was cancelled there meanwhile.
func (w *Worker) parked(ctx context.Context, it *laneItem, id string) error {
	p, ok, err := w.waitlist.Held(ctx, it.delivery.Subscription, id)
	if err != nil {
		return err
	}
	w.letGo(it.kept, it.m, nil)
	if !ok {
		return nil
	}
	it.m, it.kept, it.due, it.event, it.held, it.suspect = nil, nil, false, nil, p.Sequence, false
	return errReturned
}

// closeItem lets go of what is settled.
func (w *Worker) closeItem(it *laneItem, parked *stream.Parked) error {
	if parked == nil {
		w.letGo(it.kept, it.m, nil)
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.sends), settleTimeout)
	defer cancel()
	_, err := w.waitlist.Remove(ctx, parked)
	return err
}

// move puts an event that cannot go soon into HELD, so that the stream need not wait for it.
func (t *tenure) move(k *laneKey, it *laneItem) {
	it.moving = true
	t.moving++
	windowed := !it.due
	d := &delivery{Delivery: it.delivery, event: it.event, entry: t.entry, slots: t.w.first, tenure: t}
	if it.due {
		d.slots = t.w.due
	}
	t.lanes.pool.do(func() {
		err := t.w.moveItem(d, it)
		t.mail.put(func() {
			if windowed && (err == nil || errors.Is(err, errReturned)) {
				t.pull.window--
			}
			t.movedAway(k, it, err)
		})
	})
}

func (w *Worker) moveItem(d *delivery, it *laneItem) error {
	if it.suspect {
		from := it.from
		from.Times = max(from.Times, 2)
		done, err := w.resumed(w.sends, d, from, !it.due)
		if err != nil {
			return err
		}
		if done {
			w.letGo(it.kept, it.m, nil)
			return nil
		}
		it.suspect = false
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.sends), settleTimeout)
	defer cancel()
	if err := w.settle(ctx, d, events.Verdict{Outcome: events.Held, Reason: events.ReasonOrder}, nil); err != nil {
		return err
	}
	return w.parked(ctx, it, d.ID)
}

func (t *tenure) movedAway(k *laneKey, it *laneItem, err error) {
	t.moving--
	it.moving = false
	switch {
	case errors.Is(err, errReturned): // it lies in HELD
		t.held[it.id] = true
	case err == nil: // it was settled, or is gone again
		t.keys.remove(k, it)
	default:
		t.log().Warn().Err(err).Str(fieldDelivery, it.id).Msg("event of a lane not held; trying again")
	}
	t.keys.list(k)
}

// drop lets go of everything in our hands. The broker gives it to the next owner.
func (t *tenure) drop() {
	if t.keys == nil {
		return
	}
	for _, k := range t.keys.all() {
		for _, it := range k.waiting {
			if it.kept != nil {
				t.w.keeper.remove(it.kept)
			}
			if it.due {
				t.w.finish(it.m, errReturned)
			}
		}
	}
}

// find looks for a delivery that somebody held for the lane, or cancelled.
func (t *tenure) find(delivery string) {
	p, ok, err := t.w.waitlist.Find(t.ctx, t.id, delivery)
	if err != nil {
		if t.ctx.Err() == nil {
			t.log().Warn().Err(err).Str(fieldDelivery, delivery).Msg("held delivery of a lane not found yet")
		}
		return
	}
	if ok && p.Place != stream.PlaceHeld {
		return // it waits for its time, and blocks its key already
	}
	k := t.blocked[delivery]
	delete(t.blocked, delivery)
	if ok {
		if k == nil {
			k = t.keys.of(t.keyOf(p.Event))
		}
		t.addHeld(k, p, false)
	}
	if k != nil && k.blocked == delivery {
		t.keys.free(k)
	}
}

// due takes a retry whose time has come.
func (t *tenure) due(it *laneItem) {
	if t.ctx.Err() != nil {
		t.w.letGo(it.kept, it.m, errReturned)
		return
	}
	k := t.blocked[it.id]
	delete(t.blocked, it.id)
	if k == nil {
		k = t.keys.of(t.keyOf(it.event))
	}
	if k.blocked == it.id {
		k.blocked = ""
	}
	t.queue(k, it)
	t.keys.list(k)
}

// retryInLane gives a delivery whose timer fired to its subscription's lane. It returns false when it has none, or its
// owner is another worker, to which it goes by HELD.
func (w *Worker) retryInLane(held *kept, m *nats.Msg, from delivered) (taken bool, err error) {
	waiting, err := stream.ParseWaiting(m.Header, m.Data)
	if err != nil {
		return false, fmt.Errorf("message %d of %s: %w", from.Sequence, stream.Retries, err)
	}
	id := waiting.Delivery.Subscription
	if !w.registry.Laned(id) || isTest(waiting.Event) {
		return false, nil
	}
	it := &laneItem{
		id: waiting.Delivery.ID, sequence: waiting.Delivery.Event.Sequence, created: waiting.Delivery.CreatedAt, came: time.Now(),
		first: waiting.Delivery.Attempts == 0, at: events.LifecycleTime(waiting.Event, waiting.Delivery.CreatedAt), m: m, kept: held, from: from, due: true, delivery: waiting.Delivery, event: waiting.Event,
	}
	if t := w.lanes.of(id); t != nil && t.mail.put(func() { t.due(it) }) {
		return true, nil
	}
	entry, _ := w.registry.Lookup(id)
	d := &delivery{Delivery: waiting.Delivery, event: waiting.Event, entry: entry, slots: w.due}
	if w.settled.suspect(stream.Retries, from) {
		if done, err := w.resumed(w.sends, d, from, false); done || err != nil {
			return done, err
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.sends), settleTimeout)
	defer cancel()
	if err := w.hold(ctx, d); err != nil {
		return false, err
	}
	w.letGo(held, m, nil)
	return true, w.lanes.store.TellHeld(id, d.ID)
}
