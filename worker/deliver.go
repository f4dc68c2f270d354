package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"runtime/debug"
	"time"

	"github.com/hookfleet/hookfleet/auth/egress"
	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/worker/render"
)

// delivery is one delivery in a worker's hands, before its next attempt.
type delivery struct {
	events.Delivery
	event *events.Event
	entry *registry.Entry // as it is now; nil = the subscription is gone
	lane  *lane
	slot  bool // it has one of the lane's, until it is settled

	override *url.URL // where it goes instead of the subscription's sink; nil = the sink
	gate     string   // of override: which gate it passes
	foreign  bool     // override is of another origin than the sink, which gets no credentials
}

// number is the next attempt's.
func (d *delivery) number() int { return d.Attempts + 1 }

// deliver takes a delivery through one attempt: load → admit → render → send → classify. What it returns is a decision
// that settle carries out; attempt is nil when no request was made. A panic is an outcome of this delivery alone.
//
// turn bounds the wait for the sink's turn, ctx all of it.
func (w *Worker) deliver(ctx, turn context.Context, d *delivery) (verdict events.Verdict, attempt *events.Attempt) {
	defer func() {
		if p := recover(); p != nil {
			w.log.Error().Str(fieldDelivery, d.ID).Bytes("stack", debug.Stack()).Msgf("panic in a delivery: %v", p)
			verdict = events.Verdict{Outcome: events.Dead, Reason: events.ReasonPanic}
		}
	}()
	plan, verdict := w.load(d)
	if plan == nil {
		return verdict, nil
	}
	g, verdict := w.admit(turn, d, plan)
	if g == nil {
		return verdict, nil
	}
	answer, start, took := w.exchange(ctx, d, plan, g)
	if fault, ok := errors.AsType[*render.Error](answer.err); ok {
		w.log.Warn().Err(fault).Str(fieldDelivery, d.ID).Str(fieldSubscription, d.Subscription).Msg("event does not fit the template")
		return events.Verdict{Outcome: events.Dead, Reason: events.ReasonTemplate}, nil
	}
	if none, ok := errors.AsType[tokenError](answer.err); ok {
		return w.withoutToken(ctx, d, none), nil
	}
	verdict = classify(answer, &d.entry.Subscription.Config.Retry, d.number(), d.CreatedAt, time.Now(), rand.Float64()) //nolint:gosec // jitter is no secret
	if verdict.HoldFor > 0 {
		g.close(time.Now().Add(shut(d, verdict.HoldFor)))
	}
	g.release(took)
	if errors.Is(answer.err, context.Canceled) {
		return events.Verdict{Outcome: events.Returned}, nil
	}
	return verdict, describe(d, plan, answer, verdict, start, took)
}

// untilTold is how long a gate stays closed by itself: the fleet is told within milliseconds, and from then on the sink's
// state says whether it is held, which a resume ends.
const untilTold = 2 * time.Second

// shut is for how long the gate itself is closed. Of the sink that an event has for itself nothing else knows.
func shut(d *delivery, hold time.Duration) time.Duration {
	if d.override != nil {
		return hold
	}
	return min(hold, untilTold)
}

// load finds the subscription and what its requests look like. A nil plan comes with the verdict.
func (w *Worker) load(d *delivery) (*plan, events.Verdict) {
	switch {
	case d.entry == nil || !d.entry.Owns(&d.Delivery):
		return nil, events.Verdict{Outcome: events.Cancelled, Reason: events.ReasonUnsubscribed}
	case w.cancels.has(d.ID):
		return nil, events.Verdict{Outcome: events.Cancelled, Reason: events.ReasonCancelled}
	case expired(d, time.Now()):
		return nil, events.Verdict{Outcome: events.Dead, Reason: events.ReasonExpiredRetry}
	case d.entry.Locked != nil:
		return nil, w.notNow(d, events.ReasonCredential)
	}
	p, err := w.plans.of(d.entry)
	if err != nil {
		w.log.Error().Err(err).Str(fieldSubscription, d.Subscription).Msg("subscription cannot be rendered")
		return nil, events.Verdict{Outcome: events.Dead, Reason: events.ReasonTemplate}
	}
	return p, events.Verdict{}
}

func expired(d *delivery, now time.Time) bool {
	age := d.entry.Subscription.Config.Retry.MaxAge
	return age > 0 && now.After(d.CreatedAt.Add(time.Duration(age)))
}

// admit waits for the sink's turn. A nil gate comes with the verdict: held, or returned because we stop, or that there is
// no sink. The gate holds a permit that the caller releases.
func (w *Worker) admit(turn context.Context, d *delivery, p *plan) (*gate, events.Verdict) {
	reason, closed := w.closed(d.entry)
	if closed && stops(reason) {
		return nil, w.notNow(d, reason)
	}
	if v, ok := w.aim(d, p); !ok {
		return nil, v
	}
	if closed && d.override == nil {
		return nil, w.notNow(d, reason)
	}
	if !d.foreign {
		if verdict, ok := w.authorize(turn, d, p); !ok {
			return nil, verdict
		}
	}
	sub := d.entry.Subscription
	g := w.gateOf(d)
	if until := g.closedUntil(); d.override != nil && time.Now().Before(until) {
		return nil, later(until)
	}
	rank, n := w.fleet.rank(sub.ID)
	if !g.acquire(turn, d.lane.limit(share(sub.Config.Concurrency, rank, n)), w.patience(d)) {
		if turn.Err() != nil || w.stopping() {
			return nil, events.Verdict{Outcome: events.Returned}
		}
		return nil, w.notNow(d, events.ReasonConcurrency)
	}
	// The sink may have been closed while we waited for its turn.
	reason, closed = w.closed(d.entry)
	closed = closed && (d.override == nil || stops(reason))
	until := g.closedUntil()
	throttled := time.Now().Before(until)
	if !closed && !throttled && !w.stopping() {
		return g, events.Verdict{}
	}
	g.giveBack()
	switch {
	case w.stopping():
		return nil, events.Verdict{Outcome: events.Returned}
	case closed:
		return nil, w.notNow(d, reason)
	case d.override != nil:
		return nil, later(until)
	default:
		return nil, w.notNow(d, events.ReasonThrottled)
	}
}

// patience is how long the delivery waits for its sink's turn. What is held already waits for as long as it is drained.
func (w *Worker) patience(d *delivery) time.Duration {
	if d.lane == w.held {
		return drainPatience
	}
	return maxWait
}

// notNow is the verdict for a delivery whose sink may not be sent to now. What comes from HELD stays there.
func (w *Worker) notNow(d *delivery, reason events.Reason) events.Verdict {
	if d.lane == w.held {
		return events.Verdict{Outcome: events.Returned}
	}
	return events.Verdict{Outcome: events.Held, Reason: reason}
}

// closed reports whether nothing may be sent to the subscription's sink now, and why.
func (w *Worker) closed(entry *registry.Entry) (events.Reason, bool) {
	if entry.Subscription.Paused {
		return events.ReasonPaused, true
	}
	if entry.Locked != nil {
		return events.ReasonCredential, true
	}
	h := w.registry.Health(entry.Subscription.ID)
	switch {
	case h.State == registry.SinkPaused:
		return events.ReasonPaused, true
	case h.State == registry.SinkDisabled:
		return events.ReasonDisabled, true
	case entry.Subscription.SinkCredential.Expired(time.Now()):
		return events.ReasonCredential, true
	case h.State == registry.SinkHeld:
		return h.Reason, time.Now().Before(h.Until)
	default:
		return events.ReasonNone, false
	}
}

// exchange sends the request in a slot of the lane, which the delivery keeps until it is settled: so what a kill may
// repeat, sent and not recorded, is never more than the slots.
func (w *Worker) exchange(ctx context.Context, d *delivery, p *plan, g *gate) (a answer, start time.Time, took time.Duration) {
	d.lane.slots <- struct{}{} // frees up within a timeout
	d.slot = true
	sent := false
	defer func() {
		if !sent { // nothing to send, no token, or a panic
			g.giveBack()
		}
	}()
	start = time.Now()
	a = w.sendAs(ctx, p, !d.foreign, func() (*egress.Request, error) { return p.render(d, time.Now()) })
	if a.unsent {
		return a, start, 0
	}
	took = time.Since(start)
	sent = true
	return a, start, took
}

func (w *Worker) send(ctx context.Context, r *egress.Request) answer {
	response, err := w.egress.Do(ctx, r)
	return answer{response: response, err: err}
}

// describe is what is kept of an attempt.
func describe(d *delivery, p *plan, a answer, v events.Verdict, at time.Time, took time.Duration) *events.Attempt {
	attempt := &events.Attempt{
		Number: d.number(), At: at.UTC(), DurationMS: float64(took.Microseconds()) / 1000,
		Outcome: v.Outcome, Reason: v.Reason, URL: a.url,
	}
	if v.Outcome == events.Retry {
		attempt.NextAt = v.NextAt.UTC()
	}
	if v.Reason == events.ReasonExhausted || v.Reason == events.ReasonExpiredRetry {
		_, attempt.Reason = judge(a) // the delivery's reason says that it ends, the attempt's what happened
	}
	if a.response != nil {
		attempt.Status = a.response.Status
		attempt.Response = keep(a.response)
		p.redact(attempt.Response, a.token)
	} else if a.err != nil {
		attempt.Response = &events.Response{Body: a.err.Error()}
	}
	return attempt
}

// What is kept of a response's header: enough to see what a partner's server said, bounded.
const (
	maxKeptHeaders     = 32
	maxKeptHeaderBytes = 4 << 10
)

func keep(r *egress.Response) *events.Response {
	kept := &events.Response{Body: string(r.Body)}
	size := 0
	for name, values := range r.Header {
		if size += len(name) + len(values[0]); len(kept.Headers) == maxKeptHeaders || size > maxKeptHeaderBytes {
			break
		}
		if kept.Headers == nil {
			kept.Headers = make(map[string]string, len(r.Header))
		}
		kept.Headers[name] = values[0]
	}
	return kept
}

// String names a delivery in errors.
func (d *delivery) String() string { return fmt.Sprintf("delivery %s attempt %d", d.ID, d.number()) }
