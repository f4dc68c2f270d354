package e2e

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

var fails = sinktest.Answer{Status: http.StatusInternalServerError, Body: "not now"}

// testRetryGaps: attempts come when the policy says, never earlier, as the same webhook with fresh timestamps.
func testRetryGaps(t *testing.T, s *fleettest.Server) {
	ms := func(n ...int) (d []time.Duration) {
		for _, v := range n {
			d = append(d, time.Duration(v)*time.Millisecond)
		}
		return d
	}
	for name, tc := range map[string]struct {
		settings string
		delays   []time.Duration // before jitter
		jitter   float64
	}{
		"fixed":       {`"retry":{"policy":"fixed","initial":"300ms","jitter":0}`, ms(300, 300, 300), 0},
		"exponential": {`"retry":{"policy":"exponential","initial":"200ms","factor":2,"max":"700ms","jitter":0.5}`, ms(200, 400, 700, 700), 0.5},
		"schedule":    {`"retry":{"policy":"schedule","schedule":["100ms","600ms","200ms"],"jitter":0}`, ms(100, 600, 200, 200), 0},
		"jitter":      {`"retry":{"policy":"fixed","initial":"400ms","jitter":1}`, ms(400, 400, 400, 400), 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answers := make([]sinktest.Answer, len(tc.delays)+1)
			for i := range tc.delays {
				answers[i] = fails
			}
			f := newFlow(t, s, tc.settings, answers...)
			d := f.await(f.publish(), "delivered")
			got := f.sink.WaitAnswered(f.path, len(answers))
			f.sameWebhook(got)
			for i, delay := range tc.delays {
				low := time.Duration(float64(delay) * (1 - tc.jitter))
				high := time.Duration(float64(delay) * (1 + tc.jitter))
				gap := got[i+1].At.Sub(got[i].Answered)
				if gap < low || gap > high+soon {
					t.Errorf("gap %d is %v, want %v to %v", i+1, gap, low, high)
				}
				a := d.Attempts[i]
				planned := a.NextAt.Sub(a.At) - time.Duration(a.DurationMS*float64(time.Millisecond))
				if planned < low-2*time.Millisecond || planned > high+soon/2 {
					t.Errorf("attempt %d plans the next in %v, want %v to %v", i+1, planned, low, high)
				}
				if late := got[i+1].At.Sub(a.NextAt); late < 0 || late > soon {
					t.Errorf("attempt %d came %v after it was due", i+2, late)
				}
			}
		})
	}
}

// sameWebhook checks that requests are attempts of one delivery.
func (f *flow) sameWebhook(got []*sinktest.Request) {
	f.t.Helper()
	since := got[0].At.Add(-soon)
	for _, r := range got {
		if r.ID() == "" || r.ID() != got[0].ID() || string(r.Body) != string(got[0].Body) {
			f.t.Errorf("attempt %d is another webhook: %s %s", r.Number, r.ID(), r.Body)
		}
		stamp, err := strconv.ParseInt(r.Header.Get("Webhook-Timestamp"), 10, 64)
		if err != nil || stamp < since.Unix() || stamp > r.At.Unix() {
			f.t.Errorf("attempt %d at %d has timestamp %d, the attempt before ended at %d", r.Number, r.At.Unix(), stamp, since.Unix())
		}
		since = r.Answered
	}
}

// testRetryAfter: Retry-After is a floor for the next attempt, and capped.
func testRetryAfter(t *testing.T, s *fleettest.Server) {
	after := func(status int, value string) sinktest.Answer {
		return sinktest.Answer{Status: status, Header: map[string]string{"Retry-After": value}}
	}
	const fixed = `"retry":{"policy":"fixed","initial":"50ms","jitter":0`
	for name, tc := range map[string]struct {
		settings  string
		answer    sinktest.Answer
		low, high time.Duration
	}{
		"seconds":       {fixed + `}`, after(500, "2"), 2 * time.Second, 2 * time.Second},
		"date":          {fixed + `}`, after(500, time.Now().Add(4*time.Second).UTC().Format(http.TimeFormat)), 0, 4 * time.Second},
		"capped":        {fixed + `,"maxretryafter":"300ms"}`, after(500, "3600"), 300 * time.Millisecond, 300 * time.Millisecond},
		"less than due": {`"retry":{"policy":"fixed","initial":"1s","jitter":0}`, after(500, "0"), time.Second, time.Second},
		"malformed":     {fixed + `}`, after(500, "soon"), 50 * time.Millisecond, 50 * time.Millisecond},
		"of a 404":      {fixed + `}`, after(404, "1"), time.Second, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFlow(t, s, tc.settings, tc.answer, sinktest.Answer{})
			f.publish()
			got := f.sink.Wait(f.path, 2)
			if gap := got[1].At.Sub(got[0].Answered); gap < tc.low || gap > tc.high+soon {
				t.Errorf("the next attempt came after %v, want %v to %v", gap, tc.low, tc.high)
			}
			if date, err := http.ParseTime(tc.answer.Header["Retry-After"]); err == nil && got[1].At.Before(date) {
				t.Errorf("the next attempt came %v before Retry-After", date.Sub(got[1].At))
			}
		})
	}
}

// testRetryEnds: maxattempts and maxage end in a dead letter, and nothing is sent afterwards.
func testRetryEnds(t *testing.T, s *fleettest.Server) {
	for name, tc := range map[string]struct {
		settings, reason string
		attempts         int
	}{
		"maxattempts": {`"retry":{"policy":"fixed","initial":"50ms","maxattempts":3}`, "exhausted", 3},
		"one attempt": {`"retry":{"policy":"fixed","initial":"50ms","maxattempts":1}`, "exhausted", 1},
		"maxage":      {`"retry":{"policy":"schedule","schedule":["100ms","1h"],"jitter":0,"maxage":"20s"}`, "expired_retry", 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFlow(t, s, tc.settings, fails)
			d := f.await(f.publish(), "dead")
			if d.Reason != tc.reason || d.AttemptCount != tc.attempts || len(d.Attempts) != tc.attempts || d.EndedAt.IsZero() {
				t.Errorf("delivery %+v, want %d attempts and %s", d, tc.attempts, tc.reason)
			}
			for _, a := range d.Attempts {
				if a.Reason != "server_error" {
					t.Errorf("attempt %+v has another reason than what happened", a)
				}
			}
			if last := d.Attempts[len(d.Attempts)-1]; last.Outcome != "dead" || !last.NextAt.IsZero() {
				t.Errorf("the last attempt is %+v", last)
			}
			letters := f.client.DeadLetters(t, f.name)
			if len(letters) != 1 || letters[0].ID != d.ID || letters[0].Reason != tc.reason || letters[0].AttemptCount != tc.attempts {
				t.Errorf("dead letters %+v", letters)
			}
			if n := len(f.sink.Got(f.path)); n != tc.attempts {
				t.Errorf("%d requests, want %d", n, tc.attempts)
			}
		})
	}
}

// testAttempts: what an attempt shows.
func testAttempts(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, "")
	f.client.Subscribe(t, f.name, `{"types":["`+f.name+`"],"sink":"`+f.sink.URL(f.path)+`?token=s3cr3t&x=1","config":{"retry":{"policy":"fixed","initial":"100ms"}}}`)
	long := make([]byte, 10_000)
	for i := range long {
		long[i] = 'x'
	}
	f.sink.On(f.path, sinktest.Answer{Status: 500, Body: string(long), Header: map[string]string{"X-Trace": "t1"}}, sinktest.Answer{Status: 200, Body: "thanks"})
	r := f.publish()
	d := f.await(r, "delivered")
	if len(d.Attempts) != 2 || d.AttemptCount != 2 || d.Subscription != f.name || d.Tenant != "default" || d.Event.Sequence != r.Sequence || d.Event.ID != r.ID {
		t.Fatalf("delivery %+v", d)
	}
	first, second := d.Attempts[0], d.Attempts[1]
	type shown struct {
		Number, Status, Body    int
		Outcome, Reason, Header string
	}
	want := []shown{{1, 500, 4096, "retry", "server_error", "t1"}, {2, 200, len("thanks"), "delivered", "", ""}}
	var got []shown
	for _, a := range d.Attempts {
		if a.Response == nil {
			t.Fatalf("attempt %+v has no response", a)
		}
		got = append(got, shown{a.Number, a.Status, len(a.Response.Body), a.Outcome, a.Reason, a.Response.Headers["X-Trace"] + a.Response.Headers["x-trace"]})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("attempts (-want +got):\n%s", diff)
	}
	if u := first.URL; u == "" || contains(u, "s3cr3t") || !contains(u, "x=1") {
		t.Errorf("url %q: the query's secret is to be masked, and nothing else", u)
	}
	arrived := f.sink.Got(f.path)
	for i, a := range d.Attempts {
		if late := arrived[i].At.Sub(a.At); late < -2*time.Millisecond || late > soon || a.DurationMS <= 0 {
			t.Errorf("attempt %d says it was at %v for %v ms, the sink saw it at %v", i+1, a.At, a.DurationMS, arrived[i].At)
		}
	}
	if !second.NextAt.IsZero() || !d.NextAt.IsZero() || d.EndedAt.IsZero() {
		t.Errorf("what has ended has a next attempt: %+v", d)
	}
}
