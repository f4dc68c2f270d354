package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

// testRetryNow: a delivery that waits for its next attempt is tried now when it is asked for.
func testRetryNow(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, `"retry":{"policy":"fixed","initial":"1h","jitter":0}`, fails, fails, sinktest.Answer{})
	r := f.publish()
	d := f.await(r, "retrying")
	if wait := time.Until(d.NextAt); wait < 50*time.Minute || wait > time.Hour || d.AttemptCount != 1 {
		t.Errorf("delivery %+v, next in %v", d, wait)
	}
	retry := "/v1/deliveries/" + d.ID + "/retry"
	f.do(http.StatusAccepted, http.MethodPost, retry)
	f.sink.WaitAnswered(f.path, 2)
	fleettest.Eventually(t, "the second attempt is recorded", func() (bool, any) {
		d = f.client.Delivery(t, d.ID)
		return d.State == "retrying" && d.AttemptCount == 2 && time.Until(d.NextAt) > 50*time.Minute, d
	})
	f.do(http.StatusAccepted, http.MethodPost, retry)
	f.await(r, "delivered")
	f.sameWebhook(f.sink.WaitAnswered(f.path, 3))
	f.client.Do(t, http.MethodPost, retry, nil).Refused(t, http.StatusConflict, "ended")
	f.client.Do(t, http.MethodPost, "/v1/deliveries/"+d.ID+"/cancel", nil).Refused(t, http.StatusConflict, "ended")
	f.client.Do(t, http.MethodGet, "/v1/deliveries/zzz-nobody", nil).Refused(t, http.StatusNotFound, "not_found")
	f.lists(r)
}

// lists checks that a delivered delivery is found by all that a list filters by.
func (f *flow) lists(r fleettest.Receipt) {
	f.t.Helper()
	at := func(d time.Duration) string { return time.Now().Add(d).UTC().Format("2006-01-02T15:04:05.000Z") }
	for query, want := range map[string]int{
		"subscription=" + f.name:                                             1,
		"subscription=" + f.name + "&state=delivered":                        1,
		"subscription=" + f.name + "&state=retrying":                         0,
		"subscription=" + f.name + "&tenant=acme":                            0,
		fmt.Sprintf("event=%d", r.Sequence):                                  1,
		fmt.Sprintf("event=%d&subscription=%s", r.Sequence, f.name):          1,
		fmt.Sprintf("event=%d&subscription=somebody-else", r.Sequence):       0,
		"subscription=" + f.name + "&since=" + at(-time.Hour):                1,
		"subscription=" + f.name + "&since=" + at(time.Hour):                 0,
		"subscription=" + f.name + "&until=" + at(-time.Hour):                0,
		"subscription=" + f.name + "&limit=1&state=delivered&tenant=default": 1,
	} {
		if got := fleettest.List[fleettest.Delivery](f.t, f.client, "/v1/deliveries?"+query); len(got) != want {
			f.t.Errorf("%s lists %d deliveries, want %d", query, len(got), want)
		}
	}
}

// testCancel: a cancelled delivery ends, and nothing is sent any more.
func testCancel(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, `"retry":{"policy":"fixed","initial":"1h"}`, fails)
	r := f.publish()
	d := f.await(r, "retrying")
	cancel := "/v1/deliveries/" + d.ID + "/cancel"
	if d = f.cancel(d); d.Reason != "cancelled" || d.EndedAt.IsZero() || !d.NextAt.IsZero() {
		t.Errorf("delivery %+v", d)
	}
	f.client.Do(t, http.MethodPost, "/v1/deliveries/"+d.ID+"/retry", nil).Refused(t, http.StatusConflict, "ended")
	f.do(http.StatusOK, http.MethodPost, cancel)
	if letters := f.client.DeadLetters(t, f.name); len(letters) != 0 {
		t.Errorf("a cancel left dead letters %+v", letters)
	}
	f.pause()
	held := f.publish()
	d = f.await(held, "held")
	f.client.Do(t, http.MethodPost, "/v1/deliveries/"+d.ID+"/retry", nil).Refused(t, http.StatusConflict, "held")
	f.cancel(d)
	f.resume()
	f.cancelInFlight()
	if sub := f.client.AwaitState(t, f.name, "active"); sub.Status.Waiting != 0 {
		t.Errorf("%d wait", sub.Status.Waiting)
	}
}

// cancel cancels a delivery that waits, and returns it when it has ended. It is in flight still, which is answered otherwise,
// until it is stored where it waits; it was seen from its record, which comes first.
func (f *flow) cancel(d *fleettest.Delivery) *fleettest.Delivery {
	f.t.Helper()
	if r := f.client.Do(f.t, http.MethodPost, "/v1/deliveries/"+d.ID+"/cancel", nil); r.Status != http.StatusOK && r.Status != http.StatusAccepted {
		f.t.Fatalf("cancel: %d %s", r.Status, r.Body)
	}
	return f.await(fleettest.Receipt{Sequence: d.Event.Sequence}, "cancelled")
}

// cancelInFlight cancels a delivery whose request is open: it is not tried again.
func (f *flow) cancelInFlight() {
	f.t.Helper()
	n := len(f.sink.Got(f.path))
	answer := make(chan struct{})
	f.sink.On(f.path, sinktest.Answer{Status: 500, Until: answer})
	f.client.Subscribe(f.t, f.name, fmt.Sprintf(`{"types":[%q],"sink":%q,"config":{"retry":{"policy":"fixed","initial":"50ms"}}}`, f.name, f.sink.URL(f.path)))
	r := f.publish()
	f.sink.WaitOpen(f.path, 1)
	var list []fleettest.Delivery
	fleettest.Eventually(f.t, "the delivery in flight is seen", func() (bool, any) {
		list = f.client.DeliveriesOf(f.t, r.Sequence)
		return len(list) == 1, list
	})
	f.do(http.StatusAccepted, http.MethodPost, "/v1/deliveries/"+list[0].ID+"/cancel")
	close(answer)
	f.await(r, "cancelled")
	f.await(f.publishAnswered(), "delivered")
	if got := len(f.sink.Got(f.path)) - n; got != 2 {
		f.t.Errorf("%d requests, want one of the cancelled delivery and one after it", got)
	}
}

func (f *flow) publishAnswered() fleettest.Receipt {
	f.t.Helper()
	f.sink.On(f.path, sinktest.Answer{})
	return f.publish()
}

// testSubscriptionTest: the test event goes to this subscription alone.
func testSubscriptionTest(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, "")
	var d fleettest.Delivery
	r := f.client.Must(t, http.StatusAccepted, http.MethodPost, "/v1/subscriptions/"+f.name+"/test", nil, &d)
	if r.Header.Get("Location") != "/v1/deliveries/"+d.ID || d.Subscription != f.name {
		t.Errorf("delivery %+v, Location %q", d, r.Header.Get("Location"))
	}
	got := f.sink.Wait(f.path, 1)[0]
	if !contains(string(got.Body), f.name) || got.ID() == "" {
		t.Errorf("test event %s", got.Body)
	}
	fleettest.Eventually(t, "the test is delivered", func() (bool, any) {
		r := f.client.Do(t, http.MethodGet, "/v1/deliveries/"+d.ID, nil)
		return contains(string(r.Body), `"state":"delivered"`), string(r.Body)
	})
	f.once(1)
}
