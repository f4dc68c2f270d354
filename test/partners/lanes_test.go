package partners_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/partners"
	"github.com/hookfleet/hookfleet/test/partners/caf"
	"github.com/hookfleet/hookfleet/test/partners/idpay"
	"github.com/hookfleet/hookfleet/test/partners/secutix"
	"github.com/hookfleet/hookfleet/test/partners/steadfast"
)

// rowTick is the interval of the rows' schedules, in place of minutes.
const rowTick = 4 * time.Second

// atTicks checks that no call came before the tick that follows what was published last before it.
func (r *row) atTicks(calls []partners.Call, published map[string]time.Time) {
	r.Helper()
	for _, c := range calls {
		at, ok := published[strings.TrimSpace(c.Key+" "+c.Text)]
		if tick := at.Truncate(rowTick).Add(rowTick); !ok || c.At.Before(tick.Add(-partners.Early)) {
			r.Errorf("%v, published at %s: the tick was at %s", &c, at.Format("15:04:05.000"), tick.Format("15:04:05.000"))
		}
	}
}

// scheduled is the example of an internal system that publishes, whole, with a short interval.
func (r *row) scheduled(url string) settings {
	return r.example("steadfast-pushed").Set("sink", url+orderPath).Set("sinkcredential", nil).Set("config.schedule.every", rowTick.String()).Set("config.retry.initial", "200ms")
}

// lanePartner is a strict partner of an order's whole life.
func lanePartner() *steadfast.Partner {
	return steadfast.New(steadfast.Config{
		Path: orderPath, Unsent: "Booked", Terminal: []string{"Cancelled", "Ended"}, MaxCalls: 2, Interval: rowTick, Window: rowTick,
	})
}

// testS6: updates go out once an interval, all changes at that tick, each as a request of its own.
func testS6(r *row) {
	p := lanePartner()
	id := r.put(r.scheduled(r.serve(p)))
	published := map[string]time.Time{}
	publish := func(order, status string) {
		published[order+" "+status] = time.Now() // before it, so that a slow answer does not move the tick
		r.change(order, status)
	}
	for range 2 {
		n := len(published)
		for _, status := range []string{"Packed", "Sent", "Ended"} {
			publish(fmt.Sprint("order-", n), status)
			publish(fmt.Sprint("other-", n), status)
		}
		r.wait(p, len(published), taken)
	}
	r.atTicks(p.Calls(), published)
	r.ended(id, p, len(published))
	ids := map[string]bool{}
	last := map[string]string{}
	for _, c := range p.Calls() {
		ids[c.ID()] = true
		if want := map[string]string{"": "Packed", "Packed": "Sent", "Sent": "Ended"}[last[c.Key]]; c.Text != want {
			r.Errorf("%s is told %q after %q", c.Key, c.Text, last[c.Key])
		}
		last[c.Key] = c.Text
	}
	if len(ids) != len(published) {
		r.Errorf("%d requests for %d updates", len(ids), len(published))
	}
}

// testS11: ten orders in one interval are ten requests at the tick.
func testS11(r *row) {
	p := lanePartner()
	id := r.put(r.scheduled(r.serve(p)))
	published := map[string]time.Time{}
	for n := range 10 {
		published[fmt.Sprintf("order-%d Sent", n)] = time.Now()
		r.change(fmt.Sprint("order-", n), "Sent")
	}
	calls := r.wait(p, 10, taken)
	r.atTicks(calls, published)
	r.ended(id, p, 10)
}

// testX5: a schedule with a frequency and a batch of 60.
func testX5(r *row) {
	p := secutix.New(secutix.Config{Method: http.MethodGet, Target: regexp.MustCompile(`^/orders/(.*)\?update=true$`), Interval: rowTick, Window: rowTick, Batch: 60})
	d := r.example("secutix-get").Set("sink", r.serve(p)+"/orders/${orderId}?update=true").Set("config.schedule.every", rowTick.String())
	id := r.put(d)
	const n = 130
	var batch []string
	for i := range n {
		batch = append(batch, r.event("order.saved", fmt.Sprint(i), "", fmt.Sprintf(`{"orderId":"%d","OrderDetailsData":{"OperationDatas":[%s]}}`, i, soldHere)))
	}
	at := time.Now()
	r.client.PublishBatch(r, "["+strings.Join(batch, ",")+"]")
	calls := r.wait(p, n, taken)
	r.ended(id, p, n)
	published := map[string]time.Time{}
	for i := range n {
		published[fmt.Sprint(i)] = at
	}
	r.atTicks(calls, published)
	if first, last := calls[0].At.Truncate(rowTick), calls[n-1].At.Truncate(rowTick); last.Sub(first) < 2*rowTick {
		r.Errorf("%d orders went from the tick at %s to that at %s", n, first, last)
	}
}

// testC6: notifications may come out of order; who wants it otherwise has them in order, or the newest only, and can look
// the state up.
func testC6(r *row) {
	p := caf.New(caf.Config{Workflows: []string{"onboarding"}})
	p.Answer(func(c *partners.Call) partners.Answer {
		if c.Number == 1 {
			return partners.Answer{Status: http.StatusServiceUnavailable}
		}
		return partners.Answer{}
	})
	ordered := r.put(r.caf("caf-ordered", r.serve(p)))
	var want []string
	for _, status := range []string{"PENDING", "CHECKED", "APPROVED"} {
		r.notify("TransactionPending", "t-1", "onboarding", status, "")
		want = append(want, "t-1 "+status)
	}
	r.wait(p, 3, taken)
	r.ended(ordered, p, 3)
	if got := said(takenOf(p.Calls())); !slices.Equal(got, want) {
		r.Errorf("in order: %q", got)
	}
	r.latest()
	r.lookUp("t-1", "APPROVED")
}

// latest has three notifications wait for a client that fails: the newest goes, and what is older than it does not.
func (r *row) latest() {
	r.Helper()
	p := caf.New(caf.Config{Latest: true})
	p.Answer(func(c *partners.Call) partners.Answer {
		if c.Number == 1 {
			return partners.Answer{Status: http.StatusServiceUnavailable}
		}
		return partners.Answer{}
	})
	d := r.caf("caf-latest", r.serve(p)).Set("filters", []any{map[string]any{"match": "workflowId=latest"}}).Set("config.retry.schedule", []string{"2s"})
	id := r.put(d)
	r.notify("TransactionPending", "t-2", "latest", "PENDING", "")
	r.wait(p, 1, nil)
	r.notify("TransactionPending", "t-2", "latest", "CHECKED", "")
	newest := r.notify("TransactionFinished", "t-2", "latest", "APPROVED", "")
	r.await(newest, "delivered")
	r.client.AwaitSubscription(r, id, "has nothing that waits", func(s *fleettest.Subscription) bool { return s.Status.Waiting == 0 })
	calls := takenOf(p.Calls())
	if last := calls[len(calls)-1]; last.Text != "APPROVED" || slices.Contains(said(calls), "t-2 CHECKED") {
		r.Errorf("of those that waited went %q", said(calls))
	}
	late := r.publish("TransactionPending", "t-2", `"time":"2020-01-01T00:00:00Z",`,
		`{"transactionId":"t-2","workflowId":"latest","status":"OLD","date":"2020-01-01T00:00:00Z"}`)
	if d := r.await(late, "skipped"); d.Reason != "superseded" || d.AttemptCount != 0 {
		r.Errorf("%+v", d)
	}
}

// lookUp asks for the state of a subject as a partner does.
func (r *row) lookUp(subject, want string) {
	r.Helper()
	var key struct{ Key string }
	r.client.Must(r, http.StatusCreated, http.MethodPost, "/v1/keys", fmt.Sprintf(`{"role":"partner","tenants":[%q]}`, r.tenant), &key)
	partner := fleettest.NewClient(r.server.API, key.Key)
	var got struct {
		Subject, Type, Status string
		Completed             bool
		Event                 struct{ ID string }
	}
	fleettest.Eventually(r, "the state of "+subject+" is "+want, func() (bool, any) {
		resp := partner.Do(r, http.MethodGet, "/v1/statuses/"+subject, nil)
		return resp.Status == http.StatusOK && json.Unmarshal(resp.Body, &got) == nil && got.Status == want, string(resp.Body)
	})
	if got.Subject != subject || got.Event.ID == "" {
		r.Errorf("%+v", got)
	}
	partner.Do(r, http.MethodGet, "/v1/statuses/nobody", nil).Refused(r, http.StatusNotFound, "not_found")
}

// testI9: a client that was away asks for the state of a transaction.
func testI9(r *row) {
	p := idpay.New(idpayConfig())
	p.Answer(func(*partners.Call) partners.Answer { return partners.Answer{Status: http.StatusInternalServerError} })
	r.put(r.idpay(r.serve(p)).Set("config.retry.maxattempts", 1))
	r.await(r.transaction("tx-1", "approved"), "dead")
	r.transaction("tx-1", "shared") // which it is not told
	r.lookUp("tx-1", "shared")
}

func takenOf(calls []partners.Call) []partners.Call {
	return slices.DeleteFunc(calls, func(c partners.Call) bool { return !c.Taken() })
}

func init() {
	idpayRows["I9"] = testI9
	steadfastRows["S6"], steadfastRows["S11"], secutixRows["X5"], cafRows["C6"] = testS6, testS11, testX5, testC6
}
