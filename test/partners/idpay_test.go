package partners_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/partners"
	"github.com/hookfleet/hookfleet/test/partners/idpay"
)

var idpayRows = rows{"I1": testI1, "I2": testI2, "I3": testI3, "I4": testI4, "I5": testI5, "I6": testI6, "I7": testI7, "I8": testI8}

const idpayUser = "user:change-me" // of the example

var idpayBasic = "Basic " + base64.StdEncoding.EncodeToString([]byte(idpayUser))

// transaction publishes a status of a transaction.
func (r *row) transaction(id, status string) fleettest.Receipt {
	r.Helper()
	return r.publish("transaction.status", id, "", fmt.Sprintf(`{"id":%q,"status":%q,"amount":1200}`, id, status))
}

// idpayConfig is what the client of the example set, with short times.
func idpayConfig() idpay.Config {
	return idpay.Config{Header: "Authorization", Value: idpayBasic, Statuses: []string{"approved", "inconclusive", "expired"}, MaxRetries: 5, Interval: 200 * time.Millisecond}
}

func (r *row) idpay(url string) settings {
	return r.example("idpay-client").Set("sink", url).Set("config.retry.initial", "200ms")
}

// testI1: POST {"id": …, "status": …}, and nothing else.
func testI1(r *row) {
	p := idpay.New(idpayConfig())
	id := r.put(r.idpay(r.serve(p)))
	r.await(r.transaction("tx-1", "approved"), "delivered")
	r.ended(id, p, 1)
	if c := p.Calls()[0]; string(c.Body) != `{"id":"tx-1","status":"approved"}` {
		r.Errorf("body %s", c.Body)
	}
}

// testI2: Basic from user:pass, an API key from header:value or value, or nothing.
func testI2(r *row) {
	for name, tc := range map[string]struct {
		credential    any
		header, value string
	}{
		"basic":  {map[string]any{"credentialtype": "PLAIN", "secret": "user:pa:ss"}, "Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("user:pa:ss"))},
		"header": {map[string]any{"credentialtype": "APIKEY", "secret": "x-client-key:va:lue"}, "X-Client-Key", "va:lue"},
		"value":  {map[string]any{"credentialtype": "APIKEY", "secret": "Token 12 34"}, "Authorization", "Token 12 34"},
		"none":   {nil, "", ""},
	} {
		cfg := idpayConfig()
		cfg.Header, cfg.Value = tc.header, tc.value
		p := idpay.New(cfg)
		d := r.idpay(r.serve(p)).Set("sinkcredential", tc.credential).Set("id", r.tenant+"-"+name).Set("types", []string{"transaction." + name})
		id := r.put(d)
		r.await(r.publish("transaction."+name, "", "", `{"id":"tx","status":"approved"}`), "delivered")
		r.ended(id, p, 1)
	}
	p := idpay.New(idpay.Config{Header: "X-Client-Key", Value: "change-me", MaxRetries: 5})
	id := r.put(r.example("idpay-apikey").Set("sink", r.serve(p)))
	r.await(r.transaction("tx-1", "shared"), "delivered")
	r.ended(id, p, 1)
}

// testI3: at most N retries (N + 1 attempts), an interval that doubles, and a timeout.
func testI3(r *row) {
	cfg := idpayConfig()
	cfg.MaxRetries = 3
	p := idpay.New(cfg)
	p.Answer(func(c *partners.Call) partners.Answer {
		return partners.Answer{Status: []int{500, 400, 410, 302}[c.Number-1]}
	})
	id := r.put(r.idpay(r.serve(p)).Set("config.retry.maxattempts", 4))
	if d := r.await(r.transaction("tx-1", "approved"), "dead"); d.AttemptCount != 4 || d.Reason != "exhausted" {
		r.Errorf("%+v", d)
	}
	r.ended(id, p, 0)
	if s := r.client.Subscription(r, id).Status.State; s != "active" {
		r.Errorf("is %s after a 410 that is a failure as all others", s)
	}
	slow := idpay.New(idpayConfig())
	slow.Answer(func(c *partners.Call) partners.Answer {
		if c.Number == 1 {
			return partners.Answer{After: time.Minute}
		}
		return partners.Answer{}
	})
	r.put(r.idpay(r.serve(slow)).Set("id", "slow").Set("types", []string{"transaction.slow"}).Set("config.timeout", "500ms"))
	d := r.await(r.publish("transaction.slow", "", "", `{"id":"tx-2","status":"expired"}`), "delivered")
	if first := d.Attempts[0]; d.AttemptCount != 2 || first.Reason != "timeout" || first.DurationMS < 500 {
		r.Errorf("%+v", d.Attempts)
	}
}

// testI4: at most N simultaneous sends; N is up to 500.
func testI4(r *row) {
	cfg := idpayConfig()
	cfg.Simultaneous = 7
	p := idpay.New(cfg)
	p.Answer(func(*partners.Call) partners.Answer { return partners.Answer{After: 100 * time.Millisecond} })
	d := r.idpay(r.serve(p)).Set("config.timeout", "30s").Set("config.concurrency", cfg.Simultaneous)
	id := r.put(d)
	const n = 60
	var batch []string
	for i := range n {
		batch = append(batch, r.event("transaction.status", "", "", fmt.Sprintf(`{"id":"tx-%d","status":"approved"}`, i)))
	}
	r.client.PublishBatch(r, "["+strings.Join(batch, ",")+"]")
	r.wait(p, n, taken)
	r.ended(id, p, n)
	if _, _, _, peak := p.Counts(); peak < 2 {
		r.Errorf("%d at a time, they are to go side by side", peak)
	}
	r.put(d.Set("config.concurrency", 500))
	if text := r.refused(d.Set("config.concurrency", 501)); !strings.HasPrefix(text, "/config/concurrency ") {
		r.Error(text)
	}
	if text := r.refused(d.Set("config.concurrency", 0)); !strings.HasPrefix(text, "/config/concurrency ") {
		r.Error(text)
	}
}

// testI5: the client chooses which statuses it is told; new ones may come.
func testI5(r *row) {
	p := idpay.New(idpayConfig())
	d := r.idpay(r.serve(p))
	id := r.put(d)
	for _, status := range idpay.Statuses {
		r.transaction("tx-1", status)
	}
	r.transaction("tx-1", "of-tomorrow")
	r.wait(p, 3, taken)
	r.await(r.transaction("tx-2", "approved"), "delivered")
	r.ended(id, p, 4)

	all := idpayConfig()
	all.Statuses = nil
	q := idpay.New(all)
	d = r.idpay(r.serve(q)).Set("filters", []any{map[string]any{"cel": "data.status in ['shared', 'of-tomorrow']"}})
	r.put(d)
	r.await(r.transaction("tx-3", "of-tomorrow"), "delivered")
	r.put(d.Set("filters", nil))
	r.await(r.transaction("tx-4", "never-heard-of"), "delivered")
	r.ended(id, q, 2)
}

// testI6: success is 200 to 299, the answer is awaited, and without both fields there is no request.
func testI6(r *row) {
	p := idpay.New(idpayConfig())
	statuses := []int{200, 201, 204, 226, 299}
	p.Answer(func(c *partners.Call) partners.Answer {
		return partners.Answer{Status: statuses[c.Number-1], After: 300 * time.Millisecond}
	})
	id := r.put(r.idpay(r.serve(p)))
	for i, status := range statuses {
		d := r.await(r.transaction(fmt.Sprint("tx-", i), "approved"), "delivered")
		if a := d.Attempts[0]; d.AttemptCount != 1 || a.Status != status || a.DurationMS < 300 {
			r.Errorf("%d: %+v", status, d.Attempts)
		}
	}
	if d := r.await(r.publish("transaction.status", "", "", `{"status":"approved"}`), "dead"); d.Reason != "template" || d.AttemptCount != 0 {
		r.Errorf("%+v", d)
	}
	r.put(r.idpay("http://127.0.0.1:9").Set("id", id).Set("filters", nil)) // told all, so that one without a status comes to it
	if d := r.await(r.publish("transaction.status", "", "", `{"id":"tx"}`), "dead"); d.Reason != "template" || d.AttemptCount != 0 {
		r.Errorf("%+v", d)
	}
	r.ended(id, p, len(statuses))
}

// testI7: the same status may come again, with the same id: the client took it and its answer was lost.
func testI7(r *row) {
	p := idpay.New(idpayConfig())
	p.Answer(func(c *partners.Call) partners.Answer { return partners.Answer{Cut: c.Number == 1} })
	r.put(r.idpay(r.serve(p)))
	d := r.await(r.transaction("tx-1", "approved"), "delivered")
	calls := p.Calls()
	if len(calls) != 2 || calls[0].ID() == "" || calls[0].ID() != calls[1].ID() || string(calls[0].Body) != string(calls[1].Body) || d.Attempts[0].Reason != "reset" {
		r.Errorf("%v; %+v", calls, d.Attempts)
	}
}

// testI8: the sender's address can be fixed, and is published.
func testI8(r *row) {
	cfg := idpayConfig()
	cfg.From = []string{"127.0.0.42"}
	p := idpay.New(cfg)
	url := r.serve(p)
	s := fleettest.Start(r, fleettest.Options{Args: []string{"--egress-source", "127.0.0.42"}})
	r.server, r.client = s, s.Client()
	id := r.put(r.idpay(url))
	r.await(r.transaction("tx-1", "approved"), "delivered")
	r.ended(id, p, 1)
	var key struct{ Key string }
	r.client.Must(r, http.StatusCreated, http.MethodPost, "/v1/keys", fmt.Sprintf(`{"role":"partner","tenants":[%q]}`, r.tenant), &key)
	var out struct{ Addresses []string }
	fleettest.NewClient(s.API, key.Key).Must(r, http.StatusOK, http.MethodGet, "/v1/egress", nil, &out)
	if len(out.Addresses) != 1 || out.Addresses[0] != "127.0.0.42" {
		r.Errorf("the client is told %v", out.Addresses)
	}
	s.MustStop(r)
}
