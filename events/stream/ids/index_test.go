package ids

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// small has a run of 12 ids, and generations of two runs.
var small = sizes{least: 4, most: 16, bloom: 512, runs: 2}

func open(t rapid.TB, dir string, s sizes) *Index {
	t.Helper()
	x, err := Open(Config{Dir: dir, Window: time.Minute, Stream: "a stream", sizes: s})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// eventID is an id as events have it.
func eventID(n int) string {
	sum := sha256.Sum256(fmt.Append(nil, n))
	return base64.RawURLEncoding.EncodeToString(sum[:24])
}

// copyOf is the directory as a kill would leave it now.
func copyOf(t rapid.TB, dir string) string {
	t.Helper()
	to, err := os.MkdirTemp(filepath.Dir(dir), "copy")
	if err == nil {
		err = os.CopyFS(to, os.DirFS(dir))
	}
	if err != nil {
		t.Fatal(err)
	}
	return to
}

type stored struct {
	sequence uint64
	at       time.Time
}

// TestIndexFollowsTheModel: whatever comes, and however often it is killed and opened again, it finds what a map of all finds.
func TestIndexFollowsTheModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		dir := filepath.Join(t.TempDir(), "ids")
		x := open(rt, dir, small)
		defer func() { _ = x.Close() }()
		model, now, last, saved := map[string]stored{}, time.Now(), uint64(0), uint64(0)
		rt.Repeat(map[string]func(*rapid.T){
			"add": func(rt *rapid.T) {
				for range rapid.IntRange(1, 20).Draw(rt, "ids") {
					id := eventID(rapid.IntRange(0, 200).Draw(rt, "id"))
					if rapid.IntRange(0, 9).Draw(rt, "kind") == 0 {
						id = "" // a message without
					}
					last++
					x.Add(id, last, now)
					if id != "" {
						model[id] = stored{last, now}
					}
				}
			},
			"skip": func(rt *rapid.T) { last += rapid.Uint64Range(0, 5).Draw(rt, "skipped"); x.Skip(last) },
			"save": func(rt *rapid.T) {
				if err := x.Save(); err != nil {
					rt.Fatal(err)
				}
				saved = last
			},
			"wait": func(rt *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(1, 40).Draw(rt, "seconds")) * time.Second)
			},
			"kill": func(rt *rapid.T) {
				dir = copyOf(rt, dir)
				x = open(rt, dir, small)
				if x.Last() < saved || x.Last() > last {
					rt.Fatalf("knows up to %d, saved were %d of %d", x.Last(), saved, last)
				}
				for id, m := range model {
					if m.sequence > x.Last() {
						delete(model, id)
					}
				}
				last = x.Last()
			},
			"": func(rt *rapid.T) {
				if x.Last() != last {
					rt.Fatalf("knows up to %d, not %d", x.Last(), last)
				}
				for n := range 200 {
					m, ok := model[eventID(n)]
					if ok && !m.at.Add(time.Minute).After(now) && now.Sub(m.at) < time.Minute+2*time.Millisecond {
						continue // at the edge
					}
					want := ok && now.Sub(m.at) < time.Minute
					sequence, known, err := x.Find(eventID(n), now)
					if err != nil || known != want && !replaced(model, x, eventID(n)) || known && want && sequence != m.sequence {
						rt.Fatalf("id %d is at %d, %v, %v; want %+v, %v", n, sequence, known, err, m, want)
					}
				}
			},
		})
	})
}

// replaced: after a kill the model has lost what an id was before it came again.
func replaced(model map[string]stored, x *Index, id string) bool {
	_, ok := model[id]
	e, err := x.find(keyOf(id))
	return !ok && err == nil && !e.free() && e.sequence() <= x.Last()
}

// fill adds n ids, of which each ten are saved, at a time.
func fill(t testing.TB, x *Index, n int, at time.Time) {
	t.Helper()
	for range n {
		x.Add(eventID(int(x.Last()+1)), x.Last()+1, at)
		if x.Last()%10 == 0 {
			if err := x.Save(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := x.Save(); err != nil {
		t.Fatal(err)
	}
}

// knowsAll checks that an index has no gap: it knows all up to what it says.
func knowsAll(t testing.TB, x *Index, now time.Time) {
	t.Helper()
	for sequence := uint64(1); sequence <= x.Last(); sequence++ {
		if at, known, err := x.Find(eventID(int(sequence)), now); at != sequence || !known || err != nil {
			t.Fatalf("it says that it knows all up to %d, but %d is at %d, %v, %v", x.Last(), sequence, at, known, err)
		}
	}
}

// TestBrokenFilesLeaveNoGap: whichever byte of whichever file is changed, or file cut off or lost but the first, what is left of the index is
// its begin, or nothing.
func TestBrokenFilesLeaveNoGap(t *testing.T) {
	t.Parallel()
	dir, now := filepath.Join(t.TempDir(), "ids"), time.Now()
	x := open(t, dir, small)
	defer func() { _ = x.Close() }()
	fill(t, x, 66, now)
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 6 {
		t.Fatalf("%v, %v", files, err)
	}
	for i, file := range files {
		whole, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		broken := func(content []byte) {
			to := copyOf(t, dir)
			defer func() { _ = os.RemoveAll(to) }()
			path := filepath.Join(to, filepath.Base(file))
			if content == nil {
				err = os.Remove(path)
			} else {
				err = os.WriteFile(path, content, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			again := open(t, to, small)
			knowsAll(t, again, now)
			before := again.Last()
			fill(t, again, 30, now)
			knowsAll(t, again, now)
			if err := again.Close(); err != nil {
				t.Error(err)
			}
			again = open(t, to, small)
			if again.Last() != before+30 {
				t.Errorf("after %d and 30 more it knows %d", before, again.Last())
			}
			_ = again.Close()
		}
		for at := 0; at < len(whole); at += 7 {
			changed := append([]byte{}, whole...)
			changed[at] ^= 0x10
			broken(changed)
			broken(whole[:at])
		}
		if i > 0 {
			broken(nil)
		}
	}
}

// TestKilledWhileARunIsWritten: the log has all of a run that is not whole, and a whole run all of its log.
func TestKilledWhileARunIsWritten(t *testing.T) {
	t.Parallel()
	dir, now := filepath.Join(t.TempDir(), "ids"), time.Now()
	x := open(t, dir, small)
	fill(t, x, 23, now)
	before := copyOf(t, dir)
	fill(t, x, 1, now)
	runs, err := filepath.Glob(filepath.Join(dir, "*.run"))
	if err != nil || len(runs) != 2 {
		t.Fatal(runs, err)
	}
	run, err := os.ReadFile(runs[1])
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at <= len(run); at += 7 {
		to := copyOf(t, before)
		if err := os.WriteFile(filepath.Join(to, filepath.Base(runs[1])), run[:at], 0o600); err != nil {
			t.Fatal(err)
		}
		again := open(t, to, small)
		if again.Last() < 23 {
			t.Errorf("with %d bytes of the run it knows %d", at, again.Last())
		}
		knowsAll(t, again, now)
		_ = again.Close()
	}
	if err := x.Close(); err != nil {
		t.Error(err)
	}
}

func TestAnothersIndexIsDropped(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "ids")
	x := open(t, dir, small)
	fill(t, x, 66, time.Now())
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	x, err := Open(Config{Dir: dir, Window: time.Minute, Stream: "another", sizes: small})
	if err != nil {
		t.Fatal(err)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); x.Last() != 0 || len(files) != 0 {
		t.Errorf("it knows %d, and %v is left", x.Last(), files)
	}
	if _, known, err := x.Find(eventID(3), time.Now()); known || err != nil {
		t.Error("an id of another stream is known", err)
	}
}

// TestRunsOfLongAgoAreRemoved: files are of what is within the window.
func TestRunsOfLongAgoAreRemoved(t *testing.T) {
	t.Parallel()
	dir, now := filepath.Join(t.TempDir(), "ids"), time.Now()
	x := open(t, dir, small)
	for minute := range 20 {
		fill(t, x, 30, now.Add(time.Duration(minute)*time.Minute))
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) > 7 || len(x.generations) > 4 {
		t.Errorf("%d files, %d generations", len(files), len(x.generations))
	}
}

// TestIndexThatCannotBeWrittenGoesOn in memory; what is opened then is what was written before.
func TestIndexThatCannotBeWrittenGoesOn(t *testing.T) {
	t.Parallel()
	dir, now := filepath.Join(t.TempDir(), "ids"), time.Now()
	x := open(t, dir, small)
	fill(t, x, 30, now)
	if err := x.log.Close(); err != nil {
		t.Fatal(err)
	}
	x.Add(eventID(31), 31, now)
	if err := x.Save(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("saved: %v", err)
	}
	fill(t, x, 100, now) // without an error
	knowsAll(t, x, now)
	again := open(t, copyOf(t, dir), small)
	if again.Last() != 30 {
		t.Errorf("opened again it knows %d", again.Last())
	}
	knowsAll(t, again, now)
}

// TestOtherIDs: an id need not look like an event's.
func TestOtherIDs(t *testing.T) {
	t.Parallel()
	x := open(t, t.TempDir(), small)
	for n, id := range []string{"a", "b", "=", "0123456789012345678901234567890!", "01234567890123456789012345678901"} {
		if _, known, err := x.Find(id, time.Now()); known || err != nil {
			t.Errorf("%s is known before, %v", id, err)
		}
		x.Add(id, uint64(n+1), time.Now())
		if at, known, err := x.Find(id, time.Now()); at != uint64(n+1) || !known || err != nil {
			t.Errorf("%s is at %d, %v, %v", id, at, known, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	dir := filepath.Join(f.TempDir(), "ids")
	x := open(f, dir, small)
	fill(f, x, 30, time.Now())
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(filepath.Base(file), b)
	}
	f.Fuzz(func(t *testing.T, name string, content []byte) {
		to := copyOf(t, dir)
		defer func() { _ = os.RemoveAll(to) }()
		if err := os.WriteFile(filepath.Join(to, filepath.Base(name)), content, 0o600); err != nil {
			t.Skip()
		}
		x, err := Open(Config{Dir: to, Window: time.Minute, Stream: "a stream", sizes: small})
		if err != nil {
			return // as where there is a directory of that name
		}
		_, _, _ = x.Find("a", time.Now())
		_ = x.Close()
	})
}

// BenchmarkFull is with ten million ids.
func BenchmarkFull(b *testing.B) {
	const many = 10_000_000
	x := open(b, b.TempDir(), defaultSizes)
	now := time.Now()
	random := rand.New(rand.NewPCG(1, 2))
	id := func(n uint64) string {
		var raw [24]byte
		for i := range raw {
			raw[i] = byte((n*0x9e3779b97f4a7c15 ^ n>>7*0xbf58476d1ce4e5b9) >> (i % 8 * 8) * uint64(2*i+1))
		}
		sum := sha256.Sum256(raw[:])
		return base64.RawURLEncoding.EncodeToString(sum[:24])
	}
	began := time.Now()
	for n := range uint64(many) {
		x.Add(id(n), n+1, now)
		if n%64 == 0 {
			if err := x.Save(); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Logf("an id takes %s to be made and added", time.Since(began)/many)
	news, olds := make([]string, 4096), make([]string, 4096)
	for i := range news {
		news[i], olds[i] = id(many+uint64(i)), id(random.Uint64N(many))
	}
	b.Run("new", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			if _, _, err := x.Find(news[i%4096], now); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("known", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			if _, known, err := x.Find(olds[i%4096], now); err != nil || !known {
				b.Fatal(known, err)
			}
		}
	})
	b.Run("add", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			x.Add(news[i%4096], x.Last()+1, now)
			if i%64 == 0 {
				if err := x.Save(); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			if err := x.Close(); err != nil {
				b.Fatal(err)
			}
			x = open(b, x.cfg.Dir, defaultSizes)
		}
	})
}
