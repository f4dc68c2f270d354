package producer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/events/stream/ids"
	"github.com/hookfleet/hookfleet/producer"
)

// another is another process's ingest on the same broker, one after the other: it knows none of the ids.
func (f *fleet) another(t rapid.TB, turns *stream.Turns, front *nats.Conn, writer *stream.Writer) *producer.Ingest {
	t.Helper()
	return producer.NewIngest(producer.IngestDeps{
		JS: f.js, Writer: writer, Batches: stream.NewBatches(front, f.broker.Sync).InTurns(turns), Metrics: prometheus.NewRegistry(),
	})
}

// turns are those of a process that has begun, and knows the ids itself.
func (f *fleet) turns(t *testing.T, js jetstream.JetStream, front *nats.Conn) *stream.Turns {
	t.Helper()
	index, err := ids.Open(ids.Config{Dir: t.TempDir(), Window: 10 * time.Minute, Stream: stream.Events})
	if err != nil {
		t.Fatal(err)
	}
	turns := stream.NewTurns(js, front, stream.TurnsDeps{
		Alone: f.broker.Inside, Unseen: f.broker.Inside, Recover: f.broker.Recover, Index: index, Window: 10 * time.Minute,
		Quiet: func(time.Duration) bool { return false },
	})
	if err := turns.Know(context.Background()); err != nil {
		t.Fatal(err)
	}
	return turns
}

// knowShortly has the broker know the newest ids only.
func (f *fleet) knowShortly(t *testing.T) {
	t.Helper()
	s, err := f.js.Stream(t.Context(), stream.Events)
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	cfg.Duplicates = 100 * time.Millisecond
	if _, err := f.js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
}

// front is a connection that events are published on, with their turns and a writer.
func (f *fleet) front(t *testing.T) (*nats.Conn, *stream.Turns, *stream.Writer) {
	t.Helper()
	front, err := f.broker.Connect(nats.MaxReconnects(-1), nats.ReconnectWait(1), nats.ReconnectJitter(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	query, err := f.broker.Connect(nats.MaxReconnects(-1), nats.ReconnectWait(1), nats.ReconnectJitter(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(query)
	if err != nil {
		t.Fatal(err)
	}
	turns := f.turns(t, js, front)
	writer := stream.NewWriter(front, f.broker.Sync).InTurns(turns)
	var l lives
	l.start("writer", func(name string, err error) { t.Errorf("%s: %v", name, err) }, writer.Run)
	t.Cleanup(func() { l.end(); front.Close(); query.Close() })
	return front, turns, writer
}

// TestNewEventsBesideAKnownOneAreNotLost: a process that has just begun stores what is new of a batch, and answers it as new; and when
// the known one is another event it stores nothing, and the others later.
func TestNewEventsBesideAKnownOneAreNotLost(t *testing.T) {
	t.Parallel()
	f := setup(t)
	front, turns, writer := f.front(t)
	accept := func(evts ...*events.Event) (string, error) {
		receipts, err := f.another(t, turns, front, writer).Accept(t.Context(), evts)
		var got []string
		for _, r := range receipts {
			got = append(got, fmt.Sprint(r.ID, " ", r.Duplicate))
		}
		return strings.Join(got, ", "), err
	}
	if _, err := accept(order(t, "k", "a")); err != nil {
		t.Fatal(err)
	}
	if _, err := accept(order(t, "1", "a"), order(t, "k", "other"), order(t, "2", "a")); !errors.Is(err, producer.ErrReuse) || f.stored(t) != 1 {
		t.Errorf("an id that is used again: %v, %d stored", err, f.stored(t))
	}
	const want = "1 false, k true, 2 false"
	if got, err := accept(order(t, "1", "a"), order(t, "k", "a"), order(t, "2", "a")); got != want || err != nil || f.stored(t) != 3 {
		t.Errorf("a known event: %s, %v, %d stored", got, err, f.stored(t))
	}
}

// pausing runs do before it answers for the first time.
type pausing struct {
	jetstream.JetStream

	once sync.Once
	do   func()
}

func (p *pausing) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	p.once.Do(p.do)
	return p.JetStream.Stream(ctx, name)
}

// TestBatchIsUnavailableWhenAnotherIsTorn: while it was asked which events of a batch are known, a part of another batch was removed;
// the batch was answered 503, although nothing was wrong.
func TestBatchIsUnavailableWhenAnotherIsTorn(t *testing.T) {
	t.Parallel()
	f := setup(t)
	front, turns, writer := f.front(t)
	js, err := jetstream.New(front)
	if err != nil {
		t.Fatal(err)
	}
	ingest := func(js jetstream.JetStream) *producer.Ingest {
		return producer.NewIngest(producer.IngestDeps{
			JS: js, Writer: writer, Batches: stream.NewBatches(front, f.broker.Sync).InTurns(turns), Metrics: prometheus.NewRegistry(),
		})
	}
	if _, err := ingest(js).Accept(t.Context(), []*events.Event{order(t, "k", "a"), order(t, "l", "a")}); err != nil {
		t.Fatal(err)
	}
	meanwhile := &pausing{JetStream: js, do: func() {
		if _, err := ingest(js).Accept(t.Context(), []*events.Event{order(t, "1", "a"), order(t, "k", "a")}); err != nil {
			t.Error(err)
		}
	}}
	asks := ingest(meanwhile)
	if _, err := asks.Accept(t.Context(), []*events.Event{order(t, "2", "a")}); err != nil { // known to it, so that its own batch is not torn
		t.Fatal(err)
	}
	receipts, err := asks.Accept(t.Context(), []*events.Event{order(t, "2", "a"), order(t, "l", "a"), order(t, "3", "a")})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range receipts {
		got = append(got, fmt.Sprint(r.ID, " ", r.Duplicate))
	}
	if all := strings.Join(got, ", "); all != "2 true, l true, 3 false" || f.stored(t) != 5 {
		t.Errorf("%s, %d stored", all, f.stored(t))
	}
}

// TestBatchesFollowTheModel: whatever is published, by whichever process, singly or in batches: an id is stored once, with its first
// content, a batch wholly or not at all, and receipts say so.
func TestBatchesFollowTheModel(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.knowShortly(t)
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		if round++; round > 20 {
			return
		}
		m := model{T: rt, f: f, round: round, stored: map[string]modelled{}, total: f.stored(t)}
		anew := func(rt *rapid.T) {
			front, turns, writer := f.front(t)
			m.ingest = f.another(rt, turns, front, writer)
		}
		anew(rt)
		rt.Repeat(map[string]func(*rapid.T){
			"publish": func(rt *rapid.T) { m.publish(t, rt) }, "once more": func(rt *rapid.T) { m.publish(t, rt) }, "begin anew": anew,
		})
	})
}

type modelled struct {
	status   string
	sequence uint64
}

// model is what should be stored.
type model struct {
	*rapid.T
	f      *fleet
	ingest *producer.Ingest
	round  int
	stored map[string]modelled
	total  uint64
}

// publish publishes some events of few ids, and compares.
func (m *model) publish(t *testing.T, rt *rapid.T) {
	n := rapid.IntRange(1, 5).Draw(rt, "events")
	evts, fresh, reuse := make([]*events.Event, n), map[string]string{}, false
	ids := make([]string, n)
	for i := range evts {
		ids[i] = fmt.Sprint(m.round, "-", rapid.IntRange(0, 30).Draw(rt, "id"))
		status := rapid.SampledFrom([]string{"a", "a", "a", "a", "a", "b"}).Draw(rt, "status")
		evts[i] = order(t, ids[i], status)
		known, ok := m.stored[ids[i]]
		first, again := fresh[ids[i]]
		switch {
		case ok:
			reuse = reuse || known.status != status
		case again:
			reuse = reuse || first != status
		default:
			fresh[ids[i]] = status
		}
	}
	receipts, err := m.ingest.Accept(t.Context(), evts)
	if reuse != errors.Is(err, producer.ErrReuse) || err != nil && !reuse {
		rt.Fatalf("%v: %v, reuse is %v", ids, err, reuse)
	}
	if err == nil {
		m.total += uint64(len(fresh))
		m.compare(rt, ids, receipts, fresh)
	}
	if n := m.f.stored(t); n != m.total {
		rt.Fatalf("%d events stored, want %d", n, m.total)
	}
}

func (m *model) compare(rt *rapid.T, ids []string, receipts []producer.Receipt, fresh map[string]string) {
	for i, r := range receipts {
		known, ok := m.stored[ids[i]]
		if r.ID != ids[i] || r.Duplicate != ok || ok && r.Sequence != known.sequence || r.Sequence == 0 {
			rt.Fatalf("receipt %+v, known as %+v", r, known)
		}
		if !ok {
			m.stored[ids[i]] = modelled{fresh[ids[i]], r.Sequence}
		}
	}
}

// TestSameEventsInSeveralBatchesAtOnce: of requests that have events in common each is stored wholly or refused, and each event once.
func TestSameEventsInSeveralBatchesAtOnce(t *testing.T) {
	t.Parallel()
	f := setup(t)
	front, turns, writer := f.front(t)
	ingest := f.another(t, turns, front, writer)
	var mu sync.Mutex
	sequences := map[string]uint64{}
	var publishing sync.WaitGroup
	for p := range 8 {
		publishing.Go(func() {
			for n := range 20 {
				size := 1 + (p+n)%4
				evts := make([]*events.Event, size)
				for i := range evts {
					evts[i] = order(t, fmt.Sprint(n*3+i), "a")
				}
				receipts, err := ingest.Accept(t.Context(), evts)
				if errors.Is(err, producer.ErrUnavailable) {
					continue // others were storing the same all the time
				}
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				for _, r := range receipts {
					if first, ok := sequences[r.ID]; ok && first != r.Sequence {
						t.Errorf("%s is at %d and %d", r.ID, first, r.Sequence)
					}
					sequences[r.ID] = r.Sequence
				}
				mu.Unlock()
			}
		})
	}
	publishing.Wait()
	s, err := f.js.Stream(t.Context(), stream.Events)
	if err != nil {
		t.Fatal(err)
	}
	for id, sequence := range sequences {
		m, err := s.GetMsg(t.Context(), sequence)
		if err != nil {
			t.Errorf("%s at %d: %v", id, sequence, err)
			continue
		}
		if e, err := events.ParseNATS(m.Header, m.Data); err != nil || e.ID() != id {
			t.Errorf("%s is not at %d: %v", id, sequence, err)
		}
	}
	if n := f.stored(t); n != uint64(len(sequences)) {
		t.Errorf("%d events stored, %d were answered", n, len(sequences))
	}
}
