package ids

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Config says where an index lies, and what of.
type Config struct {
	Dir    string        // made if absent
	Window time.Duration // for how long an id is known; at least
	Stream string        // what it belongs to: what another one has left is dropped
	sizes  sizes         // the zero value is how it is outside of tests
}

// sizes are powers of two.
type sizes struct {
	least, most int // slots of the table
	bloom       int // bits of a generation's filter
	runs        int // of a generation
}

// defaultSizes: a generation has up to 983,040 ids, of which its filter takes 2 MiB. Of 12 million ids, which is ten minutes at 20,000 a
// second, there are 13, and a new id is looked for in each.
var defaultSizes = sizes{least: 4096, most: 1 << 18, bloom: 1 << 24, runs: 5}

// Index knows ids. See the package's promise.
type Index struct {
	cfg   Config
	owner [ownerSize]byte

	table       table
	base        uint64 // the table has what came after that sequence
	last        uint64
	newest      int64 // ms, of all that were added
	generations []*generation

	log     *os.File // nil = to be begun, or broken
	logPath string
	pending []byte // the record that Save writes
	saved   uint64 // sequence
	broken  bool   // nothing is written any more: what lies there is what was known then
	failed  error  // to be returned by Save
}

// generation are some runs, and a filter of what is in them.
type generation struct {
	bloom bloom
	runs  []*run
}

// Open opens the index in cfg.Dir. What is not whole there, of another stream, or does not follow on one another, is dropped: the index is
// then empty, and knows nothing (Last is 0).
func Open(cfg Config) (*Index, error) {
	if cfg.Window <= 0 {
		return nil, fmt.Errorf("window %s of ids", cfg.Window)
	}
	if cfg.sizes == (sizes{}) {
		cfg.sizes = defaultSizes
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	x := &Index{cfg: cfg, table: newTable(cfg.sizes.least, cfg.sizes.most), pending: make([]byte, recordHead)}
	sum := sha256.Sum256([]byte(cfg.Stream))
	copy(x.owner[:], sum[:])
	err := x.load()
	if errors.Is(err, errNotWhole) {
		err = x.Reset(0)
	}
	if err != nil {
		return nil, errors.Join(err, x.closeFiles())
	}
	x.expire(time.Now().UnixMilli())
	return x, nil
}

// Last is the sequence up to which all is known that is within the window; 0 = nothing is known.
func (x *Index) Last() uint64 { return x.last }

// Reset forgets all. It then knows all up to last: who calls adds what came later. Files are written again, where they could not be.
func (x *Index) Reset(last uint64) error {
	err := x.closeFiles()
	for _, pattern := range []string{"*.run", "*.log"} {
		files, globErr := filepath.Glob(filepath.Join(x.cfg.Dir, pattern))
		err = errors.Join(err, globErr)
		for _, file := range files {
			err = errors.Join(err, remove(file))
		}
	}
	x.table.clear()
	x.generations, x.pending = nil, x.pending[:recordHead]
	x.base, x.last, x.saved, x.broken = last, last, last, err != nil
	return err
}

// Find returns the sequence of the newest message with an id that was stored within the window before now. An error says that a file could
// not be read; the id may be known then.
func (x *Index) Find(id string, now time.Time) (sequence uint64, known bool, err error) {
	k := keyOf(id)
	e, err := x.find(k)
	if err != nil || e.free() || now.UnixMilli()-e.at() > x.cfg.Window.Milliseconds() {
		return 0, false, err
	}
	return e.sequence(), true, nil
}

func (x *Index) find(k key) (entry, error) {
	if e := x.table.find(k); !e.free() {
		return *e, nil
	}
	for _, g := range slices.Backward(x.generations) {
		if !g.bloom.may(k) {
			continue
		}
		for _, r := range slices.Backward(g.runs) {
			if e, err := r.find(k); err != nil || !e.free() {
				return e, err
			}
		}
	}
	return entry{}, nil
}

// Add adds a message with its id, "" if it has none, that was stored at a time. Its sequence is beyond Last; anything else is a mistake of
// who calls, and panics.
func (x *Index) Add(id string, sequence uint64, at time.Time) {
	if sequence <= x.last {
		panic(fmt.Sprintf("id of message %d added after %d", sequence, x.last))
	}
	x.last = sequence
	if id == "" {
		return
	}
	e := newEntry(keyOf(id), sequence, at)
	x.newest = max(x.newest, e.at())
	x.table.put(e)
	if !x.broken {
		n := len(x.pending)
		x.pending = slices.Grow(x.pending, entrySize)[:n+entrySize]
		e.put(x.pending[n:])
	}
	switch {
	case x.table.full():
		x.rotate()
	case len(x.pending) >= maxPending && !x.broken:
		x.write()
	}
}

// Skip says that up to last there is nothing more: it was removed.
func (x *Index) Skip(last uint64) { x.last = max(x.last, last) }

// maxPending bounds a record, and the room that is kept for the next: one of a group takes 48 KiB.
const maxPending = 256 << 10

// Save writes down what was added since. After an error, which it returns once, the index goes on in memory; Open will find what was
// written before.
func (x *Index) Save() error {
	if !x.broken && x.last > x.saved {
		x.write()
	}
	err := x.failed
	x.failed = nil
	return err
}

// write writes a record of what is pending.
func (x *Index) write() {
	if err := x.save(); err != nil {
		x.failed, x.broken = err, true
	}
	x.pending = x.pending[:recordHead]
}

func (x *Index) save() (err error) {
	if x.log == nil {
		x.logPath = x.path(x.base, "log")
		if x.log, err = openLog(x.logPath, head{logMagic, x.owner, x.saved}, 0); err != nil {
			return err
		}
	}
	record(x.pending, x.saved, x.last)
	if _, err := x.log.Write(x.pending); err != nil {
		return err
	}
	x.saved = x.last
	return nil
}

// Close saves, and ends the use of all files.
func (x *Index) Close() error { return errors.Join(x.Save(), x.closeFiles()) }

func (x *Index) closeFiles() (err error) {
	if x.log != nil {
		err, x.log = x.log.Close(), nil
	}
	for _, g := range x.generations {
		for _, r := range g.runs {
			if r.file != nil {
				_ = r.file.Close() // only read from
			}
		}
	}
	return err
}

// path is that of the file which begins after a sequence.
func (x *Index) path(after uint64, kind string) string {
	return filepath.Join(x.cfg.Dir, fmt.Sprintf("%016x.%s", after, kind))
}

// rotate makes a run of the table, which is full.
func (x *Index) rotate() {
	r := &run{mem: x.table.slots, slots: len(x.table.slots), last: x.last, newest: x.newest}
	if !x.broken {
		written, err := x.writeRun()
		if err != nil {
			x.failed, x.broken = cmp.Or(x.failed, err), true
		} else {
			r = written
		}
	}
	g := x.generation()
	for i := range x.table.slots {
		if e := &x.table.slots[i]; !e.free() {
			g.bloom.add(e.key())
		}
	}
	g.runs = append(g.runs, r)
	if r.mem != nil {
		x.table = newTable(len(r.mem), x.cfg.sizes.most)
	} else {
		x.table.clear()
	}
	x.base = x.last
	x.expire(x.newest)
}

// writeRun writes the table down, and has the log begin anew behind it.
func (x *Index) writeRun() (*run, error) {
	r, err := writeRun(x.path(x.base, "run"), head{runMagic, x.owner, x.base}, &x.table, x.last, x.newest)
	if err != nil {
		return nil, err
	}
	if x.log != nil {
		err = errors.Join(x.log.Close(), remove(x.logPath))
		x.log = nil
	}
	if err != nil {
		return nil, errors.Join(err, r.file.Close())
	}
	x.saved, x.pending = x.last, x.pending[:recordHead]
	return r, nil
}

// generation is the one that takes another run.
func (x *Index) generation() *generation {
	if n := len(x.generations); n > 0 && len(x.generations[n-1].runs) < x.cfg.sizes.runs {
		return x.generations[n-1]
	}
	g := &generation{bloom: newBloom(x.cfg.sizes.bloom)}
	x.generations = append(x.generations, g)
	return g
}

// expire drops the oldest runs as long as nothing in them is within the window.
func (x *Index) expire(now int64) {
	for len(x.generations) > 0 {
		g := x.generations[0]
		for len(g.runs) > 0 && now-g.runs[0].newest > x.cfg.Window.Milliseconds() {
			g.runs[0].drop()
			g.runs = g.runs[1:]
		}
		if len(g.runs) > 0 {
			return
		}
		x.generations = x.generations[1:]
	}
}
