package egress

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// talk sends a request over plain TCP and takes the beginning of the answer, in one wait for the socket. Through net.Conn the same takes two
// reads that find nothing: before the request, whether the receiver has closed, and after it, because nothing has come yet.
type talk struct {
	conn *conn
	step func(fd uintptr) bool // made once

	out, in   []byte
	begun     bool
	sent, got int
	stale     bool // the receiver had closed, or had said something unasked, and nothing was sent
	err       error
}

func newTalk(c *conn) *talk {
	t := &talk{conn: c}
	t.step = t.steps
	return t
}

// run sends out and reads what comes first into in. It returns how much was sent and came; sent is less than all of out without an error
// when the socket takes no more, and nothing was read then. errUnsent says that the connection had ended before, and nothing was sent.
func (t *talk) run(out, in []byte) (sent, got int, err error) {
	*t = talk{conn: t.conn, step: t.step, out: out, in: in}
	err = t.conn.raw.Read(t.step)
	t.out, t.in = nil, nil
	switch {
	case t.stale:
		return 0, 0, errUnsent
	case err == nil:
		err = t.err
	}
	return t.sent, t.got, err
}

// steps is called before the first wait for the socket to be readable, and after each; true ends the waiting. The wait is armed before the first
// call, and only what comes later ends it: that nothing had come before is seen by isQuiet, and of a new connection, where somebody may have
// answered without being asked, by reading at once.
func (t *talk) steps(fd uintptr) bool {
	if !t.begun {
		t.begun = true
		if !t.conn.isQuiet(fd, &t.stale) || !t.send(fd) {
			return true
		}
		if t.conn.used {
			return false
		}
	}
	n, err := retried(syscall.Read, fd, t.in)
	switch {
	case errors.Is(err, syscall.EAGAIN):
		return false
	case err != nil:
		t.err = t.conn.failed("read", err)
	case n == 0:
		t.err = io.EOF
	}
	t.got = max(n, 0)
	return true
}

// send sends once, and reports whether all was taken.
func (t *talk) send(fd uintptr) bool {
	n, err := retried(syscall.Write, fd, t.out)
	t.sent = max(n, 0)
	if err != nil && !errors.Is(err, syscall.EAGAIN) {
		t.err = t.conn.failed("write", err)
		return false
	}
	return t.sent == len(t.out)
}

// isQuiet looks at a connection that was used before, and says in stale when it has ended, or has something that belongs to nobody.
func (c *conn) isQuiet(fd uintptr, stale *bool) bool {
	if !c.used {
		return true
	}
	var b [1]byte
	_, err := syscall.Read(int(fd), b[:])
	*stale = err != syscall.EAGAIN
	return !*stale
}

// failed is err as net.Conn would give it.
func (c *conn) failed(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.socket.LocalAddr(), Addr: c.socket.RemoteAddr(), Err: os.NewSyscallError(op, err)}
}

// retried does what a signal interrupted again.
func retried(do func(fd int, b []byte) (int, error), fd uintptr, b []byte) (n int, err error) {
	for {
		if n, err = do(int(fd), b); !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}
