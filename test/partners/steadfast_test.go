package partners_test

import (
	"fmt"
	"net/http"
	"time"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/partners"
	"github.com/hookfleet/hookfleet/test/partners/steadfast"
)

const orderPath = "/webhooks/orders"

var steadfastRows = rows{
	"S1": testS1, "S2": testS2, "S3": testS3, "S4": testS4, "S5": testS5, "S7": testS7,
}

// pushed is the example of an internal system that publishes, sent at once.
func (r *row) pushed(url string) settings {
	return r.example("steadfast-pushed").Set("sink", url+orderPath).Set("config.schedule", nil).Set("config.lifecycle", nil).
		Set("config.retry.initial", "200ms").Set("sinkcredential", nil)
}

// change publishes a change of an order's status.
func (r *row) change(order, status string) fleettest.Receipt {
	r.Helper()
	return r.client.Publish(r, fmt.Sprintf(`{"specversion":"1.0","id":"%s-%d","source":"https://middleware.steadfast.example","type":"order.status",`+
		`"tenant":%q,"subject":%q,"data":{"status":%q}}`, r.tenant, r.n.Add(1), r.tenant, order, status))
}

// testS1: POST of the order's status to the partner's URL, without the status that an order starts with.
func testS1(r *row) {
	p := steadfast.New(steadfast.Config{Path: orderPath, Unsent: "Booked"})
	id := r.put(r.pushed(r.serve(p)))
	for _, order := range []string{"order-1", "order-2"} {
		for _, status := range []string{"Booked", "Out for \"Delivery\"", "Ended"} {
			r.change(order, status)
		}
	}
	calls := r.wait(p, 4, taken)
	r.ended(id, p, 4)
	seen := map[string]bool{}
	for _, c := range calls {
		seen[string(c.Body)] = true
	}
	if !seen[`{"orderId":"order-1","status":"Out for \"Delivery\""}`] || len(seen) != 4 {
		r.Errorf("bodies %v", seen)
	}
}

// credential runs one partner with a credential.
func (r *row) credential(path string, auth func(*partners.Call), credential map[string]any) {
	r.Helper()
	p := steadfast.New(steadfast.Config{Path: orderPath, Auth: auth})
	d := r.pushed(r.serve(p))
	id := r.put(d.Set("id", r.tenant+"-"+path).Set("source", "https://"+path+".example").Set("sinkcredential", credential))
	receipt := r.client.Publish(r, fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"https://%s.example","type":"order.status","tenant":%q,`+
		`"subject":"order-1","data":{"status":"Ended"}}`, path, path, r.tenant))
	r.await(receipt, "delivered")
	r.ended(id, p, 1)
}

// testS2: an API key of any name, in a header or in the query.
func testS2(r *row) {
	r.credential("header", steadfast.Header("X-Steadfast-Key", "k1"), map[string]any{"credentialtype": "APIKEY", "in": "header", "name": "X-Steadfast-Key", "value": "k1"})
	r.credential("odd", steadfast.Header("apikey", "a:b c"), map[string]any{"credentialtype": "APIKEY", "in": "header", "name": "apikey", "value": "a:b c"})
	r.credential("query", steadfast.Query("key", "a&b=c d"), map[string]any{"credentialtype": "APIKEY", "in": "query", "name": "key", "value": "a&b=c d"})
}

// testS3: Basic authentication.
func testS3(r *row) {
	r.credential("plain", steadfast.Basic("steadfast", "p:w"), map[string]any{"credentialtype": "PLAIN", "identifier": "steadfast", "secret": "p:w"})
}

// testS4: a bearer token that was given.
func testS4(r *row) {
	r.credential("bearer", steadfast.Bearer("tok"), map[string]any{"credentialtype": "BEARER", "accesstoken": "tok"})
}

// testS5: a bearer token of a token server with user name and password, under the names of its own; again when it ends.
func testS5(r *row) {
	tokens := &steadfast.Tokens{
		User: "steadfast", Password: "change-me", UserField: "login", PasswordField: "pin", TokenField: "token", ExpiresField: "seconds", Life: 3 * time.Second,
	}
	p := steadfast.New(steadfast.Config{Path: orderPath, Auth: tokens.Auth})
	own := r.example("steadfast-pushed")["sinkcredential"].(settings) // the names of the example
	id := r.put(r.pushed(r.serve(p)).Set("sinkcredential", map[string]any(own.Set("tokenendpoint", r.serve(tokens)))))
	for n := 1; tokens.Given() < 2; n++ {
		r.await(r.change(fmt.Sprint("order-", n), "Ended"), "delivered")
		p.Wait(r.Context(), n, taken)
	}
	r.client.AwaitSubscription(r, id, "is active", func(s *fleettest.Subscription) bool { return s.Status.State == "active" })

	form := &steadfast.Tokens{User: "steadfast", Password: "p&w", Life: time.Hour, Form: true}
	r.credential("form", form.Auth, map[string]any{
		"credentialtype": "TOKENSERVER", "granttype": "password", "tokenendpoint": r.serve(form), "username": "steadfast", "password": "p&w",
	})
}

// testS7: two calls in all, or three, then the update is marked failed.
func testS7(r *row) {
	for _, attempts := range []int{2, 3} {
		p := steadfast.New(steadfast.Config{Path: orderPath, MaxCalls: attempts})
		p.Answer(func(c *partners.Call) partners.Answer {
			if c.Key == "order-bad" {
				return partners.Answer{Status: []int{500, 400, 302}[c.Number%3]}
			}
			return partners.Answer{}
		})
		d := r.pushed(r.serve(p)).Set("config.retry.maxattempts", attempts)
		id := r.put(d.Set("id", fmt.Sprintf("%s-%d", r.tenant, attempts)).Set("filters", []any{map[string]any{"prefix": map[string]any{"subject": "order-"}}}))
		failed := r.await(r.change("order-bad", fmt.Sprint("Sent", attempts)), "dead")
		if failed.Reason != "exhausted" || failed.AttemptCount != attempts {
			r.Errorf("%+v", failed)
		}
		if dead := r.client.DeadLetters(r, id); len(dead) != 1 || dead[0].AttemptCount != attempts || dead[0].Reason != "exhausted" {
			r.Errorf("dead letters %+v", dead)
		}
		r.await(r.change("order-good", fmt.Sprint("Sent", attempts)), "delivered")
		r.client.Must(r, http.StatusNoContent, http.MethodDelete, "/v1/subscriptions/"+id, nil, nil)
	}
}
