package scheduler

import (
	"container/list"
	"slices"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

// Bounds of what is held back. Ten thousand subjects with events of 1 KiB have room in it, each of which is then stored once
// for all its events of some seconds; with more subjects than have room a status is stored for fewer events each.
const (
	maxUnstored = 24 << 20
	// unstoredOverhead is about what one takes beside the bytes of its event and its names.
	unstoredOverhead = 256
)

// unstored is the newest statuses that were found and are not stored yet: at most one of each subject and type. It holds
// copies of the events' bytes, because an event that came in a batch would keep the whole batch in memory.
type unstored struct {
	mu       sync.Mutex
	subjects map[subjectName]*pending // the first of its types
	order    list.List                // of *pending, by number
	writing  []*pending               // taken, and not known to be stored
	bytes    int                      // of all, those that are being written included
	number   uint64
	most     int           // bytes
	much     chan struct{} // there is much
	room     chan struct{} // closed when there may be room again
}

type subjectName struct{ tenant, subject string }

// pending is one status that is not stored.
type pending struct {
	stream.Mark
	subjectName
	typ     string
	header  nats.Header // nil in structured mode, where it is always the same
	payload []byte      // its own
	size    int         // about, in memory
	number  uint64      // in the order in which they came in
	place   *list.Element
	next    *pending // of the subject, another type
}

func newUnstored() *unstored {
	return &unstored{subjects: map[subjectName]*pending{}, most: maxUnstored, much: make(chan struct{}, 1), room: make(chan struct{})}
}

// put takes a status in, unless there is a newer one. It returns false when there is no room for it.
func (u *unstored) put(e *events.Event, m stream.Mark) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	name, before := subjectName{e.Tenant(), e.Subject()}, 0
	have := u.find(name, e.Type())
	if have != nil {
		if !m.After(have.Mark) {
			return true
		}
		before = have.size
	}
	if u.bytes > 0 && u.bytes-before+e.Size()+unstoredOverhead > u.most {
		signal(u.much)
		return false
	}
	if have == nil {
		have = &pending{subjectName: subjectName{strings.Clone(name.tenant), strings.Clone(name.subject)}, typ: strings.Clone(e.Type())}
		u.number++
		have.number = u.number
		u.add(have)
	}
	have.Mark = m
	have.set(e)
	u.bytes += have.size - before
	if u.bytes > u.most/12*7 { // it is moved on before the room is wanted
		signal(u.much)
	}
	return true
}

// set copies the event.
func (p *pending) set(e *events.Event) {
	var payload []byte
	if e.IsStructured() {
		p.header, payload = nil, e.Structured()
	} else {
		p.header, payload = e.Message()
	}
	if cap(p.payload) < len(payload) {
		p.payload = make([]byte, 0, len(payload))
	}
	p.payload = append(p.payload[:0], payload...)
	p.size = cap(p.payload) + max(0, e.Size()-len(payload)) + len(p.tenant) + len(p.subject) + len(p.typ) + unstoredOverhead
}

func (u *unstored) find(name subjectName, typ string) *pending {
	for p := u.subjects[name]; p != nil; p = p.next {
		if p.typ == typ {
			return p
		}
	}
	return nil
}

// add puts p in its place by number: nearly always the last.
func (u *unstored) add(p *pending) {
	p.next = u.subjects[p.subjectName]
	u.subjects[p.subjectName] = p
	u.queue(p)
}

func (u *unstored) queue(p *pending) {
	at := u.order.Back()
	for at != nil && at.Value.(*pending).number > p.number {
		at = at.Prev()
	}
	if at == nil {
		p.place = u.order.PushFront(p)
	} else {
		p.place = u.order.InsertAfter(p, at)
	}
}

// drop takes p out.
func (u *unstored) drop(p *pending) {
	u.order.Remove(p.place)
	if first := u.subjects[p.subjectName]; first != p {
		for first.next != p {
			first = first.next
		}
		first.next = p.next
	} else if p.next != nil {
		u.subjects[p.subjectName] = p.next
	} else {
		delete(u.subjects, p.subjectName)
	}
	p.next = nil
}

// last is the number of the newest one there is.
func (u *unstored) last() uint64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.number
}

// count is how many there are.
func (u *unstored) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.order.Len()
}

// over reports whether more than a third of the room is taken.
func (u *unstored) over() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.bytes > u.most/3
}

// crowded reports whether the room will soon be taken.
func (u *unstored) crowded() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.bytes > u.most/12*10
}

// take takes out those that came first, at most n and at most up to a number, to be written. stored or back must follow
// before anything else is taken.
func (u *unstored) take(n int, through uint64) []*pending {
	u.mu.Lock()
	defer u.mu.Unlock()
	for at := u.order.Front(); at != nil && len(u.writing) < n; at = u.order.Front() {
		p := at.Value.(*pending)
		if p.number > through {
			break
		}
		u.drop(p)
		u.writing = append(u.writing, p)
	}
	return u.writing
}

// has reports whether something of a name is there, or is being written.
func (u *unstored) has(name stream.StatusName) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.ContainsFunc(u.writing, func(p *pending) bool { return p.is(name) }) || u.ofName(name) != nil
}

// takeOf takes out what there is of some names, as take.
func (u *unstored) takeOf(names []stream.StatusName) []*pending {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, name := range names {
		for p := u.ofName(name); p != nil; p = u.ofName(name) {
			u.drop(p)
			u.writing = append(u.writing, p)
		}
	}
	return u.writing
}

func (u *unstored) ofName(name stream.StatusName) *pending {
	p := u.subjects[subjectName{name.Tenant, name.Subject}]
	for p != nil && !p.is(name) {
		p = p.next
	}
	return p
}

func (p *pending) is(name stream.StatusName) bool {
	return p.tenant == name.Tenant && p.subject == name.Subject && (name.Type == "" || p.typ == name.Type)
}

// makeRoom wakes all who wait for room.
func (u *unstored) makeRoom() {
	close(u.room)
	u.room = make(chan struct{})
}

// roomier is closed when there is more room than now.
func (u *unstored) roomier() <-chan struct{} {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.room
}

// stored says that all that was taken is stored.
func (u *unstored) stored() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, p := range u.writing {
		u.bytes -= p.size
	}
	u.writing = nil
	u.makeRoom()
}

// back says that what was taken may not be stored. It returns to its place; where a newer one has come meanwhile, that one
// takes the place, as it stands for the events of both.
func (u *unstored) back() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, p := range u.writing {
		have := u.find(p.subjectName, p.typ)
		if have == nil {
			u.add(p)
			continue
		}
		if p.After(have.Mark) {
			have.Mark, p.Mark = p.Mark, have.Mark
			have.header, p.header = p.header, have.header
			have.payload, p.payload = p.payload, have.payload
			have.size, p.size = p.size, have.size
		}
		u.order.Remove(have.place)
		have.number = min(have.number, p.number)
		u.queue(have)
		u.bytes -= p.size
	}
	u.writing = nil
	u.makeRoom()
}

// name is where it is stored.
func (p *pending) name() string { return stream.StatusSubject(p.tenant, p.subject, p.typ) }

// unsaved is a status that is to be stored.
type unsaved struct {
	subject string // in the stream of statuses
	mark    stream.Mark
	header  nats.Header
	data    []byte
}

// unsavedOf makes of statuses what is to be stored.
func unsavedOf(taken []*pending) ([]*unsaved, error) {
	all := make([]*unsaved, len(taken))
	for i, p := range taken {
		header := p.header
		if header == nil {
			header = events.StructuredHeader()
		}
		msg, err := stream.StatusMessage(p.name(), p.Mark, header, p.payload)
		if err != nil {
			return nil, err
		}
		all[i] = &unsaved{msg.Subject, p.Mark, msg.Header, msg.Data}
	}
	return all, nil
}
