package scheduler

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/test/natstest"
)

const patience = time.Minute

// fixture is a scheduler on a broker of its own, that does nothing by itself.
type fixture struct {
	testing.TB
	*Scheduler
	js jetstream.JetStream
}

func setup(t testing.TB) *fixture {
	t.Helper()
	dir := t.TempDir()
	srv := natstest.Server(t, dir)
	nc, js := natstest.Connect(t, srv)
	_, query := natstest.Connect(t, srv)
	topology, err := stream.NewTopology(js, stream.DefaultConfig(), zerolog.Nop())
	must(t, err)
	must(t, topology.Ensure(t.Context()))
	reg, err := registry.New(js, registry.DefaultConfig(), zerolog.Nop())
	must(t, err)
	storage, err := stream.NewDiskStorage(dir, 0)
	must(t, err)
	writer := stream.NewWriter(nc, nil)
	start(t, reg.Run, writer.Run)
	<-reg.Loaded()
	cfg := DefaultConfig()
	cfg.StuckAfter = 10 * time.Millisecond
	_, index := natstest.Connect(t, srv)
	s, err := New(Deps{
		JS: query, Registry: reg, Writer: writer, Storage: storage, Log: zerolog.New(zerolog.NewTestWriter(t)), Index: index, IndexWriter: writer,
		Replays: query, ReplayWriter: writer,
		Metrics: prometheus.NewRegistry(),
	}, cfg)
	must(t, err)
	s.index.saved.Store(math.MaxUint64) // as if there were nothing to be put into the index
	s.index.loaded.Store(true)
	return &fixture{t, s, js}
}

// start runs parts until the test ends.
func start(t testing.TB, parts ...func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	for _, run := range parts {
		running.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// waiting is a delivery of a made-up event, of size bytes.
func (f *fixture) waiting(sequence uint64, subscription string, size int) *stream.Waiting {
	f.Helper()
	e, err := events.ParseStructured(fmt.Appendf(nil,
		`{"specversion":"1.0","id":"e%d","source":"/s","type":"t","tenant":"acme","data":"%0*d"}`, sequence, size, 0))
	must(f, err)
	return &stream.Waiting{Event: e, Delivery: events.Delivery{
		ID: events.DeliveryID(sequence, subscription, 0), Subscription: subscription, Tenant: "acme",
		Event: events.Ref(e, sequence), CreatedAt: time.Now().UTC(), Attempts: 1,
	}}
}

func (f *fixture) publish(msg *nats.Msg, err error) uint64 {
	f.Helper()
	must(f, err)
	ack, err := f.js.PublishMsg(f.Context(), msg)
	must(f, err)
	return ack.Sequence
}

func (f *fixture) setTimer(w *stream.Waiting, at time.Time) {
	f.Helper()
	w.Delivery.NextAt = at
	f.publish(w.TimerMessage())
}

func (f *fixture) place(w *stream.Waiting) stream.Place {
	f.Helper()
	p, ok, err := f.waitlist.Find(f.Context(), w.Delivery.Subscription, w.Delivery.ID)
	must(f, err)
	if !ok {
		return ""
	}
	return p.Place
}

func (f *fixture) awaitDue(w *stream.Waiting) {
	f.Helper()
	natstest.Eventually(f, patience, func() bool { return f.place(w) == stream.PlaceDue })
}

// limitRetries sets the largest message of RETRIES, so that a fire is refused; -1 = none.
func (f *fixture) limitRetries(size int32) {
	f.Helper()
	s, err := f.js.Stream(f.Context(), stream.Retries)
	must(f, err)
	cfg := s.CachedInfo().Config
	cfg.MaxMsgSize = size
	_, err = f.js.UpdateStream(f.Context(), cfg)
	must(f, err)
}

func TestSweepSetsDroppedTimersAgain(t *testing.T) {
	t.Parallel()
	f := setup(t)
	future := f.waiting(1, "sub", 10)
	f.setTimer(future, time.Now().Add(time.Hour))
	var dropped []*stream.Waiting
	due := time.Now().Add(500 * time.Millisecond)
	for i := range 3 {
		w := f.waiting(uint64(10+i), "sub", 4000)
		f.setTimer(w, due)
		dropped = append(dropped, w)
	}
	f.limitRetries(1500)
	canary := f.waiting(20, "sub", 10)
	f.setTimer(canary, due.Add(time.Millisecond))
	f.awaitDue(canary) // so those before it were tried, and refused
	f.limitRetries(-1)
	canary = f.waiting(21, "sub", 10)
	f.setTimer(canary, time.Now())
	f.awaitDue(canary) // and are not tried again
	for _, w := range dropped {
		if p := f.place(w); p != stream.PlaceTimer {
			t.Fatalf("%s was not dropped: %q", w.Delivery.ID, p)
		}
	}
	f.cfg.SweepPage = 1 // the one that is found makes it read on
	must(t, f.sweep(t.Context()))
	must(t, f.sweep(t.Context()))
	for _, w := range dropped {
		f.awaitDue(w)
		p, _, err := f.waitlist.Find(t.Context(), "sub", w.Delivery.ID)
		must(t, err)
		if string(p.Event.AppendStructured(nil)) != string(w.Event.AppendStructured(nil)) || p.Delivery.Attempts != 1 {
			t.Errorf("%s came back changed: %+v", w.Delivery.ID, p.Delivery)
		}
	}
	if p := f.place(future); p != stream.PlaceTimer {
		t.Errorf("a timer of the future is %q", p)
	}
}

func TestSweepReadsPages(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for i := range 300 {
		f.setTimer(f.waiting(uint64(i+1), "sub", 10), time.Now().Add(time.Hour))
	}
	f.cfg.SweepPage = 128
	var seen []uint64
	for range 3 {
		must(t, f.sweep(t.Context()))
		seen = append(seen, f.sweeper.next)
	}
	if seen[0] == 0 || seen[1] <= seen[0] || seen[2] != 0 {
		t.Errorf("sweeps went on from %v", seen)
	}
}

func TestRearmOnlyWhatWasSeen(t *testing.T) {
	t.Parallel()
	f := setup(t)
	w := f.waiting(1, "sub", 10)
	f.setTimer(w, time.Now().Add(time.Hour))
	p, ok, err := f.waitlist.Find(t.Context(), "sub", w.Delivery.ID)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	f.setTimer(w, time.Now().Add(2*time.Hour))
	if again, err := f.waitlist.Rearm(t.Context(), p); again || err != nil {
		t.Errorf("a timer that was replaced: %v, %v", again, err)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	must(t, DefaultConfig().Validate())
	if err := (Config{}).Validate(); err == nil {
		t.Error("the zero config is valid")
	}
	if c := DefaultConfig(); c.LeaseExpiry+2*c.LeaseRenew > 10*time.Second {
		t.Error("a take-over takes more than 10 s")
	}
}

// TestRun: one of two schedulers acts, and when it stops the other does.
func TestRun(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.cfg.LeaseRenew, f.cfg.LeaseExpiry, f.cfg.Sweep = 100*time.Millisecond, patience, 5*time.Millisecond
	deps := f.Deps
	deps.Metrics = prometheus.NewRegistry() // it is another process
	second, err := New(deps, f.cfg)
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	var first sync.WaitGroup
	first.Go(func() {
		if err := f.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	kv, err := f.js.KeyValue(t.Context(), stream.BucketFleet)
	must(t, err)
	var holder atomic.Value
	holds := func(not string) func() bool {
		return func() bool {
			e, err := kv.Get(t.Context(), stream.KeyScheduler)
			if err == nil {
				holder.Store(string(e.Value()))
			}
			return err == nil && string(e.Value()) != not
		}
	}
	natstest.Eventually(t, patience, holds(""))
	one := holder.Load().(string)
	start(t, second.Run)
	stop()
	first.Wait()
	// What it wrote last is gone, or the other's already: nothing waits for an expiry.
	e, err := kv.Get(t.Context(), stream.KeyScheduler)
	if err == nil && string(e.Value()) == one {
		t.Error("one that stopped still holds the lease")
	}
	natstest.Eventually(t, patience, holds(one))
}
