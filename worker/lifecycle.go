package worker

import (
	"context"
	"fmt"

	"github.com/hookfleet/hookfleet/events"
)

// lifecycleOf is the status semantics that a delivery goes by; nil = none.
func lifecycleOf(d *delivery) *events.Lifecycle {
	if d.tenure == nil || d.entry == nil || isTest(d.event) {
		return nil
	}
	return d.entry.Subscription.Config.Lifecycle
}

// judge says whether the delivery is skipped by its status, and why. Skips come in the order of API.md 3.4, so where it
// would go is asked first. What was delivered and lacks its record is not sent again.
func (w *Worker) judge(ctx context.Context, d *delivery, p *plan) (v events.Verdict, ends bool) {
	l := lifecycleOf(d)
	if l == nil {
		return v, false
	}
	if v, ok := w.aim(d, p); !ok {
		return v, true
	}
	status, ok := l.StatusOf(d.event)
	switch {
	case !ok:
		return skip(events.ReasonNoStatus), true
	case d.key == "": // nothing is known of what has no key
		return v, false
	}
	known, err := w.progress.Get(ctx, d.Subscription, d.key)
	if err != nil {
		w.log.Warn().Err(err).Str(fieldDelivery, d.ID).Msg("status semantics not known; handed back")
		return events.Verdict{Outcome: events.Returned}, true
	}
	if known.Last == d.Event.Sequence && d.ReplayOf == "" {
		return events.Verdict{Outcome: events.Delivered}, true
	}
	if reason, ok := l.Judge(known, status, events.LifecycleTime(d.event, d.CreatedAt)); !ok {
		return skip(reason), true
	}
	if d.superseded {
		return skip(events.ReasonSuperseded), true
	}
	return v, false
}

func skip(r events.Reason) events.Verdict { return events.Verdict{Outcome: events.Skipped, Reason: r} }

// advance notes that a status was delivered, durably, before the delivery is recorded as made.
func (w *Worker) advance(ctx context.Context, d *delivery, v events.Verdict) error {
	l := lifecycleOf(d)
	if l == nil || v.Outcome != events.Delivered || d.key == "" {
		return nil
	}
	status, ok := l.StatusOf(d.event)
	if !ok {
		return nil
	}
	known, err := w.progress.Get(ctx, d.Subscription, d.key)
	if err != nil {
		return fmt.Errorf("read the progress of %s: %w", d, err)
	}
	if !known.Deliver(l, status, events.LifecycleTime(d.event, d.CreatedAt)) {
		return nil
	}
	known.Last = d.Event.Sequence
	if err := w.progress.Put(ctx, d.Subscription, d.key, known); err != nil {
		return fmt.Errorf("store the progress of %s: %w", d, err)
	}
	return nil
}
