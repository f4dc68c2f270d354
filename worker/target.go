package worker

import (
	"net/url"
	"strings"
	"time"

	"github.com/hookfleet/hookfleet/events"
)

// aim finds out where a delivery goes: to the subscription's sink, or to the one that its event has for itself. ok is
// false when it goes nowhere; the verdict says why.
func (w *Worker) aim(d *delivery, p *plan) (v events.Verdict, ok bool) {
	d.override, d.gate, d.foreign = nil, "", false
	own, has := p.content.Override(d.event)
	switch {
	case has:
		return w.aimAt(d, p, own)
	case p.entry.Subscription.Sink == "":
		return events.Verdict{Outcome: events.Skipped, Reason: events.ReasonNoSink}, false
	default:
		return v, true
	}
}

// aimAt takes the sink of an event, if the policy takes it for one.
func (w *Worker) aimAt(d *delivery, p *plan, own events.Value) (v events.Verdict, ok bool) {
	raw := own.Text()
	why := []string{"is no string"}
	if own.IsString() {
		why = w.sinks.RefusesURL(raw)
	}
	u, err := url.Parse(raw)
	if len(why) > 0 || err != nil {
		w.log.Warn().Str(fieldDelivery, d.ID).Str(fieldSubscription, d.Subscription).Str("why", strings.Join(why, ", ")).
			Msg("sink of an event refused")
		return events.Verdict{Outcome: events.Dead, Reason: events.ReasonBlocked}, false
	}
	origin := events.Origin(raw)
	d.override, d.gate, d.foreign = u, d.Subscription+" "+origin, origin != p.origin
	return v, true
}

// gateOf is the gate that a delivery passes. The target of a sinkoverride has one of its own by origin, so that neither
// knows of the other's troubles.
func (w *Worker) gateOf(d *delivery) *gate {
	if d.override != nil {
		g := w.targets.of(d.gate)
		g.used.Store(time.Now().UnixNano())
		return g
	}
	return w.gates.of(d.Subscription)
}

// stops reports whether a closed subscription sends nothing at all, also not to the sinks that events have for
// themselves. What else closes it is about its own sink.
func stops(reason events.Reason) bool {
	return reason == events.ReasonPaused || reason == events.ReasonDisabled
}

// later is the verdict for a delivery to the target of a sinkoverride that asked for a pause: it waits by its timer. HELD
// is for what waits for the subscription's own sink.
func later(until time.Time) events.Verdict {
	return events.Verdict{Outcome: events.Retry, Reason: events.ReasonThrottled, NextAt: until}
}

// targetIdle is how long the gate of a sinkoverride's target is kept unused. Events name the targets, so there may be very
// many.
const targetIdle = 2 * housekeeping

// prune forgets the gates that nobody used since before, and that are not closed.
func (g *gates) prune(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for key, one := range g.all {
		if now.Sub(time.Unix(0, one.used.Load())) > targetIdle && one.idle() && !now.Before(one.closedUntil()) {
			delete(g.all, key)
		}
	}
}
