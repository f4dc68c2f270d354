package stream

import (
	"context"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/test/natstest"
)

// TestFileForEachMessageThatIsDue: where deliveries are due one by one, the broker makes a file for each unless the pin is
// there, which counts as nothing that waits.
func TestFileForEachMessageThatIsDue(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	nc, js := natstest.Connect(t, natstest.Server(t, dir))
	topology, err := NewTopology(js, DefaultConfig(), zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	if err := topology.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	f := &fixture{t, nc, js, js}
	c, err := js.CreateConsumer(t.Context(), Retries, jetstream.ConsumerConfig{
		Durable: ConsumerDue, AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: SubjectDue + ">",
	})
	if err != nil {
		t.Fatal(err)
	}
	files := func() []string {
		t.Helper()
		names, err := filepath.Glob(filepath.Join(dir, "jetstream", "$G", "streams", Retries, "msgs", "*.blk"))
		if err != nil || len(names) == 0 {
			t.Fatalf("files %v: %v", names, err)
		}
		return names
	}
	before := files()
	f.dueOneByOne(c, pinEvery)
	unpinned := files()
	if slices.Equal(before, unpinned) {
		t.Error("the broker keeps the file by itself: the pin is needed no more")
	}
	storage, err := NewDiskStorage(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	pin := NewPin(js, f.pinWriter(), storage)
	for range 3 {
		if err := pin.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		pinned := files()
		f.dueOneByOne(c, pinEvery)
		if after := files(); !slices.Equal(pinned, after) {
			t.Errorf("the file is another one: %v, then %v", pinned, after)
		}
	}
	total, err := NewWaitlist(js).Total(t.Context())
	if total != (Counts{}) || err != nil {
		t.Errorf("%+v wait, %v", total, err)
	}
	if n, err := newReader(js).count(t.Context(), Retries, subjectPin); n != 1 || err != nil {
		t.Errorf("%d pins, %v", n, err)
	}
}

// TestPinIsNotMovedOnAFullDisk: to move it is to purge, and the broker locks itself up when it cannot write that down.
func TestPinIsNotMovedOnAFullDisk(t *testing.T) {
	t.Parallel()
	f := setup(t)
	c, err := f.js.CreateConsumer(t.Context(), Retries, jetstream.ConsumerConfig{
		Durable: ConsumerDue, AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: SubjectDue + ">",
	})
	if err != nil {
		t.Fatal(err)
	}
	f.dueOneByOne(c, pinEvery)
	full := &Storage{disk: &disk{}, room: room{used: 1 << 30, capacity: 1 << 30}, looked: time.Now().Add(time.Hour)}
	if err := NewPin(f.js, f.pinWriter(), full).Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := newReader(f.js).count(t.Context(), Retries, subjectPin); n != 0 || err != nil {
		t.Errorf("%d pins, %v", n, err)
	}
}

// pinWriter is a writer that runs until the test ends.
func (f *fixture) pinWriter() *Writer {
	writer := NewWriter(f.nc, nil)
	ctx, cancel := context.WithCancel(f.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := writer.Run(ctx); err != nil {
			f.Error(err)
		}
	})
	f.Cleanup(func() { cancel(); running.Wait() })
	return writer
}

// dueOneByOne makes n replays, and acknowledges each before the next.
func (f *fixture) dueOneByOne(c jetstream.Consumer, n int) {
	f.Helper()
	e := f.event("acme", "due")
	for range n {
		sequence, at := f.accept(e)
		msg, err := (&Waiting{Delivery: f.delivery(e, sequence, "sub", at), Event: e}).ReplayMessage()
		if err != nil {
			f.Fatal(err)
		}
		f.publish(msg)
		due, err := c.Next(jetstream.FetchMaxWait(patience))
		if err != nil {
			f.Fatal(err)
		}
		if err := due.DoubleAck(f.Context()); err != nil {
			f.Fatal(err)
		}
	}
}

func TestReplayMessageAfter(t *testing.T) {
	t.Parallel()
	f := setup(t)
	e := f.event("acme", "a")
	for after, want := range map[time.Duration]time.Duration{
		0: 0, -time.Second: 0, 160 * time.Millisecond: 160 * time.Millisecond, time.Hour: MaxAfter,
	} {
		msg, err := (&Waiting{Delivery: f.delivery(e, 7, "sub", time.Now()), Event: e, After: after}).ReplayMessage()
		if err != nil {
			t.Fatal(err)
		}
		if got := AfterOf(msg.Header); got != want {
			t.Errorf("after %v: %v, want %v", after, got, want)
		}
	}
	for _, text := range []string{"", "-1", "x", "99999999999"} {
		if got := AfterOf(map[string][]string{HeaderAfter: {text}}); got != 0 {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// TestRecordsOf: the records of neighbours are read without those of the subscription's other deliveries.
func TestRecordsOf(t *testing.T) {
	t.Parallel()
	near, far := events.DeliveryID(5, "sub", 0), events.DeliveryID(99999, "sub", 0)
	for want, ids := range map[string][]string{
		HistorySubject("sub", 5):     {near, events.DeliveryID(6, "sub", events.JobReplay(7))},
		HistorySubject("sub", 99999): {far},
		HistorySubjects("sub"):       {near, far},
	} {
		if got := RecordsOf("sub", slices.Values(ids)); got != want {
			t.Errorf("%v: %s, want %s", ids, got, want)
		}
	}
	if got := RecordsOf("sub", slices.Values([]string{})); got != HistorySubjects("sub") {
		t.Errorf("of none: %s", got)
	}
}
