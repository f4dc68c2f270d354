package worker_test

import (
	"strconv"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

// cancel tells the workers that a delivery is cancelled, as the API does.
func (b *bundle) cancel(id string) {
	b.tb.Helper()
	msg := &nats.Msg{Subject: "$KV." + stream.BucketCancels + "." + id, Data: []byte(`{}`)}
	if _, err := b.events.Write(b.tb.Context(), msg, "KV_"+stream.BucketCancels); err != nil {
		b.tb.Fatal(err)
	}
}

func (b *bundle) mark(id string, recorded bool) {
	b.tb.Helper()
	if _, err := b.events.Write(b.tb.Context(), stream.LaneCancelMessage("ordered", id, recorded), "KV_"+stream.BucketLanes); err != nil {
		b.tb.Fatal(err)
	}
}

// TestLaneCancelled: what was cancelled before the lane came to it is not sent, and is recorded once; also when no owner was
// there to be told, and nobody tells any more.
func TestLaneCancelled(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s, url := newOrderSink(t, nil)
	b.subscribeLane("ordered", url, `{"ordering":{"key":"subject"},`+laneRetries+`}`)
	var ids []string
	var sequences []uint64
	for n := range 300 {
		sequences = append(sequences, b.publishOrder(n, "o-"+strconv.Itoa(n%3), "x"))
		ids = append(ids, events.DeliveryID(sequences[n], "ordered", 0))
	}
	b.mark(ids[250], false)
	b.mark(ids[251], false)
	b.mark(ids[251], true) // its end is recorded, as far as the lane is told
	b.cancel(ids[252])
	b.work()
	eventually(t, "the others arrive", func() bool { return s.count() >= 297 })
	s.check()
	b.awaitState("ordered", []uint64{sequences[250], sequences[252]}, events.StateCancelled)
	b.nothingWaits("ordered")
	if n := s.count(); n != 297 {
		t.Errorf("%d arrived", n)
	}
	if _, ok, err := b.history.Find(t.Context(), ids[251]); ok || err != nil {
		t.Errorf("recorded twice: %v, %v", ok, err)
	}
	eventually(t, "the marks are gone", func() bool {
		marks, err := stream.NewLanes(b.js).Cancelled(t.Context(), "ordered")
		return err == nil && len(marks) == 0
	})
}

// TestLaneCancelledBehindKey: what waits in HELD behind a failing delivery of its key is cancelled at once.
func TestLaneCancelledBehindKey(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var mu sync.Mutex
	broken := true
	s, url := newOrderSink(t, func(string, int) int {
		mu.Lock()
		defer mu.Unlock()
		if broken {
			return 500
		}
		return 0
	})
	b.subscribeLane("ordered", url, `{"ordering":{"key":"subject"},"retry":{"policy":"fixed","initial":"1s","jitter":0,"maxattempts":1000},"breaker":{"failures":0}}`)
	b.work()
	var sequences []uint64
	for n := range 10 {
		sequences = append(sequences, b.publishOrder(n, "o", "x"))
	}
	eventually(t, "its followers are held", func() bool {
		c, err := b.waitlist.Count(t.Context(), "ordered")
		return err == nil && c.Held == 9
	})
	b.cancel(events.DeliveryID(sequences[5], "ordered", 0))
	b.awaitState("ordered", sequences[5:6], events.StateCancelled)
	mu.Lock()
	broken = false
	mu.Unlock()
	eventually(t, "the others arrive", func() bool { return s.count() == 9 })
	s.check()
	b.nothingWaits("ordered")
}

// TestLaneDeletedBehind: what waits in the stream for a paused lane, and what is held for it, is cancelled when the
// subscription is deleted.
func TestLaneDeletedBehind(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s, url := newOrderSink(t, nil)
	b.subscribeLane("gone", url, `{"ordering":{"key":"subject"},`+laneRetries+`}`)
	b.work()
	first := b.publishOrder(0, "o", "x")
	b.awaitState("gone", []uint64{first}, events.StateDelivered)
	if _, err := b.registry.SetPaused(t.Context(), "gone", true); err != nil {
		t.Fatal(err)
	}
	var sequences []uint64
	for n := 1; n < 2000; n++ {
		sequences = append(sequences, b.publishOrder(n, "o-"+strconv.Itoa(n%7), "x"))
	}
	eventually(t, "some are held", func() bool {
		c, err := b.waitlist.Count(t.Context(), "gone")
		return err == nil && c.Held > 0
	})
	if err := b.registry.Delete(t.Context(), "gone", 0); err != nil {
		t.Fatal(err)
	}
	b.awaitState("gone", sequences, events.StateCancelled)
	b.nothingWaits("gone")
	eventually(t, "the lane is gone", func() bool { return !b.registry.Laned("gone") && len(b.laneConsumers()) == 0 })
	if n := s.count(); n != 1 {
		t.Errorf("%d arrived", n)
	}
}
