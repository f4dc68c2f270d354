package scheduler

import (
	"fmt"
	"testing"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

// parking is an index of which nothing runs, with events that were offered to it and moved to the disk.
func parking(t *testing.T) (f *fixture, offer func(subject string, second int) uint64) {
	f = tapped(t)
	must(t, f.index.load(t.Context()))
	t.Cleanup(func() { f.index.backlog.forget() })
	return f, func(subject string, second int) uint64 {
		e := event(t, subject, "t", fmt.Sprintf(status, second, fmt.Sprint(second)))
		at := f.emitEvent(e)
		f.index.intake.offer(at, []*events.Event{e})
		return at
	}
}

func (f *fixture) drained() {
	f.Helper()
	for len(f.index.backlog.order) > 0 {
		_, err := f.index.drain(f.Context())
		must(f, err)
	}
}

func (f *fixture) stored(subject, want string) {
	f.Helper()
	s, err := f.statuses.Newest(f.Context(), "acme", subject, "t")
	must(f, err)
	got := ""
	if s != nil {
		got = s.Value()
	}
	if got != want {
		f.Errorf("stored of %s: %q, want %q", subject, got, want)
	}
}

// TestParkedStatuses: what waits on the disk is stored in the order in which it came, the newest of each, and before that for who
// asks; and it is saved how far that is when all of it is stored, not before.
func TestParkedStatuses(t *testing.T) {
	t.Parallel()
	f, offer := parking(t)
	x := f.index
	for i := range 3 * storeAtOnce {
		offer(fmt.Sprint("s", i), 5)
	}
	must(t, x.park(t.Context()))
	offer("s1", 9) // newer, and older, in memory
	offer("s2", 1)
	offer("s3", 8) // newer, and older, on the disk
	offer("s4", 2)
	last := offer("s3", 7)
	if n := x.intake.count(); n != 4 || f.written() != 0 {
		t.Fatalf("%d wait in memory, %d are stored", n, f.written())
	}
	must(t, x.storeOf(t.Context(), []stream.StatusName{{Tenant: "acme", Subject: "s1", Type: "t"}, {Tenant: "acme", Subject: "s2"}}))
	if n := f.written(); n != 2 {
		t.Errorf("%d are stored of two", n)
	}
	f.stored("s1", "9")
	f.stored("s2", "5")
	must(t, x.park(t.Context()))
	_, err := x.drain(t.Context())
	must(t, err)
	if x.saved.Load() > 0 {
		t.Errorf("saved is %d, and most is not stored", x.saved.Load())
	}
	f.drained()
	if x.saved.Load() != last {
		t.Errorf("saved is %d of %d", x.saved.Load(), last)
	}
	for subject, want := range map[string]string{"s1": "9", "s2": "5", "s3": "8", "s4": "5", "s7": "5"} {
		f.stored(subject, want)
	}
	if n := f.written(); n != 3*storeAtOnce {
		t.Errorf("%d were stored", n)
	}
	if says := x.backlog.says(); says != (copySays{}) {
		t.Errorf("left: %+v", says)
	}
}

// TestDamagedBacklog: what the disk changed of what waits is not stored, and not passed over.
func TestDamagedBacklog(t *testing.T) {
	t.Parallel()
	f, offer := parking(t)
	offer("s", 5)
	must(t, f.index.park(t.Context()))
	_, err := f.index.backlog.last.file.WriteAt([]byte{1, 2, 3}, recordHead+3)
	must(t, err)
	if _, err := f.index.drain(t.Context()); err == nil {
		t.Error("it is passed over")
	}
	if n := f.written(); n != 0 || f.index.saved.Load() > 0 {
		t.Errorf("%d are stored, saved %d", n, f.index.saved.Load())
	}
}

// TestBacklogWithoutADirectory: where the disk cannot be written to, what waits is stored from memory.
func TestBacklogWithoutADirectory(t *testing.T) {
	t.Parallel()
	f, offer := parking(t)
	f.index.backlog.dir = t.TempDir() + "/none"
	offer("s", 5)
	must(t, f.index.parkAll(t.Context()))
	if f.index.parks() {
		t.Error("it is tried again at once")
	}
	if n := f.index.intake.count(); n != 1 {
		t.Errorf("%d wait", n)
	}
	must(t, f.index.settle(t.Context(), 0))
	f.stored("s", "5")
}

// TestBacklogAfterAKill: what waits on the disk when the process is killed is not read of EVENTS again, and nothing is older than it was;
// but of another stream, or before what was saved, it is.
func TestBacklogAfterAKill(t *testing.T) {
	t.Parallel()
	f := keptFixture(t)
	f.begin()
	must(t, f.index.load(t.Context()))
	offer := func(subject string, second int) uint64 {
		e := event(t, subject, "t", fmt.Sprintf(status, second, fmt.Sprint(second)))
		at := f.emitEvent(e)
		f.index.intake.offer(at, []*events.Event{e})
		return at
	}
	_, err := f.index.followCopy(t.Context(), 0) // which says which stream it is
	must(t, err)
	for i := range 50 {
		offer(fmt.Sprint("s", i), 5)
	}
	parked := offer("s1", 6)
	must(t, f.index.park(t.Context()))
	offer("s2", 7)
	offer("s3", 3)
	must(t, f.index.storeOf(t.Context(), []stream.StatusName{{Tenant: "acme", Subject: "s2"}})) // which somebody was told
	next := func() {
		f.begin()
		must(t, f.index.load(t.Context()))
	}
	next()
	if at, n := f.index.intake.done.now(), len(f.index.backlog.order); at != parked || n != 50 {
		t.Fatalf("events up to %d are there, %d wait", at, n)
	}
	if saved := f.index.saved.Load(); saved != 0 {
		t.Errorf("saved is %d, and nothing was", saved)
	}
	must(t, f.index.storeOf(t.Context(), []stream.StatusName{{Tenant: "acme", Subject: "s1"}, {Tenant: "acme", Subject: "s2"}}))
	f.stored("s1", "6")
	f.stored("s2", "7")
	next() // killed once more
	f.drained()
	for subject, want := range map[string]string{"s1": "6", "s2": "7", "s3": "5", "s49": "5"} {
		f.stored(subject, want)
	}
	if saved := f.index.saved.Load(); saved != parked {
		t.Errorf("saved is %d of %d", saved, parked)
	}
	next()
	if n := len(f.index.backlog.order); n != 0 {
		t.Errorf("%d wait once more", n)
	}
	_, err = f.index.followCopy(t.Context(), 0)
	must(t, err)
	offer("s4", 8)
	must(t, f.index.park(t.Context()))
	kv, err := f.js.KeyValue(t.Context(), stream.BucketFleet)
	must(t, err)
	must(t, kv.Delete(t.Context(), stream.KeyStatuses)) // by hand, so that all is read again
	next()
	if at, n := f.index.intake.done.now(), len(f.index.backlog.order); at != 0 || n != 0 {
		t.Errorf("events up to %d are there, %d wait", at, n)
	}
}
