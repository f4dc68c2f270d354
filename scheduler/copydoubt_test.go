package scheduler

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/test/natstest"
)

// TestEmptyCopyIsInDoubtToo: one that had nothing, all of it, when another took over, does not know what that one stored, and
// so not which type of a subject is the newest.
func TestEmptyCopyIsInDoubtToo(t *testing.T) {
	t.Parallel()
	f := tapped(t)
	f.cfg.CopyLook = 10 * time.Millisecond
	stop := f.indexing()
	f.copies()
	stop()
	f.index.doubtCopy() // another may have stored type u meanwhile
	f.index.copyStored([]*stream.StoredStatus{
		storedStatus(t, stream.StatusName{Tenant: "acme", Subject: "s", Type: "t"}, 2, time.Now(), stream.Mark{Sequence: 1}, 1),
	})
	if s := f.index.copied.newest(stream.StatusName{Tenant: "acme", Subject: "s"}); s != nil {
		t.Errorf("said without what was stored meanwhile: %s", say(s))
	}
	if f.index.copied.newest(stream.StatusName{Tenant: "acme", Subject: "s", Type: "t"}) == nil {
		t.Error("what was stored since is not said by its type")
	}
}

// TestStreamMadeAnewWhileItIsRead: the copy of a stream that is gone is not taken for one of the stream in its place, also when
// it was not whole.
func TestStreamMadeAnewWhileItIsRead(t *testing.T) {
	t.Parallel()
	f := tapped(t)
	f.indexing()
	for i := range 2 * copyFew {
		f.ingest(event(t, fmt.Sprint("s", i), "t", fmt.Sprintf(status, 1, "Old")))
	}
	must(t, f.statuses.Caught(t.Context()))
	x := newIndexer(f.Scheduler)
	behind, err := x.followCopy(t.Context(), 0)
	must(t, err)
	if behind == nil {
		t.Fatal("it is read at once")
	}
	through := uint64(0)
	must(t, x.copyRange(t.Context(), lag{1, 9, 0}, &through)) // and then the stream is gone
	statuses, err := f.js.Stream(t.Context(), stream.StatusesName)
	must(t, err)
	info, err := statuses.Info(t.Context())
	must(t, err)
	must(t, f.js.DeleteStream(t.Context(), stream.StatusesName))
	_, err = f.js.CreateStream(t.Context(), info.Config)
	must(t, err)
	_, err = x.followCopy(t.Context(), 0)
	if err != nil {
		x.giveCopyUp(err)
	}
	if s := x.copied.newest(stream.StatusName{Tenant: "acme", Subject: "s1", Type: "t"}); s != nil {
		t.Errorf("said of a stream that is gone: %s", say(s))
	}
}

// TestProgressIsSavedWhileMuchComesIn: with more subjects than can be stored for as long as that lasts, it is saved how far the
// index is, so that events can be trimmed, and a start has not all of them to read.
func TestProgressIsSavedWhileMuchComesIn(t *testing.T) {
	t.Parallel()
	f := tapped(t)
	f.cfg.SaveIndex = 50 * time.Millisecond
	f.indexing()
	f.relying()
	many := make([]*events.Event, 20_000)
	for i := range many {
		many[i] = event(t, fmt.Sprint("many", i), "t", fmt.Sprintf(status, 1, "x"))
	}
	began := f.lastEvent()
	natstest.Eventually(t, patience, func() bool { return f.index.saved.Load() == began })
	f.index.intake.unstored.mu.Lock()
	f.index.intake.most = 4 << 20
	f.index.intake.unstored.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var busy sync.WaitGroup
	defer busy.Wait()
	defer cancel()
	busy.Go(func() {
		for i := uint64(0); ctx.Err() == nil; i++ {
			f.index.intake.unstored.put(many[i%uint64(len(many))], stream.Mark{At: time.Now(), Sequence: i})
		}
	})
	f.ingest(event(t, "s", "t", ""))
	natstest.Eventually(t, patience, func() bool { return f.index.saved.Load() > began })
}

// TestCopyIsNotKeptWithoutStatuses: who keeps no statuses any more keeps no copy of them on the disk either, and what a killed
// process had begun to leave goes, whatever the directory is called.
func TestCopyIsNotKeptWithoutStatuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir() + "/[1]"
	c := newStatusCopy(dir, true)
	_, _, err := c.takeUp(t.Context())
	must(t, err)
	name := stream.StatusName{Tenant: "acme", Subject: "s", Type: "t"}
	must(t, c.put(0, storedStatus(t, name, 1, time.Now(), stream.Mark{Sequence: 1}, 100)))
	c.complete = true
	must(t, c.note(checkpoint{Through: 1, Created: time.Now(), Durable: true}))
	c.leaveBehind()
	must(t, os.WriteFile(filepath.Join(dir, keptNew), nil, 0o600))
	f := tapped(t)
	f.cfg.Index, f.Left = false, NewLeft(dir, f.Scheduler.Log)
	f.index = newIndexer(f.Scheduler)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = f.Run(ctx) })
	defer running.Wait()
	defer cancel()
	natstest.Eventually(t, patience, func() bool {
		files, err := os.ReadDir(dir)
		return os.IsNotExist(err) || err == nil && len(files) == 0
	})
}

// TestRecordTooLargeForThePlace: a message that is larger than a place can say is left out, and hurts no other.
func TestRecordTooLargeForThePlace(t *testing.T) {
	t.Parallel()
	c := newStatusCopy(t.TempDir(), true)
	t.Cleanup(c.drop)
	large, other := stream.StatusName{Tenant: "acme", Subject: "large", Type: "t"}, stream.StatusName{Tenant: "acme", Subject: "s", Type: "t"}
	for sequence := range uint64(3) {
		s := storedStatus(t, large, 2*sequence+1, time.Now(), stream.Mark{Sequence: 1}, 1)
		if sequence == 1 {
			s.Data = make([]byte, maxRecord)
		}
		must(t, c.put(0, s, storedStatus(t, other, 2*sequence+2, time.Now(), stream.Mark{Sequence: 1}, 1)))
		if s = c.newest(large); sequence == 1 && s != nil || sequence != 1 && (s == nil || s.Sequence != 2*sequence+1) {
			t.Errorf("after %d: %s", 2*sequence+1, say(s))
		}
		if s := c.newest(other); s == nil || s.Sequence != 2*sequence+2 {
			t.Error("the other is gone")
		}
	}
}

// TestStatusForgottenByOurClockIsNotMissed: what is taken out as expired, while the broker still has it by its clock, may be the
// newest of its subject.
func TestStatusForgottenByOurClockIsNotMissed(t *testing.T) {
	t.Parallel()
	c := small(newStatusCopy(t.TempDir(), true), 1, 100, 100)
	t.Cleanup(c.drop)
	c.keep, c.complete = time.Hour, true
	now := time.Now()
	newest, older := stream.StatusName{Tenant: "acme", Subject: "s", Type: "t"}, stream.StatusName{Tenant: "acme", Subject: "s", Type: "u"}
	must(t, c.put(0, storedStatus(t, newest, 1, now.Add(-2*time.Hour), stream.Mark{At: now, Sequence: 1}, 1),
		storedStatus(t, older, 2, now, stream.Mark{Sequence: 2}, 1)))
	must(t, c.tidy(t.Context()))
	if s := c.newest(stream.StatusName{Tenant: "acme", Subject: "s"}); s != nil {
		t.Errorf("said: %s", say(s))
	}
	c.floor = 2 // by now the broker has let go of it, too
}
