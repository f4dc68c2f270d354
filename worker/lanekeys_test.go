package worker

import (
	"slices"
	"testing"
	"time"
)

// TestHandedBackLosesItsPlace: what was handed back, or was on its way to HELD, without a key went to the end of its lane, and
// a batch of a tick took newer ones.
func TestHandedBackLosesItsPlace(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, ticks := range []bool{false, true} {
		l := newLaneKeys(ticks)
		next := func() (*laneKey, *laneItem) {
			if ticks {
				return l.nextTicked(^uint64(0), now)
			}
			return l.next(now)
		}
		for n := range uint64(6) {
			l.add(l.of(""), &laneItem{sequence: n, first: true})
		}
		first, zero := next()
		second, one := next()
		l.back(first, zero)
		l.back(second, one)
		moved := l.ticked
		if !ticks {
			moved = l.ready
		}
		third := moved[2]
		third.waiting[0].moving = true
		var got []uint64
		for k, it := next(); it != nil; k, it = next() {
			if l.done(k, ""); it.sequence == 3 { // and 2 was passed over
				third.waiting[0].moving = false
				l.relist(third)
			}
			got = append(got, it.sequence)
		}
		if want := []uint64{0, 1, 3, 2, 4, 5}; !slices.Equal(got, want) {
			t.Errorf("ticks %v: taken in order %v, want %v", ticks, got, want)
		}
	}
}
