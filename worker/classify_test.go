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
		got := classify(tc.answer, &events.DeliveryConfig{Retry: policy}, tc.number, tc.created, noon, 0.5)
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestRules: a rule replaces the table's outcome; what happened stays the reason.
func TestRules(t *testing.T) {
	t.Parallel()
	policy := events.RetryPolicy{
		Policy: events.PolicyFixed, Initial: events.Duration(10 * time.Second), Jitter: 1, MaxAttempts: 3,
		MaxAge: events.Duration(time.Hour), MaxRetryAfter: events.Duration(time.Minute),
	}
	rules := func(list ...events.ResponseRule) []events.ResponseRule { return list }
	on := func(status events.StatusPattern, action string) events.ResponseRule {
		return events.ResponseRule{Status: status, Action: action}
	}
	every := func(status events.StatusPattern) events.ResponseRule {
		return events.ResponseRule{Status: status, Action: events.ActionRetry, Every: events.Duration(30 * time.Second)}
	}
	dead := func(reason events.Reason) events.Verdict { return events.Verdict{Outcome: events.Dead, Reason: reason} }
	disabled := func(reason events.Reason) events.Verdict {
		return events.Verdict{Outcome: events.Dead, Reason: reason, Disable: true}
	}
	retryIn := func(d time.Duration, reason events.Reason) events.Verdict {
		return events.Verdict{Outcome: events.Retry, Reason: reason, NextAt: noon.Add(d)}
	}
	uncounted := func(d time.Duration, reason events.Reason) events.Verdict {
		v := retryIn(d, reason)
		v.Uncounted = true
		return v
	}
	held := func(v events.Verdict, d time.Duration) events.Verdict {
		v.HoldFor = d
		return v
	}
	refused := answer{err: &egress.Error{Kind: egress.Refused, Err: errors.New("x")}}
	brokenOff := reply(200)
	brokenOff.err = &egress.Error{Kind: egress.Reset, Err: errors.New("x")}
	delivered := events.Verdict{Outcome: events.Delivered}
	late := noon.Add(-59*time.Minute - 45*time.Second)
	for name, tc := range map[string]struct {
		rules   []events.ResponseRule
		answer  answer
		number  int
		created time.Time
		want    events.Verdict
	}{
		"none matches":                       {rules(on("409", "ack"), on("5xx", "ack")), reply(404), 1, noon, retryIn(10*time.Second, "client_error")},
		"first match wins":                   {rules(on("409", "ack"), on("4xx", "deadletter")), reply(409), 1, noon, delivered},
		"the second, then":                   {rules(on("409", "ack"), on("4xx", "deadletter")), reply(404), 1, noon, dead("client_error")},
		"ack of a failure":                   {rules(on("500-504", "ack")), reply(503), 1, noon, delivered},
		"ack of 410":                         {rules(on("410", "ack")), reply(410), 1, noon, delivered},
		"ack of 2xx":                         {rules(on("200", "ack")), reply(200), 1, noon, delivered},
		"ack of the last attempt":            {rules(on("*", "ack")), reply(500), 3, noon, delivered},
		"ack of a network error":             {rules(on("*", "ack")), refused, 1, noon, delivered},
		"range's edges":                      {rules(on("500-504", "deadletter")), reply(504), 1, noon, dead("server_error")},
		"beyond the range":                   {rules(on("500-504", "deadletter")), reply(505), 1, noon, dead("rejected")},
		"deadletter of 3xx":                  {rules(on("3xx", "deadletter")), reply(302), 1, noon, dead("redirect")},
		"deadletter of 410":                  {rules(on("410", "deadletter")), reply(410), 1, noon, dead("gone")},
		"deadletter of a network error":      {rules(on("*", "deadletter")), refused, 1, noon, dead("refused")},
		"deadletter of 2xx":                  {rules(on("202", "deadletter")), reply(202), 1, noon, dead("rejected")},
		"* leaves 2xx alone":                 {rules(on("*", "deadletter")), reply(202), 1, noon, delivered},
		"* and a status beyond":              {rules(on("*", "deadletter")), reply(999), 1, noon, dead("protocol")},
		"* and an answer that broke off":     {rules(on("200", "deadletter"), on("*", "ack")), brokenOff, 1, noon, delivered},
		"a class is no network error":        {rules(on("5xx", "ack")), refused, 1, noon, retryIn(10*time.Second, "refused")},
		"disable":                            {rules(on("403", "disable")), reply(403), 1, noon, disabled("unauthorized")},
		"retry of what is dead otherwise":    {rules(on("400", "retry")), reply(400), 1, noon, retryIn(10*time.Second, "rejected")},
		"retry of 410":                       {rules(on("410", "retry")), reply(410), 1, noon, retryIn(10*time.Second, "gone")},
		"retry of 2xx":                       {rules(on("202", "retry")), reply(202), 1, noon, retryIn(10*time.Second, "rejected")},
		"retry counts":                       {rules(on("400", "retry")), reply(400), 3, noon, events.Verdict{Outcome: events.Dead, Reason: "exhausted", NextAt: noon.Add(10 * time.Second)}},
		"every":                              {rules(every("409")), reply(409), 1, noon, uncounted(30*time.Second, "client_error")},
		"every has no jitter, no end":        {rules(every("409")), reply(409), 1000, noon, uncounted(30*time.Second, "client_error")},
		"every and a network error":          {rules(every("*")), refused, 3, noon, uncounted(30*time.Second, "refused")},
		"every ends with maxage":             {rules(every("409")), reply(409), 1, late, events.Verdict{Outcome: events.Dead, Reason: "expired_retry", NextAt: noon.Add(30 * time.Second), Uncounted: true}},
		"every and Retry-After":              {rules(every("4xx")), reply(409, "Retry-After", "50"), 1, noon, uncounted(50*time.Second, "client_error")},
		"every and a shorter Retry-After":    {rules(every("4xx")), reply(409, "Retry-After", "5"), 1, noon, uncounted(30*time.Second, "client_error")},
		"every and a capped Retry-After":     {rules(every("4xx")), reply(409, "Retry-After", "500"), 1, noon, uncounted(time.Minute, "client_error")},
		"retry and Retry-After":              {rules(on("5xx", "retry")), reply(500, "Retry-After", "20"), 1, noon, retryIn(20*time.Second, "server_error")},
		"429 holds as it asks":               {rules(every("429")), reply(429, "Retry-After", "20"), 1, noon, held(uncounted(30*time.Second, "throttled"), 20*time.Second)},
		"503 holds as it asks":               {rules(on("5xx", "deadletter")), reply(503, "Retry-After", "20"), 1, noon, held(dead("throttled"), 20*time.Second)},
		"ack, and held as it asks":           {rules(on("429", "ack")), reply(429, "Retry-After", "500"), 1, noon, held(delivered, time.Minute)},
		"a rule's 429 that asks for nothing": {rules(every("429")), reply(429), 1, noon, uncounted(30*time.Second, "throttled")},
	} {
		c := &events.DeliveryConfig{Retry: policy, Responses: tc.rules}
		got := classify(tc.answer, c, tc.number, tc.created, noon, 0.5)
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestClassifyIsTotal: every rule with every answer gives an outcome that settle knows, with what it needs.
func TestClassifyIsTotal(t *testing.T) {
	t.Parallel()
	patterns := []events.StatusPattern{"", "*", "100", "599", "2xx", "3xx", "4xx", "5xx", "410", "429", "503", "100-599", "nonsense"}
	for _, pattern := range patterns {
		for _, action := range []string{"", events.ActionAck, events.ActionRetry, events.ActionDeadLetter, events.ActionDisable} {
			for status := -1; status < 1000; status++ {
				for _, every := range []events.Duration{0, events.Duration(time.Second)} {
					a := reply(status, "Retry-After", "1")
					if status < 0 {
						a = answer{err: errors.New("x")}
					}
					c := &events.DeliveryConfig{Retry: events.DefaultRetryPolicy(), Responses: []events.ResponseRule{{Status: pattern, Action: action, Every: every}}}
					v := classify(a, c, 1, noon, noon, 0)
					ok := v.Outcome == events.Delivered && v.Reason == "" || v.Outcome == events.Dead && v.Reason != "" ||
						v.Outcome == events.Retry && v.Reason != "" && v.NextAt.After(noon)
					if !ok || v.HoldFor < 0 || v.Disable && v.Outcome != events.Dead {
						t.Fatalf("%s %s %d: %+v", pattern, action, status, v)
					}
				}
			}
		}
	}
}
