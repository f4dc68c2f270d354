package worker

import (
	"time"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
)

// tally is what attempts have said about a sink since it was last stored, in the order in which they ended.
type tally struct {
	answered  bool      // something came that is no retryable failure: that run is over
	succeeded bool      // a success came: all runs are over
	failed    int       // attempts of any kind, since the last success
	retryable int       // failures, since the last answer
	probe     bool      // the breaker's probe failed
	until     time.Time // the sink asked for nothing until then
	disable   bool      // the sink said that it is gone, or what a rule takes for that
	why       events.Reason
}

// tallyOf is what one attempt says.
func tallyOf(v *events.Verdict, probe bool, now time.Time) tally {
	t := tally{disable: v.Disable}
	if v.Disable {
		t.why = v.Reason
	}
	if v.HoldFor > 0 {
		t.until = now.Add(v.HoldFor).UTC()
	}
	switch {
	case v.Outcome == events.Delivered:
		t.succeeded, t.answered = true, true
	case v.Uncounted:
		t.answered = probe // what is counted by nobody ends no run, but it shows that the sink is there
	case v.Retryable():
		t.failed, t.retryable, t.probe = 1, 1, probe
	default:
		t.failed, t.answered = 1, true
	}
	return t
}

// add adds what came later.
func (t *tally) add(later tally) {
	if later.succeeded {
		t.failed, t.retryable = 0, 0
	}
	if later.answered {
		t.retryable, t.probe = 0, false
	}
	t.answered = t.answered || later.answered
	t.succeeded = t.succeeded || later.succeeded
	t.failed += later.failed
	t.retryable += later.retryable
	t.probe = t.probe || later.probe
	if later.until.After(t.until) {
		t.until = later.until
	}
	if later.disable {
		t.disable, t.why = true, later.why
	}
}

// empty reports whether nothing was said.
func (t *tally) empty() bool { return *t == tally{} }

// apply takes a tally into a sink's health, and opens and closes its circuit. It reports whether anything changed.
func (t *tally) apply(h *registry.Health, c *events.DeliveryConfig, now time.Time) bool {
	before := *h
	if h.State == registry.SinkHeld && !h.Broken() && !now.Before(h.Until) {
		h.State, h.Reason, h.Since, h.Until = registry.SinkActive, events.ReasonNone, h.Until, time.Time{}
	}
	t.count(h)
	if t.answered && h.Broken() {
		h.State, h.Reason, h.Since, h.Until = registry.SinkActive, events.ReasonNone, now.UTC(), time.Time{}
	}
	switch {
	case h.State == registry.SinkDisabled:
	case t.disable:
		h.State, h.Reason, h.Since, h.Until = registry.SinkDisabled, t.why, now.UTC(), time.Time{}
	case h.State == registry.SinkPaused:
	case c.Pause != nil && t.failed > 0 && h.ConsecutiveFailures >= c.Pause.After:
		h.State, h.Reason, h.Since, h.Until = registry.SinkPaused, events.ReasonFailures, now.UTC(), time.Time{}
	default:
		t.hold(h, &c.Breaker, now)
	}
	return *h != before
}

func (t *tally) count(h *registry.Health) {
	if t.succeeded {
		h.ConsecutiveFailures = 0
	}
	if t.answered {
		h.RetryableFailures = 0
	}
	h.ConsecutiveFailures += t.failed
	h.RetryableFailures += t.retryable
}

// hold holds the sink for as long as it asked for, and by the breaker.
func (t *tally) hold(h *registry.Health, b *events.Breaker, now time.Time) {
	opens := b.Failures > 0 && t.retryable > 0 && h.RetryableFailures >= b.Failures && !h.Broken()
	until, reason := t.until, events.ReasonThrottled
	if opens || t.probe && h.Broken() {
		if next := now.Add(time.Duration(b.Cooldown)).UTC(); next.After(until) {
			until = next
		}
	}
	switch {
	case opens || h.Broken():
		reason = events.ReasonBreaker
	case until.IsZero() || h.State == registry.SinkHeld && !h.Until.Before(until):
		return
	}
	if h.State != registry.SinkHeld {
		h.State, h.Since = registry.SinkHeld, now.UTC()
	}
	h.Reason = reason
	if until.After(h.Until) || t.probe {
		h.Until = until
	}
}

// claim takes the probe that is due for this worker: nobody else sends one before this one's answer, or a cooldown after
// the time that it may take. It reports whether it did.
func claim(h *registry.Health, c *events.DeliveryConfig, now time.Time) bool {
	if !h.Broken() || now.Before(h.Until) {
		return false
	}
	h.Until = now.Add(time.Duration(c.Timeout) + time.Duration(c.Breaker.Cooldown)).UTC()
	return true
}
