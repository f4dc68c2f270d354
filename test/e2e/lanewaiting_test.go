package e2e

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

// TestWaitingForATick: what waits for a tick counts as waiting, although the others are far ahead, and counts once.
func TestWaitingForATick(t *testing.T) {
	t.Parallel()
	s := fleettest.Start(t, fleettest.Options{})
	c, sink := s.Client(), sinktest.New(t)
	c.Subscribe(t, "at-once", `{"sink":"`+sink.URL("/at-once")+`"}`)
	c.Subscribe(t, "tick", `{"types":["a","b.*"],"filters":[{"not":{"exact":{"subject":"x"}}}],"sink":"`+sink.URL("/tick")+`","config":{"schedule":{"cron":"0 0 1 1 *"}}}`)
	const n = 6
	for i := range n {
		for _, typ := range []string{"a", "b.c", "other"} {
			c.Publish(t, fmt.Sprintf(`{"specversion":"1.0","id":"%s-%d","source":"/e2e","type":%q,"data":1}`, typ, i, typ))
		}
		c.Publish(t, fmt.Sprintf(`{"specversion":"1.0","id":"x-%d","source":"/e2e","type":"a","subject":"x","data":1}`, i))
	}
	sink.WaitAnswered("/at-once", 4*n)
	waits := func(id string, want int) {
		t.Helper()
		c.AwaitSubscription(t, id, fmt.Sprintf("has %d that wait", want), func(s *fleettest.Subscription) bool { return s.Status.Waiting == want })
	}
	waits("at-once", 0)
	waits("tick", 2*n)
	for _, listed := range fleettest.List[fleettest.Subscription](t, c, "/v1/subscriptions?limit=10") {
		if want := map[string]int{"at-once": 0, "tick": 2 * n}[listed.ID]; listed.Status.Waiting != want {
			t.Errorf("%s is listed with %d that wait, want %d", listed.ID, listed.Status.Waiting, want)
		}
	}
	// Neither a pause nor a restart changes that.
	c.Must(t, http.StatusOK, http.MethodPost, "/v1/subscriptions/tick/pause", nil, nil)
	waits("tick", 2*n)
	s.Restart(t)
	waits("tick", 2*n)
	c.Must(t, http.StatusNoContent, http.MethodDelete, "/v1/subscriptions/tick", nil, nil)
}
