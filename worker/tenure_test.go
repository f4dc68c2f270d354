package worker

import (
	"context"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
)

// TestFastRetryBlocksItsOwnKey: a retry that was due within milliseconds could be back before the lane heard that the attempt
// before it was over. It then waited behind itself for some seconds, and all of its key with it.
func TestFastRetryBlocksItsOwnKey(t *testing.T) {
	t.Parallel()
	text := `{"id":"ordered","sink":"https://partner.example/hook","config":{"ordering":{"key":"subject"}}}`
	s, err := events.DecodeSubscription([]byte(text), events.DefaultTenant, events.SinkPolicy{})
	if err != nil {
		t.Fatal(err)
	}
	lane := newTenure(context.Background(), &lanes{}, s.ID)
	defer lane.end()
	lane.keys, lane.entry = newLaneKeys(false), &registry.Entry{Subscription: s}
	lane.shape = shapeOf(lane.entry)
	e, err := events.ParseStructured([]byte(`{"specversion":"1.0","id":"1","source":"/orders","type":"order","subject":"order-1"}`))
	if err != nil {
		t.Fatal(err)
	}
	lane.queue(lane.keys.of(lane.keyOf(e)), &laneItem{id: "1-ordered", sequence: 1, first: true, event: e})
	lane.queue(lane.keys.of(lane.keyOf(e)), &laneItem{id: "2-ordered", sequence: 2, first: true, event: e})
	k, first := lane.keys.next(time.Now())
	lane.inflight++
	lane.due(&laneItem{id: first.id, sequence: first.sequence, due: true, event: e})
	lane.ended(k, first, laneResult{waits: true})
	if _, it := lane.keys.next(time.Now()); it == nil || it.id != first.id || !it.due {
		t.Errorf("after the attempt comes %+v, want its retry", it)
	}
}
