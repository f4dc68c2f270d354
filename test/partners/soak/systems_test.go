package soak

import (
	"fmt"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/test/partners"
	"github.com/hookfleet/hookfleet/test/partners/caf"
	"github.com/hookfleet/hookfleet/test/partners/idpay"
	"github.com/hookfleet/hookfleet/test/partners/raas"
	"github.com/hookfleet/hookfleet/test/partners/secutix"
	"github.com/hookfleet/hookfleet/test/partners/steadfast"
)

// Times in place of the examples'. What fails is tried until it is taken: nothing may be lost.
const (
	tick     = 5 * time.Second
	attempts = 1000                              // the most there can be
	secret   = "change-me-to-a-long-random-text" // of the example
)

// newSystem takes an example, with a sink at a server of its own.
func newSystem(t *testing.T, name, example string, p receiver, path string, each time.Duration) *system {
	t.Helper()
	docs, err := partners.Examples(name)
	if err != nil {
		t.Fatal(err)
	}
	s := &system{name: name, id: example, partner: p, endpoint: newEndpoint(t, p), doc: docs[example], each: each, owed: map[string]bool{}}
	s.doc.Set("tenant", example).Set("sink", s.endpoint.url(path)).Set("config.retry.maxattempts", attempts).Set("config.retry.maxage", 0)
	return s
}

func steadfastSystem(t *testing.T) *system {
	p := steadfast.New(steadfast.Config{
		Path: "/webhooks/orders", Unsent: "Booked", Terminal: []string{"Cancelled", "Ended"}, Interval: tick, Window: tick,
	})
	s := newSystem(t, "steadfast", "steadfast-pushed", p, "/webhooks/orders", 200*time.Millisecond)
	s.doc.Set("sinkcredential", nil).Set("source", nil).Set("config.schedule.every", tick.String()).Set("config.retry.initial", "1s")
	life := []string{"Booked", "Packed", "Sent", "Packed", "Ended"} // one of them twice, which is told once
	s.next = func(n int) (typ, subject, data, told string) {
		order, step := fmt.Sprint("order-", n/len(life)), n%len(life)
		if step != 0 && step != 3 {
			told = order + " " + life[step]
		}
		return "order.status", order, fmt.Sprintf(`{"status":%q}`, life[step]), told
	}
	return s
}

func cafSystem(t *testing.T) *system {
	p := caf.New(caf.Config{Workflows: []string{"onboarding"}})
	s := newSystem(t, "caf", "caf-onboarding", p, "/caf", 100*time.Millisecond)
	s.doc.Set("config.retry.schedule", []string{"1s"}).Set("protocolsettings.omit", []string{"tenant", "webhookurl", "subject"})
	s.next = func(n int) (typ, subject, data, told string) {
		transaction, workflow := fmt.Sprint("tx-", n), "onboarding"
		if n%4 == 3 {
			workflow = "renewal"
		} else {
			told = transaction + " APPROVED"
		}
		return "TransactionFinished", transaction, fmt.Sprintf(`{"transactionId":%q,"workflowId":%q,"status":"APPROVED","date":"2026-01-31T08:00:00Z"}`, transaction, workflow), told
	}
	return s
}

// raasSystem takes one of eight at the second try only.
func raasSystem(t *testing.T) *system {
	p := raas.New(raas.Config{Path: "/raas", Subscription: "raas-client", Every: time.Second, Clock: time.Minute}, secret)
	tried := map[string]bool{}
	p.Answer(func(c *partners.Call) partners.Answer {
		if c.Number%8 == 0 && !tried[c.ID()] {
			tried[c.ID()] = true
			return partners.Answer{Status: http.StatusConflict}
		}
		return partners.Answer{}
	})
	s := newSystem(t, "raas", "raas-client", p, "/raas", 100*time.Millisecond)
	s.doc.Set("config.responses", []map[string]any{{"status": 409, "action": "retry", "every": "1s"}, {"status": "*", "action": "deadletter"}})
	s.next = func(n int) (typ, subject, data, told string) {
		resource := fmt.Sprint("res-", n)
		if n%3 == 0 {
			return "tag.status", resource, fmt.Sprintf(`{"resourceId":%q,"userId":"u","tags":["a","b"]}`, resource), resource + " tag.status"
		}
		return "resource.created", resource, fmt.Sprintf(`{"resourceId":%q}`, resource), resource + " resource.created"
	}
	return s
}

func secutixSystem(t *testing.T) *system {
	p := secutix.New(secutix.Config{Method: http.MethodGet, Target: regexp.MustCompile(`^/v[12]/(.*)\?update=true$`), Interval: tick, Window: tick})
	s := newSystem(t, "secutix", "secutix-get", p, "/v1/${orderId}?update=true", 200*time.Millisecond)
	s.doc.Set("config.schedule.every", tick.String()).Set("config.retry.initial", "1s")
	s.next = func(n int) (typ, subject, data, told string) {
		order, product := fmt.Sprint(n), "10228506"
		if n%3 == 2 {
			product = "1"
		} else {
			told = order
		}
		return "order.saved", order, fmt.Sprintf(`{"orderId":%q,"OrderDetailsData":{"OperationDatas":[{"ProductCode":%q}]}}`, order, product), told
	}
	return s
}

func idpaySystem(t *testing.T) *system {
	p := idpay.New(idpay.Config{
		Header: "Authorization", Value: "Basic dXNlcjpjaGFuZ2UtbWU=", Statuses: []string{"approved", "inconclusive", "expired"}, MaxRetries: -1, Simultaneous: 50,
	})
	s := newSystem(t, "idpay", "idpay-client", p, "/idpay", 50*time.Millisecond)
	s.doc.Set("config.retry.policy", "fixed").Set("config.retry.initial", "1s").Set("config.breaker", map[string]any{"failures": 10, "cooldown": "1s"})
	s.next = func(n int) (typ, subject, data, told string) {
		transaction, status := fmt.Sprint("tx-", n), idpay.Statuses[n%len(idpay.Statuses)]
		if status == "approved" || status == "inconclusive" || status == "expired" {
			told = transaction + " " + status
		}
		return "transaction.status", transaction, fmt.Sprintf(`{"id":%q,"status":%q}`, transaction, status), told
	}
	return s
}
