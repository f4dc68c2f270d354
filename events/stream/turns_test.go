package stream_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/events/stream/embedded"
	"github.com/hookfleet/hookfleet/events/stream/ids"
	"github.com/hookfleet/hookfleet/test/natstest"
)

// storage is an embedded broker, and what stores events there in turns.
type storage struct {
	testing.TB
	broker  *embedded.Broker
	front   *nats.Conn
	js      jetstream.JetStream
	turns   *stream.Turns
	batches *stream.Batches
	index   *ids.Index
	dir     string // of the index
	window  time.Duration
	failing error // of Recover; nil = it is carried out
	read    int   // times that Recover was called
	guest   atomic.Bool
}

func (s *storage) alone(do func()) bool       { return !s.guest.Load() && s.broker.Inside(do) }
func (s *storage) quiet(_ time.Duration) bool { return !s.guest.Load() }

func newStorage(t *testing.T, maxSize int64) *storage {
	t.Helper()
	broker, err := embedded.New(embedded.Config{Dir: t.TempDir(), Sync: embedded.SyncGroup}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- broker.Run(ctx) }()
	t.Cleanup(func() {
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	<-broker.Ready()
	s := &storage{TB: t, broker: broker, front: connect(t, broker), dir: t.TempDir(), window: 10 * time.Minute}
	if s.js, err = jetstream.New(connect(t, broker)); err != nil {
		t.Fatal(err)
	}
	cfg := stream.DefaultConfig()
	cfg.MaxSize, cfg.Dedupe = maxSize, stream.BrokerWindow
	topology, err := stream.NewTopology(s.js, cfg, zerolog.Nop())
	if err == nil {
		err = topology.Ensure(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	s.renew()
	if err := s.turns.Know(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func connect(t *testing.T, broker *embedded.Broker) *nats.Conn {
	t.Helper()
	nc, err := broker.Connect(nats.MaxReconnects(-1), nats.ReconnectWait(1), nats.ReconnectJitter(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// renew begins as another process would.
func (s *storage) renew() {
	if s.index != nil {
		if err := s.index.Close(); err != nil {
			s.Fatal(err)
		}
	}
	var err error
	if s.index, err = ids.Open(ids.Config{Dir: s.dir, Window: s.window, Stream: "EVENTS"}); err != nil {
		s.Fatal(err)
	}
	s.turns = stream.NewTurns(s.js, s.front, stream.TurnsDeps{
		Alone: s.alone, Unseen: s.alone, Quiet: s.quiet, Recover: s.recover, Index: s.index, Window: s.window,
	})
	s.batches = stream.NewBatches(s.front, s.broker.Sync).InTurns(s.turns)
}

func (s *storage) recover(ctx context.Context) error {
	s.read++
	if s.failing != nil {
		return s.failing
	}
	return s.broker.Recover(ctx)
}

const subject = stream.SubjectEvents + "default.order"

func entriesOf(ids ...string) []stream.Entry {
	entries := make([]stream.Entry, len(ids))
	for i, id := range ids {
		entries[i] = stream.Entry{Subject: subject, ID: id, Data: fmt.Appendf(nil, `{"id":%q}`, id)}
	}
	return entries
}

func (s *storage) store(ids ...string) (uint64, error) {
	return s.batches.Store(s.Context(), stream.Events, entriesOf(ids...))
}

// publish stores one message as whoever does it, with a mark or "".
func (s *storage) publish(id, mark string) {
	s.Helper()
	msg := &nats.Msg{Subject: subject, Header: nats.Header{nats.MsgIdHdr: {id}}, Data: []byte("{}")}
	if mark != "" {
		msg.Header.Set(stream.HeaderTogether, mark)
	}
	if _, err := s.js.PublishMsg(s.Context(), msg); err != nil {
		s.Fatal(err)
	}
}

// ids are those of what is stored, with sequences.
func (s *storage) ids() (ids []string) {
	s.Helper()
	str, err := s.js.Stream(s.Context(), stream.Events)
	if err != nil {
		s.Fatal(err)
	}
	state := str.CachedInfo().State
	for sequence := max(state.FirstSeq, 1); sequence <= state.LastSeq; sequence++ {
		m, err := str.GetMsg(s.Context(), sequence)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			s.Fatal(err)
		}
		ids = append(ids, fmt.Sprint(m.Header.Get(nats.MsgIdHdr), "@", sequence))
	}
	return ids
}

func (s *storage) holds(want ...string) {
	s.Helper()
	if got := s.ids(); !slices.Equal(got, want) {
		s.Errorf("the stream holds %v, want %v", got, want)
	}
}

func TestPlainBatchIsStoredWhole(t *testing.T) {
	t.Parallel()
	s := newStorage(t, 0)
	s.publish("x", "")
	if first, err := s.store("1", "2", "3"); first != 2 || err != nil {
		t.Errorf("stored at %d, %v", first, err)
	}
	m, err := s.js.PublishMsg(t.Context(), &nats.Msg{Subject: subject, Header: nats.Header{nats.MsgIdHdr: {"2"}}})
	if err != nil || !m.Duplicate || m.Sequence != 3 {
		t.Errorf("again: %+v, %v", m, err)
	}
	s.holds("x@1", "1@2", "2@3", "3@4")
	if str, err := s.js.Stream(t.Context(), stream.Events); err != nil {
		t.Error(err)
	} else if m, err := str.GetMsg(t.Context(), 3); err != nil || m.Header.Get(stream.HeaderTogether) != "2/3" {
		t.Errorf("the second has the mark %v, %v", m, err)
	}
	if s.read != 0 {
		t.Error("something was forgotten")
	}
}

// TestRemovedEventsAreNotKnown: what is removed because another event of the batch is known is stored when it comes again, and not
// answered as known.
func TestRemovedEventsAreNotKnown(t *testing.T) {
	t.Parallel()
	s := newStorage(t, 0)
	s.publish("x", "")
	if _, err := s.store("1", "x", "2"); !errors.Is(err, stream.ErrDuplicateInBatch) {
		t.Errorf("a batch with a known id: %v", err)
	}
	s.holds("x@1")
	for _, e := range entriesOf("1", "2") {
		if sequence, err := s.batches.Probe(t.Context(), e.Message()); sequence != 0 || err != nil {
			t.Errorf("%s is known at %d, %v", e.ID, sequence, err)
		}
	}
	first, err := s.store("1", "2")
	if err != nil {
		t.Error(err)
	}
	s.holds("x@1", fmt.Sprint("1@", first), fmt.Sprint("2@", first+1))
	if s.read != 1 {
		t.Errorf("forgot %d times", s.read)
	}
}

// TestKnownBatchCostsNoRestart: of what is known as a whole nothing is stored, so that nothing is to be forgotten.
func TestKnownBatchCostsNoRestart(t *testing.T) {
	t.Parallel()
	s := newStorage(t, 0)
	s.publish("1", "")
	s.publish("2", "")
	if _, err := s.store("1", "2"); !errors.Is(err, stream.ErrDuplicateInBatch) {
		t.Errorf("a known batch: %v", err)
	}
	s.holds("1@1", "2@2")
	if s.read != 0 {
		t.Errorf("forgot %d times", s.read)
	}
}

// TestFullStreamTakesNoPart: of a batch that does not fit nothing is stored, nor known.
func TestFullStreamTakesNoPart(t *testing.T) {
	t.Parallel()
	const room = 64 << 10
	s := newStorage(t, room)
	s.publish("x", "")
	ids := make([]string, 1000)
	for i := range ids {
		ids[i] = fmt.Sprint("long-enough-", i)
	}
	if _, err := s.store(ids...); !errors.Is(err, stream.ErrRefusedFull) {
		t.Errorf("a batch that is too large: %v", err)
	}
	s.holds("x@1")
	if first, err := s.store(ids[:100]...); err != nil || first <= 1 {
		t.Errorf("what fits is stored at %d, %v", first, err)
	}
	if n := len(s.ids()); n != 101 {
		t.Errorf("%d events stored", n)
	}
}

// TestTornBatchIsRemovedBeforeTheNextWrite: while it cannot be removed nothing is stored or asked, and then it is.
func TestTornBatchIsRemovedBeforeTheNextWrite(t *testing.T) {
	t.Parallel()
	s := newStorage(t, 0)
	writer := stream.NewWriter(s.front, s.broker.Sync).InTurns(s.turns)
	ctx, end := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- writer.Run(ctx) }()
	defer func() { end(); <-ended }()
	write := func(id string) (stream.Ack, error) {
		e := entriesOf(id)[0]
		return writer.Write(t.Context(), e.Message(), stream.Events)
	}
	s.publish("x", "")
	s.failing = errors.New("away")
	if _, err := s.store("1", "x", "2"); !errors.Is(err, stream.ErrUnknown) {
		t.Errorf("a batch that cannot be removed: %v", err)
	}
	if _, err := write("1"); !errors.Is(err, stream.ErrUnknown) {
		t.Errorf("an event behind it: %v", err)
	}
	if _, err := s.batches.Known(t.Context(), entriesOf("1")); !errors.Is(err, stream.ErrUnknown) {
		t.Errorf("a question behind it: %v", err)
	}
	s.failing = nil
	if sequences, err := s.batches.Known(t.Context(), entriesOf("1", "x")); !slices.Equal(sequences, []uint64{0, 1}) || err != nil {
		t.Errorf("they are known at %d, %v", sequences, err)
	}
	ack, err := write("1")
	if err != nil || ack.Duplicate {
		t.Errorf("then the event: %+v, %v", ack, err)
	}
	s.holds("x@1", fmt.Sprint("1@", ack.Sequence))
}

func TestMend(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		marks   []string // of messages from the first sequence on
		deleted []uint64
		removed int
	}{
		"empty":                     {nil, nil, 0},
		"no batch":                  {[]string{"", ""}, nil, 0},
		"a part":                    {[]string{"", "2/3", "2/3"}, nil, 2},
		"nothing but a part":        {[]string{"1/3"}, nil, 1},
		"a whole one":               {[]string{"", "2/2", "2/2"}, nil, 0},
		"a part behind a whole one": {[]string{"1/2", "1/2", "3/2"}, nil, 1},
		// They may have been told that it is there: by an older release, or straight by the broker.
		"a part with others behind":       {[]string{"1/5", "1/5", ""}, nil, 0},
		"a part that was removed halfway": {[]string{"", "2/4", "2/4", "2/4"}, []uint64{4}, 2},
		"a whole one without its end":     {[]string{"1/3", "1/3", "1/3"}, []uint64{3}, 0},
		"a whole one without its begin":   {[]string{"1/3", "1/3", "1/3"}, []uint64{1}, 0},
		"a copy of a mark":                {[]string{"", "", "17/100"}, nil, 0},
		"no mark at all":                  {[]string{"x/y", "1/0", "0/5", "1/99999"}, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStorage(t, 0)
			for i, mark := range tc.marks {
				s.publish(fmt.Sprint("id-", i+1), mark)
			}
			str, err := s.js.Stream(t.Context(), stream.Events)
			if err != nil {
				t.Fatal(err)
			}
			for _, sequence := range tc.deleted {
				if err := str.DeleteMsg(t.Context(), sequence); err != nil {
					t.Fatal(err)
				}
			}
			before := s.ids()
			removed, err := s.turns.Mend(t.Context())
			if removed != tc.removed || err != nil {
				t.Errorf("removed %d, %v", removed, err)
			}
			s.holds(before[:len(before)-tc.removed]...)
			if s.read != min(removed, 1) {
				t.Errorf("forgot %d times", s.read)
			}
			if removed > 0 {
				last := fmt.Sprint("id-", len(tc.marks)-len(tc.deleted))
				if sequence, err := s.batches.Probe(t.Context(), entriesOf(last)[0].Message()); sequence != 0 || err != nil {
					t.Errorf("%s, which was removed, is known at %d, %v", last, sequence, err)
				}
			}
		})
	}
}

// TestPartOfABatchIsNotFollowed: who follows the events is told of a batch when it is whole, and not at all of what was removed.
func TestPartOfABatchIsNotFollowed(t *testing.T) {
	t.Parallel()
	s := newStorage(t, 0)
	str, err := s.js.Stream(t.Context(), stream.Events)
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	told, ended := make(chan uint64, 16), make(chan error, 1)
	go func() {
		ended <- stream.NewEventLog(s.js).Follow(ctx, 1, func(e *stream.StoredEvent, _ uint64) bool {
			told <- e.Sequence
			return true
		})
	}()
	taken := func(sequence uint64) {
		t.Helper()
		natstest.Eventually(t, time.Minute, func() bool {
			for c := range str.ListConsumers(t.Context()).Info() {
				if c.Delivered.Stream >= sequence {
					return true
				}
			}
			return false
		})
	}
	s.publish("x", "")
	s.publish("1", "2/3")
	taken(2)
	if err := str.DeleteMsg(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	s.publish("2", "3/2")
	taken(3)
	s.publish("3", "3/2")
	for _, want := range []uint64{1, 3, 4} {
		if got := <-told; got != want {
			t.Errorf("told of %d, want %d", got, want)
		}
	}
	s.publish("4", "5/9") // what somebody has stored events behind stays
	s.publish("5", "")
	for _, want := range []uint64{5, 6} {
		if got := <-told; got != want {
			t.Errorf("told of %d, want %d", got, want)
		}
	}
	end()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestPartOfABatchIsNotRead: who reads some events waits for a batch that is being stored, and is not told of what was removed, as when
// somebody asks for a status while the batch that it comes in is stored, and that is torn.
func TestPartOfABatchIsNotRead(t *testing.T) {
	t.Parallel()
	s := newStorage(t, 0)
	log := stream.NewEventLog(s.js)
	reads := func(through uint64, want ...uint64) {
		t.Helper()
		page, _, err := log.After(t.Context(), 1, through, 64)
		if err != nil {
			t.Error(err)
		}
		var got []uint64
		for _, e := range page {
			got = append(got, e.Sequence)
		}
		if !slices.Equal(got, want) {
			t.Errorf("read %v through %d, want %v", got, through, want)
		}
	}
	s.publish("x", "")
	s.publish("1", "2/3")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if page, next, err := log.After(ctx, 1, 2, 64); err == nil || len(page) > 0 || next != 1 {
		t.Errorf("read %d events up to %d of what is being stored, %v", len(page), next, err)
	}
	s.publish("2", "2/3")
	s.publish("3", "2/3")
	reads(2, 1, 2)
	reads(4, 1, 2, 3, 4)
	s.publish("4", "5/9")
	done := make(chan struct{})
	go func() {
		defer close(done)
		reads(5, 1, 2, 3, 4)
	}()
	str, err := s.js.Stream(t.Context(), stream.Events)
	if err != nil {
		t.Fatal(err)
	}
	if err := str.DeleteMsg(t.Context(), 5); err != nil {
		t.Fatal(err)
	}
	<-done
	s.publish("5", "6/9") // what somebody has stored events behind stays
	s.publish("6", "")
	reads(6, 1, 2, 3, 4, 6)
}
