package worker

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
)

// Verdicts as the response table makes them.
var (
	passed    = events.Verdict{Outcome: events.Delivered}
	failed    = events.Verdict{Outcome: events.Retry, Reason: events.ReasonServerError}
	exhausted = events.Verdict{Outcome: events.Dead, Reason: events.ReasonExhausted}
	rejected  = events.Verdict{Outcome: events.Dead, Reason: events.ReasonRejected}
	gone      = events.Verdict{Outcome: events.Dead, Reason: events.ReasonGone, Disable: true}
	uncounted = events.Verdict{Outcome: events.Retry, Reason: events.ReasonClientError, Uncounted: true}
	throttled = events.Verdict{Outcome: events.Retry, Reason: events.ReasonThrottled, HoldFor: 5 * time.Second}
	longHold  = events.Verdict{Outcome: events.Retry, Reason: events.ReasonThrottled, HoldFor: time.Hour}
)

func TestCircuit(t *testing.T) {
	t.Parallel()
	breaker := events.DeliveryConfig{
		Breaker: events.Breaker{Failures: 3, Cooldown: events.Duration(30 * time.Second)}, Timeout: events.Duration(15 * time.Second),
	}
	off := events.DeliveryConfig{}
	pause := events.DeliveryConfig{Pause: &events.Pause{After: 3, Then: events.ThenHold}}
	both := events.DeliveryConfig{Breaker: breaker.Breaker, Pause: &events.Pause{After: 4, Then: events.ThenHold}, Timeout: breaker.Timeout}
	at := func(second int) time.Time { return epoch.Add(time.Duration(second) * time.Second) }
	open := func(count, since, until int) registry.Health {
		return registry.Health{
			State: registry.SinkHeld, Reason: events.ReasonBreaker, Since: at(since), Until: at(until),
			ConsecutiveFailures: count, RetryableFailures: count,
		}
	}
	counts := func(all, retryable int) registry.Health {
		return registry.Health{State: registry.SinkActive, ConsecutiveFailures: all, RetryableFailures: retryable}
	}
	type step struct { // one a second, from 0
		v     events.Verdict
		probe bool
	}
	for name, tt := range map[string]struct {
		config events.DeliveryConfig
		steps  []step
		want   registry.Health
	}{
		"below the breaker":                   {breaker, []step{{v: failed}, {v: failed}}, counts(2, 2)},
		"a success resets":                    {breaker, []step{{v: failed}, {v: failed}, {v: passed}, {v: failed}, {v: failed}}, counts(2, 2)},
		"the breaker opens":                   {breaker, []step{{v: failed}, {v: failed}, {v: failed}}, open(3, 2, 32)},
		"what is exhausted was retryable":     {breaker, []step{{v: exhausted}, {v: exhausted}, {v: exhausted}}, open(3, 2, 32)},
		"a rejection shows that it answers":   {breaker, []step{{v: failed}, {v: failed}, {v: rejected}, {v: failed}}, counts(4, 1)},
		"uncounted is counted by nobody":      {breaker, []step{{v: failed}, {v: failed}, {v: uncounted}, {v: failed}}, open(3, 3, 33)},
		"what was in flight does not prolong": {breaker, []step{{v: failed}, {v: failed}, {v: failed}, {v: failed}, {v: failed}}, open(5, 2, 32)},
		"a probe that fails does":             {breaker, []step{{v: failed}, {v: failed}, {v: failed}, {v: failed, probe: true}}, open(4, 2, 33)},
		"a probe that goes well closes": {breaker, []step{{v: failed}, {v: failed}, {v: failed}, {v: passed, probe: true}},
			registry.Health{State: registry.SinkActive, Since: at(3)}},
		"a probe that is rejected closes": {breaker, []step{{v: failed}, {v: failed}, {v: failed}, {v: rejected, probe: true}},
			registry.Health{State: registry.SinkActive, Since: at(3), ConsecutiveFailures: 4}},
		"an uncounted probe closes": {breaker, []step{{v: failed}, {v: failed}, {v: failed}, {v: uncounted, probe: true}},
			registry.Health{State: registry.SinkActive, Since: at(3), ConsecutiveFailures: 3}},
		"it counts anew after that": {breaker, []step{{v: failed}, {v: failed}, {v: failed}, {v: passed, probe: true}, {v: failed}, {v: failed}},
			registry.Health{State: registry.SinkActive, Since: at(3), ConsecutiveFailures: 2, RetryableFailures: 2}},
		"Retry-After holds": {breaker, []step{{v: throttled}},
			registry.Health{State: registry.SinkHeld, Reason: events.ReasonThrottled, Since: at(0), Until: at(5), ConsecutiveFailures: 1, RetryableFailures: 1}},
		"the longer hold counts": {breaker, []step{{v: longHold}, {v: throttled}},
			registry.Health{State: registry.SinkHeld, Reason: events.ReasonThrottled, Since: at(0), Until: at(3600), ConsecutiveFailures: 2, RetryableFailures: 2}},
		"throttling opens the breaker, for as long as it asks": {breaker, []step{{v: failed}, {v: failed}, {v: longHold}}, open(3, 2, 3602)},
		"a probe that is throttled":                            {breaker, []step{{v: failed}, {v: failed}, {v: failed}, {v: longHold, probe: true}}, open(4, 2, 3603)},
		"breaker off":                                          {off, []step{{v: failed}, {v: failed}, {v: failed}, {v: failed}}, counts(4, 4)},
		"gone": {breaker, []step{{v: gone}},
			registry.Health{State: registry.SinkDisabled, Reason: events.ReasonGone, Since: at(0), ConsecutiveFailures: 1}},
		"gone stays": {breaker, []step{{v: gone}, {v: longHold}, {v: passed}},
			registry.Health{State: registry.SinkDisabled, Reason: events.ReasonGone, Since: at(0)}},
		"failures of any kind pause": {pause, []step{{v: failed}, {v: rejected}, {v: failed}},
			registry.Health{State: registry.SinkPaused, Reason: events.ReasonFailures, Since: at(2), ConsecutiveFailures: 3, RetryableFailures: 1}},
		"a success does not resume": {pause, []step{{v: failed}, {v: rejected}, {v: failed}, {v: passed}},
			registry.Health{State: registry.SinkPaused, Reason: events.ReasonFailures, Since: at(2)}},
		"uncounted does not pause": {pause, []step{{v: failed}, {v: uncounted}, {v: failed}, {v: uncounted}}, counts(2, 2)},
		"breaker first, then pause": {both, []step{{v: failed}, {v: failed}, {v: failed}, {v: failed, probe: true}},
			registry.Health{State: registry.SinkPaused, Reason: events.ReasonFailures, Since: at(3), ConsecutiveFailures: 4, RetryableFailures: 4}},
	} {
		got := registry.Health{State: registry.SinkActive}
		for i, s := range tt.steps {
			one := tallyOf(&s.v, s.probe, at(i))
			one.apply(&got, &tt.config, at(i))
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// What is stored in one write comes to the same counts as one write for each attempt.
func TestTalliesAddUp(t *testing.T) {
	t.Parallel()
	all := []events.Verdict{passed, failed, failed, failed, exhausted, rejected, uncounted, throttled}
	config := events.DeliveryConfig{Pause: &events.Pause{After: 1000}}
	for seed := range uint64(1000) {
		r := rand.New(rand.NewPCG(seed, 7))
		var one, many registry.Health
		var sum tally
		for range r.IntN(20) {
			v := all[r.IntN(len(all))]
			t := tallyOf(&v, false, epoch)
			sum.add(t)
			t.apply(&one, &config, epoch)
		}
		sum.apply(&many, &config, epoch)
		if one.ConsecutiveFailures != many.ConsecutiveFailures || one.RetryableFailures != many.RetryableFailures {
			t.Fatalf("seed %d: one by one %+v, together %+v", seed, one, many)
		}
	}
}

func TestProbeIsClaimedOnce(t *testing.T) {
	t.Parallel()
	config := events.DeliveryConfig{Timeout: events.Duration(15 * time.Second), Breaker: events.Breaker{Failures: 1, Cooldown: events.Duration(time.Second)}}
	h := registry.Health{State: registry.SinkHeld, Reason: events.ReasonBreaker, Until: ms(1000)}
	if claim(&h, &config, ms(999)) {
		t.Error("claimed early")
	}
	if !claim(&h, &config, ms(1000)) || claim(&h, &config, ms(1001)) {
		t.Error("not claimed exactly once")
	}
	one := tallyOf(&failed, true, ms(3000))
	if one.apply(&h, &config, ms(3000)); !h.Until.Equal(ms(4000)) {
		t.Errorf("after a probe that failed the next one is due at %v", h.Until)
	}
	h.Reason = events.ReasonThrottled
	if claim(&h, &config, ms(9000)) {
		t.Error("a sink that is held by itself has no probe")
	}
}
