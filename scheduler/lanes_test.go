package scheduler

import (
	"slices"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

// TestTrimLanes: what a lane has before it is kept, whether its consumer is behind or not there yet, and also when the
// subscription is deleted. A consumer whose lane is no more goes.
func TestTrimLanes(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.cfg.Retention = time.Nanosecond
	publish := func(n int) {
		t.Helper()
		for range n {
			_, err := f.js.Publish(t.Context(), stream.EventSubject("default", "order.status"), []byte("{}"))
			must(t, err)
		}
	}
	trimmed := func(name string, want uint64) {
		t.Helper()
		must(t, f.trim(t.Context()))
		if got := f.firstEvent(); got != want {
			t.Errorf("%s: first event is %d, want %d", name, got, want)
		}
	}
	publish(10)
	f.acks(stream.ConsumerDispatch, "", 0)
	s, err := events.DecodeSubscription([]byte(`{"id":"lane","types":["order.*"],"sink":"https://partner.example/","config":{"ordering":{"key":"subject"}}}`),
		events.DefaultTenant, events.SinkPolicy{})
	must(t, err)
	_, err = f.Registry.Create(t.Context(), s)
	must(t, err)
	versions := f.Registry.LaneVersions("lane")
	if len(versions) != 1 || versions[0].From != 10 {
		t.Fatalf("versions %+v", versions)
	}
	publish(20)
	f.acks(stream.ConsumerDispatch, "", 30)
	trimmed("a lane without a consumer", 11)

	lanes := stream.NewLanes(f.js)
	must(t, lanes.Ensure(t.Context(), stream.LaneConsumerConfig{
		Subscription: "lane", From: 10, Tenant: "default", Types: []string{"order.*"}, AckWait: time.Hour, Window: 100,
	}))
	trimmed("a lane that has begun nothing", 11)
	lane, err := f.js.Consumer(t.Context(), stream.Events, stream.LaneConsumer("lane", 10))
	must(t, err)
	settle := func(n int) {
		t.Helper()
		batch, err := lane.Fetch(n)
		must(t, err)
		for m := range batch.Messages() {
			must(t, m.DoubleAck(t.Context()))
		}
	}
	settle(5)
	trimmed("a lane that is behind", 16)

	must(t, lanes.Ensure(t.Context(), stream.LaneConsumerConfig{Subscription: "gone", From: 2, Tenant: "default", AckWait: time.Hour, Window: 100}))
	trimmed("an orphan", 16)
	if names := f.eventConsumers(); slices.Contains(names, stream.LaneConsumer("gone", 2)) || len(names) != 2 {
		t.Errorf("consumers %v", names)
	}

	must(t, f.Registry.Delete(t.Context(), "lane", 0))
	trimmed("a deleted subscription", 16)
	settle(15)
	must(t, f.Registry.ForgetLane(t.Context(), "lane", 10))
	trimmed("all is settled", 31)
	if names := f.eventConsumers(); len(names) != 1 {
		t.Errorf("consumers %v", names)
	}
}

func (f *fixture) eventConsumers() (names []string) {
	f.Helper()
	s, err := f.js.Stream(f.Context(), stream.Events)
	must(f, err)
	list := s.ConsumerNames(f.Context())
	for name := range list.Name() {
		names = append(names, name)
	}
	return names
}
