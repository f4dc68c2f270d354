package scheduler

import (
	"hash/fnv"
	"math"
	"sync"
	"time"

	"github.com/hookfleet/hookfleet/events/stream"
)

const (
	// recentMarks bounds each of the two halves of recent: some 10 MB when both are full.
	recentMarks = 32 << 10
	// recentParts: the newest time of what was forgotten is kept for so many parts of the subjects, each by itself, so that
	// an event with a time of the far future makes only one part of them be looked up.
	recentParts = 64
)

// newestTimes are the newest times of statuses, by the part of the subjects.
type newestTimes [recentParts]time.Time

func (n *newestTimes) note(part int, at time.Time) {
	if at.After(n[part]) {
		n[part] = at
	}
}

// partOf divides the subjects alike in every process, because newest times are stored.
func partOf(subject string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(subject))
	return int(h.Sum32() % recentParts)
}

// recent knows of statuses which event is the newest, without asking the broker: of some subjects exactly, of all others
// that it is no newer than what was forgotten. Events come about in the order of their times, so that nearly all are newer
// than that, and no look-up is needed to tell, which may have to load a block of the store.
type recent struct {
	mu           sync.Mutex
	fresh, aging map[string]stream.Mark   // by subject in the stream of statuses
	newest       newestTimes              // of all statuses there are
	written      uint64                   // the last sequence of their stream that it was told of
	forgotten    [recentParts]stream.Mark // the newest of those that are in neither map, by part
	most         int                      // in each map
}

// newRecent begins with nothing but the newest times of what is stored up to a sequence.
func newRecent(newest newestTimes, written uint64) *recent {
	r := &recent{fresh: map[string]stream.Mark{}, newest: newest, written: written, most: recentMarks}
	for part, at := range newest {
		r.forgotten[part] = stream.Mark{At: at, Sequence: math.MaxUint64}
	}
	return r
}

// judge reports whether m is newer than the status that is stored at subject; sure is false when that must be looked up.
func (r *recent) judge(subject string, m stream.Mark) (newer, sure bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.fresh[subject]
	if !ok {
		known, ok = r.aging[subject]
	}
	if ok {
		return m.After(known), true
	}
	return true, m.After(r.forgotten[partOf(subject)])
}

// note remembers what is stored at subject, at a sequence; 0 = that is not known.
func (r *recent) note(sequence uint64, subject string, m stream.Mark) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.written = max(r.written, sequence)
	r.newest.note(partOf(subject), m.At)
	r.fresh[subject] = m
	delete(r.aging, subject)
	if len(r.fresh) < r.most {
		return
	}
	for subject, m := range r.aging {
		if part := partOf(subject); m.After(r.forgotten[part]) {
			r.forgotten[part] = m
		}
	}
	r.fresh, r.aging = make(map[string]stream.Mark, r.most), r.fresh
}

// times returns the newest times of all statuses there are up to a sequence.
func (r *recent) times() (newest newestTimes, written uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.newest, r.written
}
