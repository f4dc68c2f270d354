package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/events/stream/embedded"
	"github.com/hookfleet/hookfleet/test/natstest"
)

// recovering is a broker whose stream knows ids for a short time only.
type recovering struct {
	*testing.T

	broker *embedded.Broker
	nc     *nats.Conn
	js     jetstream.JetStream
	cfg    jetstream.StreamConfig
}

func newRecovering(t *testing.T, before func(*recovering) error) *recovering {
	t.Helper()
	r := &recovering{T: t}
	r.broker = start(t, embedded.Config{
		Listen: "127.0.0.1:0", BeforeGuest: func() error { return before(r) },
		Authenticate: func(token string) (embedded.Permissions, bool) {
			return embedded.Permissions{All: token == "operator", Publish: []string{"in.>"}}, token == "operator" || token == "producer"
		},
	}).broker
	var err error
	if r.nc, err = r.broker.Connect(nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.nc.Close)
	if r.js, err = jetstream.New(r.nc); err != nil {
		t.Fatal(err)
	}
	r.cfg = jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, Duplicates: 100 * time.Millisecond}
	if _, err := r.js.CreateStream(t.Context(), r.cfg); err != nil {
		t.Fatal(err)
	}
	return r
}

// recover has the broker know the ids of ten minutes.
func (r *recovering) recover() error {
	cfg := r.cfg
	cfg.Duplicates = 10 * time.Minute
	if _, err := r.js.UpdateStream(context.Background(), cfg); err != nil {
		return err
	}
	return r.broker.Recover(context.Background())
}

func (r *recovering) publish(js jetstream.JetStream, id int) *jetstream.PubAck {
	r.Helper()
	ack, err := js.Publish(r.Context(), "s.x", []byte("x"), jetstream.WithMsgID(fmt.Sprint(id)), jetstream.WithRetryAttempts(50))
	if err != nil {
		r.Fatal(err)
	}
	return ack
}

// TestGuestFindsIDsThatTheBrokerHadForgotten: what the broker had forgotten of a stream it knows when the guest is let in.
func TestGuestFindsIDsThatTheBrokerHadForgotten(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	r := newRecovering(t, func(r *recovering) error {
		if calls.Add(1) > 1 {
			return nil
		}
		return r.recover()
	})
	const many = 2000
	for id := range many {
		r.publish(r.js, id)
	}
	natstest.Eventually(t, startLimit, func() bool { return !r.publish(r.js, 0).Duplicate }) // it is forgotten
	consumer, err := r.js.CreateConsumer(t.Context(), "S", jetstream.ConsumerConfig{Durable: "c", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	fetch := func(want uint64) {
		t.Helper()
		var msg jetstream.Msg
		natstest.Eventually(t, startLimit, func() bool { // the connection may be on its way back
			msg, err = consumer.Next(jetstream.FetchMaxWait(time.Second))
			return err == nil
		})
		if meta, err := msg.Metadata(); err != nil || meta.Sequence.Stream != want || meta.NumDelivered != 1 {
			t.Errorf("got %+v, %v; want %d", meta, err, want)
		}
		if err := msg.DoubleAck(t.Context()); err != nil {
			t.Error(err)
		}
	}
	fetch(1)
	guest, err := jetstream.New(dial(t, r.broker, "operator"))
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []int{1, 77, many - 1} {
		if ack := r.publish(guest, id); !ack.Duplicate || ack.Sequence != uint64(id+1) {
			t.Errorf("%d is answered %+v", id, ack)
		}
	}
	if ack := r.publish(r.js, 55); !ack.Duplicate || ack.Sequence != 56 {
		t.Errorf("in process: %+v", ack)
	}
	if ack := r.publish(guest, many); ack.Duplicate {
		t.Errorf("a new id: %+v", ack)
	}
	fetch(2)
	dial(t, r.broker, "operator")
	if n := calls.Load(); n != 2 {
		t.Errorf("%d times called for two guests", n)
	}
}

// TestGuestIsRefusedWhenIDsCannotBeRead, and let in when they can.
func TestGuestIsRefusedWhenIDsCannotBeRead(t *testing.T) {
	t.Parallel()
	var failed atomic.Bool
	r := newRecovering(t, func(*recovering) error {
		if failed.Swap(true) {
			return nil
		}
		return errors.New("as it fails")
	})
	if nc, err := nats.Connect(r.broker.ClientURL(), nats.Token("operator"), nats.Timeout(startLimit)); err == nil {
		nc.Close()
		t.Error("the guest was let in")
	}
	dial(t, r.broker, "operator")
}

// TestRecoverKeepsNothingOfBefore: the streams that were are let go of, and clients from outside stay connected.
func TestRecoverKeepsNothingOfBefore(t *testing.T) { // not beside others, whose memory would count
	r := newRecovering(t, func(*recovering) error { return nil })
	outside := dial(t, r.broker, "producer")
	outside.SetDisconnectErrHandler(func(_ *nats.Conn, err error) { t.Errorf("a client from outside lost its connection: %v", err) })
	for id := range 3000 {
		r.publish(r.js, id)
	}
	live := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	if err := r.recover(); err != nil {
		t.Fatal(err)
	}
	before := live()
	for range 20 {
		if err := r.broker.Recover(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if now := live(); now > before+4<<20 {
		t.Errorf("%d bytes live, %d before", now, before)
	}
	if ack := r.publish(r.js, 7); !ack.Duplicate {
		t.Errorf("%+v", ack)
	}
	if err := outside.Flush(); err != nil {
		t.Error(err)
	}
	outside.SetDisconnectErrHandler(nil)
}

// TestAcksBeforeTheStoreIsReadAnew: what was sent last, and nobody awaits an answer to, was queued in the broker and lost.
func TestAcksBeforeTheStoreIsReadAnew(t *testing.T) {
	t.Parallel()
	r := newRecovering(t, func(*recovering) error { return nil })
	const many = 3000
	for range many {
		if err := r.nc.Publish("s.x", []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	consumer, err := r.js.CreateConsumer(t.Context(), "S", jetstream.ConsumerConfig{Durable: "c", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: -1})
	if err != nil {
		t.Fatal(err)
	}
	batch, err := consumer.Fetch(many, jetstream.FetchMaxWait(startLimit))
	if err != nil {
		t.Fatal(err)
	}
	n := uint64(0)
	for m := range batch.Messages() {
		if err := m.Ack(); err != nil {
			t.Fatal(err)
		}
		n++
	}
	for range many {
		if err := r.nc.Publish("s.y", []byte("y")); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.broker.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	info, err := consumer.Info(t.Context())
	if err != nil || info.AckFloor.Stream != n || n != many || info.NumAckPending != 0 {
		t.Errorf("%+v, %v after %d acks", info, err, n)
	}
	if s, err := r.js.Stream(t.Context(), "S"); err != nil || s.CachedInfo().State.Msgs != 2*many {
		t.Errorf("%d of %d stored, %v", s.CachedInfo().State.Msgs, 2*many, err)
	}
}

// TestNothingFailsWhileTheStoreIsReadAnew: requests of our own connections were answered that the server is disconnected, or 5 s too late; they wait.
func TestNothingFailsWhileTheStoreIsReadAnew(t *testing.T) {
	t.Parallel()
	r := newRecovering(t, func(*recovering) error { return nil })
	r.publish(r.js, 0)
	ctx, end := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	var published, asked, stored atomic.Int64
	for range 8 {
		asking.Go(func() {
			for ctx.Err() == nil {
				if _, err := r.js.Publish(t.Context(), "s.x", []byte("x"), jetstream.WithRetryAttempts(0)); err != nil {
					t.Errorf("publish: %v", err)
				}
				published.Add(1)
				began := time.Now()
				s, err := r.js.Stream(t.Context(), "S")
				if err == nil {
					_, err = s.GetMsg(t.Context(), 1)
				}
				if err != nil {
					t.Errorf("ask: %v after %s", err, time.Since(began))
				}
				asked.Add(1)
			}
		})
	}
	asking.Go(func() {
		for ctx.Err() == nil {
			flushed, cancel := context.WithTimeout(t.Context(), startLimit)
			if err := stream.Flush(flushed, r.nc); err != nil { // which ended a process that was starting
				t.Errorf("flush: %v", err)
			}
			cancel()
		}
	})
	for range 10 {
		before := asked.Load()
		if err := r.broker.Recover(t.Context()); err != nil {
			t.Error(err)
		}
		natstest.Eventually(t, startLimit, func() bool { return asked.Load() > before+100 })
	}
	end()
	asking.Wait()
	s, err := r.js.Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	stored.Store(int64(s.CachedInfo().State.Msgs))
	if stored.Load() != published.Load()+1 {
		t.Errorf("%d messages are stored, of %d", stored.Load(), published.Load()+1)
	}
}
