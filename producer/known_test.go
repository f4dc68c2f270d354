package producer

import (
	"fmt"
	"testing"
	"time"
)

// TestKnownForgetsNoIDWithinTheWindow: an id is known as long as it is a duplicate, across generations, and few others are taken for known.
func TestKnownForgetsNoIDWithinTheWindow(t *testing.T) {
	t.Parallel()
	const window, ids = time.Hour, 2*knownIDs + knownIDs/2
	k, began := newKnown(window), time.Now()
	id := func(n int) string { return fmt.Sprintf("default\n/orders\n%d", n) }
	at := func(n int) time.Time { return began.Add(time.Duration(n) * (window / ids)) }
	wrong := 0
	for n := range ids {
		if k.add(id(n), at(n)) {
			wrong++
		}
	}
	if limit := ids / 50_000; wrong > limit { // some five are to be expected
		t.Errorf("%d of %d new ids were taken for known, more than %d", wrong, ids, limit)
	}
	for n := 0; n < ids; n += 7 {
		if !k.add(id(n), at(ids)) {
			t.Fatalf("id %d of %d is not known any more", n, ids)
		}
	}
	if k.add(id(0), at(3*ids)) || len(k.all) != 1 {
		t.Errorf("an id of long ago is known, and %d generations are kept", len(k.all))
	}
}

// TestKnownWithoutRoom: where more ids come within the window than there is room for, all may be known until none of those that had
// to go can be a duplicate.
func TestKnownWithoutRoom(t *testing.T) {
	t.Parallel()
	const window = time.Minute
	k, began := newKnown(window), time.Now()
	for range generations {
		k.all = append(k.all, &generation{bits: make([]uint64, knownBits/64), n: knownIDs, last: began})
	}
	if !k.add("new", began.Add(time.Second)) || len(k.all) != generations {
		t.Errorf("a new id is known to be new, with %d generations", len(k.all))
	}
	if k.add("newer", began.Add(window+time.Second)) {
		t.Error("a new id may be known, although all that had to go are too old")
	}
}
