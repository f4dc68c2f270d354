package e2e

import (
	"net/http"
	"testing"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

func (f *flow) pause() {
	f.t.Helper()
	f.do(http.StatusOK, http.MethodPost, "/v1/subscriptions/"+f.name+"/pause")
}

func (f *flow) resume() {
	f.t.Helper()
	f.do(http.StatusOK, http.MethodPost, "/v1/subscriptions/"+f.name+"/resume")
}

// testPause: what comes to a paused subscription waits, also what was to be retried, and goes out when it is resumed.
func testPause(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, `"retry":{"policy":"fixed","initial":"5s","jitter":0}`, fails, sinktest.Answer{}) // it is paused before the retry
	retried := f.publish()
	f.sink.WaitAnswered(f.path, 1)
	f.pause()
	if sub := f.client.Subscription(t, f.name); !sub.Paused || sub.Status.State != "paused" {
		t.Errorf("subscription %+v", sub)
	}
	f.await(retried, "held")
	held := append(f.publishMany(20), retried)
	f.awaitAll(held, "held")
	f.awaitWaiting(len(held))
	if n := len(f.sink.Got(f.path)); n != 1 {
		t.Errorf("%d requests although it is paused", n-1)
	}
	f.resume()
	f.awaitAll(held, "delivered")
	if sub := f.client.Subscription(t, f.name); sub.Status.Waiting != 0 || sub.Status.State != "active" {
		t.Errorf("status after all is delivered: %+v", sub.Status)
	}
	if n := len(f.sink.Got(f.path)); n != len(held)+1 {
		t.Errorf("%d requests, want %d", n, len(held)+1)
	}
	// Updating a paused subscription resumes it unless it says that it is paused.
	f.pause()
	f.subscribe("")
	if sub := f.client.Subscription(t, f.name); sub.Paused {
		t.Error("updating it did not resume it")
	}
	f.client.Subscribe(t, f.name, `{"paused":true,"types":["`+f.name+`"],"sink":"`+f.sink.URL(f.path)+`"}`)
	if sub := f.client.Subscription(t, f.name); !sub.Paused {
		t.Error("updating it with paused: true resumed it")
	}
}

// testDelete: deleting cancels what waits, and a new subscription of the same id gets none of it.
func testDelete(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, `"retry":{"policy":"fixed","initial":"1h"}`, fails)
	retrying := f.publish()
	f.await(retrying, "retrying")
	f.pause()
	held := f.publishMany(10)
	f.awaitAll(held, "held")
	before := len(f.sink.Got(f.path))
	f.do(http.StatusNoContent, http.MethodDelete, "/v1/subscriptions/"+f.name)
	f.client.Do(t, http.MethodGet, "/v1/subscriptions/"+f.name, nil).Refused(t, http.StatusNotFound, "not_found")
	after := f.publish()
	f.sink.On(f.path, sinktest.Answer{})
	f.subscribe("")
	for _, d := range f.awaitAll(append(held, retrying), "cancelled") {
		if d.Reason != "unsubscribed" || d.EndedAt.IsZero() {
			t.Errorf("delivery %+v", d)
		}
	}
	f.await(f.publish(), "delivered")
	if n := len(f.sink.Got(f.path)); n != before+1 {
		t.Errorf("%d requests after it was deleted and made again, want 1", n-before)
	}
	if d := f.client.DeliveriesOf(t, after.Sequence); len(d) != 0 {
		t.Errorf("an event accepted while there was no subscription has deliveries %+v", d)
	}
	if letters := f.client.DeadLetters(t, f.name); len(letters) != 0 {
		t.Errorf("cancelled deliveries left dead letters %+v", letters)
	}
}

// TestPauseAcrossRestarts: pause, publish, restart by SIGTERM and by SIGKILL, resume: nothing is lost.
func TestPauseAcrossRestarts(t *testing.T) {
	t.Parallel()
	s := fleettest.Start(t, fleettest.Options{})
	f := newFlow(t, s, `"retry":{"policy":"fixed","initial":"1h"}`, fails, fails, sinktest.Answer{})
	retrying := append(f.publishMany(1), f.publishMany(1)...)
	f.awaitAll(retrying, "retrying")
	f.pause()
	accepted := f.publishMany(100)
	f.await(accepted[99], "held")
	s.Restart(t)
	accepted = append(accepted, f.publishMany(100)...)
	s.Kill() // while the last of them are on their way to HELD
	s.Start(t)
	accepted = append(accepted, f.publish())
	waiting := len(accepted) + len(retrying)
	f.client.AwaitSubscription(t, f.name, "has all of them waiting", func(sub *fleettest.Subscription) bool {
		return sub.Paused && sub.Status.State == "paused" && sub.Status.Waiting == waiting
	})
	f.awaitAll(accepted, "held")
	if n := len(f.sink.Got(f.path)); n != 2 {
		t.Errorf("%d requests although it is paused", n-2)
	}
	f.resume()
	f.sink.Wait(f.path, 2+len(accepted))
	for _, r := range retrying {
		d := f.client.AwaitDelivery(t, r.Sequence, "retrying")
		f.client.Must(t, http.StatusAccepted, http.MethodPost, "/v1/deliveries/"+d.ID+"/retry", nil, nil)
	}
	f.awaitAll(append(accepted, retrying...), "delivered")
	if n := len(f.sink.Got(f.path)); n != 2+waiting {
		t.Errorf("%d requests, want %d", n, 2+waiting)
	}
	s.MustStop(t)
}
