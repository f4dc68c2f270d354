package scheduler

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/test/natstest"
)

// small makes a copy that is soon full, tidied, and anew in each file.
func small(c *statusCopy, perSegment int64, segments, subjects int) *statusCopy {
	c.perSegment, c.segmentsMost, c.subjectsMost = perSegment, segments, subjects
	return c
}

// storedStatus is a message of the stream of statuses.
func storedStatus(t fataler, name stream.StatusName, sequence uint64, at time.Time, m stream.Mark, size int) *stream.StoredStatus {
	t.Helper()
	e, err := events.ParseStructured(fmt.Appendf(nil, `{"specversion":"1.0","id":"%d","source":"/s","type":%q,"tenant":%q,"subject":%q,"data":{"status":"%0*d"}}`,
		sequence, name.Type, name.Tenant, name.Subject, size, sequence))
	if err != nil {
		t.Fatal(err)
	}
	msg, err := (&stream.Status{Mark: m, Event: e}).Message()
	if err != nil {
		t.Fatal(err)
	}
	return &stream.StoredStatus{Subject: msg.Subject, Sequence: sequence, At: at, Header: msg.Header, Data: msg.Data}
}

type fataler interface {
	Helper()
	Fatal(...any)
}

// TestCopyIsTheStream: whatever is stored, late, twice, or by another, whatever expires or is deleted, and whatever there is no
// room for: what the copy says is what the stream has, or it says nothing.
func TestCopyIsTheStream(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		c := newStatusCopy(t.TempDir(), true)
		small(c, rapid.SampledFrom([]int64{1, 2000, 20_000}).Draw(rt, "segment"), rapid.SampledFrom([]int{3, 1000}).Draw(rt, "segments"),
			rapid.SampledFrom([]int{4, 1000}).Draw(rt, "subjects"))
		defer func() { c.drop() }()
		c.keep = time.Hour
		collide := rapid.Bool().Draw(rt, "collide")
		if collide {
			c.hash = func(string) uint64 { return 7 }
		}
		now := time.Now()
		clock := now.Add(-3 * time.Hour)
		model := map[string]*stream.StoredStatus{} // by subject of the stream
		told := true                               // the copy knows everything
		sequence := uint64(0)
		var late []*stream.StoredStatus
		rt.Repeat(map[string]func(*rapid.T){
			"store": func(rt *rapid.T) {
				var many []*stream.StoredStatus
				for range rapid.IntRange(1, 6).Draw(rt, "many") {
					sequence++
					name := stream.StatusName{
						Tenant: rapid.SampledFrom([]string{"acme", "other"}).Draw(rt, "tenant"), Subject: fmt.Sprint("s", rapid.IntRange(0, 7).Draw(rt, "subject")),
						Type: fmt.Sprint("t", rapid.IntRange(0, 2).Draw(rt, "type")),
					}
					clock = clock.Add(rapid.SampledFrom([]time.Duration{0, time.Second, 2 * time.Minute, time.Hour}).Draw(rt, "later"))
					if clock.After(now) {
						clock = now
					}
					mark := stream.Mark{At: now.Add(time.Duration(rapid.IntRange(0, 9).Draw(rt, "mark")) * time.Second), Sequence: sequence}
					s := storedStatus(rt, name, sequence, clock, mark, rapid.SampledFrom([]int{1, 900, 30_000}).Draw(rt, "size"))
					model[s.Subject] = s
					many = append(many, s)
				}
				if rapid.IntRange(0, 4).Draw(rt, "late") == 0 {
					late, told = append(late, many...), false
					c.set(func(c *statusCopy) { c.complete, c.trusted = false, false })
					return
				}
				if err := c.put(c.generation, many...); err != nil {
					rt.Fatal(err)
				}
			},
			"tell": func(rt *rapid.T) {
				if err := c.put(c.generation, late...); err != nil {
					rt.Fatal(err)
				}
				late, told = nil, true
				c.set(func(c *statusCopy) { c.complete, c.trusted = true, true })
			},
			"tidy": func(rt *rapid.T) {
				if err := c.tidy(context.Background()); err != nil {
					rt.Fatal(err)
				}
			},
			"tidy a part": func(rt *rapid.T) {
				g := c.untidy()
				if g == nil {
					return
				}
				if next, err := c.tidyPart(g, 0); err != nil || next < g.size {
					if err != nil {
						rt.Fatal(err)
					}
					return
				}
				if rapid.Bool().Draw(rt, "check") {
					must(t, c.recheck(c.checkpoint(g), c.generation))
				}
			},
			"note": func(rt *rapid.T) {
				if !told {
					return
				}
				if err := c.note(checkpoint{Through: sequence, Created: now, Durable: rapid.Bool().Draw(rt, "durable")}); err != nil {
					rt.Fatal(err)
				}
			},
			"kill": func(rt *rapid.T) { // and another process
				for _, g := range c.segments {
					if g == nil {
						continue
					}
					if rapid.Bool().Draw(rt, "half written") {
						_, err := g.file.WriteAt([]byte("half a record, and then some more of it, of what was being written"), g.size)
						must(t, err)
					}
					_ = g.file.Close()
				}
				next := newStatusCopy(c.dir, true)
				next.perSegment, next.segmentsMost, next.subjectsMost, next.hash, next.keep, next.floor = c.perSegment, c.segmentsMost, c.subjectsMost, c.hash, c.keep, c.floor
				through, created, err := next.takeUp(t.Context())
				if err != nil || through > 0 && !created.Equal(now) {
					rt.Fatal(through, created, err)
				}
				c, late = next, nil
				var missed []*stream.StoredStatus
				for _, s := range model {
					if s.Sequence > through && now.Sub(s.At) < time.Hour && s.Sequence >= c.floor {
						missed = append(missed, s)
					}
				}
				slices.SortFunc(missed, func(a, b *stream.StoredStatus) int { return cmp.Compare(a.Sequence, b.Sequence) })
				if err := c.put(c.generation, missed...); err != nil {
					rt.Fatal(err)
				}
				told = true
				c.set(func(c *statusCopy) { c.complete, c.trusted = true, true })
			},
			"go on": func(rt *rapid.T) { // in another process
				if !told || !c.complete || c.partial || sequence == 0 {
					return
				}
				if err := c.note(checkpoint{Through: sequence, Created: now, Durable: false}); err != nil {
					rt.Fatal(err)
				}
				before, former := c.says(), c
				c.leaveBehind()
				next := newStatusCopy(c.dir, true)
				next.perSegment, next.segmentsMost, next.subjectsMost, next.hash, next.keep, next.floor = c.perSegment, c.segmentsMost, c.subjectsMost, c.hash, c.keep, c.floor
				through, created, err := next.takeUp(t.Context())
				if err != nil || through != sequence || !created.Equal(now) {
					rt.Fatal(through, created, err)
				}
				if after := next.says(); after.bytes != before.bytes || after.subjects < before.subjects { // what was forgotten as expired may be there again
					rt.Fatalf("%+v was left, and %+v found", before, after)
				}
				c = next
				c.highest = former.highest
				c.set(func(c *statusCopy) { c.trusted = true })
			},
			"delete": func(*rapid.T) { // the first half, as by a purge
				c.floor = sequence / 2
			},
			"": func(rt *rapid.T) {
				says := c.says()
				lasting := uint64(0)
				for _, s := range model {
					if now.Sub(s.At) < time.Hour {
						lasting++
					}
				}
				if told && says.certain > lasting {
					rt.Fatalf("certain of %d, and the stream has %d", says.certain, lasting)
				}
				checkCopy(rt, c, model, told)
			},
		})
	})
}

func checkCopy(rt *rapid.T, c *statusCopy, model map[string]*stream.StoredStatus, told bool) {
	rt.Helper()
	for _, tenant := range []string{"acme", "other"} {
		for subject := range 8 {
			for _, typ := range []string{"", "t0", "t1", "t2"} {
				name := stream.StatusName{Tenant: tenant, Subject: fmt.Sprint("s", subject), Type: typ}
				got, want := c.newest(name), newestOf(rt, c, model, name)
				switch {
				case got == nil:
					certain := told && !c.partial && want != nil && len(c.places(c.key(want.Subject))) <= copyTypes && time.Since(want.At) < 50*time.Minute && want.Sequence >= c.floor
					if certain && typ != "" {
						rt.Fatalf("nothing is said of %+v", name)
					}
				case !told:
					rt.Fatalf("%+v is said while something is not known", name)
				case want == nil || got.Subject != want.Subject || got.Sequence != want.Sequence || !bytes.Equal(got.Data, want.Data) ||
					!got.At.Equal(want.At) || !gocmp.Equal(got.Header, want.Header):
					rt.Fatalf("%+v: got %s, want %s", name, say(got), say(want))
				}
			}
		}
	}
}

func say(s *stream.StoredStatus) string {
	if s == nil {
		return "nothing"
	}
	return fmt.Sprintf("%s %d of %s, %d bytes, %v", s.Subject, s.Sequence, s.At, len(s.Data), s.Header)
}

// newestOf is what the broker would say.
func newestOf(rt *rapid.T, c *statusCopy, model map[string]*stream.StoredStatus, name stream.StatusName) (newest *stream.StoredStatus) {
	rt.Helper()
	var at stream.Mark
	for subject, s := range model {
		if subjectOf(subject) != subjectOf(stream.StatusSubject(name.Tenant, name.Subject, "")) || s.Sequence < c.floor || time.Since(s.At) > time.Hour ||
			name.Type != "" && subject != stream.StatusSubject(name.Tenant, name.Subject, name.Type) {
			continue
		}
		m, err := s.Mark()
		if err != nil {
			rt.Fatal(err)
		}
		if newest == nil || m.After(at) {
			newest, at = s, m
		}
	}
	return newest
}

// TestCopyGivesRoomBack: what is replaced again and again takes no more than about twice what there is.
func TestCopyGivesRoomBack(t *testing.T) {
	t.Parallel()
	c := small(newStatusCopy(t.TempDir(), true), 100_000, 1000, 1000)
	t.Cleanup(c.drop)
	live := int64(0)
	for i := range 20_000 {
		s := storedStatus(t, stream.StatusName{Tenant: "acme", Subject: fmt.Sprint(i % 700), Type: "t"}, uint64(i+1), time.Now(), stream.Mark{Sequence: uint64(i + 1)}, 300)
		must(t, c.put(0, s))
		if i < 700 {
			live += int64(len(appendRecord(nil, s)))
		}
		if i%1000 == 0 {
			must(t, c.tidy(t.Context()))
			if says := c.says(); says.bytes > 2*live+1_000_000 {
				t.Fatalf("%d bytes for %d", says.bytes, live)
			}
		}
	}
	c.keep = time.Nanosecond
	must(t, c.tidy(t.Context()))
	if says := c.says(); says.statuses != 700 {
		t.Errorf("%d statuses, which clocks may have differ about", says.statuses)
	}
	c.drop()
	files, err := os.ReadDir(c.dir)
	must(t, err)
	if len(files) > 0 {
		t.Errorf("files are left: %v", files)
	}
}

// TestDamagedCopyIsNotAnswered: not a byte of what the disk changed.
func TestDamagedCopyIsNotAnswered(t *testing.T) {
	t.Parallel()
	c := newStatusCopy(t.TempDir(), true)
	t.Cleanup(c.drop)
	name := stream.StatusName{Tenant: "acme", Subject: "s", Type: "t"}
	s := storedStatus(t, name, 1, time.Now(), stream.Mark{Sequence: 1}, 100)
	must(t, c.put(0, s))
	size := int64(len(appendRecord(nil, s)))
	for at := int64(4); at < size; at++ {
		var b [1]byte
		_, err := c.last.file.ReadAt(b[:], at)
		must(t, err)
		_, err = c.last.file.WriteAt([]byte{b[0] ^ 4}, at)
		must(t, err)
		if got := c.newest(name); got != nil {
			t.Errorf("byte %d was changed: %+v", at, got)
		}
		_, err = c.last.file.WriteAt(b[:], at)
		must(t, err)
	}
	if !c.says().damaged {
		t.Error("nobody is told")
	}
	if c.newest(name) == nil {
		t.Error("it is not the same any more")
	}
}

// TestCopyOverARestart: what was stored while nobody kept the copy is known, and what was deleted is not.
func TestCopyOverARestart(t *testing.T) {
	t.Parallel()
	f := tapped(t)
	f.cfg.CopyLook, f.cfg.CopyDir = 10*time.Millisecond, t.TempDir()
	process := func() (stop func()) {
		f.begin()
		end := f.indexing()
		return func() { end(); f.index.leaveCopy() }
	}
	stop := process()
	for i := range 10 {
		f.ingest(event(t, fmt.Sprint("s", i), "t", fmt.Sprintf(status, 1, "x")))
	}
	must(t, f.statuses.Caught(t.Context()))
	f.copies()
	stop()
	f.ingest(event(t, "s1", "t", fmt.Sprintf(status, 2, "y"))) // read when it begins
	stop = process()
	if f.index.copying.through != 10 {
		t.Errorf("left through %d", f.index.copying.through)
	}
	f.copies()
	f.isGiven("s1", "t", "y")
	f.isGiven("s2", "", "x")
	stop()
	statuses, err := f.js.Stream(t.Context(), stream.StatusesName)
	must(t, err)
	must(t, statuses.Purge(t.Context()))
	stop = process()
	f.says("s2", "t", "")
	f.isGiven("s2", "t", "")
	stop()
}

// copies waits until the copy is complete, and counts what it answers.
func (f *fixture) copies() {
	f.Helper()
	natstest.Eventually(f, patience, func() bool {
		f.index.copied.mu.RLock()
		defer f.index.copied.mu.RUnlock()
		return f.index.copied.complete && f.index.copied.trusted
	})
}

// given is what comes with the answer of the scheduler; nil = nothing.
func (f *fixture) given(subject, typ string) *stream.Status {
	f.Helper()
	s, err := f.statuses.Ask(f.Context(), stream.StatusName{Tenant: "acme", Subject: subject, Type: typ})
	must(f, err)
	return s
}

func (f *fixture) isGiven(subject, typ, want string) {
	f.Helper()
	got := ""
	if s := f.given(subject, typ); s != nil {
		got = s.Value()
	}
	if got != want {
		f.Errorf("given %q of %q, type %q; want %q", got, subject, typ, want)
	}
}

// TestCopyAnswers: what was stored before the start, what is stored now, what waits to be stored, in either mode, by type and without.
func TestCopyAnswers(t *testing.T) {
	t.Parallel()
	f := tapped(t)
	f.cfg.CopyLook = 10 * time.Millisecond
	stop := f.indexing()
	for i := range 2 * copyFew {
		f.ingest(event(t, fmt.Sprint("s", i), "t", fmt.Sprintf(status, 1, "Old")))
	}
	must(t, f.statuses.Caught(t.Context()))
	stop()
	f.index.copied.drop() // as in another process
	f.index.copying = copying{}
	f.indexing()
	f.copies()
	f.isGiven("s7", "t", "Old")
	f.isGiven("s7", "", "Old")
	f.isGiven("s7", "u", "")
	f.isGiven("nobody", "", "")
	f.ingest(event(t, "s7", "u", fmt.Sprintf(status, 2, "New")))
	f.isGiven("s7", "t", "Old")
	f.isGiven("s7", "u", "New")
	f.isGiven("s7", "", "New")
	f.ingest(event(t, "s7", "t", fmt.Sprintf(status, 3, "Newest")))
	f.isGiven("s7", "", "Newest")
	f.isGiven("s7", "u", "New")
	binary, err := events.ParseNATS(map[string][]string{
		"ce-specversion": {"1.0"}, "ce-id": {"b"}, "ce-source": {"/s"}, "ce-type": {"t"}, "ce-tenant": {"acme"}, "ce-subject": {"bin%20ary"},
		"ce-empty": {""}, "ce-time": {"2026-01-01T00:00:00Z"}, "Content-Type": {"application/json"},
	}, []byte(`{"status":"Binary"}`))
	if err != nil {
		t.Fatal(err)
	}
	f.ingest(binary)
	f.isGiven("bin ary", "", "Binary")
	f.lookUp(stream.StatusName{Tenant: "acme", Subject: "bin ary"})
	if s, err := f.statuses.Ask(t.Context(), stream.StatusName{Tenant: "other", Subject: "s7"}); err != nil || s != nil {
		t.Errorf("given another tenant's: %+v, %v", s, err)
	}
}

// TestCopyOfAnEarlierRelease: who does not say that it takes a status gets none, and who knows of none is understood.
func TestCopyOfAnEarlierRelease(t *testing.T) {
	t.Parallel()
	f := tapped(t)
	f.cfg.CopyLook = 10 * time.Millisecond
	stop := f.indexing()
	f.ingest(event(t, "s", "t", fmt.Sprintf(status, 1, "x")))
	f.copies()
	for _, question := range []string{"", `{"tenant":"acme","subject":"s","type":"t"}`} {
		answer, err := f.js.Conn().Request(stream.SubjectIndexed, []byte(question), patience)
		must(t, err)
		if len(answer.Data) > 0 || len(answer.Header) > 0 {
			t.Errorf("%q is answered with %+v", question, answer)
		}
	}
	f.isGiven("s", "t", "x")
	stop()
	answer := []byte{}
	sub, err := f.js.Conn().Subscribe(stream.SubjectIndexed, func(m *nats.Msg) { _ = m.Respond(answer) })
	must(t, err)
	must(t, f.js.Conn().Flush())
	f.isGiven("s", "t", "")
	f.says("s", "t", "x")
	must(t, sub.Unsubscribe())
	_, err = f.js.Conn().Subscribe(stream.SubjectIndexed, func(m *nats.Msg) { _ = m.Respond(stream.StillBehind) })
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if s, err := f.statuses.Ask(ctx, stream.StatusName{Tenant: "acme", Subject: "s"}); err == nil || s != nil {
		t.Errorf("it is behind, and yet %+v", s)
	}
}

// TestCopyAfterATakeOver: what another has stored meanwhile is known, and until it is, and while the lease may be another's, the
// broker is asked.
func TestCopyAfterATakeOver(t *testing.T) {
	t.Parallel()
	f := tapped(t)
	f.cfg.CopyLook = 10 * time.Millisecond
	stop := f.indexing()
	f.ingest(event(t, "s", "t", fmt.Sprintf(status, 1, "First")))
	f.copies()
	f.isGiven("s", "t", "First")
	stop()
	next := &fixture{t, f.Scheduler, f.js}
	mine := f.index
	f.index = newIndexer(f.Scheduler)
	stop = next.indexing()
	f.ingest(event(t, "s", "t", fmt.Sprintf(status, 5, "Second")))
	next.copies()
	f.isGiven("s", "t", "Second")
	stop()
	f.index = mine
	l := newLease(f.JS, f.cfg, f.Scheduler.Log)
	f.lease.Store(l)
	f.indexing()
	f.says("s", "t", "Second")
	f.copies()
	f.isGiven("s", "t", "")
	l.renewed.Store(int64(time.Since(l.began)))
	f.isGiven("s", "t", "Second")
	l.renewed.Store(1)
	l.began = l.began.Add(-l.lasts())
	f.isGiven("s", "t", "")
}

// TestDeletedStatusIsNotAnswered: what an operator deletes by hand is not known for longer than to the next look.
func TestDeletedStatusIsNotAnswered(t *testing.T) {
	t.Parallel()
	f := tapped(t)
	f.cfg.CopyLook, f.cfg.CopyRest = 10*time.Millisecond, 10*time.Millisecond
	f.indexing()
	for i := range 10 {
		f.ingest(event(t, fmt.Sprint("s", i), "t", fmt.Sprintf(status, 1, "x")))
		f.given(fmt.Sprint("s", i), "t")
	}
	f.copies()
	f.isGiven("s5", "t", "x")
	f.isGiven("s6", "t", "x")
	statuses, err := f.js.Stream(t.Context(), stream.StatusesName)
	must(t, err)
	must(t, statuses.DeleteMsg(t.Context(), 6))
	natstest.Eventually(t, patience, func() bool { return f.given("s5", "t") == nil })
	f.copies()
	f.isGiven("s6", "t", "x")
	must(t, statuses.Purge(t.Context()))
	natstest.Eventually(t, patience, func() bool { return f.given("s6", "t") == nil })
	f.says("s6", "t", "")
	f.ingest(event(t, "s6", "t", fmt.Sprintf(status, 2, "y")))
	f.says("s6", "t", "y")
}

// TestCopyWithoutRoom: while there is little room, or the files cannot be written, look-ups go on in the broker.
func TestCopyWithoutRoom(t *testing.T) {
	t.Parallel()
	f := tapped(t)
	f.cfg.CopyLook, f.cfg.CopyRest = 10*time.Millisecond, 10*time.Millisecond
	dir := t.TempDir()
	f.index.copied.dir = dir + "/none"
	f.indexing()
	f.ingest(event(t, "s", "t", fmt.Sprintf(status, 1, "x")))
	f.says("s", "t", "x")
	f.isGiven("s", "t", "")
	must(t, os.Mkdir(dir+"/none", 0o700))
	natstest.Eventually(t, patience, func() bool { return f.given("s", "t") != nil })
	f.says("s", "t", "x")
	f.index.copied.changing.Lock()
	closed := f.index.copied.last.file.Close() // each write fails from now on
	f.index.copied.changing.Unlock()
	must(t, closed)
	f.ingest(event(t, "s", "t", fmt.Sprintf(status, 2, "y")))
	f.says("s", "t", "y")
	natstest.Eventually(t, patience, func() bool { s := f.given("s", "t"); return s != nil && s.Value() == "y" })
}

// TestCopyLeavesASmallDisk: the copy goes when the store is tight, so that its room is the store's.
func TestCopyLeavesASmallDisk(t *testing.T) {
	const env = "HOOKFLEET_SMALL_DISK"
	if os.Getenv(env) == "" {
		dir := t.TempDir()
		cmd := exec.CommandContext(t.Context(), "unshare", "-rm", "sh", "-c", `mount -t tmpfs -o size=64m tmpfs "$0" && exec "$@"`, dir,
			os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=90s")
		cmd.Env = append(os.Environ(), env+"="+dir, "TMPDIR="+dir)
		out, err := cmd.CombinedOutput()
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) && err != nil || bytes.Contains(out, []byte("unshare: ")) || bytes.Contains(out, []byte("mount: ")) {
			t.Skipf("no small disk here: %v: %s", err, out)
		}
		t.Logf("%s", out)
		must(t, err)
		return
	}
	f := tapped(t) // in TMPDIR
	f.cfg.CopyLook, f.cfg.CopyRest = 10*time.Millisecond, 10*time.Millisecond
	f.indexing()
	for i := range 100 {
		f.ingest(event(t, fmt.Sprint("s", i), "t", fmt.Sprintf(status, 1, fmt.Sprintf("%020000d", i))))
	}
	must(t, f.statuses.Caught(t.Context()))
	f.copies()
	if f.given("s7", "t") == nil {
		t.Fatal("there is no copy")
	}
	free, err := stream.DiskFree(os.Getenv(env))
	must(t, err)
	ballast := os.Getenv(env) + "/ballast"
	must(t, os.WriteFile(ballast, make([]byte, free-8<<20), 0o600))
	natstest.Eventually(t, patience, func() bool { return f.given("s7", "t") == nil })
	after, err := stream.DiskFree(os.Getenv(env))
	must(t, err)
	if after < 8<<20+1_500_000 {
		t.Errorf("%d bytes are free: the copy was not given back", after)
	}
	f.lookUp(stream.StatusName{Tenant: "acme", Subject: "s7"})
	must(t, os.Remove(ballast))
	natstest.Eventually(t, patience, func() bool { return f.given("s7", "t") != nil })
}
