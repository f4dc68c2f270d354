package worker_test

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/auth/egress"
	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/events/stream/embedded"
	"github.com/hookfleet/hookfleet/worker"
)

// bundle is a broker, a registry and one worker, all real.
type bundle struct {
	tb       testing.TB
	broker   *embedded.Broker
	nc       *nats.Conn
	js       jetstream.JetStream
	registry *registry.Registry
	events   *stream.Writer
	batches  *stream.Batches
	history  *stream.History
	waitlist *stream.Waitlist
	dead     *stream.DeadList
	tight    atomic.Bool // the store of events needs room
	alone    func(leave func()) bool
	sends    int            // of its workers; 0 = as many as by default
	worker   *worker.Worker // the one that was started last
}

// background runs component until the test ends, before what was started earlier ends.
func background(tb testing.TB, name string, component func(context.Context) error) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := component(ctx); err != nil {
			tb.Errorf("%s: %v", name, err)
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	tb.Cleanup(stop)
	return stop
}

func must[T any](tb testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}

func setup(tb testing.TB) *bundle {
	tb.Helper()
	broker := must[*embedded.Broker](tb)(embedded.New(embedded.Config{Dir: tb.TempDir(), Sync: embedded.SyncGroup}, zerolog.Nop()))
	background(tb, "broker", broker.Run)
	<-broker.Ready()
	b := &bundle{tb: tb, broker: broker, nc: connect(tb, broker)}
	b.js = must[jetstream.JetStream](tb)(jetstream.New(connect(tb, broker)))
	topology := must[*stream.Topology](tb)(stream.NewTopology(b.js, stream.DefaultConfig(), zerolog.Nop()))
	if err := topology.Ensure(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	b.registry = must[*registry.Registry](tb)(registry.New(b.js, registry.DefaultConfig(), zerolog.Nop()))
	background(tb, "registry", b.registry.Run)
	<-b.registry.Loaded()
	b.events = stream.NewWriter(b.nc, broker.Sync)
	background(tb, "events writer", b.events.Run)
	b.batches = stream.NewBatches(b.nc, broker.Sync)
	b.history, b.waitlist, b.dead = stream.NewHistory(b.js, nil), stream.NewWaitlist(b.js), stream.NewDeadList(b.js)
	return b
}

func connect(tb testing.TB, broker *embedded.Broker) *nats.Conn {
	tb.Helper()
	nc := must[*nats.Conn](tb)(broker.Connect(nats.CustomInboxPrefix(stream.InboxPrefix)))
	tb.Cleanup(nc.Close)
	return nc
}

// work starts a worker, and returns what stops it.
func (b *bundle) work() (stop func()) {
	b.tb.Helper()
	return b.workWith(worker.DefaultConfig().Grace)
}

// workWith starts a worker with another grace.
func (b *bundle) workWith(grace time.Duration) (stop func()) {
	b.tb.Helper()
	nc := connect(b.tb, b.broker)
	js := must[jetstream.JetStream](b.tb)(jetstream.New(nc))
	ticks := stream.NewSourceTicks(js, zerolog.Nop())
	background(b.tb, "source ticks", ticks.Run)
	records, waits := stream.NewWriter(nc, nil), stream.NewWriter(nc, b.broker.Sync)
	background(b.tb, "records writer", records.Run)
	background(b.tb, "waits writer", waits.Run)
	cfg := egress.DefaultConfig()
	cfg.PlainHTTP, cfg.Allow = true, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	out := must[*egress.Client](b.tb)(egress.New(cfg))
	b.tb.Cleanup(out.Close)
	w := must[*worker.Worker](b.tb)(worker.New(worker.Deps{
		Conn: nc, JS: js, Registry: b.registry, Egress: out, Sinks: events.SinkPolicy{PlainHTTP: true}, Records: records, Waits: waits, History: b.history,
		Waitlist: b.waitlist, Tokens: stream.NewTokens(js, nil), Ticks: ticks, Progress: stream.NewProgresses(b.js, waits), Metrics: prometheus.NewRegistry(), Log: zerolog.Nop(),
		Tight: b.tight.Load, Alone: b.alone,
	}, worker.Config{Concurrency: cmp.Or(b.sends, worker.DefaultConfig().Concurrency), Grace: grace, QuietLook: 500 * time.Millisecond}))
	b.worker = w
	return background(b.tb, "worker", w.Run)
}

// subscribe registers a subscription with this config, as JSON.
func (b *bundle) subscribe(id, sink, config string) {
	b.tb.Helper()
	text := fmt.Sprintf(`{"id":%q,"types":["order.status"],"sink":%q,"config":%s,
		"protocolsettings":{"signing":{"scheme":"standardwebhooks","secret":"whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}}}`, id, sink, config)
	s := must[*events.Subscription](b.tb)(events.DecodeSubscription([]byte(text), events.DefaultTenant, events.SinkPolicy{PlainHTTP: true}))
	if _, _, err := b.registry.Put(b.tb.Context(), s, 0); err != nil {
		b.tb.Fatal(err)
	}
}

func orderEvent(n int) *nats.Msg {
	text := fmt.Sprintf(`{"specversion":"1.0","id":"%d","source":"/orders","type":"order.status","subject":"order-%d","data":{"pad":"%0960d"}}`, n, n%50, n)
	return &nats.Msg{
		Subject: "hookfleet.events.default.order.status",
		Header:  nats.Header{"Content-Type": {"application/cloudevents+json"}, nats.MsgIdHdr: {fmt.Sprint(n)}}, Data: []byte(text),
	}
}

func (b *bundle) publish(n int) uint64 {
	b.tb.Helper()
	return must[stream.Ack](b.tb)(b.events.Write(b.tb.Context(), orderEvent(n), stream.Events)).Sequence
}

// sink is an HTTP server that counts.
func sink(tb testing.TB, answer http.HandlerFunc) (url string) {
	tb.Helper()
	l := must[net.Listener](tb)(net.Listen("tcp", "127.0.0.1:0"))
	server := &http.Server{Handler: answer, ReadHeaderTimeout: time.Minute}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	tb.Cleanup(func() { _ = server.Close(); serving.Wait() })
	return "http://" + l.Addr().String() + "/"
}

func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	deadline := time.NewTimer(2 * time.Minute) // a machine with much else to do
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			tb.Fatalf("not in time: %s", what)
		case <-tick.C:
		}
	}
}

func TestDeliverOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var got atomic.Int64
	b.subscribe("one", sink(t, func(w http.ResponseWriter, _ *http.Request) { got.Add(1) }), `{}`)
	b.work()
	for n := range 100 {
		b.publish(n)
	}
	eventually(t, "100 arrivals", func() bool { return got.Load() == 100 })
}

func TestRetryThenDeadLetter(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var got atomic.Int64
	b.subscribe("dead", sink(t, func(w http.ResponseWriter, _ *http.Request) {
		got.Add(1)
		w.WriteHeader(http.StatusInternalServerError)
	}), `{"retry":{"policy":"fixed","initial":"50ms","maxattempts":3}}`)
	b.work()
	sequence := b.publish(1)
	id := events.DeliveryID(sequence, "dead", 0)
	eventually(t, "the delivery is dead", func() bool {
		found, ok, err := b.history.Find(t.Context(), id)
		return err == nil && ok && found.Record.State == events.StateDead
	})
	found, _, err := b.history.Find(t.Context(), id)
	if err != nil || len(found.Attempts) != 3 || found.Record.Reason != events.ReasonExhausted || got.Load() != 3 {
		t.Errorf("%+v, %v, %d requests", found, err, got.Load())
	}
}

func TestHeldSinkDrainsByItself(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var got, early atomic.Int64
	var held atomic.Pointer[time.Time]
	b.subscribe("busy", sink(t, func(w http.ResponseWriter, _ *http.Request) {
		if until := held.Load(); until == nil {
			until := time.Now().Add(time.Second)
			held.Store(&until)
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		} else if time.Now().Before(*until) {
			early.Add(1)
		} else {
			got.Add(1)
		}
	}), `{"concurrency":1,"retry":{"policy":"fixed","initial":"1s"}}`)
	b.work()
	for n := range 50 {
		b.publish(n)
	}
	eventually(t, "all 50 arrive", func() bool { return got.Load()+early.Load() == 50 })
	if early.Load() != 0 {
		t.Errorf("%d requests while the sink was held", early.Load())
	}
}

// TestHoldTakesThePlaceOfWhatIsOlder: a retry that is due before the ack of the held message it came from, of a sink that is
// closed again, was taken for held already, and was nowhere once that ack arrived.
func TestHoldTakesThePlaceOfWhatIsOlder(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var got atomic.Int64
	b.subscribe("busy", sink(t, func(http.ResponseWriter, *http.Request) { got.Add(1) }), `{}`)
	must[*registry.Entry](t)(b.registry.SetPaused(t.Context(), "busy", true))
	id := events.DeliveryID(b.publish(1), "busy", 0)
	b.work()
	var older *stream.Parked
	eventually(t, "it is held", func() (ok bool) {
		older, ok, _ = b.waitlist.Held(t.Context(), "busy", id)
		return ok
	})
	retry := older.Waiting // as after an attempt that failed
	retry.Delivery.Attempts, retry.Delivery.NextAt = 1, time.Now()
	if _, err := b.events.Write(t.Context(), must[*nats.Msg](t)(retry.TimerMessage()), stream.Retries); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the retry is held in its place", func() bool {
		p, ok, err := b.waitlist.Held(t.Context(), "busy", id)
		return err == nil && ok && p.Delivery.Attempts == 1 && p.Sequence > older.Sequence
	})
	must[*registry.Entry](t)(b.registry.SetPaused(t.Context(), "busy", false))
	eventually(t, "it is sent", func() bool { return got.Load() == 1 })
}

// BenchmarkDeliver drains a backlog to a sink in the same process.
func BenchmarkDeliver(b *testing.B) { benchmarkDeliver(b, `{"concurrency":64}`) }

// BenchmarkDeliverPaced is BenchmarkDeliver with a rate that is never reached: what it costs to keep one.
func BenchmarkDeliverPaced(b *testing.B) {
	benchmarkDeliver(b, `{"concurrency":64,"rate":{"permit":1000000,"per":"1s"}}`)
}

func benchmarkDeliver(b *testing.B, config string) {
	f := setup(b)
	var got atomic.Int64
	f.subscribe("bench", sink(b, func(w http.ResponseWriter, r *http.Request) {
		got.Add(1)
		w.WriteHeader(http.StatusNoContent)
	}), config)
	for n := 0; n < b.N; n += 500 {
		var batch []*nats.Msg
		for i := n; i < min(n+500, b.N); i++ {
			batch = append(batch, orderEvent(i))
		}
		if len(batch) == 1 {
			f.publish(n)
		} else if _, err := f.batches.Write(b.Context(), stream.Events, batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime(b)
	f.work()
	eventually(b, "all arrive", func() bool { return got.Load() >= int64(b.N) })
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
	b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
}

// cpuTime is what this process has used, sink and broker included: what counts on a machine that others use too.
func cpuTime(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
