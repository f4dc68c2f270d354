package scheduler

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/hookfleet/hookfleet/events/stream"
)

const (
	// backlogMost bounds the disk that statuses take which wait: two minutes of new subjects at full rate. What comes then waits
	// in EVENTS.
	backlogMost = 4 << 30
	// backlogSubjects bounds the memory, 50 bytes each.
	backlogSubjects = 4 << 20
	// parkAtOnce is how many are written to it at a time: a millisecond, for which who asks for one waits.
	parkAtOnce = 256
)

// backlog is statuses that wait to be stored on the disk, where there are more than there is room for in memory: as where a million
// subjects come at once, which the broker takes half as fast as their events. Of each name it has the newest, and it gives them
// in the order in which their subjects came. It is as a copy, in which an event's mark stands for the sequence. Who calls it holds
// indexer.storing, except for has, room, waits and empty.
//
// In a directory of its own it outlives the process, as the copy does: its checkpoint says up to which event everything is in it, or
// stored, so that the next process need not read those events again.
type backlog struct {
	*statusCopy
	sequence uint64   // how many were written
	order    []uint64 // keys, from head on; under mu, too
	head     uint64   // how many went
	pushed   uint64   // how many came
	goals    []goal   // in order
}

// goal says that everything up to an event is stored once so many keys went.
type goal struct{ through, end uint64 }

func newBacklog(dir string, kept bool) *backlog {
	b := &backlog{statusCopy: newStatusCopy(dir, kept)}
	b.prefix, b.complete = keptBacklog, true
	return b
}

// forget drops it.
func (b *backlog) forget() {
	b.drop()
	b.set(func(c *statusCopy) { c.complete, b.order, b.goals = true, nil, nil })
}

// resume begins with what was taken up.
func (b *backlog) resume() {
	type waiting struct {
		place place
		key   uint64
	}
	all := make([]waiting, 0, len(b.statusCopy.first))
	for key, p := range b.statusCopy.first {
		all = append(all, waiting{p, key})
	}
	slices.SortFunc(all, func(x, y waiting) int { return cmp.Compare(x.place.order(), y.place.order()) }) // about as it came
	order := make([]uint64, len(all))
	for i, w := range all {
		order[i] = w.key
	}
	b.set(func(*statusCopy) { b.order, b.pushed = order, b.head+uint64(len(order)) })
	b.sequence = b.highest
	b.goals = []goal{{b.noted.Through, b.pushed}}
}

// errBacklog says that something that waits is lost: what came since it was saved is to be read again.
var errBacklog = errors.New("statuses that wait on the disk are lost")

// room reports whether there is some for more.
func (b *backlog) room() bool {
	says := b.says()
	return says.bytes < backlogMost && says.subjects < backlogSubjects
}

var errParkRoom = errors.New("there is no room for more statuses that wait")

// park puts statuses at the end, unless a newer one is there. After an error some may be there, and some not.
func (b *backlog) park(statuses []*unsaved) error {
	var newer []*stream.StoredStatus
	var keys []uint64
	now := time.Now()
	for _, s := range statuses {
		key := b.key(s.subject)
		have, err := b.of(key)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(have, func(p parked) bool { return p.subject == s.subject && !s.mark.After(p.mark) }) {
			continue
		}
		if len(have) == 0 { // else its turn comes sooner
			keys = append(keys, key)
		}
		b.sequence++
		newer = append(newer, &stream.StoredStatus{Subject: s.subject, Sequence: b.sequence, At: now, Header: s.header, Data: s.data})
	}
	b.set(func(*statusCopy) { b.order, b.pushed = append(b.order, keys...), b.pushed+uint64(len(keys)) })
	if err := b.put(b.generation, newer...); err != nil {
		return err
	}
	if b.partial {
		b.set(func(c *statusCopy) { c.partial = false })
		return errParkRoom
	}
	return nil
}

// waits is how many subjects wait, about.
func (b *backlog) waits() int {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return len(b.order)
}

// parked is a status that waits, and where it lies.
type parked struct {
	*unsaved
	key   uint64
	place place
}

// first is what waits longest, of at most n subjects, and how many keys that is. It stays there until it is taken.
func (b *backlog) first(n int) (found []parked, keys int, err error) {
	for keys < len(b.order) && keys < n {
		key := b.order[keys]
		keys++
		if slices.ContainsFunc(found, func(p parked) bool { return p.key == key }) {
			continue
		}
		more, err := b.of(key)
		if err != nil {
			return nil, 0, err
		}
		found = append(found, more...)
	}
	return found, keys, nil
}

// of is what waits of a key.
func (b *backlog) of(key uint64) (found []parked, err error) {
	for _, p := range b.places(key) {
		s, err := b.read(p)
		if err != nil {
			return nil, errors.Join(errBacklog, err)
		}
		m, err := s.Mark()
		if err != nil {
			return nil, errors.Join(errBacklog, err)
		}
		found = append(found, parked{&unsaved{s.Subject, m, s.Header, s.Data}, key, p})
	}
	return found, nil
}

// has reports whether something may wait of a name.
func (b *backlog) has(name stream.StatusName) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	_, ok := b.statusCopy.first[b.key(stream.StatusSubject(name.Tenant, name.Subject, name.Type))]
	return ok
}

// ofNames is what waits of some names.
func (b *backlog) ofNames(names []stream.StatusName) (found []parked, err error) {
	for _, name := range names {
		subject := stream.StatusSubject(name.Tenant, name.Subject, name.Type)
		all, err := b.of(b.key(subject))
		if err != nil {
			return nil, err
		}
		for _, p := range all {
			asked := p.subject == subject || name.Type == "" && subjectOf(p.subject) == subjectOf(subject)
			if asked && !slices.ContainsFunc(found, func(o parked) bool { return o.subject == p.subject }) {
				found = append(found, p)
			}
		}
	}
	return found, nil
}

// take takes out what was stored.
func (b *backlog) take(stored []parked) {
	b.changing.Lock()
	defer b.changing.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range stored {
		b.remove(p.key, p.place)
	}
}

// pop takes as many keys, of which all was taken. It returns up to which event everything is stored by that; 0 = no farther than
// before.
func (b *backlog) pop(keys int) (through uint64) {
	b.set(func(*statusCopy) { b.order, b.head = b.order[keys:], b.head+uint64(keys) })
	for len(b.goals) > 0 && b.goals[0].end <= b.head {
		through, b.goals = b.goals[0].through, b.goals[1:]
	}
	return through
}

// empty is the segments that have nothing any more.
func (b *backlog) empty() (found []*segment) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, s := range b.segments {
		if s != nil && s != b.last && s.count == 0 {
			found = append(found, s)
		}
	}
	return found
}
