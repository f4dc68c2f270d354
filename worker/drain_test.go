package worker_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/events/stream"
)

// TestDrainIsHandedOver: when the owner of a sink's held queue changes, the drain that ends and the one that begins do not
// take each other's acks away. Nothing is sent twice.
func TestDrainIsHandedOver(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var mu sync.Mutex
	got, changed := map[string]int{}, make(chan struct{}, 1)
	url := sink(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		got[r.Header.Get("Webhook-Id")]++
		mu.Unlock()
		select {
		case changed <- struct{}{}:
		default:
		}
		// Some take long enough for the next owner to begin before the last has ended.
		took := 10 * time.Millisecond
		if id := r.Header.Get("Webhook-Id"); id[len(id)-1] < 'd' {
			took = 700 * time.Millisecond
		}
		slow := time.NewTimer(took)
		defer slow.Stop()
		<-slow.C
	})
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(got)
	}
	b.subscribe("busy", url, `{"concurrency":64}`)
	const n = 1200
	stops := []func(){b.work(), b.work()}
	must[*registry.Entry](t)(b.registry.SetPaused(t.Context(), "busy", true))
	for part := range 3 {
		var batch []*nats.Msg
		for i := range n / 3 {
			batch = append(batch, orderEvent(part*n/3+i))
		}
		if _, err := b.batches.Write(b.tb.Context(), stream.Events, batch); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all are held", func() bool {
		return must[stream.Counts](t)(b.waitlist.Count(t.Context(), "busy")).Held == n
	})
	must[*registry.Entry](t)(b.registry.SetPaused(t.Context(), "busy", false))
	for round := range 6 {
		for count() < n*(round+1)/8 {
			<-changed
		}
		stops[round%2]()
		stops[round%2] = b.work()
	}
	eventually(t, "all have come", func() bool { return count() == n })
	for _, stop := range stops {
		stop()
	}
	mu.Lock()
	defer mu.Unlock()
	for id, times := range got {
		if times != 1 {
			t.Errorf("%s came %d times", id, times)
		}
	}
}

// TestDrainOfADeadWorker: what a worker had in hand of a held queue when it was killed is sent again soon, by another one,
// except what it had recorded already.
func TestDrainOfADeadWorker(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var mu sync.Mutex
	got := map[string]int{}
	url := sink(t, func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		got[r.Header.Get("Webhook-Id")]++
		mu.Unlock()
	})
	b.subscribe("busy", url, `{"concurrency":8}`)
	must[*registry.Entry](t)(b.registry.SetPaused(t.Context(), "busy", true))
	const n, inHand, recorded = 40, 8, 3
	stop := b.work()
	for i := range n {
		b.publish(i)
	}
	eventually(t, "all are held", func() bool {
		return must[stream.Counts](t)(b.waitlist.Count(t.Context(), "busy")).Held == n
	})
	stop()
	b.dieDraining("busy", inHand, recorded)
	killed := time.Now()
	b.work()
	must[*registry.Entry](t)(b.registry.SetPaused(t.Context(), "busy", false))
	eventually(t, "nothing is held", func() bool {
		return must[stream.Counts](t)(b.waitlist.Count(t.Context(), "busy")).Held == 0
	})
	if took := time.Since(killed); took > 40*time.Second { // else they come when the consumer is removed, after a minute
		t.Errorf("it took %v", took)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(got) != n-recorded {
		t.Errorf("%d came, not %d", len(got), n-recorded)
	}
	for id, times := range got {
		if times != 1 {
			t.Errorf("%s came %d times", id, times)
		}
	}
}

// dieDraining does what a worker does that is killed while it drains: it has so many held messages in hand, and the first
// of them are recorded as delivered.
func (b *bundle) dieDraining(id string, inHand, recorded int) {
	b.tb.Helper()
	ctx := b.tb.Context()
	c := must[jetstream.Consumer](b.tb)(b.js.CreateOrUpdateConsumer(ctx, stream.HeldName, jetstream.ConsumerConfig{
		Name: "held-" + id, FilterSubject: stream.SubjectHeld + id + ".>", AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: 4 * time.Second, MaxDeliver: -1, MaxAckPending: 16, InactiveThreshold: time.Minute,
	}))
	batch := must[jetstream.MessageBatch](b.tb)(c.Fetch(inHand))
	for m := range batch.Messages() {
		if recorded--; recorded < 0 {
			continue
		}
		waiting := must[*stream.Waiting](b.tb)(stream.ParseWaiting(m.Headers(), m.Data()))
		r := &events.Record{Delivery: waiting.Delivery, State: events.StateDelivered, EndedAt: time.Now().UTC()}
		r.Attempts++
		must[*jetstream.PubAck](b.tb)(b.js.PublishMsg(ctx, stream.RecordMessage(r)))
	}
	if err := batch.Error(); err != nil {
		b.tb.Fatal(err)
	}
}
