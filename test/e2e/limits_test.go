package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

// late is how much later than another a request may arrive on a loaded machine, beside the 100 ms that a permit holds.
const late = 500 * time.Millisecond

// keeps checks that in no time of some lengths more requests came than a rate of one an interval and its burst allow. It
// returns what there was within the first of them.
func keeps(t *testing.T, all []*sinktest.Request, interval time.Duration, burst int) (most int) {
	t.Helper()
	for i, d := range []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, time.Minute} {
		n, allowed := within(all, d), max(burst, 1+int((d+late)/interval))
		if n > allowed {
			t.Errorf("%d requests within %v, %d are allowed", n, d, allowed)
		}
		if i == 0 {
			most = n
		}
	}
	return most
}

// within is the most requests that came within any time d.
func within(all []*sinktest.Request, d time.Duration) (most int) {
	for i, j := 0, 0; j < len(all); j++ {
		for all[j].At.Sub(all[i].At) >= d {
			i++
		}
		most = max(most, j-i+1)
	}
	return most
}

// TestLimits: what a subscription says about its limits and its circuit holds over three workers.
func TestLimits(t *testing.T) {
	t.Parallel()
	f := startSplit(t, 3)
	_, js := connect(t, f.api.BrokerURL(operatorKey))
	f.awaitWorkers(t, js, 3)
	t.Run("all", func(t *testing.T) {
		for name, test := range map[string]func(*testing.T, *fleettest.Server){
			"rate": testRate, "rate below workers": testSlowRate, "rate of what fails": testRateOfRetries, "waiting": testRateWaiting,
			"concurrency": testConcurrency, "breaker": testBreaker, "breaker off": testBreakerOff, "counts": testCounts,
			"pause holds": testPauseHolds, "pause gives up": testPauseGivesUp, "held": testHeldByAnswer,
			"handshake required": testHandshakeRequired, "handshake rate": testHandshakeRate, "handshake optional": testHandshakeOptional,
			"handshake off": testHandshakeOff,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, f.second)
			})
		}
	})
	f.stop(t)
}

// testRate: no more than permit in any time per, and no less while something waits.
func testRate(t *testing.T, s *fleettest.Server) {
	const n, permit = 240, 30
	f := newFlow(t, s, `"rate":{"permit":30,"per":"1s","burst":10}`)
	rs := f.publishMany(n)
	got := f.sink.WaitAnswered(f.path, n)
	f.awaitAll(rs, "delivered")
	took := got[n-1].At.Sub(got[0].At)
	used := float64(n-1) / (took.Seconds() * permit)
	most := keeps(t, got, time.Second/permit, 10)
	t.Logf("%d requests in %v: %.0f %% of the rate; at most %d within a second, %d at once", n, took, 100*used, most, within(got, 20*time.Millisecond))
	if most := within(got, 20*time.Millisecond); most > 10+4 { // on a loaded machine some of the next ones come with them
		t.Errorf("%d requests at once, the burst is 10", most)
	}
	if used < 0.8 {
		t.Errorf("%.0f %% of the rate is used", 100*used)
	}
	f.once(n)
}

// testSlowRate: a rate that is less than one for each worker is kept all the same.
func testSlowRate(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, `"rate":{"permit":1,"per":"3s"}`)
	f.publishMany(5)
	got := f.sink.WaitAnswered(f.path, 5)
	for i, r := range got[1:] {
		if gap := r.At.Sub(got[i].At); gap < 3*time.Second-late || gap > 3*time.Second+soon {
			t.Errorf("%v between two requests, one in 3 s is allowed", gap)
		}
	}
	f.once(5)
}

// testRateOfRetries: retries count as what they are, requests.
func testRateOfRetries(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, `"rate":{"permit":10,"per":"1s","burst":1},"breaker":{"failures":0},"retry":{"policy":"fixed","initial":"100ms","maxattempts":3}`, fails)
	rs := f.publishMany(15)
	f.awaitAll(rs, "dead")
	got := f.sink.Got(f.path)
	keeps(t, got, time.Second/10, 1)
	if len(got) != 45 {
		t.Errorf("%d requests, want 45", len(got))
	}
}

// testRateWaiting: what is over the rate waits as held, is counted, and can be cancelled.
func testRateWaiting(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, `"rate":{"permit":2,"per":"1d"}`)
	rs := f.publishMany(40)
	f.sink.WaitAnswered(f.path, 2)
	f.client.AwaitSubscription(t, f.name, "has the rest waiting", func(sub *fleettest.Subscription) bool {
		return sub.Status.Waiting == 38 && sub.Status.State == "active"
	})
	held := 0
	fleettest.Eventually(t, "the rest is held", func() (bool, any) {
		held = 0
		for _, d := range fleettest.List[fleettest.Delivery](t, f.client, "/v1/deliveries?state=held&limit=100&subscription="+f.name) {
			if held++; d.Reason != "rate" {
				t.Errorf("delivery %+v", d)
			}
		}
		return held == 38, held
	})
	// Cancelling does not wait for the rate.
	cancelled := fleettest.List[fleettest.Delivery](t, f.client, "/v1/deliveries?state=held&limit=100&subscription="+f.name)[7]
	f.do(http.StatusAccepted, http.MethodPost, "/v1/deliveries/"+cancelled.ID+"/cancel")
	f.client.AwaitDelivery(t, cancelled.Event.Sequence, "cancelled")
	rs = slices.DeleteFunc(rs, func(r fleettest.Receipt) bool { return r.Sequence == cancelled.Event.Sequence })
	// A rate that is lifted holds nobody any more.
	f.subscribe("")
	f.awaitAll(rs, "delivered")
	f.once(39)
}

// testConcurrency: the limit is kept, and used.
func testConcurrency(t *testing.T, s *fleettest.Server) {
	for _, limit := range []int{1, 2, 3, 10} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			t.Parallel()
			f := newFlow(t, s, fmt.Sprintf(`"concurrency":%d`, limit), sinktest.Answer{After: 20 * time.Millisecond})
			f.publishMany(150)
			f.sink.WaitAnswered(f.path, 150)
			if peak := f.sink.Peak(f.path); peak != limit {
				t.Errorf("at most %d requests at a time, the limit is %d", peak, limit)
			}
			f.once(150)
		})
	}
}

// testBreaker: consecutive failures hold the sink; one probe a cooldown; what goes well releases it by itself.
func testBreaker(t *testing.T, s *fleettest.Server) {
	const failures, cooldown = 6, 2 * time.Second
	var mu sync.Mutex
	well := false
	f := newFlow(t, s, `"concurrency":1,"breaker":{"failures":6,"cooldown":"2s"},"retry":{"policy":"fixed","initial":"1m","jitter":0}`)
	f.sink.OnFunc(f.path, func(*sinktest.Request) sinktest.Answer {
		mu.Lock()
		defer mu.Unlock()
		if well {
			return sinktest.Answer{}
		}
		return fails
	})
	rs := f.publishMany(100)
	sub := f.client.AwaitState(t, f.name, "held")
	if sub.Status.Reason != "breaker" || sub.Status.ConsecutiveFailures < failures {
		t.Errorf("status %+v", sub.Status)
	}
	f.sink.WaitAnswered(f.path, failures+2)
	f.client.AwaitSubscription(t, f.name, "counts the probes", func(sub *fleettest.Subscription) bool { return sub.Status.ConsecutiveFailures >= failures+2 })
	mu.Lock()
	well = true
	mu.Unlock()
	f.client.AwaitState(t, f.name, "active")
	got := f.sink.Got(f.path)
	for i := failures; i < len(got) && got[i-1].Status != http.StatusNoContent; i++ {
		if gap := got[i].At.Sub(got[i-1].At); gap < cooldown-late || gap > cooldown+soon {
			t.Errorf("request %d came %v after the one before it, the cooldown is %v", i, gap, cooldown)
		}
	}
	// All but those that wait for their retry.
	failed := 0
	fleettest.Eventually(t, "what was held is delivered", func() (bool, any) {
		counts := map[string]int{}
		for _, d := range fleettest.List[fleettest.Delivery](t, f.client, "/v1/deliveries?limit=1000&subscription="+f.name) {
			counts[d.State]++
		}
		failed = counts["retrying"]
		return counts["delivered"]+failed == len(rs), counts
	})
	t.Logf("the breaker let %d requests through before it opened or as probes", failed)
	sub = f.awaitWaiting(failed)
	if sub.Status.ConsecutiveFailures != 0 || sub.Status.State != "active" {
		t.Errorf("status %+v, %d wait for their retries", sub.Status, failed)
	}
	f.once(len(rs))
}

// testBreakerOff: failures: 0 holds nothing.
func testBreakerOff(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, `"breaker":{"failures":0},"retry":{"policy":"fixed","initial":"1h"}`, fails)
	rs := f.publishMany(50)
	f.awaitAll(rs, "retrying")
	sub := f.client.AwaitSubscription(t, f.name, "counts them all", func(sub *fleettest.Subscription) bool {
		return sub.Status.ConsecutiveFailures == 50 && sub.Status.Waiting == 50
	})
	if sub.Status.State != "active" {
		t.Errorf("status %+v", sub.Status)
	}
}

// testCounts: failures of any kind are counted over all workers, and a success begins anew.
func testCounts(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, `"retry":{"policy":"fixed","initial":"1h"}`,
		fails, sinktest.Answer{Status: 400}, sinktest.Answer{Status: 404}, sinktest.Answer{Cut: true}, sinktest.Answer{}, fails, sinktest.Answer{Status: 422})
	for i, want := range []int{1, 2, 3, 4, 0, 1, 2} {
		f.publish()
		f.sink.Wait(f.path, i+1)
		f.client.AwaitSubscription(t, f.name, fmt.Sprintf("has %d failures in a row after %d attempts", want, i+1), func(sub *fleettest.Subscription) bool {
			return sub.Status.ConsecutiveFailures == want
		})
	}
}

// testPauseHolds: failures of any kind pause it, what comes then waits, and goes when it is resumed.
func testPauseHolds(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, `"concurrency":1,"breaker":{"failures":0},"pause":{"after":5},"retry":{"policy":"fixed","initial":"1h"}`, fails, sinktest.Answer{Status: 415}, fails)
	f.publishMany(5)
	sub := f.client.AwaitState(t, f.name, "paused")
	if sub.Status.Reason != "failures" || sub.Paused {
		t.Errorf("%+v", sub)
	}
	later := f.publishMany(20)
	f.awaitAll(later, "held")
	if n := len(f.sink.Got(f.path)); n > 5+2 { // one in flight at each worker, at most
		t.Errorf("%d requests, it pauses after 5", n)
	}
	f.sink.On(f.path, sinktest.Answer{})
	f.resume()
	f.awaitAll(later, "delivered")
	if sub := f.client.Subscription(t, f.name); sub.Status.State != "active" || sub.Status.ConsecutiveFailures != 0 {
		t.Errorf("status %+v", sub.Status)
	}
}

// testPauseGivesUp: with then: deadletter what comes becomes a dead letter, until an update resumes it.
func testPauseGivesUp(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, `"concurrency":1,"breaker":{"failures":0},"pause":{"after":3,"then":"deadletter"},"retry":{"policy":"fixed","initial":"1h"}`, fails)
	f.publishMany(3)
	f.client.AwaitState(t, f.name, "paused")
	before := len(f.sink.Got(f.path))
	for _, d := range f.awaitAll(f.publishMany(20), "dead") {
		if d.Reason != "paused" || d.AttemptCount != 0 {
			t.Errorf("delivery %+v", d)
		}
	}
	if letters := f.client.DeadLetters(t, f.name); len(letters) != 20 || letters[0].Reason != "paused" {
		t.Errorf("%d dead letters", len(letters))
	}
	if n := len(f.sink.Got(f.path)); n != before {
		t.Errorf("%d requests while it was paused", n-before)
	}
	f.sink.On(f.path, sinktest.Answer{})
	f.subscribe("")
	f.await(f.publish(), "delivered")
}

// testHeldByAnswer: after a 429 no worker sends anything but what was in flight, until Retry-After is over, in both forms.
func testHeldByAnswer(t *testing.T, s *fleettest.Server) {
	for name, retryAfter := range map[string]func() string{
		"seconds": func() string { return "4" },
		"date":    func() string { return time.Now().Add(5 * time.Second).UTC().Format(http.TimeFormat) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const n, after = 400, 60
			f := newFlow(t, s, `"concurrency":12,"breaker":{"failures":0},"retry":{"policy":"fixed","initial":"50ms","jitter":0}`)
			f.sink.OnFunc(f.path, func(r *sinktest.Request) sinktest.Answer {
				a := sinktest.Answer{After: 20 * time.Millisecond}
				if r.Number == after {
					a.Status, a.Header = 429, map[string]string{"Retry-After": retryAfter()}
				}
				return a
			})
			rs := f.publishMany(n)
			f.awaitAll(rs, "delivered")
			got := f.sink.WaitAnswered(f.path, n+1)
			told := got[after-1].Answered
			inFlight, tooLate := 0, 0
			var last time.Duration
			for _, r := range got[after:] {
				switch since := r.At.Sub(told); {
				case since < 0:
					inFlight++
				case since < 3*time.Second:
					tooLate, last = tooLate+1, max(last, since)
				}
			}
			t.Logf("%d came before the answer, %d after it, the last of them %v", inFlight, tooLate, last)
			if last > time.Second { // what was on its way, and the time that it takes to tell the other workers
				t.Errorf("a request came %v after the 429", last)
			}
		})
	}
}
