package embedded_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events/stream/embedded"
	"github.com/hookfleet/hookfleet/test/natstest"
)

// startOpen starts a broker that listens, for the keys "operator" and "producer".
func startOpen(t *testing.T) *embedded.Broker {
	t.Helper()
	return start(t, embedded.Config{Listen: "127.0.0.1:0", Authenticate: func(token string) (embedded.Permissions, bool) {
		return embedded.Permissions{All: token == "operator", Publish: []string{"in.>"}}, token == "operator" || token == "producer"
	}}).broker
}

func dial(t *testing.T, b *embedded.Broker, key string) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(b.ClientURL(), nats.Token(key), nats.Timeout(startLimit))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// startLimit is generous, for a machine with much else to do.
const startLimit = time.Minute

func TestGuestWaitsUntilWhoIsAloneHasLeft(t *testing.T) {
	t.Parallel()
	b := startOpen(t)
	asked, left := make(chan struct{}), make(chan struct{})
	if !b.Alone(func() { close(asked); <-left }) {
		t.Fatal("somebody is there")
	}
	var in atomic.Bool
	joined := make(chan *nats.Conn, 1)
	go func() {
		nc, err := nats.Connect(b.ClientURL(), nats.Token("operator"), nats.Timeout(startLimit))
		in.Store(true)
		if err != nil {
			t.Error(err)
		}
		joined <- nc
	}()
	<-asked
	if in.Load() {
		t.Error("the guest was let in at once")
	}
	if b.Alone(nil) {
		t.Error("the guest that waits is not seen")
	}
	close(left)
	nc := <-joined
	if nc == nil {
		return
	}
	defer nc.Close()
	if b.Alone(nil) {
		t.Error("the guest is not seen")
	}
}

func TestProducerIsNoGuest(t *testing.T) {
	t.Parallel()
	b := startOpen(t)
	if !b.Alone(func() { t.Error("left for a producer") }) {
		t.Fatal("somebody is there")
	}
	dial(t, b, "producer")
	if !b.Alone(nil) {
		t.Error("a producer is taken for a guest")
	}
	if nc, err := nats.Connect(b.ClientURL(), nats.Token("nobody"), nats.Timeout(startLimit)); err == nil {
		nc.Close()
		t.Error("a stranger was let in")
	}
	if !b.Alone(nil) {
		t.Error("a stranger is taken for a guest")
	}
}

// TestAloneAgain: a guest that has gone is none any more, and the next one is waited for as the first.
func TestAloneAgain(t *testing.T) {
	t.Parallel()
	b := startOpen(t)
	var left atomic.Int64
	leave := func() { left.Add(1) }
	if !b.Alone(leave) {
		t.Fatal("somebody is there")
	}
	for n := int64(1); n <= 2; n++ {
		guest := dial(t, b, "operator")
		if left.Load() != n || b.Alone(leave) {
			t.Fatalf("guest %d: left %d times", n, left.Load())
		}
		guest.Close()
		natstest.Eventually(t, startLimit, func() bool { return b.Alone(leave) })
	}
}

// TestGuestThatWaitsLongIsLetIn: after 2 s it got a ping in place of the answer, and gave up.
func TestGuestThatWaitsLongIsLetIn(t *testing.T) {
	t.Parallel()
	b := start(t, embedded.Config{
		Listen: "127.0.0.1:0", BeforeGuest: func() error { <-time.After(3 * time.Second); return nil },
		Authenticate: func(string) (embedded.Permissions, bool) { return embedded.Permissions{All: true}, true },
	}).broker
	dial(t, b, "operator")
}
