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

// testThrottled: 429, and 503 with Retry-After, hold the whole sink for that long; then it drains by itself.
func testThrottled(t *testing.T, s *fleettest.Server) {
	for _, status := range []int{429, 503} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			f := newFlow(t, s, `"retry":{"policy":"fixed","initial":"50ms","jitter":0}`,
				sinktest.Answer{Status: status, Header: map[string]string{"Retry-After": "8"}}, sinktest.Answer{})
			first := f.publish()
			sub := f.client.AwaitState(t, f.name, "held")
			if sub.Status.Reason != "throttled" {
				t.Errorf("status %+v", sub.Status)
			}
			others := f.publishMany(50)
			f.awaitAll(append(others, first), "delivered")
			got := f.sink.WaitAnswered(f.path, 52)
			until := got[0].Answered.Add(8 * time.Second)
			for _, r := range got[1:] {
				if r.At.Before(until) {
					t.Errorf("request %d came %v before Retry-After was over", r.Number, until.Sub(r.At))
				}
				if r.At.After(until.Add(2 * soon)) {
					t.Errorf("request %d came %v after Retry-After was over", r.Number, r.At.Sub(until))
				}
			}
			if sub := f.client.AwaitState(t, f.name, "active"); sub.Status.Waiting != 0 {
				t.Errorf("status %+v", sub.Status)
			}
			if d := f.await(first, "delivered"); d.AttemptCount != 2 {
				t.Errorf("the throttled delivery is %+v", d)
			}
			if d := f.await(others[0], "delivered"); d.AttemptCount != 1 {
				t.Errorf("a held delivery is %+v", d)
			}
		})
	}
}

// testHanging: a sink that hangs does not slow down a healthy one.
func testHanging(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, "")
	hangs := sinktest.New(t)
	hangs.On("/", sinktest.Answer{Until: make(chan struct{})})
	hanging := unique("hangs")
	f.client.Subscribe(t, hanging, fmt.Sprintf(`{"types":[%q],"sink":%q,"config":{"timeout":"20s"}}`, f.name, hangs.URL("/")))
	const n, interval = 600, 5 * time.Millisecond
	published := make(map[string]time.Time, n)
	var mu sync.Mutex
	var publishing sync.WaitGroup
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for range n {
		<-tick.C
		publishing.Go(func() {
			id := unique("beside")
			r, err := f.client.Call(t.Context(), "POST", "/v1/events", structuredHeader, []byte(event(id, f.name, `1`)))
			if err != nil || r.Status != 202 {
				t.Errorf("publish: %v %v", r, err)
				return
			}
			mu.Lock()
			published[id] = time.Now()
			mu.Unlock()
		})
	}
	publishing.Wait()
	var took []time.Duration
	for _, r := range f.sink.Wait(f.path, n) {
		took = append(took, r.At.Sub(published[eventID(r.Body)]))
	}
	slices.Sort(took)
	p50, p99 := took[n/2], took[n*99/100]
	t.Logf("beside a hanging sink: p50 %v, p99 %v, max %v; the hanging one had at most %d requests open", p50, p99, took[n-1], hangs.Peak("/"))
	if p99 > soon { // who waits behind the hanging one waits 20 s
		t.Errorf("p99 %v from accept to arrival at the healthy sink", p99)
	}
	f.once(n)
	f.do(http.StatusNoContent, http.MethodDelete, "/v1/subscriptions/"+hanging)
}
