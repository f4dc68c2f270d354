package worker

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/test/natstest"
)

// TestHeartbeatWaitsForAnotherBucket: where the bucket with the lasting signs of life did not answer, a heartbeat took as long
// as it lives, so that the others took the worker for dead, and it itself too.
func TestHeartbeatWaitsForAnotherBucket(t *testing.T) {
	t.Parallel()
	nc, js := natstest.Connect(t, natstest.Server(t, t.TempDir()))
	_, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: stream.BucketWorkers, LimitMarkerTTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	silent, err := nc.Subscribe(stream.AliveMessage("w").Subject, func(*nats.Msg) {}) // there, and without an answer
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Unsubscribe() }() // the connection may be gone
	f := newFleet(nc, js, zerolog.Nop(), "w")
	f.beat(t.Context(), false)
	if !f.fresh(time.Now()) {
		t.Error("its heartbeat is too old at once")
	}
	if !f.said.IsZero() {
		t.Error("it takes what was not answered for stored")
	}
}
