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

// TestScanOutlivesItsConsumer: a list of deliveries was answered 500 when the broker had read its store anew meanwhile.
func TestScanOutlivesItsConsumer(t *testing.T) {
	t.Parallel()
	nc, js := natstest.Connect(t, natstest.Server(t, t.TempDir()))
	s, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}})
	if err != nil {
		t.Fatal(err)
	}
	const many = 4 * scanBatch
	for range many {
		if err := nc.Publish("s", nil); err != nil {
			t.Fatal(err)
		}
	}
	natstest.Eventually(t, time.Minute, func() bool {
		info, err := s.Info(t.Context())
		return err == nil && info.State.Msgs == many
	})
	var next, lost uint64 = 1, 0
	err = newReader(js).read(t.Context(), scan{stream: "S", from: 1, to: many}, func(sequence uint64, _ *nats.Msg) bool {
		if sequence != next {
			t.Errorf("%d comes after %d", sequence, next-1)
		}
		next = sequence + 1
		if sequence == 10 || sequence == 2*scanBatch {
			for name := range s.ConsumerNames(t.Context()).Name() {
				if err := s.DeleteConsumer(t.Context(), name); err != nil {
					t.Error(err)
				}
				lost++
			}
		}
		return true
	})
	if err != nil || next != many+1 || lost != 2 {
		t.Errorf("%v; read up to %d, %d consumers lost", err, next-1, lost)
	}
}
