package worker

import (
	"time"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

// fed is an event in the hands of a worker that took it from its feed.
type fed struct {
	from   delivered
	event  *events.Event       // as it was published; nil = stored has it
	stored *stream.StoredEvent // as it was read; nil = event has it

	older, newer *fed      // of all in hand, by sequence
	kept         *kept     // after its feed was left: so that the consumer's copy of it is passed over
	due          time.Time // of what failed to settle: when it is tried again
}

// inHand are the events of a feed that are in hand, in the order of their sequences. They are taken in that order, but for what
// was pulled before.
type inHand struct {
	ring  fed // the lowest sequence after it
	count int
}

func (h *inHand) init() { h.ring.older, h.ring.newer, h.count = &h.ring, &h.ring, 0 }

func (h *inHand) add(one *fed) {
	before := h.ring.older
	for before != &h.ring && before.from.Sequence > one.from.Sequence {
		before = before.older
	}
	one.older, one.newer = before, before.newer
	one.older.newer, one.newer.older = one, one
	h.count++
}

func (h *inHand) remove(one *fed) {
	one.older.newer, one.newer.older = one.newer, one.older
	h.count--
}

// lowest is the one with the lowest sequence; nil = there is none.
func (h *inHand) lowest() *fed {
	if h.count == 0 {
		return nil
	}
	return h.ring.newer
}

// highest is the sequence of the last one; 0 = there is none.
func (h *inHand) highest() uint64 { return h.ring.older.from.Sequence }

// each calls fn for all.
func (h *inHand) each(fn func(*fed)) {
	for one := h.ring.newer; one != &h.ring; one = one.newer {
		fn(one)
	}
}

// offered is an event that was stored, and waits in memory for its turn.
type offered struct {
	event *events.Event
	at    time.Time // when it came, which is no later than it was stored: who asks for events since a delivery was made finds its event
}

// Bounds of what waits in memory: as much as is delivered in a second or two at full rate. What is beyond is read from
// the stream when its turn comes.
const (
	maxOffered      = 32768
	maxOfferedBytes = 32 << 20
)

// offers are the events that wait in memory, by sequence.
type offers struct {
	all  map[uint64]offered
	size int
}

// put keeps an event whose turn comes after next, if there is room.
func (o *offers) put(sequence, next uint64, one offered) {
	size := one.event.Size()
	if sequence < next || sequence-next >= maxOffered || o.size+size > maxOfferedBytes {
		return
	}
	if _, ok := o.all[sequence]; ok {
		return
	}
	o.all[sequence] = one
	o.size += size
}

func (o *offers) has(sequence uint64) bool {
	_, ok := o.all[sequence]
	return ok
}

// take takes the event at sequence out; ok is false when it is not here.
func (o *offers) take(sequence uint64) (one offered, ok bool) {
	if one, ok = o.all[sequence]; ok {
		delete(o.all, sequence)
		o.size -= one.event.Size()
	}
	return one, ok
}

// forget drops what lies below next: it was read from the stream.
func (o *offers) forget(next uint64) {
	for sequence := range o.all {
		if sequence < next {
			o.take(sequence)
		}
	}
}
