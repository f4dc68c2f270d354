package plain

import (
	"errors"
	"net"
)

// handed is a connection with what was read of it, for net/http.
type handed struct {
	net.Conn
	rest []byte // comes before what the connection has
}

// Read implements net.Conn.
func (h *handed) Read(p []byte) (int, error) {
	if len(h.rest) == 0 {
		return h.Conn.Read(p)
	}
	n := copy(p, h.rest)
	if h.rest = h.rest[n:]; len(h.rest) == 0 {
		h.rest = nil // its memory is not needed for the rest of a long life
	}
	return n, nil
}

// CloseWrite lets net/http end an answer whose request it has not read to the end.
func (h *handed) CloseWrite() error {
	if half, ok := h.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}
