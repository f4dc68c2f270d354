package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/test/natstest"
)

// TestLane looks at a lane that nobody runs: what waits for it is counted, listed, found and cancelled, although dispatch is
// through with all of it.
func TestLane(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.post("/v1/subscriptions", `{"id":"lane","tenant":"acme","sink":"https://partner.example/hook","paused":true,
		"config":{"ordering":{"key":"subject"}}}`).want(http.StatusCreated)
	b.subscribe("plain", "acme")
	var want []string
	var sequences []uint64
	for i := range 5 {
		b.publish(fmt.Sprint("other-", i), "globex", "order.status")
		s := b.publish(fmt.Sprint(i), "acme", "order.status")
		sequences = append(sequences, s)
		want = append([]string{events.DeliveryID(s, "lane", 0)}, want...)
		w := b.first(s, "plain")
		b.ack(b.dispatch())
		m := b.dispatch()
		b.record(w, events.StateDelivered, "", true)
		b.ack(m)
	}
	check := func() {
		t.Helper()
		for _, path := range []string{"/v1/subscriptions/lane", "/v1/subscriptions/plain"} {
			n := 0
			if strings.HasSuffix(path, "lane") {
				n = len(want)
			}
			if r := b.get(path).want(http.StatusOK); r.at("status", "waiting") != fmt.Sprint(n) {
				t.Errorf("%s: %s", path, r.body)
			}
		}
		for _, query := range []string{"subscription=lane&state=pending", "state=pending&limit=2", "tenant=acme&state=pending"} {
			if got := b.pages("/v1/deliveries?" + query); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: %v, want %v", query, got, want)
			}
		}
	}
	check()
	for _, v := range b.registry.LaneVersions("lane") { // as its owner does first
		must(t, stream.NewLanes(b.js).Ensure(t.Context(), stream.LaneConsumerConfig{
			Subscription: "lane", From: v.From, Tenant: v.Tenant, Types: v.Types, AckWait: time.Hour, Window: 100,
		}))
	}
	check()
	if r := b.get("/v1/subscriptions/lane"); r.at("status", "state") != "paused" || r.at("status", "reason") != "paused" {
		t.Errorf("status %s", r.body)
	}
	if r := b.get("/v1/deliveries/" + want[2]).want(http.StatusOK); r.at("state") != "pending" || r.at("subscription") != "lane" {
		t.Errorf("delivery %s", r.body)
	}
	if r := b.get(fmt.Sprint("/v1/events/", sequences[2])).want(http.StatusOK); !strings.Contains(string(r.body), `"id":"`+want[2]+`"`) {
		t.Errorf("event %s", r.body)
	}
	b.post("/v1/deliveries/"+want[2]+"/retry", "").problem(http.StatusConflict, "held")
	if r := b.get("/metrics").want(http.StatusOK); !strings.Contains(string(r.body), `hookfleet_backlog{state="pending"} `) {
		t.Errorf("metrics %s", r.body)
	}
	b.cancelInLane(want[2])
	want = append(want[:2:2], want[3:]...)
	check()
	b.post("/v1/subscriptions/lane/resume", "").want(http.StatusOK)
	if r := b.post("/v1/deliveries/"+want[0]+"/retry", "").want(http.StatusAccepted); r.at("state") != "pending" {
		t.Errorf("retry %s", r.body)
	}
}

// cancelInLane cancels a delivery that waits in the event stream for its lane.
func (b *bench) cancelInLane(id string) {
	b.t.Helper()
	path := "/v1/deliveries/" + id
	b.post(path+"/cancel", "").want(http.StatusAccepted)
	natstest.Eventually(b.t, soon, func() bool { return b.get(path).at("state") == "cancelled" })
	if r := b.post(path+"/cancel", "").want(http.StatusOK); r.at("reason") != "cancelled" || r.at("endedat") == "" {
		b.t.Errorf("cancelled %s", r.body)
	}
	natstest.Eventually(b.t, soon, func() bool {
		marks, err := stream.NewLanes(b.js).Cancelled(b.t.Context(), "lane")
		return err == nil && marks[id]
	})
}
