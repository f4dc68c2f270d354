package worker

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/hookfleet/hookfleet/auth/credential"
	"github.com/hookfleet/hookfleet/auth/egress"
	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
)

// holdSlack is how much longer a sink is held than its token server is left alone: the owner asks meanwhile, and holds it
// again or releases it. Without an owner it is released at the end, and the next delivery asks.
const holdSlack = 20 * time.Second

// newCredential prepares what the requests of a subscription show. nil is nothing.
func (w *Worker) newCredential(entry *registry.Entry) (*credential.Credential, error) {
	sub := entry.Subscription
	if sub.SinkCredential == nil {
		return nil, nil
	}
	spec := credential.Spec(*sub.SinkCredential)
	return credential.New(&spec, credential.Deps{
		Client: w.egress, Store: w.tokens, Report: w.reportFetch, Key: sub.ID, Version: entry.Revision, Tenant: sub.Tenant,
	})
}

// reportFetch says what came of a request to a token server.
func (w *Worker) reportFetch(f credential.Fetch) {
	w.metrics.tokens.WithLabelValues(f.Outcome).Inc()
	log := w.log.With().Str(fieldSubscription, f.Key).Float64("ms", float64(f.Took.Microseconds())/1000).Logger()
	switch {
	case f.Err != nil:
		log.Warn().Err(f.Err).Time("retry_at", f.RetryAt).Msg("no token")
	case f.Again:
		log.Info().Msg("token server gives tokens again")
	default:
		log.Debug().Msg("token fetched")
	}
	if f.Kept != nil {
		log.Warn().Err(f.Kept).Msg("token not shared")
	}
}

// authorize makes sure that there is a token where the sink wants one, before the delivery takes the place of another. It
// returns false with the verdict when there is none: that costs neither an attempt nor the sink anything.
func (w *Worker) authorize(ctx context.Context, d *delivery, p *plan) (events.Verdict, bool) {
	source := p.credential.Source()
	if source == nil {
		return events.Verdict{}, true
	}
	_, err := source.Token(w.turns, w.patience(d))
	if err == nil {
		return events.Verdict{}, true
	}
	return w.withoutToken(ctx, d, err), false
}

// tokenError says that a request was not sent, or not again, because there is no token.
type tokenError struct{ error }

func (e tokenError) Unwrap() error { return e.error }

// withoutToken is the verdict for a delivery that has no token because of err.
func (w *Worker) withoutToken(ctx context.Context, d *delivery, err error) events.Verdict {
	if w.stopping() {
		return events.Verdict{Outcome: events.Returned}
	}
	failing, ok := errors.AsType[*credential.FailingError](err)
	switch {
	case ok:
		w.holdForToken(ctx, d.Subscription, failing.Until)
	case !errors.Is(err, credential.ErrBusy) && !errors.Is(err, credential.ErrSuperseded):
		w.log.Warn().Err(err).Str(fieldSubscription, d.Subscription).Msg("token not read")
	}
	return w.notNow(d, events.ReasonCredential)
}

// sendAs sends what render makes, with the plan's credential if own says that it goes to the origin of the sink. What is
// answered 401 is rendered and sent once more with a newer token, if there is one: that is no attempt of its own.
func (w *Worker) sendAs(ctx context.Context, p *plan, own bool, render func() (*egress.Request, error)) answer {
	var token *credential.Token
	source := p.credential.Source()
	if source != nil && own {
		var err error
		if token, err = source.Token(ctx, maxWait); err != nil {
			return answer{err: tokenError{err}, unsent: true}
		}
	}
	r, err := render()
	if err != nil {
		return answer{err: err, unsent: true}
	}
	a := w.sendWith(ctx, p, own, token, r)
	if token == nil || !a.unauthorized() {
		return a
	}
	newer, err := source.Refused(ctx, token)
	switch {
	case err != nil:
		return answer{err: tokenError{err}, unsent: true} // what was answered 401 is no attempt
	case newer == nil:
		return a
	}
	if r, err = render(); err != nil {
		return answer{err: err, unsent: true}
	}
	return w.sendWith(ctx, p, own, newer, r)
}

func (w *Worker) sendWith(ctx context.Context, p *plan, own bool, token *credential.Token, r *egress.Request) answer {
	shown := p.shown(r.URL)
	if own {
		shown = p.credential.Shown(shown)
		p.credential.Apply(r, token)
	}
	a := w.send(ctx, r)
	a.url = shown
	if a.token = token; a.err == nil && !a.unauthorized() {
		token.Accepted()
	}
	return a
}

func (a *answer) unauthorized() bool {
	return a.err == nil && a.response.Status == http.StatusUnauthorized
}

// redact masks the credential in what is kept of an answer: some sinks repeat what they got.
func (p *plan) redact(r *events.Response, token *credential.Token) {
	if p.credential == nil || r == nil {
		return
	}
	r.Body = p.credential.Redact(r.Body, token)
	for name, value := range r.Headers {
		r.Headers[name] = p.credential.Redact(value, token)
	}
}

// holdForToken holds a sink whose token server is not asked before until.
func (w *Worker) holdForToken(ctx context.Context, id string, until time.Time) {
	until = until.Add(holdSlack).UTC()
	w.setCredentialHealth(ctx, id, func(h *registry.Health) bool {
		held := h.State == registry.SinkHeld
		switch {
		case h.State == registry.SinkDisabled, h.State == registry.SinkPaused, held && !h.Until.Before(until):
			return false
		case !held || h.Reason != events.ReasonCredential:
			h.Since = time.Now().UTC()
		}
		h.State, h.Reason, h.Until = registry.SinkHeld, events.ReasonCredential, until
		return true
	})
}

// releaseForToken releases a sink that was held because of its token server.
func (w *Worker) releaseForToken(ctx context.Context, id string) {
	w.setCredentialHealth(ctx, id, func(h *registry.Health) bool {
		if !waitsForToken(*h) {
			return false
		}
		h.State, h.Reason, h.Since, h.Until = registry.SinkActive, events.ReasonNone, time.Now().UTC(), time.Time{}
		return true
	})
}

func (w *Worker) setCredentialHealth(ctx context.Context, id string, change func(*registry.Health) bool) {
	if err := w.registry.SetHealth(context.WithoutCancel(ctx), id, change); err != nil {
		w.log.Error().Err(err).Str(fieldSubscription, id).Msg("state of the sink not stored")
	}
}

func waitsForToken(h registry.Health) bool {
	return h.State == registry.SinkHeld && h.Reason == events.ReasonCredential
}

// mayMend reports whether it is this worker's to ask a token server again, and time.
func (w *Worker) mayMend(id string) bool {
	h := w.registry.Health(id)
	return waitsForToken(h) && !time.Now().Before(h.Until.Add(-holdSlack)) && w.fleet.owns(id)
}

// mend asks for the token that a held sink waits for, and releases the sink when there is one.
func (w *Worker) mend(ctx context.Context, id string) {
	entry, ok := w.registry.Lookup(id)
	if !ok {
		return
	}
	p, err := w.plans.of(entry)
	if err != nil {
		return // each delivery says so
	}
	source := p.credential.Source()
	if source == nil {
		w.releaseForToken(ctx, id)
		return
	}
	_, err = source.Token(ctx, holdSlack)
	failing, ok := errors.AsType[*credential.FailingError](err)
	switch {
	case err == nil:
		w.releaseForToken(ctx, id)
	case ok:
		w.holdForToken(ctx, id, failing.Until)
	case ctx.Err() == nil && !errors.Is(err, credential.ErrBusy):
		w.log.Warn().Err(err).Str(fieldSubscription, id).Msg("token not read; trying again")
	}
}

// forgetToken removes the token of a subscription that is gone, if this worker used it.
func (w *Worker) forgetToken(ctx context.Context, id string) {
	p := w.plans.present(id)
	if p == nil || p.credential.Source() == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	if err := w.tokens.Forget(ctx, id); err != nil && ctx.Err() == nil {
		w.log.Warn().Err(err).Str(fieldSubscription, id).Msg("token not removed; it ends within a day")
	}
}
