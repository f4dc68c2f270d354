package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/events/stream/embedded"
)

// fixture is a running broker with the fleet's streams.
type fixture struct {
	broker *embedded.Broker
	nc     *nats.Conn
	js     jetstream.JetStream
	dir    string
}

func start(tb testing.TB, cfg embedded.Config) *fixture {
	tb.Helper()
	if cfg.Dir == "" {
		cfg.Dir = tb.TempDir()
	}
	if cfg.Sync == "" {
		cfg.Sync = embedded.SyncGroup
	}
	b, err := embedded.New(cfg, zerolog.Nop())
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			tb.Errorf("broker: %v", err)
		}
	})
	<-b.Ready()
	nc, err := b.Connect(nats.CustomInboxPrefix(stream.InboxPrefix))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		tb.Fatal(err)
	}
	topology, err := stream.NewTopology(js, stream.DefaultConfig(), zerolog.Nop())
	if err != nil {
		tb.Fatal(err)
	}
	if err := topology.Ensure(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return &fixture{broker: b, nc: nc, js: js, dir: cfg.Dir}
}

func (f *fixture) writer(tb testing.TB, sync stream.Syncer) *stream.Writer {
	tb.Helper()
	w := stream.NewWriter(f.nc, sync)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			tb.Errorf("writer: %v", err)
		}
	})
	return w
}

func event(n int) *nats.Msg {
	return &nats.Msg{
		Subject: "hookfleet.events.default.test", Header: nats.Header{nats.MsgIdHdr: []string{fmt.Sprint("id-", n)}},
		Data: make([]byte, 1024),
	}
}

func TestWriterAnswersWithSequences(t *testing.T) {
	t.Parallel()
	f := start(t, embedded.Config{})
	w := f.writer(t, f.broker.Sync)
	seen := make([]uint64, 200)
	var all sync.WaitGroup
	for i := range seen {
		all.Go(func() {
			ack, err := w.Write(t.Context(), event(i), stream.Events)
			if err != nil || ack.Duplicate {
				t.Errorf("write %d: %+v, %v", i, ack, err)
			}
			seen[i] = ack.Sequence
		})
	}
	all.Wait()
	for i, want := range seen {
		ack, err := w.Write(t.Context(), event(i), stream.Events)
		if err != nil || !ack.Duplicate || ack.Sequence != want {
			t.Fatalf("again %d: %+v, %v, want duplicate of %d", i, ack, err, want)
		}
	}
}

func TestBatchIsAllOrNothing(t *testing.T) {
	t.Parallel()
	f := start(t, embedded.Config{})
	b := stream.NewBatches(f.nc, f.broker.Sync)
	first, err := b.Write(t.Context(), stream.Events, []*nats.Msg{event(1), event(2), event(3)})
	if err != nil || first != 1 {
		t.Fatalf("first %d, %v", first, err)
	}
	if _, err := b.Write(t.Context(), stream.Events, []*nats.Msg{event(4), event(2), event(5)}); !errors.Is(err, stream.ErrDuplicateInBatch) {
		t.Fatalf("duplicate: %v", err)
	}
	for n, want := range map[int]uint64{2: 2, 4: 0, 5: 0} {
		if got, err := b.Probe(t.Context(), event(n)); err != nil || got != want {
			t.Errorf("probe %d: %d, %v, want %d", n, got, err, want)
		}
	}
	s, err := f.js.Stream(t.Context(), stream.Events)
	if err != nil || s.CachedInfo().State.LastSeq != 3 {
		t.Fatalf("last sequence %d, %v", s.CachedInfo().State.LastSeq, err)
	}
}

// TestLargestBatch: this broker takes as many in an atomic batch as it says.
func TestLargestBatch(t *testing.T) {
	t.Parallel()
	f := start(t, embedded.Config{})
	b := stream.NewBatches(f.nc, f.broker.Sync).UpTo(embedded.MaxBatch)
	all := make([]*nats.Msg, embedded.MaxBatch)
	for i := range all {
		all[i] = event(i)
	}
	if first, err := b.Write(t.Context(), stream.Events, all); err != nil || first != 1 {
		t.Fatalf("first %d, %v", first, err)
	}
	last := all[len(all)-1]
	if at, err := b.Probe(t.Context(), last); err != nil || at != embedded.MaxBatch {
		t.Errorf("the last is at %d, %v", at, err)
	}
}

// TestSyncLayout fails when the server no longer appends to the files that Sync syncs.
func TestSyncLayout(t *testing.T) {
	t.Parallel()
	f := start(t, embedded.Config{})
	w := f.writer(t, f.broker.Sync)
	if _, err := w.Write(t.Context(), event(1), stream.Events); err != nil {
		t.Fatal(err)
	}
	blocks, err := filepath.Glob(filepath.Join(f.dir, "jetstream", "$G", "streams", stream.Events, "msgs", "*.blk"))
	if err != nil || len(blocks) != 1 || filepath.Base(blocks[0]) != "1.blk" {
		t.Fatalf("blocks %v, %v", blocks, err)
	}
	before := size(t, blocks[0])
	if _, err := w.Write(t.Context(), event(2), stream.Events); err != nil {
		t.Fatal(err)
	}
	if grown := size(t, blocks[0]) - before; grown < 1024 {
		t.Fatalf("the block grew by %d bytes for an acknowledged message of 1024", grown)
	}
}

// TestSyncFollowsBlocks rolls over several blocks of 8 MiB and purges them.
func TestSyncFollowsBlocks(t *testing.T) {
	t.Parallel()
	f := start(t, embedded.Config{})
	w := f.writer(t, f.broker.Sync)
	big := func(n int) *nats.Msg {
		m := event(n)
		m.Data = make([]byte, 900<<10)
		return m
	}
	for round := range 3 {
		for n := range 25 {
			if _, err := w.Write(t.Context(), big(round*100+n), stream.Events); err != nil {
				t.Fatal(err)
			}
		}
		s, err := f.js.Stream(t.Context(), stream.Events)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func BenchmarkWriter(b *testing.B) {
	for _, sync := range []string{embedded.SyncGroup, embedded.SyncInterval} {
		for _, writers := range []int{1, 8, 64, 256} {
			b.Run(fmt.Sprintf("%s/%d", sync, writers), func(b *testing.B) {
				f := start(b, embedded.Config{Sync: sync})
				w := f.writer(b, f.broker.Sync)
				b.ReportAllocs()
				b.SetParallelism(writers / 2)
				var n int64
				var mu = make(chan struct{}, 1)
				begin := time.Now()
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						mu <- struct{}{}
						n++
						m := event(int(n))
						<-mu
						if _, err := w.Write(b.Context(), m, stream.Events); err != nil {
							b.Error(err)
							return
						}
					}
				})
				b.ReportMetric(float64(b.N)/time.Since(begin).Seconds(), "writes/s")
			})
		}
	}
}

// TestBatchesAreJoined: those that come while one is stored share the next, and a duplicate in one keeps no other out.
func TestBatchesAreJoined(t *testing.T) {
	t.Parallel()
	f := start(t, embedded.Config{})
	b := stream.NewBatches(f.nc, f.broker.Sync)
	firsts := make([]uint64, 40)
	var all sync.WaitGroup
	for i := range firsts {
		all.Go(func() {
			msgs := []*nats.Msg{event(i * 10), event(i*10 + 1), event(i*10 + 2)}
			if i%8 == 7 {
				msgs = []*nats.Msg{event(i * 10), event(i * 10)}
			}
			first, err := b.Write(t.Context(), stream.Events, msgs)
			if want := i%8 == 7; errors.Is(err, stream.ErrDuplicateInBatch) != want || !want && err != nil {
				t.Errorf("batch %d: %v", i, err)
			}
			firsts[i] = first
		})
	}
	all.Wait()
	s, err := f.js.Stream(t.Context(), stream.Events)
	if err != nil || s.CachedInfo().State.Msgs != 35*3 {
		t.Fatalf("%d stored, %v", s.CachedInfo().State.Msgs, err)
	}
	for i, first := range firsts {
		if i%8 == 7 {
			continue
		}
		m, err := s.GetMsg(t.Context(), first)
		if err != nil || m.Header.Get(nats.MsgIdHdr) != fmt.Sprint("id-", i*10) {
			t.Errorf("batch %d begins at %d with %v, %v", i, first, m, err)
		}
	}
}

// A port that is in use ended the process only five minutes later, and a SIGTERM did not shorten that.
func TestPortInUseEndsTheStart(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	b, err := embedded.New(embedded.Config{Dir: t.TempDir(), Sync: embedded.SyncGroup, Listen: taken.Addr().String()}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- b.Run(t.Context()) }()
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "address already in use") {
			t.Errorf("%v, want that the address is in use", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("still starting after a minute")
	}
}
