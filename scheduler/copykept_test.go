package scheduler

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/test/natstest"
)

// TestHalfACopyIsNotTakenUp: whatever byte of what a killed process left is not what it was, or missing, nothing of it is answered, and
// nothing is left on the disk.
func TestHalfACopyIsNotTakenUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := stream.StatusName{Tenant: "acme", Subject: "s", Type: "t"}
	c := newStatusCopy(dir, true)
	must(t, c.put(0, storedStatus(t, name, 1, time.Now(), stream.Mark{Sequence: 1}, 1)))
	c.complete = true
	must(t, c.note(checkpoint{Through: 1, Created: time.Now(), Durable: false}))
	segment, check := c.last.name, filepath.Join(dir, keptCheckpoint)
	records, err := os.ReadFile(segment)
	must(t, err)
	checked := c.checked
	c.leaveBehind()
	try := func(records, checked []byte) uint64 {
		t.Helper()
		must(t, os.WriteFile(segment, records, 0o600))
		must(t, os.WriteFile(check, checked, 0o600))
		next := newStatusCopy(dir, true)
		through, _, _ := next.takeUp(t.Context())
		next.trusted = true
		if s := next.newest(name); (s != nil) != (through > 0) {
			t.Errorf("through %d: %s", through, say(s))
		}
		next.drop()
		files, err := os.ReadDir(dir)
		must(t, err)
		if len(files) > 0 {
			t.Fatalf("files are left: %v", files)
		}
		return through
	}
	if through := try(append(bytes.Clone(records), "what came later"...), checked); through != 1 {
		t.Errorf("taken up through %d", through)
	}
	for at := range records {
		damaged := bytes.Clone(records)
		damaged[at] ^= 4
		if through := try(damaged, checked); through > 0 {
			t.Errorf("byte %d was changed, and it is taken up", at)
		}
		if through := try(records[:at], checked); through > 0 {
			t.Errorf("there were %d bytes, and it is taken up", at)
		}
	}
	for at := range checked {
		try(records, checked[:at])
	}
	for _, other := range []string{`{}`, `[]`, `{"format":2,"through":1,"durable":true,"segments":[{"number":-1}]}`, `{"format":2,"through":1,"durable":true,"copy":"x","segments":[{"number":7,"size":9}]}`} {
		if through := try(records, []byte(other)); through > 0 {
			t.Errorf("%s is taken up", other)
		}
	}
}

// TestCopyAfterAPowerCut: what the stream may have lost then, and has others in its place, is not said; where it had all of it for good
// the copy is taken up.
func TestCopyAfterAPowerCut(t *testing.T) {
	t.Parallel()
	for _, durable := range []bool{false, true} {
		c := newStatusCopy(t.TempDir(), true)
		c.boot = "before"
		must(t, c.put(0, storedStatus(t, stream.StatusName{Tenant: "acme", Subject: "s", Type: "t"}, 1, time.Now(), stream.Mark{Sequence: 1}, 1)))
		c.complete = true
		must(t, c.note(checkpoint{Through: 1, Created: time.Now(), Durable: durable}))
		for _, boot := range []string{"after", ""} {
			next := newStatusCopy(c.dir, true)
			next.boot = boot
			through, _, err := next.takeUp(t.Context())
			must(t, err)
			if (through > 0) != durable {
				t.Errorf("durable %v: taken up through %d", durable, through)
			}
			if !durable {
				break // it is gone
			}
			next.leaveBehind()
		}
	}
}

// keptFixture is a process that leaves its copy.
func keptFixture(t *testing.T) *fixture {
	f := tapped(t)
	f.cfg.CopyLook, f.cfg.CopyDir = 10*time.Millisecond, t.TempDir()
	return f
}

// begin begins as another process does.
func (f *fixture) begin() {
	f.Helper()
	f.index = newIndexer(f.Scheduler)
	f.Left = NewLeft(f.cfg.CopyDir, f.Scheduler.Log)
	f.Left.Read(f.Context())
	if !f.index.takeUp(f.Context()) {
		f.Fatal("it has ended")
	}
}

// process begins as another one does, and returns how to kill it: what it has not written down is lost.
func (f *fixture) process() (kill func()) {
	f.Helper()
	f.begin()
	ctx, cancel := context.WithCancelCause(f.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); f.runIndex(ctx) }()
	kill = func() { cancel(errLost); <-ended } // nothing is stored at the end
	f.Cleanup(kill)
	return kill
}

// noted waits until it is written down that everything in the stream is in the copy.
func (f *fixture) noted() {
	f.Helper()
	last := f.written()
	natstest.Eventually(f, patience, func() bool {
		f.index.copied.changing.Lock()
		defer f.index.copied.changing.Unlock()
		return f.index.copied.checked != nil && f.index.copied.noted.Through >= last
	})
}

// TestCopyAfterAKill: after a kill, all statuses were read anew from the broker, and for that long look-ups took many times as long.
func TestCopyAfterAKill(t *testing.T) {
	t.Parallel()
	f := keptFixture(t)
	kill := f.process()
	for i := range 10 {
		f.ingest(event(t, fmt.Sprint("s", i), "t", fmt.Sprintf(status, 1, "x")))
	}
	must(t, f.statuses.Caught(t.Context()))
	f.noted()
	kill()
	f.ingest(event(t, "s1", "t", fmt.Sprintf(status, 2, "y")))
	kill = f.process()
	if f.index.copying.through != 10 || f.index.copied.says().subjects != 10 {
		t.Errorf("taken up through %d: %+v", f.index.copying.through, f.index.copied.says())
	}
	f.copies()
	f.isGiven("s1", "t", "y")
	f.isGiven("s2", "", "x")
	f.noted()
	kill()
	must(t, f.index.save(t.Context(), f.lastEvent())) // else its event would be read again, and stored
	statuses, err := f.js.Stream(t.Context(), stream.StatusesName)
	must(t, err)
	gone, err := statuses.GetLastMsgForSubject(t.Context(), stream.StatusSubject("acme", "s2", "t"))
	must(t, err)
	must(t, statuses.DeleteMsg(t.Context(), gone.Sequence))
	f.ingest(event(t, "new", "t", fmt.Sprintf(status, 2, "y"))) // so that there are as many as before
	kill = f.process()
	f.says("s2", "t", "")
	f.isGiven("s2", "t", "")
	f.says("new", "t", "y")
	kill()
	must(t, f.index.save(t.Context(), f.lastEvent()))
	info, err := statuses.Info(t.Context())
	must(t, err)
	must(t, f.js.DeleteStream(t.Context(), stream.StatusesName))
	_, err = f.js.CreateStream(t.Context(), info.Config)
	must(t, err)
	kill = f.process()
	f.says("s3", "t", "")
	f.isGiven("s3", "t", "")
	kill()
}

// TestSegmentGoesAfterItsCheckpoint: who is killed while it gives room back leaves what can be taken up.
func TestSegmentGoesAfterItsCheckpoint(t *testing.T) {
	t.Parallel()
	c := small(newStatusCopy(t.TempDir(), true), 2000, 1000, 1000)
	t.Cleanup(c.drop)
	name := func(i int) stream.StatusName {
		return stream.StatusName{Tenant: "acme", Subject: fmt.Sprint(i), Type: "t"}
	}
	sequence := uint64(0)
	put := func(i int) {
		sequence++
		must(t, c.put(c.generation, storedStatus(t, name(i), sequence, time.Now(), stream.Mark{Sequence: sequence}, 100)))
	}
	for i := range 30 {
		put(i)
	}
	c.complete = true
	must(t, c.note(checkpoint{Through: sequence, Created: time.Now(), Durable: false}))
	for range 20 {
		for i := range 29 {
			put(i)
		}
		must(t, c.tidy(t.Context())) // which takes files that the checkpoint spoke of
	}
	next := newStatusCopy(c.dir, true)
	through, _, err := next.takeUp(t.Context())
	must(t, err)
	if through != 30 {
		t.Fatalf("taken up through %d", through)
	}
	next.trusted = true
	if s := next.newest(name(29)); s == nil || s.Sequence != 30 {
		t.Errorf("what was not stored since is %s", say(s))
	}
}
