package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

// onceAt is an interval that has a tick at about a moment, and the next one four weeks later.
func onceAt(at time.Time) time.Duration { return time.Duration(at.UnixNano() / 700) }

func scheduleOf(every time.Duration, more string) string {
	return fmt.Sprintf(`"schedule":{"every":"%dns"%s}`, every.Nanoseconds(), more)
}

// testScheduleTick: what is accepted in one interval goes at its tick, each in a request of its own; what comes after the
// tick waits for the next; retries follow the retry policy.
func testScheduleTick(t *testing.T, s *fleettest.Server) {
	tick := soonAfter()
	f := newFlow(t, s, scheduleOf(onceAt(tick), `,"batch":11`)+`,"retry":{"policy":"fixed","initial":"300ms","jitter":0}`,
		fails, fails, sinktest.Answer{})
	var accepted []fleettest.Receipt
	for range 10 {
		accepted = append(accepted, f.publish())
	}
	if !time.Now().Before(tick) {
		t.Fatal("the machine is too slow for this test")
	}
	got := f.sink.WaitAnswered(f.path, 12)
	f.awaitAll(accepted, "delivered")
	for i, r := range got {
		if early := tick.Sub(r.At); early > time.Millisecond {
			t.Errorf("request %d came %v before the tick", i, early)
		}
	}
	first, second := got[0], got[slices.IndexFunc(got, func(r *sinktest.Request) bool { return r.ID() == got[0].ID() && r.Number > 1 })]
	if gap := second.At.Sub(first.Answered); gap < 300*time.Millisecond {
		t.Errorf("the retry came %v after the attempt", gap)
	}
	late := f.publish()
	quiet := newFlow(t, s, "") // what goes at once shows that the fleet had time for it
	quiet.await(quiet.publish(), "delivered")
	if d := f.await(late, "pending"); d.AttemptCount != 0 {
		t.Errorf("what came after the tick did not wait for the next: %+v", d)
	}
	if n := len(f.sink.Got(f.path)); n != 12 {
		t.Errorf("%d requests, want 12", n)
	}
	// Without its schedule it goes at once.
	f.subscribe("")
	f.await(late, "delivered")
}

// testScheduleBatch: at most so many a tick, the oldest first.
func testScheduleBatch(t *testing.T, s *fleettest.Server) {
	const every, batch = 2 * time.Second, 3
	f := newFlow(t, s, fmt.Sprintf(`"schedule":{"every":%q,"batch":%d}`, every, batch))
	accepted := f.publishMany(3*batch + 1)
	f.awaitAll(accepted, "delivered")
	got := f.sink.Got(f.path)
	slices.SortFunc(got, byTime)
	// Each tick may come late, by less than an interval.
	if took := got[len(got)-1].At.Sub(got[0].At); took < 2*every {
		t.Errorf("all were sent within %v, in fewer than four ticks", took)
	}
	for i, r := range got {
		id := eventID(r.Body)
		at := slices.IndexFunc(accepted, func(a fleettest.Receipt) bool { return a.ID == id })
		if at/batch != i/batch {
			t.Errorf("request %d is of event %d", i, at)
		}
	}
}

// testTicksDoNotOverlap: what comes while a tick takes long waits for the next one, which begins when it is through.
func testTicksDoNotOverlap(t *testing.T, s *fleettest.Server) {
	release := make(chan struct{})
	f := newFlow(t, s, `"schedule":{"every":"500ms"}`, sinktest.Answer{Until: release}, sinktest.Answer{})
	first := f.publish()
	f.sink.WaitOpen(f.path, 1)
	second := f.publish()
	after := time.Now().Add(1500 * time.Millisecond)
	fleettest.Eventually(t, "three ticks have passed", func() (bool, any) { return time.Now().After(after), nil })
	if n := len(f.sink.Got(f.path)); n != 1 {
		t.Errorf("%d requests while the first tick is not through", n)
	}
	close(release)
	f.await(first, "delivered")
	f.await(second, "delivered")
}

// testSchedulePaused: a tick that passes while the subscription is paused is no reason to send when it is resumed; the
// next one is.
func testSchedulePaused(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, `"schedule":{"every":"1s"}`)
	f.pause()
	accepted := f.publishMany(5)
	after := time.Now().Add(1500 * time.Millisecond)
	fleettest.Eventually(t, "a tick has passed", func() (bool, any) { return time.Now().After(after), nil })
	if n := len(f.sink.Got(f.path)); n != 0 {
		t.Errorf("%d requests of a paused subscription", n)
	}
	f.resume()
	f.awaitAll(accepted, "delivered")
	f.once(5)
}

// testScheduleChanges: what waits for a tick goes by the schedule as it is now.
func testScheduleChanges(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, scheduleOf(onceAt(time.Now().Add(-time.Minute)), ""))
	accepted := f.publishMany(5)
	for _, r := range accepted {
		f.await(r, "pending")
	}
	f.subscribe(`"schedule":{"every":"1s"}`)
	f.awaitAll(accepted, "delivered")
	f.once(5)
}

// testScheduleDead: after its attempts it is marked failed, also when they were at ticks.
func testScheduleDead(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, `"schedule":{"every":"1s"},"retry":{"policy":"fixed","initial":"200ms","maxattempts":2}`, fails)
	d := f.await(f.publish(), "dead")
	if d.Reason != "exhausted" || d.AttemptCount != 2 {
		t.Errorf("delivery %+v", d)
	}
}

// TestMissedTick: a tick that comes while nobody runs fires once when somebody does, and what comes then waits for the
// next one, also over a SIGKILL.
func TestMissedTick(t *testing.T) {
	t.Parallel()
	s := fleettest.Start(t, fleettest.Options{})
	tick := soonAfter()
	f := newFlow(t, s, scheduleOf(onceAt(tick), ""))
	accepted := append(f.publishMany(10), f.publish())
	if !time.Now().Before(tick) {
		t.Fatal("the machine is too slow for this test")
	}
	s.MustStop(t)
	fleettest.Eventually(t, "the tick has passed", func() (bool, any) { return time.Now().After(tick.Add(time.Second)), nil })
	if n := len(f.sink.Got(f.path)); n != 0 {
		t.Fatalf("%d requests before the tick", n)
	}
	s.Start(t)
	f.awaitAll(accepted, "delivered")
	late := f.publish()
	s.Kill()
	s.Start(t)
	quiet := newFlow(t, s, "")
	quiet.await(quiet.publish(), "delivered")
	s.Restart(t)
	quiet.await(quiet.publish(), "delivered")
	if d := f.await(late, "pending"); d.AttemptCount != 0 {
		t.Errorf("the missed tick fired again: %+v", d)
	}
	f.once(len(accepted))
	f.client.Must(t, http.StatusNoContent, http.MethodDelete, "/v1/subscriptions/"+f.name, nil, nil)
	f.await(late, "cancelled")
}
