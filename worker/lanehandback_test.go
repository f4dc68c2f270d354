package worker_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events/stream"
)

// TestFailedTakeOverHidesWhatWasSettled: a take-over that came to nothing, because the broker was just back or another worker
// came, gave the lane up as if all were settled. From then on nobody looked for what its last owner had settled, and that was
// sent again; and where it failed early, what was known of the lane's cancels and ticks was removed.
func TestFailedTakeOverHidesWhatWasSettled(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]stream.LaneLease{
		"its owner was killed": {Owner: "killed", Fence: 7, Tick: time.Unix(1, 0).UTC()},
		"it was given up":      {Fence: 7, Ended: time.Unix(2, 0).UTC()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			s, url := newOrderSink(t, nil)
			b.subscribeLane("ordered", url, `{"ordering":{"key":"subject"},`+laneRetries+`}`)
			lanes := stream.NewLanes(b.js)
			lease := before
			if err := lanes.Write(t.Context(), "ordered", &lease); err != nil {
				t.Fatal(err)
			}
			written := must[stream.LaneLease](t)(lanes.Lease(t.Context(), "ordered")).Written
			consumer := stream.LaneConsumer("ordered", b.registry.LaneVersions("ordered")[0].From)
			must[jetstream.Consumer](t)(b.js.CreateConsumer(t.Context(), stream.Events, jetstream.ConsumerConfig{
				Durable: consumer, AckPolicy: jetstream.AckNonePolicy, // a lane cannot have it
			}))
			b.work()
			var after stream.LaneLease
			eventually(t, "a take-over has failed", func() bool {
				var err error
				after, err = lanes.Lease(t.Context(), "ordered")
				return err == nil && after.Written.After(written) && after.Owner == before.Owner
			})
			if after.Fence < before.Fence || !after.Tick.Equal(before.Tick) || !after.Ended.Equal(before.Ended) {
				t.Errorf("it left %+v of %+v", after, before)
			}
			if err := b.js.DeleteConsumer(t.Context(), stream.Events, consumer); err != nil {
				t.Fatal(err)
			}
			b.publishOrder(1, "a", "x")
			eventually(t, "the lane goes on", func() bool { return s.count() == 1 })
		})
	}
}
