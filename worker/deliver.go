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
)

// delivery is one delivery in a worker's hands, before its next attempt.
type delivery struct {
	events.Delivery
	event *events.Event
	entry *registry.Entry // as it is now; nil = the subscription is gone
	slots *slots
	slot  bool // it has one of them, until it is settled
	probe bool // it is the breaker's

	override   *url.URL     // where it goes instead of the subscription's sink; nil = the sink
	gate       string       // of override: which gate it passes
	foreign    bool         // override is of another origin than the sink, which gets no credentials
	asides     *asides      // of the drain that it is part of, if it may step aside
	errand     *errand      // the message that it came with, among others; nil = whoever has the message waits for the end
	superseded bool         // a newer one waits for its key, and only the newest goes
	tenure     *tenure      // of the lane that it goes by; nil = none
	key        string       // of the lane, that it goes one at a time for; "" = none
	state      events.State // what was last recorded of it
	at         time.Time    // when its timer is to fire, if not at NextAt
}

// number is the next attempt's.
func (d *delivery) number() int { return d.Attempts + 1 }

// counted is the next attempt's number among those that count.
func (d *delivery) counted() int { return d.number() - d.Uncounted }

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
	if verdict, ends := w.judge(ctx, d, plan); ends {
		return verdict, nil
	}
	pass, verdict := w.admit(turn, d, plan)
	if pass == nil {
		return verdict, nil
	}
	answer, start, took := w.exchange(ctx, d, plan, pass)
	if answer.unsent {
		return w.unsent(ctx, d, answer.err), nil
	}
	verdict = classify(answer, d.entry.Subscription.Config, d.counted(), d.CreatedAt, time.Now(), rand.Float64()) //nolint:gosec // jitter is no secret
	returned := errors.Is(answer.err, context.Canceled)
	if !returned { // before the next one may be sent
		w.judgeSink(ctx, d, &verdict, pass.gate)
	}
	pass.gate.release(took)
	if returned {
		return events.Verdict{Outcome: events.Returned}, nil
	}
	return verdict, describe(d, plan, answer, verdict, start, took)
}

// unsent is the verdict for a delivery of which no request was made, because of err.
func (w *Worker) unsent(ctx context.Context, d *delivery, err error) events.Verdict {
	if none, ok := errors.AsType[tokenError](err); ok {
		return w.withoutToken(ctx, d, none)
	}
	w.log.Warn().Err(err).Str(fieldDelivery, d.ID).Str(fieldSubscription, d.Subscription).Msg("event does not fit the template")
	return events.Verdict{Outcome: events.Dead, Reason: events.ReasonTemplate}
}

// load finds the subscription and what its requests look like. A nil plan comes with the verdict.
func (w *Worker) load(d *delivery) (*plan, events.Verdict) {
	switch {
	case d.entry == nil || !d.entry.Owns(&d.Delivery):
		return nil, events.Verdict{Outcome: events.Cancelled, Reason: events.ReasonUnsubscribed}
	case w.cancels.has(&d.Delivery):
		return nil, events.Verdict{Outcome: events.Cancelled, Reason: events.ReasonCancelled}
	}
	if v, late := tooLate(d, time.Now()); late {
		return nil, v
	}
	switch {
	case w.givesUp(d.entry):
		return nil, events.Verdict{Outcome: events.Dead, Reason: events.ReasonPaused}
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

// tooLate reports whether no attempt of the delivery is to begin at now any more, and what becomes of it: an event that
// has expired is skipped, and what is older than its subscription wants is a dead letter.
func tooLate(d *delivery, now time.Time) (events.Verdict, bool) {
	if d.event.Expired(now) {
		return events.Verdict{Outcome: events.Skipped, Reason: events.ReasonExpired}, true
	}
	age := d.entry.Subscription.Config.Retry.MaxAge
	if age > 0 && now.After(d.CreatedAt.Add(time.Duration(age))) {
		return events.Verdict{Outcome: events.Dead, Reason: events.ReasonExpiredRetry}, true
	}
	return events.Verdict{}, false
}

// exchange sends the request.
func (w *Worker) exchange(ctx context.Context, d *delivery, p *plan, by *pass) (a answer, start time.Time, took time.Duration) {
	sent := false
	defer func() {
		if !sent { // nothing to send, no token, or a panic
			by.giveBack()
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
		attempt.Reason = rule(a, d.entry.Subscription.Config).reason // the delivery's reason says that it ends, the attempt's what happened
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
