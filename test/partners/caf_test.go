package partners_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/partners"
	"github.com/hookfleet/hookfleet/test/partners/caf"
)

var cafRows = rows{"C1": testC1, "C1b": testC1b, "C2": testC2, "C3": testC3, "C4": testC4, "C5": testC5}

// notify publishes a notification; own is the transaction's own webhook, "" = none.
func (r *row) notify(typ, transaction, workflow, status, own string) fleettest.Receipt {
	r.Helper()
	attributes := fmt.Sprintf(`"time":%q,`, time.Now().UTC().Format(time.RFC3339Nano))
	if own != "" {
		attributes += fmt.Sprintf(`"webhookurl":%q,`, own)
	}
	return r.publish(typ, transaction, attributes, fmt.Sprintf(`{"transactionId":%q, "workflowId":%q, "status":%q, "date":"2026-01-31T08:00:00.000Z"}`, transaction, workflow, status))
}

var cafSchedule = []string{"200ms", "400ms", "600ms", "800ms"}

func (r *row) caf(id, url string) settings {
	return r.example(id).Set("sink", url).Set("config.retry.schedule", cafSchedule)
}

// testC1: a structured CloudEvent with exactly the members that were agreed, in the bytes of the producer.
func testC1(r *row) {
	p := caf.New(caf.Config{Workflows: []string{"onboarding"}})
	url := r.serve(p)
	id := r.put(r.caf("caf-onboarding", url))
	text := fmt.Sprintf(`{ "specversion":"1.0", "id":"t-1", "source":"https://caf.example", "type":"TransactionFinished", "time":"2026-01-31T08:00:00.100Z",`+
		` "data":{"transactionId":"t-1","workflowId":"onboarding","status":"APPROVED","date":"2026-01-31T08:00:00.000Z" } ,"tenant":%q, "webhookurl":%q}`, r.tenant, url+"/own")
	r.client.Publish(r, text)
	calls := r.wait(p, 1, taken)
	r.ended(id, p, 1)
	data := `"data":{"transactionId":"t-1","workflowId":"onboarding","status":"APPROVED","date":"2026-01-31T08:00:00.000Z" }`
	if body := string(calls[0].Body); !strings.Contains(body, data) || strings.Contains(body, "tenant") || strings.Contains(body, "webhookurl") {
		r.Errorf("body %s", body)
	}
	if h := calls[0].Header; slices.ContainsFunc(slices.Collect(keys(h)), func(name string) bool { return strings.HasPrefix(name, "Ce-") }) {
		r.Errorf("header %v", h)
	}
}

// testC1b: data.date is the time of sending.
func testC1b(r *row) {
	p := caf.New(caf.Config{Workflows: []string{"onboarding"}, Clock: 30 * time.Second})
	p.Answer(func(c *partners.Call) partners.Answer {
		if c.Number == 1 {
			return partners.Answer{Status: 500}
		}
		return partners.Answer{}
	})
	id := r.put(r.caf("caf-date", r.serve(p)))
	r.await(r.notify("TransactionPending", "t-1", "onboarding", "PENDING", ""), "delivered")
	r.ended(id, p, 1)
	calls := p.Calls()
	if string(calls[0].Body) == string(calls[1].Body) || calls[0].ID() != calls[1].ID() {
		r.Errorf("sent twice with the same date: %s", calls[0].Body)
	}
}

// testC2: only the two types are sent.
func testC2(r *row) {
	p := caf.New(caf.Config{Workflows: []string{"onboarding"}})
	id := r.put(r.caf("caf-onboarding", r.serve(p)))
	for _, typ := range []string{"TransactionFinished", "TransactionStarted", "TransactionPending", "Transaction", "TransactionFinished.x", "transactionfinished"} {
		r.notify(typ, typ, "onboarding", "PENDING", "")
	}
	r.await(r.notify("TransactionFinished", "last", "onboarding", "APPROVED", ""), "delivered")
	r.wait(p, 3, taken)
	r.ended(id, p, 3)
}

// testC3: a webhook for each workflow.
func testC3(r *row) {
	p, q := caf.New(caf.Config{Workflows: []string{"onboarding"}}), caf.New(caf.Config{Workflows: []string{"renewal"}})
	onboarding := r.put(r.caf("caf-onboarding", r.serve(p)))
	renewal := r.put(r.caf("caf-onboarding", r.serve(q)).Set("id", "renewal").Set("filters", []any{map[string]any{"match": "workflowId=renewal"}}))
	for n, workflow := range []string{"onboarding", "renewal", "renewal", "other"} {
		r.notify("TransactionFinished", fmt.Sprint("t-", n), workflow, "APPROVED", "")
	}
	r.wait(p, 1, taken)
	r.wait(q, 2, taken)
	r.ended(onboarding, p, 1)
	r.ended(renewal, q, 2)
}

// testC4: a transaction's own webhook replaces the workflow's for it; without one of the workflow only such are sent.
func testC4(r *row) {
	p, own := caf.New(caf.Config{}), caf.New(caf.Config{})
	there := r.serve(own)
	id := r.put(r.caf("caf-onboarding", r.serve(p)))
	manual := r.put(r.example("caf-manual"))
	r.await(r.notify("TransactionFinished", "t-1", "onboarding", "APPROVED", ""), "delivered")
	r.await(r.notify("TransactionFinished", "t-2", "onboarding", "APPROVED", there+"/hook?t=2"), "delivered")
	if d := r.await(r.notify("TransactionFinished", "t-3", "manual", "APPROVED", ""), "skipped"); d.Reason != "no_sink" || d.AttemptCount != 0 {
		r.Errorf("%+v", d)
	}
	r.await(r.notify("TransactionFinished", "t-4", "manual", "APPROVED", there+"/hook?t=4"), "delivered")
	r.ended(id, p, 1)
	r.ended(manual, own, 2)
	if got := sorted(said(own.Calls())); got != "t-2 APPROVED t-4 APPROVED" {
		r.Error(got)
	}
	if c := own.Calls()[0]; c.Path != "/hook" || c.Query != "t=2" {
		r.Errorf("%s?%s", c.Path, c.Query)
	}
}

// testC5: at most five attempts, within the time that was agreed.
func testC5(r *row) {
	schedule := []time.Duration{200 * time.Millisecond, 400 * time.Millisecond, 600 * time.Millisecond, 800 * time.Millisecond}
	p := caf.New(caf.Config{Schedule: schedule, Attempts: 5})
	p.Answer(func(c *partners.Call) partners.Answer {
		return partners.Answer{Status: []int{500, 404, 400, 503, 429}[(c.Number-1)%5]}
	})
	id := r.put(r.caf("caf-onboarding", r.serve(p)).Set("config.breaker", map[string]any{"failures": 0}))
	if d := r.await(r.notify("TransactionFinished", "t-1", "onboarding", "APPROVED", ""), "dead"); d.AttemptCount != 5 || d.Reason != "exhausted" {
		r.Errorf("%+v", d)
	}
	// What would come after maxage is not sent any more.
	q := caf.New(caf.Config{Schedule: []time.Duration{time.Second}, Attempts: 5, Within: 3 * time.Second})
	q.Answer(func(*partners.Call) partners.Answer { return partners.Answer{Status: 500} })
	r.put(r.caf("caf-onboarding", r.serve(q)).Set("id", id).Set("config.retry.schedule", []string{"1s"}).Set("config.retry.maxage", "2500ms"))
	if d := r.await(r.notify("TransactionFinished", "t-2", "onboarding", "APPROVED", ""), "dead"); d.AttemptCount >= 5 || d.Reason != "expired_retry" {
		r.Errorf("%+v", d)
	}
}
