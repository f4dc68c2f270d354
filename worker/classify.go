package worker

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/hookfleet/hookfleet/auth/credential"
	"github.com/hookfleet/hookfleet/auth/egress"
	"github.com/hookfleet/hookfleet/events"
)

// answer is what came of one exchange: a response, an error, or both when the body broke off.
type answer struct {
	response *egress.Response
	err      error
	url      string            // that it came from, as it is recorded
	unsent   bool              // there was nothing to send, or no token: err says why
	token    *credential.Token // that it was sent with; nil = none
}

// classify decides what follows from an attempt. It is pure and total: number is the attempt's (from 1) among those that
// count, created the acceptance of the event, random places the delay within its jitter.
func classify(a answer, c *events.DeliveryConfig, number int, created, now time.Time, random float64) events.Verdict {
	r := rule(a, c)
	if r.outcome == events.Retry {
		return again(a, r, &c.Retry, number, created, now, random)
	}
	v := events.Verdict{Outcome: r.outcome, Reason: r.reason, Disable: r.disable}
	if r.outcome == events.Delivered {
		v.Reason = events.ReasonNone
	}
	if r.hold {
		v.HoldFor, _ = retryAfter(a.response, now)
		v.HoldFor = min(v.HoldFor, time.Duration(c.Retry.MaxRetryAfter))
	}
	return v
}

// again is the verdict for what may be tried again: when, or that it is too late or too often.
func again(a answer, r ruling, p *events.RetryPolicy, number int, created, now time.Time, random float64) events.Verdict {
	v := events.Verdict{Outcome: events.Retry, Reason: r.reason, Uncounted: r.every > 0}
	delay := r.every
	if delay == 0 {
		delay = p.Delay(number, random)
	}
	after, asked := retryAfter(a.response, now)
	after = min(after, time.Duration(p.MaxRetryAfter))
	if asked {
		delay = max(delay, after)
	}
	if r.hold {
		v.HoldFor = delay
		if asked {
			v.HoldFor = after
		}
	}
	v.NextAt = now.Add(delay)
	switch {
	case !v.Uncounted && number >= p.MaxAttempts:
		v.Outcome, v.Reason = events.Dead, events.ReasonExhausted
	case p.MaxAge > 0 && v.NextAt.After(created.Add(time.Duration(p.MaxAge))):
		v.Outcome, v.Reason = events.Dead, events.ReasonExpiredRetry
	}
	return v
}

// ruling is what the table of API.md 3.4, or the subscription's rule in its place, says about an answer.
type ruling struct {
	outcome events.Outcome // delivered, retry or dead
	reason  events.Reason  // what happened, whatever follows from it; none for a 2xx that is a success
	disable bool
	hold    bool          // the whole sink gets nothing for as long as Retry-After says, or else until the retry
	every   time.Duration // to the retry; 0 = as the policy says
}

// rule finds the ruling. A rule of the subscription replaces the table's outcome, not its reason: what happened stays
// what happened. A sink that says for how long it wants nothing is held all the same.
func rule(a answer, c *events.DeliveryConfig) ruling {
	r := ruling{}
	r.outcome, r.reason = judge(a)
	r.disable, r.hold = r.reason == events.ReasonGone, r.reason == events.ReasonThrottled
	own := c.RuleFor(statusOf(a))
	if own == nil {
		return r
	}
	r.disable, r.hold = false, r.hold && a.response.Header.Get("Retry-After") != ""
	if r.reason == events.ReasonNone {
		r.reason = events.ReasonRejected // a 2xx that the rule does not take for one
	}
	switch own.Action {
	case events.ActionAck:
		r.outcome = events.Delivered
	case events.ActionRetry:
		r.outcome, r.every = events.Retry, time.Duration(own.Every)
	case events.ActionDeadLetter:
		r.outcome = events.Dead
	case events.ActionDisable:
		r.outcome, r.disable = events.Dead, true
	}
	return r
}

// statusOf is the status of an answer; 0 = none came.
func statusOf(a answer) int {
	if a.err != nil || a.response == nil {
		return 0
	}
	return a.response.Status
}

// judge reads the response table of API.md 3.4.
func judge(a answer) (events.Outcome, events.Reason) {
	if a.err != nil {
		return events.Retry, networkReason(a.err)
	}
	status := a.response.Status
	switch {
	case status >= 200 && status < 300:
		return events.Delivered, events.ReasonNone
	case status >= 300 && status < 400:
		return events.Retry, events.ReasonRedirect
	case status == http.StatusGone:
		return events.Dead, events.ReasonGone
	case isRejection(status):
		return events.Dead, events.ReasonRejected
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return events.Retry, events.ReasonUnauthorized
	case status == http.StatusTooManyRequests,
		status == http.StatusServiceUnavailable && a.response.Header.Get("Retry-After") != "":
		return events.Retry, events.ReasonThrottled
	case status >= 400 && status < 500:
		return events.Retry, events.ReasonClientError
	case status >= 500 && status < 600:
		return events.Retry, events.ReasonServerError
	default:
		return events.Retry, events.ReasonProtocol // 1xx as an answer, or 600 and up
	}
}

// isRejection reports whether the same request will never be taken.
func isRejection(status int) bool {
	switch status {
	case 400, 405, 406, 413, 415, 422, 431, 501, 505:
		return true
	default:
		return false
	}
}

func networkReason(err error) events.Reason {
	if e, ok := errors.AsType[*egress.Error](err); ok && e.Kind != egress.Stopped {
		return events.Reason(e.Kind)
	}
	return events.ReasonProtocol
}

// retryAfter reads Retry-After in both forms (HT-1): seconds, or a date in any of HTTP's three. What is in the past is 0,
// what is malformed is absent.
func retryAfter(r *egress.Response, now time.Time) (time.Duration, bool) {
	if r == nil {
		return 0, false
	}
	text := r.Header.Get("Retry-After")
	if text == "" {
		return 0, false
	}
	if isDigits(text) {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil || seconds > int64(maxSeconds) {
			return maxSeconds * time.Second, true // more than fits is still a wish to wait; the policy caps it
		}
		return time.Duration(seconds) * time.Second, true
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0, false
	}
	return max(at.Sub(now), 0), true
}

// maxSeconds is a year, in seconds: far beyond any policy's maxretryafter, and safe to multiply.
const maxSeconds = 365 * 24 * 3600

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
