package api

import (
	"context"
	"fmt"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

// markInLane notes durably, when the delivery waits in the event stream for its lane, that it is cancelled: the lane may come
// to it in days.
func (a *API) markInLane(ctx context.Context, r *events.Record) error {
	if r.State != events.StatePending {
		return nil
	}
	waits, err := a.history.Unreached(ctx, r.Subscription, r.Event.Sequence)
	if !waits || err != nil {
		return err
	}
	return a.mark(ctx, r, false)
}

func (a *API) mark(ctx context.Context, r *events.Record, recorded bool) error {
	msg := stream.LaneCancelMessage(r.Subscription, r.ID, recorded)
	if _, err := a.deps.Writer.Write(ctx, msg, "KV_"+stream.BucketLanes); err != nil {
		return fmt.Errorf("cancel %s in its lane: %w", r.ID, err)
	}
	return nil
}

// endInLane records the end of a delivery that waits in the event stream for its lane, whose owner knows that it is cancelled.
// nil says that it is in the owner's hands. Should the owner come to it just now, it records the same.
func (a *API) endInLane(ctx context.Context, r *events.Record) (*events.Record, error) {
	waits, err := a.history.Unreached(ctx, r.Subscription, r.Event.Sequence)
	if !waits || err != nil {
		return nil, err
	}
	ended, err := a.recordCancelled(ctx, r.Delivery, events.ReasonCancelled)
	if err != nil {
		return nil, err
	}
	return ended, a.mark(ctx, r, true)
}
