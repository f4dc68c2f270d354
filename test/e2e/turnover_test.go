package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

// TestLimitsWhileWorkersComeAndGo: workers are stopped, or killed, and started while they send. The limits hold all the
// time. The rate is used, but for as long as a killed worker is taken to be alive: 5 s, when the queue was its own.
func TestLimitsWhileWorkersComeAndGo(t *testing.T) {
	t.Parallel()
	const permit, seconds, limit, flood = 20, 20, 4, 60
	f := startSplit(t, 3)
	_, js := connect(t, f.api.BrokerURL(operatorKey))
	f.awaitWorkers(t, js, 3)
	paced := newFlow(t, f.api, fmt.Sprintf(`"rate":{"permit":%d,"per":"1s"}`, permit))
	narrow := newFlow(t, f.api, fmt.Sprintf(`"concurrency":%d`, limit), sinktest.Answer{After: 30 * time.Millisecond})
	paced.publishMany(permit * seconds)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for i := range seconds - 4 {
		narrow.publishMany(flood)
		switch w := f.workers[i/4%3]; i % 4 {
		case 0:
			if i%8 == 0 {
				w.MustStop(t)
			} else {
				w.Kill()
			}
		case 1:
			w.Start(t)
		}
		<-tick.C
	}
	got := paced.sink.WaitAnswered(paced.path, permit*seconds)
	took := got[len(got)-1].At.Sub(got[0].At)
	used := float64(len(got)-1) / (took.Seconds() * permit)
	most := keeps(t, got, time.Second/permit, permit)
	narrow.sink.WaitAnswered(narrow.path, flood*(seconds-4))
	peak := narrow.sink.Peak(narrow.path)
	t.Logf("%d requests in %v: %.0f %% of the rate, at most %d a second; at most %d at a time", len(got), took, 100*used, most, peak)
	if used < 0.5 {
		t.Errorf("%.0f %% of the rate is used", 100*used)
	}
	if peak > limit {
		t.Errorf("%d requests at a time, the limit is %d", peak, limit)
	}
	f.stop(t)
}

// TestRateOutlivesRestarts: what was sent before a restart counts after it.
func TestRateOutlivesRestarts(t *testing.T) {
	t.Parallel()
	const per = 12 * time.Second
	s := fleettest.Start(t, fleettest.Options{})
	f := newFlow(t, s, `"rate":{"permit":4,"per":"12s"}`)
	f.publishMany(12)
	f.sink.WaitAnswered(f.path, 4)
	s.Kill()
	s.Start(t)
	s.Restart(t)
	got := f.sink.WaitAnswered(f.path, 8)
	if most := within(got, per-late); most > 4 {
		t.Errorf("%d requests within %v, the limit is 4", most, per)
	}
	if gap := got[4].At.Sub(got[0].At); gap > per+soon {
		t.Errorf("the rate allowed the next one after %v, it came after %v", per, gap)
	}
	s.MustStop(t)
}

// TestBreakerOutlivesRestarts: failures are counted across restarts, and so is a hold.
func TestBreakerOutlivesRestarts(t *testing.T) {
	t.Parallel()
	const cooldown = 20 * time.Second // it is restarted, and looked at, before that is over
	s := fleettest.Start(t, fleettest.Options{})
	f := newFlow(t, s, `"breaker":{"failures":5,"cooldown":"20s"},"retry":{"policy":"fixed","initial":"1h"}`, fails, fails, fails, fails, fails, sinktest.Answer{})
	f.awaitAll(f.publishMany(3), "retrying")
	s.Kill()
	s.Start(t)
	if sub := f.client.Subscription(t, f.name); sub.Status.ConsecutiveFailures != 3 {
		t.Errorf("status after a kill: %+v", sub.Status)
	}
	f.awaitAll(append(f.publishMany(1), f.publishMany(1)...), "retrying")
	held := f.publishMany(10)
	f.awaitAll(held, "held")
	s.Restart(t)
	if sub := f.client.Subscription(t, f.name); sub.Status.State != "held" || sub.Status.Reason != "breaker" || sub.Status.ConsecutiveFailures != 5 {
		t.Errorf("status after a restart: %+v", sub.Status)
	}
	f.awaitAll(held, "delivered")
	got := f.sink.Got(f.path)
	if gap := got[5].At.Sub(got[4].At); gap < cooldown-late {
		t.Errorf("the probe came %v after the breaker opened", gap)
	}
	// Resuming ends the hold at once.
	f.sink.On(f.path, fails)
	f.awaitAll(f.publishMany(5), "retrying")
	f.client.AwaitState(t, f.name, "held")
	f.sink.On(f.path, sinktest.Answer{})
	f.do(http.StatusOK, http.MethodPost, "/v1/subscriptions/"+f.name+"/resume")
	if sub := f.client.Subscription(t, f.name); sub.Status.State != "active" || sub.Status.ConsecutiveFailures != 0 {
		t.Errorf("status after it was resumed: %+v", sub.Status)
	}
	f.await(f.publish(), "delivered")
	s.MustStop(t)
}
