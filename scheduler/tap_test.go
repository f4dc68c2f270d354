package scheduler

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/test/natstest"
)

// tapped is a fixture whose process stores events itself.
func tapped(t testing.TB) *fixture {
	t.Helper()
	f := setup(t)
	f.Tap, f.Desk = &Tap{}, &Desk{}
	f.cfg.SaveIndex = time.Hour // a test that takes long counts what is stored, too
	return f
}

// ingest stores an event, and tells the index of it.
func (f *fixture) ingest(e *events.Event) uint64 {
	f.Helper()
	sequence := f.emitEvent(e)
	f.Tap.Offer(sequence, []*events.Event{e})
	return sequence
}

// written is how many messages the stream of statuses has seen.
func (f *fixture) written() uint64 {
	f.Helper()
	s, err := f.js.Stream(f.Context(), stream.StatusesName)
	must(f, err)
	info, err := s.Info(f.Context())
	must(f, err)
	return info.State.LastSeq
}

// relying waits until the index leaves the events to the tap.
func (f *fixture) relying() {
	f.Helper()
	f.ingest(event(f, "first", "t", "")) // with which it has caught up
	natstest.Eventually(f, patience, func() bool { return f.Tap.to.Load() != nil && !f.index.following.Load() })
}

// roomFor is how many bytes of statuses may wait in memory.
func (f *fixture) roomFor(bytes int) {
	f.Helper()
	natstest.Eventually(f, patience, func() bool { return f.Tap.to.Load() != nil })
	u := f.Tap.to.Load().unstored
	u.mu.Lock()
	defer u.mu.Unlock()
	u.most = bytes
}

// TestAskerOfAnEarlierReleaseWaitsForAll: who does not say what it asks for is answered when everything is stored, also what waits on the disk.
func TestAskerOfAnEarlierReleaseWaitsForAll(t *testing.T) {
	t.Parallel()
	f := tapped(t)
	f.indexing()
	f.roomFor(20 << 10)
	for i := range 300 {
		f.ingest(event(t, fmt.Sprint("s", i), "t", fmt.Sprintf(status, 1, "x")))
	}
	must(t, f.statuses.Caught(t.Context()))
	if n := f.written(); n != 300 {
		t.Errorf("%d statuses were stored for all", n)
	}
}

// TestTapAgainstPlainIndex: of whatever the tap brings in whatever order, late, twice or never, a look-up knows every event
// that was stored before it.
func TestTapAgainstPlainIndex(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			f := tapped(t)
			f.indexing()
			if seed%2 == 1 { // most of it waits on the disk
				f.roomFor(2 << 10)
			}
			random := rand.New(rand.NewPCG(seed, 1))
			want := map[string]stream.Mark{}
			type offer struct {
				sequence uint64
				e        *events.Event
			}
			var late []offer
			for i := range 500 {
				more := fmt.Sprintf(`,"data":{"status":%d}`, i)
				switch random.IntN(8) {
				case 0: // acceptance counts
				case 1:
					more = ""
				default:
					more += fmt.Sprintf(`,"time":%q`, time.Now().Add(time.Duration(random.IntN(2000)-1000)*time.Millisecond).Format(time.RFC3339Nano))
				}
				subject, typ := fmt.Sprint("s", random.IntN(12)), fmt.Sprint("t", random.IntN(2))
				e := event(t, subject, typ, more)
				sequence := f.emitEvent(e)
				switch random.IntN(4) {
				case 0:
					late = append(late, offer{sequence, e})
				case 1:
				default:
					f.Tap.Offer(sequence, []*events.Event{e})
				}
				if more != "" {
					m := stream.Mark{At: e.Time(), Sequence: sequence}
					if m.At.IsZero() {
						stored, err := f.events.Get(t.Context(), sequence)
						must(t, err)
						m.At = stored.At
					}
					for _, name := range []string{subject, subject + typ} {
						if have, ok := want[name]; !ok || m.After(have) {
							want[name] = m
						}
					}
				}
				if random.IntN(20) == 0 {
					random.Shuffle(len(late), func(i, j int) { late[i], late[j] = late[j], late[i] })
					for _, o := range late {
						f.Tap.Offer(o.sequence, []*events.Event{o.e})
					}
					late = nil
				}
				if random.IntN(10) == 0 {
					f.knows(want, subject, "")
				}
				if random.IntN(10) == 0 {
					f.knows(want, subject, typ)
				}
			}
			for i := range 12 {
				for _, typ := range []string{"", "t0", "t1"} {
					f.knows(want, fmt.Sprint("s", i), typ)
				}
			}
		})
	}
}

func (f *fixture) knows(want map[string]stream.Mark, subject, typ string) {
	f.Helper()
	name := stream.StatusName{Tenant: "acme", Subject: subject, Type: typ}
	s := f.lookUp(name)
	m, ok := want[subject+typ]
	if (s != nil) != ok || ok && (s.Sequence != m.Sequence || !s.At.Equal(m.At)) {
		f.Fatalf("status of %s %s is %+v, want %+v", subject, typ, s, m)
	}
}

// TestTapStoresOnce: many events of a subject are one status that is stored.
func TestTapStoresOnce(t *testing.T) {
	t.Parallel()
	f := tapped(t)
	stop := f.indexing()
	f.relying()
	for i := range 1000 {
		f.ingest(event(t, "s", "t", fmt.Sprintf(status, i%60, fmt.Sprint(i))))
	}
	if n := f.index.intake.count(); n != 1 {
		t.Errorf("%d wait to be stored", n)
	}
	stop()
	if n := f.written(); n != 1 {
		t.Errorf("%d statuses were stored", n)
	}
	if saved := f.index.saved.Load(); saved != f.lastEvent() {
		t.Errorf("saved is %d of %d", saved, f.lastEvent())
	}
	f.indexing()
	f.says("s", "t", "959")
}

// TestLookUpStoresOnlyWhatItAsksFor.
func TestLookUpStoresOnlyWhatItAsksFor(t *testing.T) {
	t.Parallel()
	f := tapped(t)
	f.indexing()
	f.relying()
	for i := range 100 {
		f.ingest(event(t, fmt.Sprint("s", i%50), fmt.Sprint("t", i/50), fmt.Sprintf(status, 1, "x")))
	}
	f.lookUp(stream.StatusName{Tenant: "acme", Subject: "s7", Type: "t1"})
	if n := f.written(); n != 1 {
		t.Errorf("%d statuses were stored for one", n)
	}
	f.lookUp(stream.StatusName{Tenant: "acme", Subject: "s9"})
	f.lookUp(stream.StatusName{Tenant: "acme", Subject: "none"})
	if n := f.written(); n != 3 {
		t.Errorf("%d statuses were stored for one and two", n)
	}
	must(t, f.statuses.Caught(t.Context())) // as one of an earlier release asks
	if n := f.written(); n != 100 {
		t.Errorf("%d statuses were stored for all", n)
	}
}

// TestKillBeforeStatusesAreStored: what was in memory, and what was half stored, is read again.
func TestKillBeforeStatusesAreStored(t *testing.T) {
	t.Parallel()
	f := tapped(t)
	stop := f.indexing()
	f.relying()
	stop()
	killed := newIndexer(f.Scheduler)
	must(t, killed.load(t.Context()))
	f.Tap.to.Store(killed.intake)
	const many = 3 * storeAtOnce
	for second := range 3 {
		for i := range many {
			f.ingest(event(t, fmt.Sprint("s", i), "t", fmt.Sprintf(status, 10-second, fmt.Sprint(10-second))))
		}
	}
	if n := killed.intake.count(); n != many {
		t.Fatalf("%d wait", n)
	}
	_, err := killed.storeNext(t.Context(), killed.intake.last())
	must(t, err)
	if n := f.written(); n != storeAtOnce {
		t.Fatalf("%d are stored", n)
	}
	f.Tap.to.Store(nil) // that is all that it has done
	f.indexing()
	for i := range many {
		f.says(fmt.Sprint("s", i), "t", "10")
	}
}

// TestOlderStatusAfterAKill: what was stored, and may have been answered, was written over by an older status when a kill had
// kept how far the index was from being saved, until the newer one was read again.
func TestOlderStatusAfterAKill(t *testing.T) {
	t.Parallel()
	f := tapped(t)
	killed := newIndexer(f.Scheduler)
	must(t, killed.load(t.Context()))
	must(t, killed.save(t.Context(), 0))
	older, newer := event(t, "s", "t", fmt.Sprintf(status, 1, "Older")), event(t, "s", "t", fmt.Sprintf(status, 9, "Newer"))
	for _, e := range []*events.Event{older, newer} {
		killed.intake.offer(f.emitEvent(e), []*events.Event{e})
	}
	_, err := killed.storeNext(t.Context(), killed.intake.last())
	must(t, err)
	next := newIndexer(f.Scheduler)
	must(t, next.load(t.Context()))
	next.intake.offer(1, []*events.Event{older})
	_, err = next.storeNext(t.Context(), next.intake.last())
	must(t, err)
	s, err := f.statuses.Newest(t.Context(), "acme", "s", "t")
	must(t, err)
	if s == nil || s.Value() != "Newer" {
		t.Errorf("it is %+v", s)
	}
	if n := f.written(); n != 1 {
		t.Errorf("%d were stored", n)
	}
}

// TestLostLeaseStoresNothing: where another may act already, an old status must not come over its newer one.
func TestLostLeaseStoresNothing(t *testing.T) {
	t.Parallel()
	f := tapped(t)
	ctx, lose := context.WithCancelCause(t.Context())
	var running sync.WaitGroup
	running.Go(func() { f.runIndex(ctx) })
	f.relying()
	f.ingest(event(t, "s", "t", fmt.Sprintf(status, 1, "Waits")))
	lose(errLost)
	running.Wait()
	if n := f.written(); n != 0 {
		t.Errorf("%d statuses were stored", n)
	}
	f.indexing()
	f.says("s", "", "Waits")
}

// TestTakeOverOfStatuses: the next scheduler, in a process that stores nothing itself, has all that the last one had.
func TestTakeOverOfStatuses(t *testing.T) {
	t.Parallel()
	f := tapped(t)
	deps := f.Deps
	deps.Metrics, deps.Tap, deps.Desk = prometheus.NewRegistry(), &Tap{}, &Desk{}
	other, err := New(deps, f.cfg)
	must(t, err)
	second := &fixture{t, other, f.js}
	for round := range 3 {
		stop := f.indexing()
		f.relying()
		f.ingest(event(t, "s", "t", fmt.Sprintf(status, 2*round, fmt.Sprint("first ", round))))
		f.ingest(event(t, "u", "t", fmt.Sprintf(status, 50-round, fmt.Sprint("first ", round))))
		stop()
		f.ingest(event(t, "between", "t", fmt.Sprintf(status, round, fmt.Sprint(round))))
		stop = second.indexing()
		second.says("s", "", fmt.Sprint("first ", round))
		second.says("between", "", fmt.Sprint(round))
		f.ingest(event(t, "s", "t", fmt.Sprintf(status, 2*round+1, fmt.Sprint("second ", round))))
		second.says("s", "", fmt.Sprint("second ", round))
		second.says("u", "", "first 0")
		stop()
	}
}

// TestStatusesOfMoreSubjectsThanThereIsRoomFor: what has no room is stored sooner, or read later, and nothing takes more
// memory.
func TestStatusesOfMoreSubjectsThanThereIsRoomFor(t *testing.T) {
	t.Parallel()
	f := tapped(t)
	f.indexing()
	f.relying()
	u := f.index.intake.unstored
	u.mu.Lock()
	u.most = 32 << 10
	u.mu.Unlock()
	const many = 400
	for i := range many {
		f.ingest(event(t, fmt.Sprint("s", i), "t", fmt.Sprintf(`,"time":"2026-01-01T00:00:00Z","data":{"status":%d,"note":%q}`, i, strings.Repeat("x", 1000))))
		u.mu.Lock()
		if u.bytes > u.most {
			t.Errorf("%d bytes", u.bytes)
		}
		u.mu.Unlock()
	}
	for i := range many {
		f.says(fmt.Sprint("s", i), "", fmt.Sprint(i))
	}
}

// TestMuchWhileStatusesAreStored: who was told that there is much while it stored what came before went to sleep with what
// came since, and nobody took anything in for ten seconds.
func TestMuchWhileStatusesAreStored(t *testing.T) {
	t.Parallel()
	f := tapped(t)
	x := newIndexer(f.Scheduler)
	must(t, x.load(t.Context()))
	put := func(from, to int, more string) {
		for i := from; i < to; i++ {
			e := event(t, fmt.Sprint("s", i), "t", fmt.Sprintf(`,"time":"2026-01-01T00:00:00Z","data":{"status":1,"note":%q}`, more))
			x.intake.offer(f.emitEvent(e), []*events.Event{e})
		}
	}
	put(0, storeAtOnce, "")
	var settling sync.WaitGroup
	defer settling.Wait()
	settled := make(chan error, 1)
	settling.Go(func() { settled <- x.settle(t.Context(), time.Hour) })
	natstest.Eventually(t, patience, func() bool { return x.intake.count() == 0 && f.written() == storeAtOnce })
	x.intake.unstored.mu.Lock()
	x.intake.most = 64 << 10
	x.intake.unstored.mu.Unlock()
	put(storeAtOnce, storeAtOnce+40, strings.Repeat("x", 600))
	if !x.intake.over() {
		t.Fatal("it is not much")
	}
	signal(x.intake.much)
	must(t, <-settled)
	select {
	case <-x.intake.much:
	default:
		t.Error("nobody makes room")
	}
}

// TestTapThatBringsNothing: events of other processes are in the index without anybody asking.
func TestTapThatBringsNothing(t *testing.T) {
	t.Parallel()
	f := tapped(t)
	f.indexing()
	f.relying()
	for range 2 * maxFill {
		e := event(t, "s", "t", `,"data":{"status":"x"}`)
		_, err := f.js.PublishMsgAsync(stored(e), jetstream.WithStallWait(time.Minute))
		must(t, err)
	}
	<-f.js.PublishAsyncComplete()
	natstest.Eventually(t, patience, func() bool { return f.index.intake.done.now() == f.lastEvent() })
	f.ingest(event(t, "s", "t", `,"time":"2100-01-01T00:00:00Z","data":{"status":"Last"}`))
	f.says("s", "", "Last")
}

// TestTightStoreWaitsForTheIndex: while the store is tight, it is saved within a second or two that events are in the index, so that
// they can be deleted.
func TestTightStoreWaitsForTheIndex(t *testing.T) {
	t.Parallel()
	f := tapped(t) // which stores once an hour
	dir := t.TempDir()
	blocks := filepath.Join(dir, "jetstream", "$G", "streams", stream.Events, "msgs")
	must(t, os.MkdirAll(blocks, 0o750))
	must(t, os.WriteFile(filepath.Join(blocks, "1.blk"), make([]byte, 900_000), 0o600))
	var err error
	f.Storage, err = stream.NewDiskStorage(dir, 1_000_000) // nine tenths of what EVENTS may have
	must(t, err)
	f.indexing()
	last := f.ingest(event(t, "order-1", "t", `,"time":"2026-01-31T08:00:00Z","data":{"status":"Sent"}`))
	natstest.Eventually(t, patience, func() bool { return f.index.loaded.Load() && f.index.saved.Load() == last })
	if n := f.written(); n != 1 {
		t.Errorf("%d statuses are stored", n)
	}
}
