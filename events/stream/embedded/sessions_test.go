package embedded_test

import (
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events/stream/embedded"
)

// TestConnectionOutlivesItsKey: who was connected when a key was deleted went on publishing with it.
func TestConnectionOutlivesItsKey(t *testing.T) {
	t.Parallel()
	var over atomic.Bool
	b := start(t, embedded.Config{Listen: "127.0.0.1:0", Authenticate: func(token string) (embedded.Permissions, bool) {
		return embedded.Permissions{Publish: []string{"in.>"}, Key: token}, token == "other" || token == "ended" && !over.Load()
	}}).broker
	closed := make(chan struct{})
	ended, err := nats.Connect(b.ClientURL(), nats.Token("ended"), nats.Timeout(startLimit), nats.NoReconnect(), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ended.Close)
	other := dial(t, b, "other")
	over.Store(true)
	b.End("ended")
	<-closed
	if nc, err := nats.Connect(b.ClientURL(), nats.Token("ended"), nats.Timeout(startLimit)); err == nil {
		nc.Close()
		t.Error("a key that has ended lets in")
	}
	if err := other.Flush(); err != nil || other.Stats().Reconnects > 0 {
		t.Errorf("the connection of another key: %v, %d reconnects", err, other.Stats().Reconnects)
	}
}
