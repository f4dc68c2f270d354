package api_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/api"
	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/test/natstest"
)

func TestPublishIsMounted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	sequence := b.publish("1", "acme", "order.status")
	if again := b.publish("1", "acme", "order.status"); again != sequence {
		t.Errorf("the same event again: %d, then %d", sequence, again)
	}
	ce := map[string]string{"Content-Type": "application/cloudevents+json"}
	key := b.newKey(`{"role":"producer","tenants":["acme"],"types":["order.*"]}`)
	publish := func(tenant, typ string) *reply {
		return b.do(request{method: "POST", path: "/v1/events", body: eventText("2", tenant, typ), key: key, header: ce})
	}
	publish("acme", "order.status").want(http.StatusAccepted)
	publish("globex", "order.status").problem(http.StatusForbidden, api.CodeForbidden)
	publish("acme", "refund").problem(http.StatusForbidden, api.CodeForbidden)
}

// TestEventsAreShownAsTheyCame is I2 for the API: the event's own bytes, white space and spelling included.
func TestEventsAreShownAsTheyCame(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.subscribe("s", "acme")
	sequence := b.publish("1", "acme", "order.status")
	want := []byte(`"event":` + eventText("1", "acme", "order.status"))
	one := b.get(fmt.Sprintf("/v1/events/%d", sequence)).want(http.StatusOK)
	list := b.get("/v1/events").want(http.StatusOK)
	w := b.first(sequence, "s")
	b.bury(w)
	letter := b.get("/v1/dead-letters/" + w.Delivery.ID).want(http.StatusOK)
	letters := b.get("/v1/dead-letters").want(http.StatusOK)
	for _, r := range []*reply{one, list, letter, letters} {
		if !bytes.Contains(r.body, want) {
			t.Errorf("%s does not hold\n%s", r.body, want)
		}
	}
	if at := one.at("acceptedat"); !isMillis(at) {
		t.Errorf("acceptedat %q", at)
	}
	binary := b.do(request{method: "POST", path: "/v1/events", body: "<a>\xc3\xa9</a>", header: map[string]string{
		"Content-Type": "text/xml", "ce-id": "2", "ce-source": "/x", "ce-type": "t", "ce-specversion": "1.0", "ce-tenant": "acme",
	}}).want(http.StatusAccepted)
	got := b.get("/v1/events/" + binary.at("sequence")).want(http.StatusOK)
	if got.at("event", "data") != "<a>é</a>" || got.at("event", "datacontenttype") != "text/xml" {
		t.Errorf("a binary event: %s", got.body)
	}
}

func TestEventAndItsDeliveries(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, id := range []string{"s1", "s2", "s3"} {
		b.subscribe(id, "acme")
	}
	b.subscribe("other", "globex")
	sequence := b.publish("1", "acme", "order.status")
	states := func() string {
		var v struct {
			Deliveries []struct{ Subscription, State string }
		}
		b.get(fmt.Sprintf("/v1/events/%d", sequence)).want(http.StatusOK).into(&v)
		all := map[string]string{}
		for _, d := range v.Deliveries {
			all[d.Subscription] = d.State
		}
		return fmt.Sprint(all)
	}
	if got := states(); got != "map[s1:pending s2:pending s3:pending]" {
		t.Error(got)
	}
	b.record(b.first(sequence, "s1"), events.StateDelivered, "", true)
	b.retry(b.first(sequence, "s2"))
	b.bury(b.first(sequence, "s3"))
	if got := states(); got != "map[s1:delivered s2:retrying s3:dead]" {
		t.Error(got)
	}
}

func TestFindEvents(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i := range 30 {
		b.publish(fmt.Sprint(i), []string{"acme", "globex"}[i%2], []string{"order.status", "order.refund", "x y"}[i%3])
	}
	middle := time.Now()
	natstest.Eventually(t, soon, func() bool { return time.Since(middle) > 5*time.Millisecond })
	late := b.publish("late", "acme", "order.status")
	seqs := func(keep func(i int) bool, withLate bool) (all []string) {
		if withLate {
			all = append(all, fmt.Sprint(late))
		}
		for i := 29; i >= 0; i-- {
			if keep(i) {
				all = append(all, fmt.Sprint(i+1))
			}
		}
		return all
	}
	any := func(int) bool { return true }
	since := url.QueryEscape(middle.UTC().Format(time.RFC3339Nano))
	for query, want := range map[string][]string{
		"":                                   seqs(any, true),
		"tenant=acme":                        seqs(func(i int) bool { return i%2 == 0 }, true),
		"type=order.refund":                  seqs(func(i int) bool { return i%3 == 1 }, false),
		"type=x%20y&tenant=globex":           seqs(func(i int) bool { return i%3 == 2 && i%2 == 1 }, false),
		"type=order":                         nil,
		"id=7":                               {"8"},
		"subject=order-7":                    {"8"},
		"source=/orders&id=3&tenant=globex":  {"4"},
		"source=/nowhere":                    nil,
		"since=" + since:                     {fmt.Sprint(late)},
		"until=" + since:                     seqs(any, false),
		"until=" + since + "&since=" + since: nil,
		"tenant=nobody":                      nil,
	} {
		for _, limit := range []string{"", "&limit=4", "&limit=1000"} {
			if got := b.pages("/v1/events?" + strings.TrimPrefix(query+limit, "&")); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s%s: %v, want %v", query, limit, got, want)
			}
		}
	}
	if ids, next := b.get("/v1/events?limit=4").ids(); len(ids) != 4 || next == "" {
		t.Errorf("a page: %v, %q", ids, next)
	}
}

// TestLargePagesEndEarly bounds what a list of whole events holds at a time.
func TestLargePagesEndEarly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	text := `{"specversion":"1.0","id":"%d","source":"/x","type":"t","data":"` + strings.Repeat("x", 900_000) + `"}`
	for i := range 12 {
		b.do(request{method: "POST", path: "/v1/events", body: fmt.Sprintf(text, i), header: map[string]string{"Content-Type": "application/cloudevents+json"}}).
			want(http.StatusAccepted)
	}
	r := b.get("/v1/events?limit=1000")
	ids, next := r.ids()
	if len(r.body) > 6<<20 || len(ids) >= 12 || next == "" {
		t.Errorf("%d bytes, %d events, next %q", len(r.body), len(ids), next)
	}
	if got := b.pages("/v1/events?limit=1000"); len(got) != 12 {
		t.Errorf("all pages: %v", got)
	}
}

// TestWhatIsNoEvent stands in the stream, but is not shown as an event.
func TestWhatIsNoEvent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ack, err := b.js.PublishMsg(t.Context(), &nats.Msg{Subject: stream.EventSubject("acme", "t"), Data: []byte("nonsense")})
	must(t, err)
	good := b.publish("1", "acme", "t")
	b.get(fmt.Sprintf("/v1/events/%d", ack.Sequence)).problem(http.StatusNotFound, api.CodeNotFound)
	if got := b.pages("/v1/events"); fmt.Sprint(got) != fmt.Sprint([]uint64{good}) {
		t.Error(got)
	}
}
