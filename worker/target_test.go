package worker_test

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

// publishTo publishes an event with a sink of its own.
func (b *bundle) publishTo(n int, url string) uint64 {
	b.tb.Helper()
	text := fmt.Sprintf(`{"specversion":"1.0","id":"%d","source":"/orders","type":"order.status","webhookurl":%q}`, n, url)
	msg := &nats.Msg{
		Subject: "hookfleet.events.default.order.status",
		Header:  nats.Header{"Content-Type": {"application/cloudevents+json"}, nats.MsgIdHdr: {fmt.Sprint(n)}}, Data: []byte(text),
	}
	return must[stream.Ack](b.tb)(b.events.Write(b.tb.Context(), msg, stream.Events)).Sequence
}

// subscribeOverride registers a subscription whose events may have a sink of their own.
func (b *bundle) subscribeOverride(id, sink, config string) {
	b.tb.Helper()
	text := fmt.Sprintf(`{"id":%q,"types":["order.status"],"sink":%q,"sinkoverride":"webhookurl","config":%s}`, id, sink, config)
	s := must[*events.Subscription](b.tb)(events.DecodeSubscription([]byte(text), events.DefaultTenant, events.SinkPolicy{PlainHTTP: true}))
	if _, _, err := b.registry.Put(b.tb.Context(), s, 0); err != nil {
		b.tb.Fatal(err)
	}
}

// A sink that an event has for itself has its own share of sends: when it hangs, the subscription's sink and those of other
// events do not wait, and it gets no more at a time than the subscription says.
func TestTargetsAreApart(t *testing.T) {
	t.Parallel()
	b := setup(t)
	release := make(chan struct{})
	var open, peak, hung, other, own atomic.Int64
	hanging := sink(t, func(http.ResponseWriter, *http.Request) {
		peak.Store(max(peak.Load(), open.Add(1)))
		<-release
		open.Add(-1)
		hung.Add(1)
	})
	quick := sink(t, func(http.ResponseWriter, *http.Request) { other.Add(1) })
	b.subscribeOverride("apart", sink(t, func(http.ResponseWriter, *http.Request) { own.Add(1) }), `{"concurrency":2}`)
	b.work()
	for n := range 20 {
		b.publishTo(3*n, hanging)
		b.publishTo(3*n+1, quick)
		b.publishTo(3*n+2, "")
	}
	eventually(t, "what does not hang arrives", func() bool { return other.Load() == 20 && own.Load() == 20 })
	if hung.Load() != 0 {
		t.Errorf("%d of the hanging sink were answered", hung.Load())
	}
	close(release)
	eventually(t, "the rest arrives", func() bool { return hung.Load() == 20 })
	if peak.Load() != 2 {
		t.Errorf("%d at a time, want 2", peak.Load())
	}
}
