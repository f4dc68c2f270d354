package ids

import "math/bits"

// table are the newest ids, by open addressing. An id's place is the first bits of its key.
type table struct {
	slots []entry // a power of two
	n     int
	max   int // slots
}

func newTable(least, most int) table { return table{slots: make([]entry, least), max: most} }

// full reports whether it has no room for more.
func (t *table) full() bool { return t.n >= t.max/4*3 }

func place(k key, slots int) int { return int(k.hi >> (65 - bits.Len(uint(slots)))) }

// find returns the slot of a key, or the free one where it belongs.
func (t *table) find(k key) *entry {
	for at := place(k, len(t.slots)); ; at = (at + 1) & (len(t.slots) - 1) {
		if e := &t.slots[at]; e.free() || e.key() == k {
			return e
		}
	}
}

// put enters an entry, in place of an older one with the same key.
func (t *table) put(e entry) {
	if t.n >= len(t.slots)/4*3 && len(t.slots) < t.max {
		t.grow()
	}
	slot := t.find(e.key())
	if slot.free() {
		t.n++
	}
	*slot = e
}

func (t *table) grow() {
	before := t.slots
	t.slots = make([]entry, 2*len(before))
	for _, e := range before {
		if !e.free() {
			*t.find(e.key()) = e
		}
	}
}

func (t *table) clear() {
	clear(t.slots)
	t.n = 0
}
