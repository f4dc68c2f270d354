package embedded

import (
	"net"
	"testing"
)

// TestConnectionOutlivesItsKeyWhenManyCome: who connected while it was looked which of many connections are left was forgotten, so that the end of
// its key was not its own.
func TestConnectionOutlivesItsKeyWhenManyCome(t *testing.T) {
	t.Parallel()
	addr := func(port int) net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port} }
	var s sessions
	s.note(addr(1), "here")
	s.note(addr(2), "gone")
	s.keep(func() map[string]uint64 {
		s.note(addr(3), "comes")
		return map[string]uint64{addr(1).String(): 1}
	})
	for key, want := range map[string]int{"here": 1, "gone": 0, "comes": 1} {
		if got := s.of(key); len(got) != want {
			t.Errorf("%s: %v", key, got)
		}
	}
}
