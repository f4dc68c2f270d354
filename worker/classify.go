package worker

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/hookfleet/hookfleet/auth/egress"
	"github.com/hookfleet/hookfleet/events"
)

// answer is what came of one exchange: a response, an error, or both when the body broke off.
type answer struct {
	response *egress.Response
	err      error
	url      string // that it came from, as it is recorded
}

// classify decides what follows from an attempt. It is pure and total: number is the attempt's (from 1), created the
// acceptance of the event, random places the delay within its jitter.
func classify(a answer, p *events.RetryPolicy, number int, created, now time.Time, random float64) events.Verdict {
	outcome, reason := judge(a)
	switch outcome {
	case events.Delivered:
		return events.Verdict{Outcome: events.Delivered}
	case events.Dead:
		return events.Verdict{Outcome: events.Dead, Reason: reason, Disable: reason == events.ReasonGone}
	default:
		return again(a, reason, p, number, created, now, random)
	}
}

// again is the verdict for what may be tried again: when, or that it is too late or too often.
func again(a answer, reason events.Reason, p *events.RetryPolicy, number int, created, now time.Time, random float64) events.Verdict {
	delay := p.Delay(number, random)
	v := events.Verdict{Outcome: events.Retry, Reason: reason}
	after, asked := retryAfter(a.response, now)
	after = min(after, time.Duration(p.MaxRetryAfter))
	if asked {
		delay = max(delay, after)
	}
	if reason == events.ReasonThrottled {
		v.HoldFor = delay
		if asked {
			v.HoldFor = after
		}
	}
	v.NextAt = now.Add(delay)
	switch {
	case number >= p.MaxAttempts:
		v.Outcome, v.Reason = events.Dead, events.ReasonExhausted
	case p.MaxAge > 0 && v.NextAt.After(created.Add(time.Duration(p.MaxAge))):
		v.Outcome, v.Reason = events.Dead, events.ReasonExpiredRetry
	}
	return v
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
