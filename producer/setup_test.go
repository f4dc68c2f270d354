package producer_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/events/stream/embedded"
	"github.com/hookfleet/hookfleet/producer"
)

// fleet is the part of a fleet that takes events in, on a broker in this process.
type fleet struct {
	broker *embedded.Broker
	nc     *nats.Conn // a producer's connection
	js     jetstream.JetStream
	ingest *producer.Ingest

	mu   sync.Mutex
	told []string // ids and sequences that Stored was told
}

func (f *fleet) tell(first uint64, evts []*events.Event, _ time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, e := range evts {
		f.told = append(f.told, fmt.Sprint(e.ID(), "@", first+uint64(i)))
	}
}

// lives runs components in the order of their starts, and ends them in the reverse.
type lives struct{ ends []func() }

func (l *lives) start(name string, fail func(string, error), component func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := component(ctx); err != nil {
			fail(name, err)
		}
	})
	l.ends = append(l.ends, func() { cancel(); running.Wait() })
}

func (l *lives) end() {
	for _, v := range slices.Backward(l.ends) {
		v()
	}
}

// startFleet is used by tests and examples alike.
func startFleet(dir string, fail func(string, error)) (*fleet, func(), error) {
	var l lives
	broker, err := embedded.New(embedded.Config{Dir: dir, Sync: embedded.SyncGroup}, zerolog.Nop())
	if err != nil {
		return nil, nil, err
	}
	l.start("broker", fail, broker.Run)
	<-broker.Ready()
	f := &fleet{broker: broker}
	own, err := broker.Connect(nats.CustomInboxPrefix(stream.InboxPrefix))
	if err != nil {
		return nil, l.end, err
	}
	if f.nc, err = broker.Connect(); err != nil {
		return nil, l.end, err
	}
	l.ends = append(l.ends, own.Close, f.nc.Close)
	if f.js, err = jetstream.New(own); err != nil {
		return nil, l.end, err
	}
	topology, err := stream.NewTopology(f.js, stream.DefaultConfig(), zerolog.Nop())
	if err != nil {
		return nil, l.end, err
	}
	if err := topology.Ensure(context.Background()); err != nil {
		return nil, l.end, err
	}
	writer := stream.NewWriter(own, broker.Sync)
	l.start("writer", fail, writer.Run)
	f.ingest = producer.NewIngest(producer.IngestDeps{
		JS: f.js, Writer: writer, Batches: stream.NewBatches(own, broker.Sync), Metrics: prometheus.NewRegistry(), Stored: f.tell,
	})
	responder := producer.NewResponder(own, f.ingest, zerolog.Nop())
	l.start("responder", fail, responder.Run)
	<-responder.Listening()
	return f, l.end, nil
}

func setup(t *testing.T) *fleet {
	t.Helper()
	f, end, err := startFleet(t.TempDir(), func(name string, err error) { t.Errorf("%s: %v", name, err) })
	if end != nil {
		t.Cleanup(end)
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fleet) stored(t *testing.T) uint64 {
	t.Helper()
	s, err := f.js.Stream(t.Context(), stream.Events)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}
