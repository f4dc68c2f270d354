package partners_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/partners"
	"github.com/hookfleet/hookfleet/test/partners/raas"
)

var raasRows = rows{"R1": testR1, "R2": testR2, "R3": testR3, "R4": testR4, "R5": testR5, "R6": testR6, "R7": testR7, "R8": testR8, "R9": testR9}

const (
	raasPath   = "/raas/events"
	raasSecret = "change-me-to-a-long-random-text" // of the example
	raasEvery  = 400 * time.Millisecond
)

// newRaas makes a client and its subscription as in the example, not yet put.
func (r *row) newRaas() (*raas.Client, settings) {
	r.Helper()
	cl := raas.New(raas.Config{Path: raasPath, Subscription: r.tenant + "-raas-client", Every: raasEvery, Late: 20 * time.Second, Clock: time.Minute}, raasSecret)
	d := r.example("raas-client").Set("sink", r.serve(cl)+raasPath)
	d["config"].(settings)["responses"].([]any)[0].(settings)["every"] = raasEvery.String()
	return cl, d
}

// resource publishes an event of a resource.
func (r *row) resource(name string) fleettest.Receipt {
	r.Helper()
	return r.publish("resource.created", "", "", fmt.Sprintf(`{"resourceId":%q,"userId":"u-1","size":3}`, name))
}

// testR1: subscriptions are made and changed over the API, with a secret.
func testR1(r *row) {
	cl, d := r.newRaas()
	r.own(d)
	var made fleettest.Subscription
	resp := r.client.Must(r, http.StatusCreated, http.MethodPost, "/v1/subscriptions", d, &made)
	if made.ID != d["id"] || resp.Header.Get("Location") != "/v1/subscriptions/"+made.ID {
		r.Errorf("%+v at %s", made, resp.Header.Get("Location"))
	}
	r.await(r.resource("a"), "delivered")
	if shown := r.client.Subscription(r, made.ID).ProtocolSettings.Signing.Secret; strings.Contains(shown, raasSecret) || shown == "" {
		r.Errorf("the secret is shown as %q", shown)
	}
	cl.Know("another-secret-of-the-client")
	r.client.Must(r, http.StatusOK, http.MethodPut, "/v1/subscriptions/"+made.ID, d.Set("protocolsettings.signing.secret", "another-secret-of-the-client"), nil)
	r.await(r.resource("b"), "delivered")
	// Without a secret one is made up, and shown once.
	var own fleettest.Subscription
	other := r.example("raas-client").Set("id", "made-up").Set("types", []string{"none"}).Set("protocolsettings.signing.secret", nil)
	r.own(other)
	r.client.Must(r, http.StatusCreated, http.MethodPost, "/v1/subscriptions", other, &own)
	if own.ProtocolSettings.Signing.Secret == "" {
		r.Error("no secret was made up")
	}
	r.ended(made.ID, cl, 2)
	r.client.Must(r, http.StatusNoContent, http.MethodDelete, "/v1/subscriptions/"+made.ID, nil, nil)
}

// testR2: 64 hex digits of HMAC-SHA256 of the body with the secret.
func testR2(r *row) {
	cl, d := r.newRaas()
	id := r.put(d)
	r.await(r.resource("a \u00e9 \"quoted\""), "delivered")
	r.ended(id, cl, 1)
	if s := cl.Calls()[0].Header.Get("X-Raas-Webhook-Signature"); len(s) != 64 || strings.Trim(s, "0123456789abcdef") != "" {
		r.Errorf("signature %q", s)
	}
	if h := cl.Calls()[0].Header; h.Get("Webhook-Signature") != "" {
		r.Errorf("signed twice: %v", h)
	}
}

// testR3: the event's name in a header.
func testR3(r *row) {
	cl, d := r.newRaas()
	id := r.put(d)
	for _, name := range []string{"resource.created", "resource.deleted"} {
		r.await(r.publish(name, "", "", `{"resourceId":"a"}`), "delivered")
	}
	r.ended(id, cl, 2)
	for i, want := range []string{"resource.created", "resource.deleted"} {
		if got := cl.Calls()[i].Header.Values("X-Raas-Event"); len(got) != 1 || got[0] != want {
			r.Errorf("x-raas-event %q", got)
		}
	}
}

// testR4: the body's members, of which two are only there when the event has them.
func testR4(r *row) {
	cl, d := r.newRaas()
	id := r.put(d)
	r.await(r.publish("tag.status", "", "", `{"resourceId":"tag-1","userId":"u-1","tags":["a","b c"]}`), "delivered")
	r.await(r.publish("resource.created", "", "", `{"resourceId":"res-1"}`), "delivered")
	r.ended(id, cl, 2)
	for i, want := range []map[string]any{
		{"event_name": "tag.status", "resource_id": "tag-1", "user_id": "u-1", "payload": []any{"a", "b c"}},
		{"event_name": "resource.created", "resource_id": "res-1"},
	} {
		c := cl.Calls()[i]
		var got map[string]any
		if err := json.Unmarshal(c.Body, &got); err != nil {
			r.Fatal(err)
		}
		want["id"], want["subscription_id"], want["timestamp"] = c.ID(), id, got["timestamp"]
		if diff := cmp.Diff(want, got); diff != "" {
			r.Error(diff)
		}
	}
}

// testR5: every 2xx is the end.
func testR5(r *row) {
	cl, d := r.newRaas()
	statuses := []int{200, 201, 202, 204, 299}
	cl.Answer(func(c *partners.Call) partners.Answer { return partners.Answer{Status: statuses[c.Number-1]} })
	id := r.put(d)
	for i := range statuses {
		if got := r.await(r.resource(fmt.Sprint(i)), "delivered"); got.AttemptCount != 1 {
			r.Errorf("%+v", got)
		}
	}
	r.ended(id, cl, len(statuses))
}

// testR6: after a 409 it is called again at a fixed interval until a success, and that is no failure.
func testR6(r *row) {
	cl, d := r.newRaas()
	const notYet = 15 // more than the default of maxattempts, and than what pauses
	cl.Answer(func(c *partners.Call) partners.Answer {
		if c.Number <= notYet {
			return partners.Answer{Status: http.StatusConflict}
		}
		return partners.Answer{}
	})
	id := r.put(d)
	got := r.await(r.resource("a"), "delivered")
	if got.AttemptCount != notYet+1 {
		r.Errorf("%d attempts", got.AttemptCount)
	}
	if s := r.client.Subscription(r, id).Status; s.State != "active" || s.ConsecutiveFailures != 0 {
		r.Errorf("%+v", s)
	}
	r.ended(id, cl, 1)
}

// testR7: whatever else it answers is a failure and is not called again.
func testR7(r *row) {
	cl, d := r.newRaas()
	answers := []partners.Answer{
		{Status: 301, Header: map[string]string{"Location": "/raas/elsewhere"}}, {Status: 302}, {Status: 400}, {Status: 401}, {Status: 404}, {Status: 410}, {Status: 422}, {Status: 500}, {Status: 503}, {Cut: true},
	}
	cl.Answer(func(c *partners.Call) partners.Answer { return answers[(c.Number-1)%len(answers)] })
	id := r.put(d.Set("config.pause", nil))
	for i, a := range answers {
		got := r.await(r.resource(fmt.Sprint(i)), "dead")
		if got.AttemptCount != 1 || got.Attempts[0].Status != a.Status || got.Attempts[0].Outcome != "dead" {
			r.Errorf("after %d: %+v", a.Status, got)
		}
	}
	r.ended(id, cl, 0)
	if calls := len(cl.Calls()); calls != len(answers) {
		r.Errorf("%d calls for %d events", calls, len(answers))
	}
	if n := len(r.client.DeadLetters(r, id)); n != len(answers) {
		r.Errorf("%d dead letters", n)
	}
	if s := r.client.Subscription(r, id).Status; s.State != "active" {
		r.Errorf("%+v", s)
	}
}

// failing has a client that fails until it is mended.
func (r *row) failing(d settings, cl *raas.Client, after int) (id string, mend func()) {
	r.Helper()
	cl.Answer(func(*partners.Call) partners.Answer { return partners.Answer{Status: http.StatusInternalServerError} })
	id = r.put(d)
	for n := range after {
		r.await(r.resource(fmt.Sprint("lost-", n)), "dead")
	}
	r.client.AwaitState(r, id, "paused")
	return id, func() { cl.Answer(nil) }
}

// testR8: consecutive failures pause the subscription; what comes then waits, or ends as a dead letter.
func testR8(r *row) {
	r.Run("hold", func(t *testing.T) {
		h := newRow(t, r.server, r.system, r.tenant+"-hold")
		cl, d := h.newRaas()
		id, mend := h.failing(d, cl, 5)
		held := h.resource("waits")
		h.await(held, "held")
		mend()
		h.client.Must(h, http.StatusOK, http.MethodPost, "/v1/subscriptions/"+id+"/resume", nil, nil)
		h.await(held, "delivered")
		h.ended(id, cl, 1)
	})
	r.Run("deadletter", func(t *testing.T) {
		h := newRow(t, r.server, r.system, r.tenant+"-dead")
		cl, d := h.newRaas()
		id, _ := h.failing(d.Set("config.pause", map[string]any{"after": 2, "then": "deadletter"}), cl, 2)
		if got := h.await(h.resource("lost"), "dead"); got.Reason != "paused" || got.AttemptCount != 0 {
			h.Errorf("%+v", got)
		}
		h.ended(id, cl, 0)
	})
	// A success in between, and a 409, begin the count anew or leave it.
	cl, d := r.newRaas()
	answers := []int{500, 500, 500, 500, 200, 500, 500, 409, 500, 500, 200}
	cl.Answer(func(c *partners.Call) partners.Answer {
		return partners.Answer{Status: answers[min(c.Number, len(answers))-1]}
	})
	id := r.put(d)
	for n := range len(answers) - 1 { // one is called twice
		state := "dead"
		if answers[n] == 200 {
			state = "delivered"
		}
		if n >= 7 { // the 409 took a call of its own
			state = map[int]string{500: "dead", 200: "delivered"}[answers[n+1]]
		}
		r.await(r.resource(fmt.Sprint(n)), state)
	}
	if s := r.client.Subscription(r, id).Status; s.State != "active" {
		r.Errorf("%+v", s)
	}
}

// testR9: updating a paused subscription resumes it.
func testR9(r *row) {
	cl, d := r.newRaas()
	id, mend := r.failing(d, cl, 5)
	held := r.resource("waits")
	r.await(held, "held")
	mend()
	r.put(d)
	r.await(held, "delivered")
	if s := r.client.Subscription(r, id); s.Status.State != "active" || s.Paused {
		r.Errorf("%+v", s)
	}
	r.ended(id, cl, 1)
}
