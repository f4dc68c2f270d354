package worker

import (
	"context"

	"github.com/hookfleet/hookfleet/events"
)

// cancel hears that somebody wants a delivery of the lane cancelled. Its timer may be gone already.
func (t *tenure) cancel(delivery string) {
	if t.keys == nil {
		return // it is read when the lane begins
	}
	if sequence, _, replay, ok := events.ParseDeliveryID(delivery); ok && replay == 0 && sequence > t.pull.read {
		t.cancelled[delivery] = true
		return
	}
	t.find(delivery)
	t.withdraw()
}

// readCancelled learns which events that are still to come were cancelled, and forgets those that came.
func (t *tenure) readCancelled(ctx context.Context, floor uint64) error {
	marks, err := t.lanes.store.Cancelled(ctx, t.id)
	if err != nil {
		return err
	}
	for id := range marks {
		if sequence, _, _, ok := events.ParseDeliveryID(id); ok && sequence > floor {
			t.cancelled[id] = true
		} else if err := t.lanes.store.Uncancel(ctx, t.id, id); err != nil {
			return err
		}
	}
	return nil
}

// withdraw ends what waits and was cancelled, whatever it waits for. While the gate is shut nothing of the lane moves, and
// who cancelled it takes it out of HELD.
func (t *tenure) withdraw() {
	if !t.shut.IsZero() || !t.w.cancels.any(t.id) {
		return
	}
	for _, k := range t.keys.all() {
		for at := 0; at < len(k.waiting); at++ {
			it := k.waiting[at]
			if it.moving || !t.w.cancels.has(&events.Delivery{ID: it.id, Replay: it.delivery.Replay}) || t.inflight >= cap(t.w.first.sends) {
				continue
			}
			t.keys.remove(k, it)
			at--
			t.start(&laneKey{name: k.name, aside: true, running: it}, it)
		}
		t.keys.list(k)
	}
}

// cancelItem ends a delivery that was cancelled before the lane came to it. Who cancelled it may have recorded its end.
func (w *Worker) cancelItem(t *tenure, d *delivery) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.sends), settleTimeout)
	defer cancel()
	marks, err := t.lanes.store.Cancelled(ctx, t.id)
	if err != nil {
		return err
	}
	if !marks[d.ID] {
		if err := w.settle(ctx, d, events.Verdict{Outcome: events.Cancelled, Reason: events.ReasonCancelled}, nil); err != nil {
			return err
		}
	}
	return t.lanes.store.Uncancel(ctx, t.id, d.ID)
}
