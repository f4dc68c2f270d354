package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/api"
	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/test/natstest"
)

func TestSubscriptionLife(t *testing.T) {
	t.Parallel()
	b := setup(t)
	made := b.post("/v1/subscriptions", `{"id":"acme-orders","tenant":"acme","sink":"https://partner.example/hook","types":["order.*"]}`)
	made.want(http.StatusCreated)
	if got := made.header.Get("Location"); got != "/v1/subscriptions/acme-orders" {
		t.Errorf("Location %q", got)
	}
	tag := made.header.Get("ETag")
	for path, want := range map[string]string{
		"tenant": "acme", "paused": "false", "protocol": "HTTP", "sink": "https://partner.example/hook",
		"protocolsettings/method": "POST", "config/timeout": "15s", "config/concurrency": "64", "config/retry/maxage": "3d",
		"status/state": "active", "status/waiting": "0", "status/consecutivefailures": "0",
	} {
		if got := made.at(strings.Split(path, "/")...); got != want && got != "72h" {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	if since := made.at("status", "since"); !isMillis(since) {
		t.Errorf("status.since %q has not the form of API.md 1", since)
	}
	b.post("/v1/subscriptions", `{"id":"acme-orders","sink":"https://partner.example/hook"}`).problem(http.StatusConflict, api.CodeIDTaken)

	got := b.get("/v1/subscriptions/acme-orders").want(http.StatusOK)
	if got.header.Get("ETag") != tag {
		t.Errorf("ETag %q of what was made with %q", got.header.Get("ETag"), tag)
	}
	// What GET answers can be PUT as it is.
	same := b.put("/v1/subscriptions/acme-orders", string(got.body)).want(http.StatusOK)
	if same.at("types") != got.at("types") || same.at("sink") != got.at("sink") {
		t.Errorf("PUT of what GET answered changed it: %s", same.body)
	}

	fresh := same.header.Get("ETag")
	put := func(match string) *reply {
		return b.do(request{method: "PUT", path: "/v1/subscriptions/acme-orders", body: `{"tenant":"acme","sink":"https://partner.example/new"}`, header: map[string]string{"If-Match": match}})
	}
	if fresh != tag {
		put(tag).problem(http.StatusPreconditionFailed, api.CodeRevisionConflict)
	}
	put(`"999999"`).problem(http.StatusPreconditionFailed, api.CodeRevisionConflict)
	put(`W/`+fresh).problem(http.StatusPreconditionFailed, api.CodeRevisionConflict)
	changed := put(`"999999", ` + fresh).want(http.StatusOK)
	if changed.header.Get("ETag") == fresh || changed.at("sink") != "https://partner.example/new" || changed.at("types") != "" {
		t.Errorf("after a PUT: %s", changed.body)
	}
	put("*").want(http.StatusOK)
	b.put("/v1/subscriptions/acme-orders", `{"id":"other","sink":"https://partner.example"}`).problem(422, api.CodeInvalidSubscription)
	b.put("/v1/subscriptions/acme-orders", `{"tenant":"other","sink":"https://partner.example"}`).problem(422, api.CodeInvalidSubscription)

	b.do(request{method: "DELETE", path: "/v1/subscriptions/acme-orders", header: map[string]string{"If-Match": fresh}}).problem(412, api.CodeRevisionConflict)
	b.delete("/v1/subscriptions/acme-orders").want(http.StatusNoContent)
	b.get("/v1/subscriptions/acme-orders").problem(http.StatusNotFound, api.CodeNotFound)
	b.delete("/v1/subscriptions/acme-orders").problem(http.StatusNotFound, api.CodeNotFound)

	again := b.put("/v1/subscriptions/acme-orders", `{"sink":"https://partner.example"}`).want(http.StatusCreated)
	if again.header.Get("Location") != "/v1/subscriptions/acme-orders" || again.at("tenant") != "default" {
		t.Errorf("PUT of a new id: %s", again.body)
	}
	b.do(request{method: "PUT", path: "/v1/subscriptions/new", body: `{"sink":"https://a.example"}`, header: map[string]string{"If-Match": "*"}}).
		problem(http.StatusPreconditionFailed, api.CodeRevisionConflict)
}

func isMillis(s string) bool {
	_, err := time.Parse("2006-01-02T15:04:05.000Z", s)
	return err == nil
}

func TestSubscriptionIDIsMadeUp(t *testing.T) {
	t.Parallel()
	b := setup(t)
	made := b.post("/v1/subscriptions", `{"sink":"https://partner.example"}`).want(http.StatusCreated)
	if id := made.at("id"); !events.IsID(id) || made.header.Get("Location") != "/v1/subscriptions/"+id {
		t.Errorf("id %q, Location %q", id, made.header.Get("Location"))
	}
}

func TestSecretsAreShownOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const signed = `{"sink":"https://partner.example/%s","protocolsettings":{"signing":{"scheme":"standardwebhooks"%s}}}`
	at := func(r *reply) string { return r.at("protocolsettings", "signing", "secret") }
	made := b.put("/v1/subscriptions/s", fmt.Sprintf(signed, "a", "")).want(http.StatusCreated)
	secret := at(made)
	if !strings.HasPrefix(secret, "whsec_") {
		t.Fatalf("no secret was made up: %q", secret)
	}
	mask := "••••" + secret[len(secret)-4:]
	if got := at(b.get("/v1/subscriptions/s")); got != mask {
		t.Errorf("GET shows %q", got)
	}
	list := b.get("/v1/subscriptions")
	paused := b.post("/v1/subscriptions/s/pause", "")
	kept := b.put("/v1/subscriptions/s", fmt.Sprintf(signed, "b", `,"secret":"`+mask+`"`)).want(http.StatusOK)
	for _, r := range []*reply{list, paused, kept} {
		if strings.Contains(string(r.body), secret[6:20]) {
			t.Errorf("the secret is shown again: %s", r.body)
		}
	}
	if e, _ := b.registry.Lookup("s"); e.Subscription.ProtocolSettings.Signing.Secret.Reveal() != secret {
		t.Error("a PUT with the mask did not keep the secret")
	}
	given := "whsec_" + strings.Repeat("QUJD", 12)
	r := b.post("/v1/subscriptions", fmt.Sprintf(signed, "c", `,"secret":"`+given+`"`)).want(http.StatusCreated)
	if at(r) == given {
		t.Error("a secret that the caller knows is shown")
	}
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.subscribe("s", "acme")
	for range 2 {
		if r := b.post("/v1/subscriptions/s/pause", "").want(http.StatusOK); r.at("paused") != "true" || r.at("status", "state") != "paused" {
			t.Errorf("paused: %s", r.body)
		}
	}
	for range 2 {
		if r := b.post("/v1/subscriptions/s/resume", "{}").want(http.StatusOK); r.at("paused") != "false" || r.at("status", "state") != "active" {
			t.Errorf("resumed: %s", r.body)
		}
	}
	b.post("/v1/subscriptions/none/pause", "").problem(http.StatusNotFound, api.CodeNotFound)
	b.post("/v1/subscriptions/none/resume", "").problem(http.StatusNotFound, api.CodeNotFound)

	sink := `"tenant":"acme","sink":"https://partner.example/hook"`
	b.put("/v1/subscriptions/s", `{"paused":true,`+sink+`}`).want(http.StatusOK)
	if r := b.put("/v1/subscriptions/s", `{"paused":true,`+sink+`}`); r.at("status", "state") != "paused" {
		t.Errorf("an update that says paused: %s", r.body)
	}
	before := time.Now().UTC().Truncate(time.Millisecond)
	r := b.put("/v1/subscriptions/s", `{`+sink+`}`)
	if since, err := time.Parse(time.RFC3339, r.at("status", "since")); err != nil || r.at("status", "state") != "active" || since.Before(before) {
		t.Errorf("an update resumes: %s", r.body)
	}
}

// setHealth does what a worker does.
func (b *bench) setHealth(id string, h registry.Health) {
	b.t.Helper()
	must(b.t, b.registry.SetHealth(b.t.Context(), id, func(old *registry.Health) bool { *old = h; return true }))
}

func TestStatusOfSinks(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.subscribe("s", "acme")
	since := time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.UTC)
	status := func() string {
		r := b.get("/v1/subscriptions/s").want(http.StatusOK)
		return strings.Join([]string{r.at("status", "state"), r.at("status", "reason"), r.at("status", "since"), r.at("status", "consecutivefailures")}, " ")
	}
	b.setHealth("s", registry.Health{State: registry.SinkDisabled, Reason: events.ReasonGone, Since: since, ConsecutiveFailures: 1, Backlog: true})
	if got, want := status(), "disabled gone 2026-01-02T03:04:05.678Z 1"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	b.post("/v1/subscriptions/s/resume", "").want(http.StatusOK)
	if h := b.registry.Health("s"); h.State != registry.SinkActive || !h.Backlog {
		t.Errorf("resumed from disabled: %+v", h)
	}
	b.setHealth("s", registry.Health{State: registry.SinkDisabled, Reason: events.ReasonGone, Since: since})
	if r := b.put("/v1/subscriptions/s", `{"tenant":"acme","sink":"https://partner.example/hook"}`); r.at("status", "state") != "active" {
		t.Errorf("a PUT enables again: %s", r.body)
	}
	b.setHealth("s", registry.Health{State: registry.SinkHeld, Reason: events.ReasonThrottled, Since: since, Until: time.Now().Add(time.Hour)})
	if got, want := status(), "held throttled 2026-01-02T03:04:05.678Z 0"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	b.setHealth("s", registry.Health{State: registry.SinkHeld, Reason: events.ReasonThrottled, Since: since, Until: time.Now().Add(-time.Hour)})
	if got := status(); !strings.HasPrefix(got, "active  ") {
		t.Errorf("a hold whose time has passed: %s", got)
	}
}

// TestWaitingIsExact counts through every state of a delivery.
func TestWaitingIsExact(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.subscribe("s", "acme")
	b.subscribe("twin", "acme")
	b.subscribe("other", "globex")
	waiting := func(want int, when string) {
		t.Helper()
		one := b.get("/v1/subscriptions/s").want(http.StatusOK).at("status", "waiting")
		var list struct {
			Items []struct {
				ID     string
				Status struct{ Waiting int }
			}
		}
		b.get("/v1/subscriptions").want(http.StatusOK).into(&list)
		for _, item := range list.Items {
			if item.ID == "s" && item.Status.Waiting != want {
				t.Errorf("%s: %d in the list, want %d", when, item.Status.Waiting, want)
			}
			if item.ID == "other" && item.Status.Waiting != 0 {
				t.Errorf("%s: another tenant's has %d", when, item.Status.Waiting)
			}
		}
		if one != fmt.Sprint(want) {
			t.Errorf("%s: %s, want %d", when, one, want)
		}
	}
	waiting(0, "at first")
	var sequences []uint64
	for i := range 5 {
		sequences = append(sequences, b.publish(fmt.Sprint(i), "acme", "order.status"))
	}
	waiting(5, "published, no worker")
	var msgs []interface{ Ack() error }
	for i := range 5 {
		m := b.dispatch()
		msgs = append(msgs, m)
		w := b.first(sequences[i], "s")
		switch i {
		case 0: // delivered, and the twin's delivery is still on its way: the event is not acknowledged
			b.record(w, events.StateDelivered, "", true)
			waiting(4, "one delivered, not acknowledged")
		case 1:
			b.retry(w)
			waiting(4, "one waits for a retry, not acknowledged")
		case 2:
			b.hold(w)
			waiting(4, "one held, not acknowledged")
		case 3:
			b.bury(w)
			waiting(3, "one dead, not acknowledged")
		}
	}
	waiting(3, "one in flight")
	b.record(b.first(sequences[4], "s"), events.StateDelivered, "", true)
	waiting(2, "nothing in flight")
	for _, m := range msgs {
		must(t, m.Ack())
	}
	waiting(2, "all acknowledged")
	b.delete("/v1/subscriptions/s").want(http.StatusNoContent)
}

// TestDeletingCancelsWhatWaits is API.md 3: deleting cancels waiting deliveries.
func TestDeletingCancelsWhatWaits(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.subscribe("s", "acme")
	b.subscribe("twin", "acme")
	var ids []string
	for i := range 4 {
		w := b.first(b.publish(fmt.Sprint(i), "acme", "order.status"), "s")
		if ids = append(ids, w.Delivery.ID); i%2 == 0 {
			b.retry(w)
		} else {
			b.hold(w)
		}
	}
	kept := b.first(b.publish("kept", "acme", "order.status"), "twin")
	b.retry(kept)
	b.delete("/v1/subscriptions/s").want(http.StatusNoContent)
	for _, id := range ids {
		r := b.get("/v1/deliveries/" + id).want(http.StatusOK)
		if r.at("state") != "cancelled" || r.at("reason") != "unsubscribed" || r.at("endedat") == "" || r.at("nextat") != "" {
			t.Errorf("after the delete: %s", r.body)
		}
	}
	if r := b.get("/v1/deliveries/" + kept.Delivery.ID); r.at("state") != "retrying" {
		t.Errorf("another subscription's: %s", r.body)
	}
}

// TestDeletingCancelsVeryMuch is more than what is cancelled at a time.
func TestDeletingCancelsVeryMuch(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.subscribe("s", "acme")
	w := b.first(b.publish("1", "acme", "order.status"), "s")
	w.Delivery.NextAt = time.Now().Add(time.Hour)
	const many = 600
	for i := range many {
		w.Delivery.ID, w.Delivery.ReplayOf = events.DeliveryID(w.Delivery.Event.Sequence, "s", uint64(i+1)), "1-s"
		msg, err := w.TimerMessage()
		must(t, err)
		_, err = b.writer.Write(t.Context(), msg, stream.Retries)
		must(t, err)
	}
	if got := b.get("/v1/subscriptions/s").at("status", "waiting"); got != fmt.Sprint(many+1) { // and the first, which is pending
		t.Errorf("waiting %s", got)
	}
	b.delete("/v1/subscriptions/s").want(http.StatusNoContent)
	natstest.Eventually(t, soon, func() bool {
		n, err := stream.NewWaitlist(b.js).Total(t.Context())
		return err == nil && n.Timers == 0
	})
	if got := b.pages("/v1/deliveries?state=cancelled&limit=1000"); len(got) != many {
		t.Errorf("%d are recorded as cancelled", len(got))
	}
}

func TestTestEvent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.subscribe("s", "acme")
	b.subscribe("all", "acme")
	r := b.post("/v1/subscriptions/s/test", "").want(http.StatusAccepted)
	id := r.at("id")
	if r.at("state") != "pending" || r.at("event", "type") != "hookfleet.test" || r.header.Get("Location") != "/v1/deliveries/"+id {
		t.Errorf("answer: %s", r.body)
	}
	if got := b.get("/v1/deliveries/" + id).want(http.StatusOK); got.at("subscription") != "s" {
		t.Errorf("the delivery: %s", got.body)
	}
	event := b.get("/v1/events/" + r.at("event", "sequence")).want(http.StatusOK)
	if event.at("event", "type") != "hookfleet.test" || event.at("tenant") != "acme" || event.at("event", "data", "subscription") != "s" {
		t.Errorf("the event: %s", event.body)
	}
	w := b.fired()
	if w.Delivery.ID != id || w.Event.Tenant() != "acme" || w.Event.Type() != events.TypeTest {
		t.Errorf("what a worker gets: %+v", w.Delivery)
	}
	e, sequence := w.Event, w.Delivery.Event.Sequence
	if matches := b.registry.Match(e, sequence, nil); len(matches) != 0 {
		t.Errorf("the test event goes to %v as well", matches)
	}
	if ids, _ := b.get("/v1/deliveries?state=pending").ids(); len(ids) != 0 {
		t.Errorf("pending deliveries of a test: %v", ids)
	}
	b.post("/v1/subscriptions/none/test", "").problem(http.StatusNotFound, api.CodeNotFound)
}

func TestSubscriptionsAreListedByPage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var want []string
	for i := range 7 {
		id := fmt.Sprintf("s%d", i)
		b.subscribe(id, []string{"acme", "globex"}[i%2])
		want = append([]string{id}, want...)
	}
	if got := b.pages("/v1/subscriptions?limit=2"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := b.pages("/v1/subscriptions?limit=3&tenant=globex"); fmt.Sprint(got) != "[s5 s3 s1]" {
		t.Errorf("of one tenant: %v", got)
	}
	_, next := b.get("/v1/subscriptions?limit=2").ids()
	b.get("/v1/subscriptions?limit=2&tenant=acme&cursor="+next).problem(400, api.CodeBadCursor)
	b.get("/v1/dead-letters?limit=2&cursor="+next).problem(400, api.CodeBadCursor)
	b.do(request{method: "GET", path: "/v1/subscriptions?cursor=" + next, key: b.partnerKey("acme")}).problem(400, api.CodeBadCursor)
}

// TestReadYourWrites writes to one process and reads from another.
func TestReadYourWrites(t *testing.T) {
	t.Parallel()
	nc, js := natstest.Start(t)
	one, two := setupOn(t, nc, js), setupOn(t, nc, js)
	for i := range 50 {
		id := fmt.Sprintf("s%d", i)
		one.subscribe(id, "acme")
		two.get("/v1/subscriptions/" + id).want(http.StatusOK)
		two.delete("/v1/subscriptions/" + id).want(http.StatusNoContent)
		one.get("/v1/subscriptions/" + id).want(http.StatusNotFound)
	}
}
