package worker

import "testing"

// TestHandedBack: only what nobody else had since we handed it back is known to be unsent.
func TestHandedBack(t *testing.T) {
	t.Parallel()
	h := &handedBack{times: map[uint64]int{}}
	h.note(1, 1)
	h.note(2, 1)
	for _, c := range []struct {
		from delivered
		want bool
	}{
		{delivered{Sequence: 1, Times: 2}, true},
		{delivered{Sequence: 1, Times: 3}, false}, // it had been forgotten
		{delivered{Sequence: 2, Times: 3}, false}, // somebody had it between
		{delivered{Sequence: 3, Times: 2}, false},
		{delivered{Sequence: 4, Times: 1}, false},
	} {
		if got := h.take(c.from); got != c.want {
			t.Errorf("%+v: %v", c.from, got)
		}
	}
	for i := range uint64(maxHandedBack + 10) {
		h.note(i, 1)
	}
	if n := len(h.times); n > maxHandedBack {
		t.Errorf("%d are remembered", n)
	}
}
