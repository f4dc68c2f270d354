package worker

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookfleet/hookfleet/auth/egress"
	"github.com/hookfleet/hookfleet/events"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func reply(status int, header ...string) answer {
	h := http.Header{}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return answer{response: &egress.Response{Status: status, Header: h}}
}

// TestJudgeEveryStatus is the table of API.md 3.4, for every status there can be.
func TestJudgeEveryStatus(t *testing.T) {
	t.Parallel()
	want := func(status int) (events.Outcome, events.Reason) {
		switch {
		case status >= 200 && status <= 299:
			return events.Delivered, ""
		case status >= 300 && status <= 399:
			return events.Retry, "redirect"
		case status == 410:
			return events.Dead, "gone"
		case status == 429:
			return events.Retry, "throttled"
		case status == 401 || status == 403:
			return events.Retry, "unauthorized"
		case map[int]bool{400: true, 405: true, 406: true, 413: true, 415: true, 422: true, 431: true, 501: true, 505: true}[status]:
			return events.Dead, "rejected"
		case status >= 400 && status <= 499:
			return events.Retry, "client_error"
		case status >= 500 && status <= 599:
			return events.Retry, "server_error"
		default:
			return events.Retry, "protocol"
		}
	}
	for status := range 1000 {
		outcome, reason := judge(reply(status))
		if o, r := want(status); outcome != o || reason != r {
			t.Errorf("%d: %s %s, want %s %s", status, outcome, reason, o, r)
		}
	}
	if outcome, reason := judge(reply(503, "Retry-After", "1")); outcome != events.Retry || reason != "throttled" {
		t.Errorf("503 with Retry-After: %s %s", outcome, reason)
	}
}

func TestJudgeNetworkErrors(t *testing.T) {
	t.Parallel()
	for _, kind := range []egress.Kind{
		egress.Timeout, egress.Refused, egress.Reset, egress.DNS, egress.TLS, egress.Blocked, egress.Protocol,
	} {
		err := fmt.Errorf("wrapped: %w", &egress.Error{Kind: kind, Err: errors.New("x")})
		if outcome, reason := judge(answer{err: err}); outcome != events.Retry || string(reason) != string(kind) {
			t.Errorf("%s: %s %s", kind, outcome, reason)
		}
	}
}

// TestRetryAfter is HT-1.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"5": 5 * time.Second, "0": 0, "-1": -1, "": -1, "soon": -1, "1.5": -1, "99999999999999999999": maxSeconds * time.Second,
		noon.Add(90 * time.Second).Format(http.TimeFormat):                  90 * time.Second,
		noon.Add(90 * time.Second).Format("Monday, 02-Jan-06 15:04:05 GMT"): 90 * time.Second,
		noon.Add(90 * time.Second).Format(time.ANSIC):                       90 * time.Second,
		noon.Add(-time.Hour).Format(http.TimeFormat):                        0,
	} {
		got, ok := retryAfter(reply(503, "Retry-After", text).response, noon)
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestClassifyNext(t *testing.T) {
	t.Parallel()
	policy := events.RetryPolicy{
		Policy: events.PolicyFixed, Initial: events.Duration(10 * time.Second), MaxAttempts: 3,
		MaxAge: events.Duration(time.Minute), MaxRetryAfter: events.Duration(30 * time.Second),
	}
	retryIn := func(d time.Duration, reason events.Reason) events.Verdict {
		return events.Verdict{Outcome: events.Retry, Reason: reason, NextAt: noon.Add(d)}
	}
	for name, tc := range map[string]struct {
		answer  answer
		number  int
		created time.Time
		want    events.Verdict
	}{
		"delivered":               {reply(200), 1, noon, events.Verdict{Outcome: events.Delivered}},
		"delay of the policy":     {reply(500), 1, noon, retryIn(10*time.Second, "server_error")},
		"Retry-After is a floor":  {reply(500, "Retry-After", "20"), 1, noon, retryIn(20*time.Second, "server_error")},
		"Retry-After is no roof":  {reply(500, "Retry-After", "1"), 1, noon, retryIn(10*time.Second, "server_error")},
		"Retry-After is capped":   {reply(500, "Retry-After", "3600"), 1, noon, retryIn(30*time.Second, "server_error")},
		"429 holds for its delay": {reply(429), 1, noon, events.Verdict{Outcome: events.Retry, Reason: "throttled", NextAt: noon.Add(10 * time.Second), HoldFor: 10 * time.Second}},
		"429 holds as it asks":    {reply(429, "Retry-After", "2"), 1, noon, events.Verdict{Outcome: events.Retry, Reason: "throttled", NextAt: noon.Add(10 * time.Second), HoldFor: 2 * time.Second}},
		"last attempt":            {reply(500), 3, noon, events.Verdict{Outcome: events.Dead, Reason: "exhausted", NextAt: noon.Add(10 * time.Second)}},
		"too old":                 {reply(500), 1, noon.Add(-51 * time.Second), events.Verdict{Outcome: events.Dead, Reason: "expired_retry", NextAt: noon.Add(10 * time.Second)}},
		"gone":                    {reply(410), 1, noon, events.Verdict{Outcome: events.Dead, Reason: "gone", Disable: true}},
		"rejected":                {reply(400), 1, noon, events.Verdict{Outcome: events.Dead, Reason: "rejected"}},
	} {
		got := classify(tc.answer, &policy, tc.number, tc.created, noon, 0.5)
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
