package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

// publishKeyed publishes n events of the flow with subjects that go round.
func (f *flow) publishKeyed(n, subjects int) []fleettest.Receipt {
	f.t.Helper()
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/e2e","type":%q,"subject":"o-%d","data":{"n":%d}}`, unique("event"), f.name, i%subjects, i)
	}
	return f.client.PublishBatch(f.t, "["+strings.Join(all, ",")+"]")
}

// list reads a list of deliveries to its end.
func (f *flow) list(query string) (all []fleettest.Delivery) {
	f.t.Helper()
	path := "/v1/deliveries?subscription=" + f.name + query
	for next := ""; ; {
		at := path
		if next != "" {
			at += "&cursor=" + url.QueryEscape(next)
		}
		var page struct {
			Items []fleettest.Delivery
			Next  string
		}
		f.client.Must(f.t, http.StatusOK, http.MethodGet, at, nil, &page)
		all = append(all, page.Items...)
		if next = page.Next; next == "" {
			return all
		}
	}
}

func (f *flow) awaitWaiting(n int) *fleettest.Subscription {
	f.t.Helper()
	return f.client.AwaitSubscription(f.t, f.name, fmt.Sprint(n, " wait"), func(s *fleettest.Subscription) bool { return s.Status.Waiting == n })
}

// testLaneView: what waits for a paused ordered subscription is counted exactly, listed and found, most of it in the event
// stream; it is cancelled there, goes in order when it is resumed, and is cancelled with the subscription.
func testLaneView(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, `"ordering":{"key":"subject"},"retry":{"policy":"fixed","initial":"1h"}`)
	f.await(f.publishKeyed(1, 1)[0], "delivered")
	f.pause()
	var accepted []fleettest.Receipt
	for range 4 {
		accepted = append(accepted, f.publishKeyed(200, 20)...)
	}
	f.awaitWaiting(len(accepted))
	if sub := f.client.Subscription(t, f.name); sub.Status.State != "paused" || sub.Status.Reason != "paused" {
		t.Errorf("status %+v", sub.Status)
	}
	// What its owner had asked for before the pause goes to HELD; no more than that.
	var pending, held []fleettest.Delivery
	fleettest.Eventually(t, "all are listed", func() (bool, any) {
		pending, held = f.list("&state=pending&limit=70"), f.list("&state=held")
		return len(pending)+len(held) == len(accepted) && len(held) > 0, fmt.Sprint(len(pending), " ", len(held))
	})
	if len(pending) < len(accepted)/2 {
		t.Errorf("%d pending, %d held", len(pending), len(held))
	}
	for _, d := range held {
		if d.Reason != "order" {
			t.Errorf("held %+v", d)
			break
		}
	}
	last := accepted[len(accepted)-1]
	if d := f.client.AwaitDelivery(t, last.Sequence, "pending"); d.Subscription != f.name || d.ID != pending[0].ID {
		t.Errorf("the last delivery %+v, the first that is listed %+v", d, pending[0])
	}
	f.client.Do(t, http.MethodPost, "/v1/deliveries/"+pending[0].ID+"/retry", nil).Refused(t, http.StatusConflict, "held")
	f.do(http.StatusAccepted, http.MethodPost, "/v1/deliveries/"+pending[0].ID+"/cancel")
	f.cancel(&held[0])
	if d := f.await(last, "cancelled"); d.Reason != "cancelled" || d.EndedAt.IsZero() {
		t.Errorf("cancelled %+v", d)
	}
	f.awaitWaiting(len(accepted) - 2)
	f.do(http.StatusOK, http.MethodPost, "/v1/deliveries/"+pending[0].ID+"/cancel")
	f.resume()
	f.sink.Wait(f.path, len(accepted)-1)
	f.awaitWaiting(0)
	f.once(len(accepted) - 1)
	if d := f.list("&state=cancelled"); len(d) != 2 {
		t.Errorf("cancelled %+v", d)
	}
}

// testLaneDelete: deleting an ordered subscription cancels what waits, in whatever place.
func testLaneDelete(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, `"ordering":{"key":"subject"},"retry":{"policy":"fixed","initial":"1h"}`, fails, sinktest.Answer{})
	retrying := f.publishKeyed(1, 1)
	f.await(retrying[0], "retrying")
	behind := f.publishKeyed(3, 1) // of its key: held
	for _, d := range f.awaitAll(behind, "held") {
		if d.Reason != "order" {
			t.Errorf("held %+v", d)
		}
	}
	f.pause()
	waiting := slices.Concat(retrying, behind, f.publishKeyed(300, 30))
	f.awaitWaiting(len(waiting))
	f.do(http.StatusNoContent, http.MethodDelete, "/v1/subscriptions/"+f.name)
	for _, d := range f.awaitAll(waiting, "cancelled") {
		if d.Reason != "unsubscribed" {
			t.Errorf("delivery %+v", d)
		}
	}
	if d := f.list("&state=pending"); len(d) != 0 {
		t.Errorf("pending %+v", d)
	}
	if n := len(f.sink.Got(f.path)); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}
