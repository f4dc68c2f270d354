package scheduler

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hookfleet/hookfleet/events/stream"
)

// Bounds of a copy. Beyond them statuses are left out of it, and looked up in the broker.
const (
	// copySegment is the size of a file: what is reclaimed at a time.
	copySegment = 64 << 20
	// copySegments are 8 GiB: four million statuses of 2 KB.
	copySegments = 128
	// copySubjects take 300 MB of memory, a third of what they take in the broker.
	copySubjects = 8 << 20
	// copyTypes of a subject are looked through, at 3 µs each; the broker tells the newest of more.
	copyTypes = 16
	// copyBuffer is how much is written at a time.
	copyBuffer = 256 << 10
	// clockMargin: what comes by a consumer has the broker's time, what is stored now has ours.
	clockMargin = time.Minute
)

// statusCopy is a copy of what is in the stream of statuses, in files of its own: there a status is read in microseconds, while
// the broker reads a whole block of 4 MB for one. It knows what it was told of, in whatever order, and keeps of each name the
// one with the highest sequence; who tells it must see to it that it is told of everything. Where it does not know for certain
// it says nothing, and the broker is asked: of what has expired or was deleted, of another name with the same hash, of what
// is not in it. It is safe for concurrent use.
type statusCopy struct {
	dir          string
	hash         func(string) uint64 // of tenant and subject
	kept         bool                // its files have names, so that the next process finds them
	prefix       string              // of these names
	boot         string              // when the machine was started
	perSegment   int64
	segmentsMost int
	subjectsMost int
	changing     sync.Mutex // held by who changes anything; who holds it may read without mu
	text         []byte     // of put, as the next two: at most copyBuffer and a record
	records      []newRecord
	seen         map[uint64]bool
	name         string             // of its files, another one each time that it was dropped
	noted        checkpoint         // what is to be written down, without the files
	checked      []byte             // the checkpoint that is on the disk
	mu           sync.RWMutex       // of all below
	first        map[uint64]place   // a status of each subject, by the hash of tenant and subject
	more         map[uint64][]place // its others
	segments     []*segment         // by number; nil = there is none
	last         *segment           // what is written to; nil = none yet
	partial      bool               // something that it was told of is not in it
	highest      uint64             // sequence that it was told of
	complete     bool               // everything in the stream is in it, but what it left out
	trusted      bool               // what is in it is the newest of its name
	damaged      bool               // a record was not what was written
	floor        uint64             // the first sequence that the stream has
	keep         time.Duration      // how long the stream keeps a status; 0 = for ever
	generation   uint64             // how often it was dropped
}

// newStatusCopy is empty. In a directory of its own it can be left to the next process.
func newStatusCopy(dir string, kept bool) *statusCopy {
	c := &statusCopy{
		hash: hashOf, seen: map[uint64]bool{}, kept: kept, boot: bootID(), dir: cmp.Or(dir, os.TempDir()),
		perSegment: copySegment, segmentsMost: copySegments, subjectsMost: copySubjects,
	}
	c.reset()
	return c
}

// drop forgets everything, and gives the room on the disk back.
func (c *statusCopy) drop() {
	c.changing.Lock()
	defer c.changing.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clear()
	c.generation++
}

// clear gives the files up. Should the checkpoint be left, nobody will find what it speaks of.
func (c *statusCopy) clear() {
	if c.kept {
		_ = c.uncheck()
	}
	for _, s := range c.segments {
		s.close()
	}
	c.reset()
}

// reset begins a copy.
func (c *statusCopy) reset() {
	c.name, c.noted, c.checked = rand.Text()[:8], checkpoint{}, nil
	c.first, c.more, c.segments, c.last = map[uint64]place{}, map[uint64][]place{}, nil, nil
	c.partial, c.complete, c.damaged, c.trusted, c.highest = false, false, false, true, 0
}

// hashOf is the same in each process.
func hashOf(subject string) uint64 {
	h := uint64(14695981039346656037) // FNV-1a, whose package would have the text copied
	for i := range len(subject) {
		h = (h ^ uint64(subject[i])) * 1099511628211
	}
	return h
}

func (c *statusCopy) key(subject string) uint64 { return c.hash(subjectOf(subject)) }

// newRecord is one that is put, before it is written.
type newRecord struct {
	key      uint64
	place    place
	replaces place
	new      bool // it replaces none
	size     int
	at       time.Time
}

// put takes statuses in that were stored, unless it was dropped since it had a generation: then newer ones may have been lost.
// After an error it must be dropped, as it may lack one.
func (c *statusCopy) put(generation uint64, statuses ...*stream.StoredStatus) error {
	c.changing.Lock()
	defer c.changing.Unlock()
	if generation != c.generation {
		return nil
	}
	text, records := c.text[:0], c.records[:0]
	clear(c.seen)
	for _, s := range statuses {
		key := c.key(s.Subject)
		if c.seen[key] || len(text) > copyBuffer {
			if err := c.write(text, records, false); err != nil {
				return err
			}
			text, records = text[:0], records[:0]
			clear(c.seen)
		}
		r, ok, err := c.prepare(key, s)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		before := len(text)
		text = appendRecord(text, s)
		r.size = len(text) - before
		if r.size > maxRecord {
			text = text[:before]
			c.leave([]newRecord{r})
			continue
		}
		c.seen[key] = true
		records = append(records, r)
	}
	c.text, c.records = text, records
	return c.write(text, records, false)
}

// prepare finds what a status replaces; ok is false when it is not to be written, because a newer one is there or there is no
// room for one more subject.
func (c *statusCopy) prepare(key uint64, s *stream.StoredStatus) (r newRecord, ok bool, err error) {
	r = newRecord{key: key, at: s.At, new: true}
	for _, p := range c.places(r.key) {
		g, err := c.glance(p)
		if err != nil {
			return r, false, err
		}
		if g.subject != s.Subject {
			continue
		}
		c.highest = max(c.highest, s.Sequence)
		r.replaces, r.new = p, false
		return r, g.sequence < s.Sequence, nil
	}
	late := s.Sequence < c.highest
	c.highest = max(c.highest, s.Sequence)
	if len(c.first) >= c.subjectsMost || late && c.partial { // a newer one of its name may have been left out
		c.leaveOut()
		return r, false, nil
	}
	return r, true, nil
}

func (c *statusCopy) leaveOut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.partial = true
}

// places are those of a key.
func (c *statusCopy) places(key uint64) []place {
	p, ok := c.first[key]
	if !ok {
		return nil
	}
	more := c.more[key]
	if more == nil {
		return []place{p}
	}
	return append([]place{p}, more...)
}

// write writes records behind the last one and says where they are. What there is no room for is left out, and what it would
// have replaced with it. Who tidies may use the last segment that there may be.
func (c *statusCopy) write(text []byte, records []newRecord, tidying bool) error {
	for len(records) > 0 {
		s, err := c.writable(int64(records[0].size), tidying)
		if err != nil {
			return fmt.Errorf("copy statuses: %w", err)
		}
		if s == nil {
			c.leave(records)
			return nil
		}
		n, end := 0, s.size
		for n < len(records) && (n == 0 || end+int64(records[n].size) <= c.perSegment) {
			records[n].place = newPlace(s.number, end, records[n].size)
			end += int64(records[n].size)
			n++
		}
		part := text[:end-s.size]
		if _, err := s.file.WriteAt(part, s.size); err != nil {
			return fmt.Errorf("copy statuses: %w", err)
		}
		c.enter(s, end, records[:n])
		text, records = text[len(part):], records[n:]
	}
	return nil
}

// writable is a segment with room for some bytes, or none if there is no room for another segment.
func (c *statusCopy) writable(size int64, tidying bool) (*segment, error) {
	if c.last != nil && c.last.size+size <= c.perSegment {
		return c.last, nil
	}
	number, most := slices.Index(c.segments, nil), c.segmentsMost
	if number < 0 {
		number = len(c.segments)
	}
	if !tidying {
		most--
	}
	if number >= most {
		return nil, nil
	}
	s, err := c.newSegment(number)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if number == len(c.segments) {
		c.segments = append(c.segments, nil)
	}
	c.segments[number], c.last = s, s
	return s, nil
}

// enter takes records into the index that are written.
func (c *statusCopy) enter(s *segment, end int64, records []newRecord) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.size = end
	for _, r := range records {
		if !r.new {
			c.remove(r.key, r.replaces)
		}
		c.add(r.key, r.place)
		s.live += int64(r.place.most())
		s.count++
		if s.oldest.IsZero() || r.at.Before(s.oldest) {
			s.oldest = r.at
		}
	}
}

// add takes a place into the index.
func (c *statusCopy) add(key uint64, p place) {
	if _, ok := c.first[key]; ok {
		c.more[key] = append(c.more[key], p)
	} else {
		c.first[key] = p
	}
}

// leave takes what records replace out of the index.
func (c *statusCopy) leave(records []newRecord) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.partial = true
	for _, r := range records {
		if !r.new {
			c.remove(r.key, r.replaces)
		}
	}
}

// remove takes a place out of the index.
func (c *statusCopy) remove(key uint64, p place) {
	s := c.segments[p.segment()]
	s.live -= int64(p.most())
	s.count--
	rest := slices.DeleteFunc(c.places(key), func(o place) bool { return o == p })
	delete(c.more, key)
	if len(rest) == 0 {
		delete(c.first, key)
		return
	}
	c.first[key] = rest[0]
	if len(rest) > 1 {
		c.more[key] = rest[1:]
	}
}

// glance reads the beginning of a record.
func (c *statusCopy) glance(p place) (glance, error) {
	var b [recordGlance]byte
	n, err := c.segments[p.segment()].file.ReadAt(b[:min(p.most(), recordGlance)], p.offset())
	if n < recordHead {
		return glance{}, fmt.Errorf("read a copied status: %w", err)
	}
	return glanceAt(b[:n])
}

// newest returns the newest status of a name, nil when it does not know it for certain.
func (c *statusCopy) newest(name stream.StatusName) *stream.StoredStatus {
	subject := stream.StatusSubject(name.Tenant, name.Subject, name.Type)
	c.mu.RLock()
	found, err := c.find(subject, name.Type != "")
	c.mu.RUnlock()
	if err != nil {
		c.mu.Lock()
		c.damaged = true
		c.mu.Unlock()
	}
	return found
}

// at returns what is stored at a subject of the stream, nil when it does not know it for certain.
func (c *statusCopy) at(subject string) *stream.StoredStatus {
	c.mu.RLock()
	defer c.mu.RUnlock()
	found, _ := c.find(subject, true) // who looks for the newest tells of damage
	return found
}

func (c *statusCopy) find(subject string, typed bool) (newest *stream.StoredStatus, err error) {
	places := c.places(c.key(subject))
	if !c.trusted || !typed && (!c.complete || c.partial) || len(places) > copyTypes {
		return nil, nil
	}
	var at stream.Mark
	for _, p := range places {
		s, err := c.read(p)
		if err != nil {
			return nil, err
		}
		if typed && s.Subject != subject {
			continue
		}
		if !strings.HasPrefix(s.Subject, subjectOf(subject)) || s.Sequence < c.floor || c.expired(s.At, -clockMargin) {
			return nil, nil
		}
		mark, err := s.Mark()
		if err != nil {
			return nil, err
		}
		if newest == nil || mark.After(at) {
			newest, at = s, mark
		}
	}
	return newest, nil
}

// read reads a record.
func (c *statusCopy) read(p place) (*stream.StoredStatus, error) {
	b := make([]byte, p.most())
	n, err := c.segments[p.segment()].file.ReadAt(b, p.offset())
	if n < recordHead {
		return nil, fmt.Errorf("read a copied status: %w", err)
	}
	return readRecord(b[:n])
}

// expired reports whether the stream has let go of what was stored at a time, by a clock that is wrong by margin.
func (c *statusCopy) expired(at time.Time, margin time.Duration) bool {
	if c.keep <= 0 {
		return false
	}
	if margin < 0 {
		margin = -min(-margin, c.keep/8)
	}
	return time.Since(at) > c.keep+margin
}

// says is what a statusCopy says of itself.
type copySays struct {
	subjects, statuses int
	bytes              int64  // on the disk
	certain            uint64 // at least so many of its statuses must be in the stream
	damaged            bool
}

func (c *statusCopy) says() (s copySays) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	s.subjects, s.damaged = len(c.first), c.damaged
	for _, g := range c.segments {
		if g == nil {
			continue
		}
		s.statuses += g.count
		s.bytes += g.size
		if !c.expired(g.oldest, -clockMargin) {
			s.certain += uint64(g.count)
		}
	}
	return s
}

// set changes what it knows of the stream.
func (c *statusCopy) set(change func(c *statusCopy)) {
	c.changing.Lock()
	defer c.changing.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	change(c)
}
