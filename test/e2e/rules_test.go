package e2e

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

// ruleTable is what rules make of answers (API.md 3, responses), beside what the table would.
var ruleTable = map[string]struct {
	rules   string
	answers []sinktest.Answer // the last of them delivers, if any does
	state   string
	reason  string
	first   fleettest.Attempt // its outcome, reason and status
	count   int               // attempts
}{
	"ack a number":        {`{"status":409,"action":"ack"}`, statuses(409), "delivered", "", fleettest.Attempt{Outcome: "delivered", Status: 409}, 1},
	"ack a string":        {`{"status":"410","action":"ack"}`, statuses(410), "delivered", "", fleettest.Attempt{Outcome: "delivered", Status: 410}, 1},
	"ack what is dropped": {`{"status":"*","action":"ack"}`, []sinktest.Answer{{Cut: true}}, "delivered", "", fleettest.Attempt{Outcome: "delivered"}, 1},
	"dead letter":         {`{"status":"3xx","action":"deadletter"}`, statuses(302), "dead", "redirect", fleettest.Attempt{Outcome: "dead", Reason: "redirect", Status: 302}, 1},
	"retry what is dead":  {`{"status":"400-422","action":"retry"}`, statuses(422, 204), "delivered", "", fleettest.Attempt{Outcome: "retry", Reason: "rejected", Status: 422}, 2},
	"retry a 2xx":         {`{"status":"202","action":"retry"}`, statuses(202, 200), "delivered", "", fleettest.Attempt{Outcome: "retry", Reason: "rejected", Status: 202}, 2},
	"* is no 2xx":         {`{"status":"*","action":"deadletter"}`, statuses(202), "delivered", "", fleettest.Attempt{Outcome: "delivered", Status: 202}, 1},
	"the first wins":      {`{"status":"409","action":"ack"},{"status":"4xx","action":"deadletter"}`, statuses(409), "delivered", "", fleettest.Attempt{Outcome: "delivered", Status: 409}, 1},
	"none matches":        {`{"status":"5xx","action":"deadletter"}`, statuses(409, 204), "delivered", "", fleettest.Attempt{Outcome: "retry", Reason: "client_error", Status: 409}, 2},
}

func statuses(list ...int) (answers []sinktest.Answer) {
	for _, status := range list {
		answers = append(answers, sinktest.Answer{Status: status})
	}
	return answers
}

func testRules(t *testing.T, s *fleettest.Server) {
	for name, tc := range ruleTable {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFlow(t, s, `"responses":[`+tc.rules+`],"retry":{"policy":"fixed","initial":"50ms"}`, tc.answers...)
			d := f.await(f.publish(), tc.state)
			first := d.Attempts[0]
			if first.Outcome != tc.first.Outcome || first.Reason != tc.first.Reason || first.Status != tc.first.Status {
				t.Errorf("attempt %+v, want %+v", first, tc.first)
			}
			if d.Reason != tc.reason || len(d.Attempts) != tc.count || d.AttemptCount != tc.count {
				t.Errorf("delivery %+v, want reason %q after %d attempts", d, tc.reason, tc.count)
			}
			if n := len(f.client.DeadLetters(t, f.name)); (n == 1) != (tc.state == "dead") {
				t.Errorf("%d dead letters", n)
			}
		})
	}
	t.Run("disable", func(t *testing.T) {
		t.Parallel()
		f := newFlow(t, s, `"responses":[{"status":"401-403","action":"disable"}]`, statuses(403, 204)...)
		f.await(f.publish(), "dead")
		if sub := f.client.AwaitState(t, f.name, "disabled"); sub.Status.Reason != "unauthorized" {
			t.Errorf("status %+v", sub.Status)
		}
		second := f.publish()
		f.await(second, "held")
		f.do(http.StatusOK, http.MethodPost, "/v1/subscriptions/"+f.name+"/resume")
		f.await(second, "delivered")
	})
	t.Run("shown", func(t *testing.T) {
		t.Parallel()
		f := newFlow(t, s, `"responses":[{"status":409,"action":"retry","every":"30s"},{"status":"3xx","action":"deadletter"}]`)
		var got struct {
			Config struct {
				Responses []struct{ Status, Action, Every string }
			}
		}
		f.client.Must(t, http.StatusOK, http.MethodGet, "/v1/subscriptions/"+f.name, nil, &got)
		if r := got.Config.Responses; len(r) != 2 || r[0].Status != "409" || r[0].Every != "30s" || r[1].Action != "deadletter" {
			t.Errorf("shown as %+v", got)
		}
		f.client.Do(t, http.MethodPut, "/v1/subscriptions/"+f.name, `{"sink":"`+f.sink.URL("/")+`","config":{"responses":[{"status":"9xx","action":"ack"},{"status":409}]}}`).
			Refused(t, http.StatusUnprocessableEntity, "invalid_subscription")
	})
}

// testEvery: a fixed interval without end but success, which counts for nothing else.
func testEvery(t *testing.T, s *fleettest.Server) {
	const every = 300 * time.Millisecond
	f := newFlow(t, s, `"responses":[{"status":409,"action":"retry","every":"300ms"}],"breaker":{"failures":2,"cooldown":"1m"},`+
		`"retry":{"policy":"fixed","initial":"100ms","jitter":1,"maxattempts":2}`, statuses(409, 409, 500, 409, 409, 409, 200)...)
	d := f.await(f.publish(), "delivered")
	got := f.sink.WaitAnswered(f.path, 7)
	f.sameWebhook(got)
	if d.AttemptCount != 7 || len(d.Attempts) != 7 {
		t.Fatalf("delivery %+v, want 7 attempts", d)
	}
	for i, a := range d.Attempts {
		if a.Number != i+1 {
			t.Errorf("attempt %d has number %d", i+1, a.Number)
		}
		if i == 2 || i == 6 {
			continue // the failure that counts, and the end
		}
		if gap := got[i+1].At.Sub(got[i].Answered); gap < every || gap > every+soon {
			t.Errorf("gap %d is %v, want %v", i+1, gap, every)
		}
	}
	if n := f.client.Subscription(t, f.name).Status.ConsecutiveFailures; n > 1 { // the one that counts, until the success is written
		t.Errorf("%d consecutive failures", n)
	}
	// Of the failures that count there are maxattempts, whatever came between.
	g := newFlow(t, s, `"responses":[{"status":409,"action":"retry","every":"50ms"}],"retry":{"policy":"fixed","initial":"50ms","maxattempts":2}`,
		statuses(409, 500, 409, 409, 500)...)
	if d := g.await(g.publish(), "dead"); d.Reason != "exhausted" || d.AttemptCount != 5 {
		t.Errorf("delivery %+v, want it exhausted by two failures among five attempts", d)
	}
	// maxage ends it.
	h := newFlow(t, s, `"responses":[{"status":"*","action":"retry","every":"200ms"}],"retry":{"maxattempts":1,"maxage":"6s"}`, statuses(503)...)
	if d := h.await(h.publish(), "dead"); d.Reason != "expired_retry" || d.AttemptCount < 2 {
		t.Errorf("delivery %+v, want it expired after some attempts", d)
	}
}

// TestEveryOutlivesRestarts: which attempts count is known after a kill, for timers and for what is held. Kills come between
// attempts that do not count, however many those become; those that count come when the last restart is over.
func TestEveryOutlivesRestarts(t *testing.T) {
	t.Parallel()
	s := fleettest.Start(t, fleettest.Options{})
	f := newFlow(t, s, `"responses":[{"status":409,"action":"retry","every":"2s"}],"retry":{"policy":"fixed","initial":"50ms","maxattempts":2}`,
		statuses(409)...)
	r := f.publish()
	f.awaitAttempts(r, 1)
	s.Kill()
	s.Start(t)
	f.awaitAttempts(r, 2)
	f.do(http.StatusOK, http.MethodPost, "/v1/subscriptions/"+f.name+"/pause")
	uncounted := f.await(r, "held").AttemptCount
	s.Kill()
	s.Start(t)
	f.sink.On(f.path, statuses(409, 500, 409, 500)...)
	f.do(http.StatusOK, http.MethodPost, "/v1/subscriptions/"+f.name+"/resume")
	d := f.await(r, "dead")
	var last []int
	for _, a := range d.Attempts[min(uncounted, len(d.Attempts)):] {
		last = append(last, a.Status)
	}
	if d.Reason != "exhausted" || !slices.Equal(last, []int{409, 500, 409, 500}) {
		t.Errorf("delivery %+v, want it exhausted by two failures among four attempts after %d that do not count", d, uncounted)
	}
	s.MustStop(t)
}

// awaitAttempts waits until so many attempts of an event's delivery have ended and are recorded, and it waits for the next.
func (f *flow) awaitAttempts(r fleettest.Receipt, n int) {
	f.t.Helper()
	fleettest.Eventually(f.t, "attempts", func() (bool, any) {
		list := f.client.DeliveriesOf(f.t, r.Sequence)
		return len(list) == 1 && list[0].State == "retrying" && list[0].AttemptCount >= n, list
	})
}
