package producer

import (
	"fmt"
	"testing"
)

// TestKnownForgetsNoRecentID: the last generation of ids is always known, across a rotation, and few others are taken for known.
func TestKnownForgetsNoRecentID(t *testing.T) {
	t.Parallel()
	var k known
	id := func(n int) string { return fmt.Sprintf("default\n/orders\n%d", n) }
	const ids = knownIDs + knownIDs/8
	wrong := 0
	for n := range ids {
		if k.add(id(n)) {
			wrong++
		}
	}
	if limit := ids / 50_000; wrong > limit { // two or so are to be expected
		t.Errorf("%d of %d new ids were taken for known, more than %d", wrong, ids, limit)
	}
	const step = 37
	for n := ids - 1; n >= ids-knownIDs; n -= step {
		if !k.add(id(n)) {
			t.Fatalf("id %d of %d is not known any more", n, ids)
		}
	}
	if !(&known{}).empty() {
		t.Error("the zero value knows something")
	}
}

func (k *known) empty() bool { return !k.add("x") }
