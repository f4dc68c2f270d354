package worker_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

// TestAcknowledgedTimerThatIsStillThere: a full disk leaves a fired timer whose ack the broker knows and whose removal it
// could not write. It is not sent, and it does not count as waiting.
func TestAcknowledgedTimerThatIsStillThere(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var got atomic.Int64
	b.subscribe("left", sink(t, func(http.ResponseWriter, *http.Request) { got.Add(1) }), `{}`)
	stop := b.work() // makes the consumer
	eventually(t, "the worker runs", func() bool {
		_, err := b.js.Consumer(t.Context(), stream.Retries, stream.ConsumerDue)
		return err == nil
	})
	stop()
	last := b.due(1)
	open := b.due(2)
	s := must[jetstream.Stream](t)(b.js.Stream(t.Context(), stream.Retries))
	// What the broker's state looks like then: the first of the two lies below the consumer's position.
	if _, err := s.ResetConsumerToSequence(t.Context(), stream.ConsumerDue, last+1); err != nil {
		t.Fatal(err)
	}
	b.work()
	eventually(t, "nothing waits", func() bool {
		left := must[stream.Counts](t)(b.waitlist.Count(t.Context(), "left"))
		return left == stream.Counts{}
	})
	if got.Load() != 1 {
		t.Errorf("%d requests, want that of timer %d alone", got.Load(), open)
	}
}

// due stores a timer that has fired.
func (b *bundle) due(n int) (sequence uint64) {
	b.tb.Helper()
	e := must[*events.Event](b.tb)(events.ParseNATS(orderEvent(n).Header, orderEvent(n).Data))
	w := &stream.Waiting{Event: e, Delivery: events.Delivery{
		ID: events.DeliveryID(uint64(n), "left", 0), Subscription: "left", Tenant: "default", Event: events.Ref(e, uint64(n)),
		CreatedAt: time.Now(), Attempts: 1, ReplayOf: "x",
	}}
	m, err := w.HeldMessage()
	if err != nil {
		b.tb.Fatal(err)
	}
	m.Subject = stream.DueSubject("left", w.Delivery.ID)
	return must[stream.Ack](b.tb)(b.events.Write(b.tb.Context(), m, stream.Retries)).Sequence
}
