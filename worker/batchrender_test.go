package worker

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
)

// batchEvents are events of every kind, as they came in: what a batch has of them is these bytes.
func batchEvents(t *testing.T) []*events.Event {
	t.Helper()
	var all []*events.Event
	for _, text := range []string{
		`{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"n":1.0,"b": "é<&>"}}`,
		"{ \"type\" : \"t\",\"id\":\"2\" ,\t\"specversion\":\"1.0\",\"source\":\"/s\", \"data_base64\":\"AAEC/w==\" }",
		`{"specversion":"1.0","id":"3","source":"/s","type":"t","datacontenttype":"text/plain","data":"a\nb"}`,
	} {
		e, err := events.ParseStructured([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	binary, err := events.ParseNATS(map[string][]string{
		"ce-specversion": {"1.0"}, "ce-id": {"4"}, "ce-source": {"/s"}, "ce-type": {"t"}, "ce-priority": {"5"},
		"ce-datacontenttype": {"application/json"},
	}, []byte(`{"big": 12345678901234567890 }`))
	if err != nil {
		t.Fatal(err)
	}
	return append(all, binary)
}

func batchOf(t *testing.T, p *plan, all []*events.Event) *batch {
	t.Helper()
	b := &batch{}
	for i, e := range all {
		id := events.DeliveryID(uint64(i+1), p.entry.Subscription.ID, 0)
		d := &delivery{event: e, Delivery: events.Delivery{ID: id, Subscription: p.entry.Subscription.ID}}
		b.add(&member{delivery: d, text: p.text(d)})
	}
	b.name()
	return b
}

func batchPlan(t testing.TB) *plan {
	t.Helper()
	sub, err := events.DecodeSubscription([]byte(`{"id":"acme","sink":"https://partner.example/hook?a=b","protocolsettings":{"contentmode":"batch",
		"signing":{"scheme":"standardwebhooks","secret":"whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}}}`), "", events.SinkPolicy{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPlan(&registry.Entry{Subscription: sub})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestRenderBatch: the request of a batch as a partner gets it, with the events byte for byte.
func TestRenderBatch(t *testing.T) {
	t.Parallel()
	p := batchPlan(t)
	b := batchOf(t, p, batchEvents(t))
	r, err := p.renderBatch(b, time.Unix(1767225600, 0))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Body) != b.size || cap(r.Body) != b.size {
		t.Errorf("a body of %d bytes in %d, counted as %d", len(r.Body), cap(r.Body), b.size)
	}
	var got bytes.Buffer
	fmt.Fprintf(&got, "%s %s\n", r.Method, r.URL)
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		fmt.Fprintf(&got, "%s: %s\n", name, r.Header.Get(name))
	}
	fmt.Fprintf(&got, "\n%s\n", r.Body)
	path := filepath.Join("testdata", "batch.golden")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, got.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Error(diff)
	}
}

// TestBatchID: the same for the same deliveries in the same order, and that of the event itself for one alone.
func TestBatchID(t *testing.T) {
	t.Parallel()
	p := batchPlan(t)
	all := batchEvents(t)
	id := func(all ...*events.Event) string { return batchOf(t, p, all).id() }
	if first, again := id(all...), id(all...); first != again || len(first) != len("msg_")+27 {
		t.Errorf("%s, then %s", first, again)
	}
	if id(all[0]) != all[0].WebhookID("acme") {
		t.Errorf("of one: %s, its own is %s", id(all[0]), all[0].WebhookID("acme"))
	}
	if id(all...) == id(all[:3]...) || id(all[:2]...) == id(all[:3]...) {
		t.Error("other members, the same id")
	}
	swapped := batchOf(t, p, all[:2])
	slices.Reverse(swapped.members)
	swapped.list = nil
	if swapped.name(); swapped.id() == id(all[:2]...) {
		t.Error("another order, the same id")
	}
}

// BenchmarkRenderBatch is what a batch of 100 events of 1 KiB costs before it is sent.
func BenchmarkRenderBatch(b *testing.B) {
	p := batchPlan(b)
	e, err := events.ParseStructured(fmt.Appendf(nil, `{"specversion":"1.0","id":"1","source":"/s","type":"t","data":"%01024d"}`, 1))
	if err != nil {
		b.Fatal(err)
	}
	one := &batch{}
	for i := range 100 {
		d := &delivery{event: e, Delivery: events.Delivery{ID: events.DeliveryID(uint64(i+1), "acme", 0), Subscription: "acme"}}
		one.add(&member{delivery: d, text: p.text(d)})
	}
	b.ReportAllocs()
	for b.Loop() {
		one.list = nil
		one.name()
		p.renderBatch(one, time.Now())
	}
}
