package worker

import (
	"context"
	"time"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
)

// pass is what a delivery needs to be sent: a permit of its sink's gate, and one of its rate.
type pass struct {
	gate  *gate
	pacer *pacer // nil = the sink has no rate
	from  time.Time
}

// late reports whether the rate's permit has lapsed.
func (p *pass) late() bool { return p.pacer != nil && time.Since(p.from) > maxLate }

// giveBack returns what was not used.
func (p *pass) giveBack() {
	if p.pacer != nil {
		p.pacer.giveBack(p.from)
	}
	p.gate.giveBack()
}

// admit waits for the sink's turn and a slot. The delivery keeps the slot until it is settled: so what a kill
// may repeat, sent and not recorded, is never more than the slots. A nil pass comes with the verdict: held, or returned
// because we stop, or that there is no sink.
func (w *Worker) admit(turn context.Context, d *delivery, plan *plan) (*pass, events.Verdict) {
	for {
		p, verdict := w.line(turn, d, plan)
		if p == nil {
			return nil, verdict
		}
		d.slots.sends <- struct{}{} // frees up within a timeout
		d.slot = true
		late := p.late()
		if !late {
			if verdict = w.enter(turn, d, p); verdict.Outcome == "" {
				return p, verdict
			}
		}
		w.backOut(d, p)
		if !late {
			return nil, verdict
		}
	}
}

// backOut gives back what a delivery was admitted with, unused.
func (w *Worker) backOut(d *delivery, p *pass) {
	p.giveBack()
	w.freeSlot(d)
}

// freeSlot gives up the slot that a delivery keeps, if it has one.
func (*Worker) freeSlot(d *delivery) {
	if d.slot {
		d.slot = false
		<-d.slots.sends
	}
}

// line waits for the sink's turn.
func (w *Worker) line(turn context.Context, d *delivery, plan *plan) (*pass, events.Verdict) {
	reason, closed := w.closed(d)
	if closed && stops(reason) {
		return nil, w.notNow(d, reason)
	}
	if v, ok := w.aim(d, plan); !ok {
		return nil, v
	}
	if closed && d.override == nil {
		return nil, w.notNow(d, reason)
	}
	if !d.foreign {
		if verdict, ok := w.authorize(turn, d, plan); !ok {
			return nil, verdict
		}
	}
	sub := d.entry.Subscription
	p := &pass{gate: w.gateOf(d)}
	if until := p.gate.closedUntil(); d.override != nil && time.Now().Before(until) {
		return nil, later(until)
	}
	if !p.gate.acquire(turn, d.slots.limit(w.limitOf(d)), w.patience(d)) {
		return nil, w.notYet(turn, d, events.ReasonConcurrency)
	}
	at := w.pace(d.entry)
	if at.interval == 0 {
		return p, events.Verdict{}
	}
	p.pacer = w.pacers.of(sub.ID)
	from, ok, err := w.takePermit(turn, d, p.pacer, at)
	if ok {
		p.from = from
		return p, events.Verdict{}
	}
	p.gate.giveBack()
	if err != nil && w.turns.Err() == nil {
		w.log.Warn().Err(err).Str(fieldSubscription, sub.ID).Msg("rate not known; handed back")
		return nil, events.Verdict{Outcome: events.Returned}
	}
	return nil, w.notYet(turn, d, events.ReasonRate)
}

// takePermit waits for the sink's rate. What is drained waits for as long as its drain goes on, and with a permit to come
// to the end, whatever becomes of the drain: the permit would be lost.
func (w *Worker) takePermit(turn context.Context, d *delivery, p *pacer, at pace) (from time.Time, ok bool, err error) {
	if !w.stays(d) {
		return p.take(w.turns, at, paceWait)
	}
	for {
		from, ok, err = p.take(w.turns, at, paceDrainWait)
		if ok || err != nil || !p.idle(turn, at) {
			return from, ok, err
		}
	}
}

// enter is the last look before the delivery is sent: the sink may have been closed while we waited for its turn, and
// only one gets through a door that is ajar. The verdict is empty when it may be sent.
func (w *Worker) enter(ctx context.Context, d *delivery, p *pass) events.Verdict {
	sub := d.entry.Subscription
	reason, closed := w.closed(d)
	until := p.gate.closedUntil()
	throttled := time.Now().Before(until)
	late, isLate := tooLate(d, time.Now())
	switch {
	case w.stopping():
		return events.Verdict{Outcome: events.Returned}
	case isLate && !batches(d.entry): // of a batch each member is asked for itself
		return late
	case closed && (d.override == nil || stops(reason)):
		return w.notNow(d, reason)
	case throttled && d.override != nil:
		return later(until)
	case throttled:
		return w.notNow(d, events.ReasonThrottled)
	case p.gate.lower(w.limitOf(d)): // a worker has come, or the limit is another
		return w.notNow(d, events.ReasonConcurrency)
	case d.override != nil:
		return events.Verdict{}
	}
	h := w.registry.Health(sub.ID)
	if door, reason := d.entry.Door(&h, time.Now()); door == registry.Shut || door == registry.Ajar && !w.claim(ctx, d) {
		return w.notNow(d, reason)
	}
	return events.Verdict{}
}

// claim takes the breaker's probe for d, unless another worker has it.
func (w *Worker) claim(ctx context.Context, d *delivery) bool {
	sub := d.entry.Subscription
	err := w.registry.SetHealth(ctx, sub.ID, func(h *registry.Health) bool {
		d.probe = claim(h, sub.Config, time.Now())
		return d.probe
	})
	if err != nil {
		d.probe = false
		w.log.Warn().Err(err).Str(fieldSubscription, sub.ID).Msg("probe not claimed")
	}
	return d.probe
}

// patience is how long the delivery waits for its sink's turn. What is held already waits for as long as it is drained.
func (w *Worker) patience(d *delivery) time.Duration {
	if w.stays(d) {
		return drainPatience
	}
	return maxWait
}

// pace is how fast the sink may be sent to.
func (w *Worker) pace(e *registry.Entry) (at pace) {
	if r := e.Subscription.Config.Rate; r != nil {
		at = paceOf(r)
	}
	if !e.Subscription.Handshakes() {
		return at
	}
	h := w.registry.Health(e.Subscription.ID)
	return at.and(consentedPace(e, &h))
}

// stays reports whether the delivery stays where it waits when its sink may not be sent to now: in HELD, or in a lane.
func (w *Worker) stays(d *delivery) bool { return d.slots == w.held || d.tenure != nil }

// notNow is the verdict for a delivery whose sink may not be sent to now. What stays where it waits is handed back, or
// steps aside.
func (w *Worker) notNow(d *delivery, reason events.Reason) events.Verdict {
	if !w.stays(d) {
		return events.Verdict{Outcome: events.Held, Reason: reason}
	}
	if until := w.stepAside(d); !until.IsZero() {
		return events.Verdict{Outcome: events.Retry, Reason: reason, NextAt: until}
	}
	return events.Verdict{Outcome: events.Returned}
}

// notYet is notNow for one that waited in vain, perhaps only because we stop.
func (w *Worker) notYet(turn context.Context, d *delivery, reason events.Reason) events.Verdict {
	if turn.Err() != nil || w.stopping() {
		return events.Verdict{Outcome: events.Returned}
	}
	return w.notNow(d, reason)
}

// closed reports whether the delivery may not be sent to the subscription's sink now, and why. The breaker's probe is what came first.
func (w *Worker) closed(d *delivery) (events.Reason, bool) {
	h := w.registry.Health(d.entry.Subscription.ID)
	door, reason := d.entry.Door(&h, time.Now())
	return reason, door == registry.Shut || door == registry.Ajar && h.Backlog && !w.stays(d)
}

// givesUp reports whether what comes to the sink becomes a dead letter.
func (w *Worker) givesUp(e *registry.Entry) bool {
	h := w.registry.Health(e.Subscription.ID)
	return e.GivesUp(&h)
}
