package stream

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/test/natstest"
)

// TestStatusOfALaggingReplica: while there was no connection, it was taken for one to a server that has everything, and what was
// asked then could be answered, when it was back, by a replica that was left behind: with an older status than before.
func TestStatusOfALaggingReplica(t *testing.T) {
	t.Parallel()
	nc, js := natstest.Connect(t, natstest.Server(t, t.TempDir()))
	if r := newReader(js); !r.alone() {
		t.Error("one server does not have everything")
	}
	nc.Close()
	away, err := nats.Connect("nats://127.0.0.1:1", nats.RetryOnFailedConnect(true), nats.ReconnectWait(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	defer away.Close()
	for _, nc := range []*nats.Conn{nc, away} {
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		if newReader(js).alone() {
			t.Errorf("%v: it is known who has everything", nc.Status())
		}
	}
}
