package egress

import (
	"context"
	"net"
	"syscall"
	"time"
)

// host is whose connections may stand in for each other.
type host struct {
	tenant, scheme, authority string
	tls                       string // identity of the settings
	proxied                   bool
}

// conn is one connection to a receiver, with at most one exchange on it.
type conn struct {
	net.Conn          // TCP, or TLS over it
	socket   net.Conn // the TCP below
	raw      syscall.RawConn
	host     host
	used     bool            // has carried an exchange
	abort    func()          // ends what blocks on it; made once
	under    context.Context // whose end calls abort; nil = none
	release  func() bool     // from under; false when abort was called, or is about to be
	last     <-chan struct{} // Done of the last exchange's context

	until      time.Time // when idle: not used from then on
	prev, next *conn     // when idle: younger and older ones
	probe      func(fd uintptr) bool
	quiet      bool // what probe found
	talk       *talk
}

func newConn(nc net.Conn, tcp *net.TCPConn, to host) (*conn, error) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: nc, socket: tcp, raw: raw, host: to}
	if nc == net.Conn(tcp) {
		c.talk = newTalk(c)
	}
	c.abort = func() { _ = c.SetDeadline(time.Unix(1, 0)) } // an error says that it is closed already
	c.probe = func(fd uintptr) bool {
		var b [1]byte
		_, err := syscall.Read(int(fd), b[:])
		c.quiet = err == syscall.EAGAIN
		return true
	}
	return c, nil
}

// open reports whether the receiver has neither closed the idle connection nor sent anything unasked (a TLS goodbye, a 408).
func (c *conn) open() bool {
	c.quiet = false
	return c.raw.Read(c.probe) == nil && c.quiet
}

// heed lets the end of ctx end what blocks on the connection. It returns false when the one has ended that it heeded: that may call abort at
// any time, or has called it before the deadline of this exchange was set.
func (c *conn) heed(ctx context.Context) bool {
	if c.under != nil {
		if c.under.Done() == ctx.Done() {
			return ctx.Err() == nil
		}
		if !c.release() {
			return false
		}
		c.under = nil
	}
	if ctx.Done() != nil {
		c.under, c.release = ctx, context.AfterFunc(ctx, c.abort)
	}
	return true
}

// rest is called after an exchange, and reports whether its context lives. A context that two exchanges in a row had is heeded on: deliveries all
// have the same, and to let go of it and heed it again costs as much as an answer's header does. All others end when their callers return.
func (c *conn) rest() bool {
	if c.under == nil {
		return true
	}
	done := c.under.Done()
	if c.last == done {
		return c.under.Err() == nil
	}
	c.last, c.under = done, nil
	return c.release()
}

// drop closes without a goodbye, which could block on a receiver that does not read.
func (c *conn) drop() {
	if c.under != nil {
		c.release()
	}
	_ = c.socket.Close()
}
