package egress

import (
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
	used     bool   // has carried an exchange
	abort    func() // ends what blocks on it; made once

	until      time.Time // when idle: not used from then on
	prev, next *conn     // when idle: younger and older ones
	probe      func(fd uintptr) bool
	quiet      bool // what probe found
}

func newConn(nc net.Conn, tcp *net.TCPConn, to host) (*conn, error) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: nc, socket: tcp, raw: raw, host: to}
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

// drop closes without a goodbye, which could block on a receiver that does not read.
func (c *conn) drop() { _ = c.socket.Close() }
