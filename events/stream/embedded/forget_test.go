package embedded_test

import (
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events/stream/embedded"
)

// TestRecoverForgetsRemovedIDs: the id of a message that was removed is known until the store is read anew.
func TestRecoverForgetsRemovedIDs(t *testing.T) {
	t.Parallel()
	f := start(t, embedded.Config{})
	ctx := t.Context()
	nc, err := f.broker.Connect(nats.MaxReconnects(-1), nats.ReconnectWait(1), nats.ReconnectJitter(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "X", Subjects: []string{"x"}})
	if err != nil {
		t.Fatal(err)
	}
	publish := func() bool {
		ack, err := js.Publish(ctx, "x", nil, jetstream.WithMsgID("1"))
		if err != nil {
			t.Fatal(err)
		}
		return ack.Duplicate
	}
	if publish() {
		t.Error("a new id is known")
	}
	if err := s.DeleteMsg(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if !publish() {
		t.Error("the id of a removed message is not known any more: the store need not be read anew for that")
	}
	if err := f.broker.Recover(ctx); err != nil {
		t.Fatal(err)
	}
	if publish() {
		t.Error("it is known after that")
	}
}
