package plain

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	bufferSize = 16 << 10 // most requests come whole in one read; what is longer is read to where it is wanted

	// maxKept bounds the buffers of answers that are used again. Nearly all answers have under 1 KiB; to 1,000 events some 100 KiB.
	maxKept = 256 << 10

	// maxUnread and lingering are net/http's: what is read of a body that the handler did not want, and how long a client
	// that still sends may take to see the answer.
	maxUnread = 256 << 10
	lingering = 500 * time.Millisecond
)

// The states of a connection.
const (
	idle    int32 = iota // nothing of a request has come
	active               // a request has begun
	retired              // taken from the client while idle
)

// scratch is what a connection needs only while it has a request.
type scratch struct {
	in        [bufferSize]byte
	out, body []byte
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// conn is one connection, with one request at a time.
type conn struct {
	net.Conn
	server *Server
	raw    syscall.RawConn
	state  atomic.Int32
	ctx    context.Context // of its requests
	cancel context.CancelFunc

	scratch *scratch // nil while it is idle
	r, w    int      // what has come and was not taken lies between them in scratch.in

	try func(fd uintptr) bool // one attempt to read
	got int                   // what came of it
	err error

	head   head
	from   string // the client
	url    url.URL
	req    http.Request
	blank  *http.Request // what is the same in all of its requests
	body   body
	answer answer

	began  time.Time // when the request began to come
	until  time.Time // the deadline that is set for reading and writing
	served bool      // it has had a request
}

func newConn(s *Server, nc net.Conn, raw syscall.RawConn) *conn {
	c := &conn{Conn: nc, server: s, raw: raw, from: nc.RemoteAddr().String()}
	c.head.line, c.head.maxBody = s.line, s.cfg.MaxBody
	c.ctx, c.cancel = context.WithCancel(s.ctx)
	c.body.conn, c.answer.conn = c, c
	c.answer.header = http.Header{}
	c.try = c.tryRead
	blank := http.Request{
		Method: http.MethodPost, URL: &c.url, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RequestURI: s.cfg.Path, RemoteAddr: c.from,
	}
	c.blank = blank.WithContext(c.ctx)
	return c
}

// serve serves requests until one is not plain, which it reports, or the connection is to be closed.
func (c *conn) serve() (leave bool) {
	defer func() {
		if p := recover(); p != nil {
			leave = false
			if p != http.ErrAbortHandler { //nolint:errorlint // the very value, as net/http compares it
				c.server.logf("panic serving %v: %v\n%s", c.from, p, debug.Stack())
			}
		}
	}()
	_ = c.SetReadDeadline(time.Now().Add(c.server.cfg.HeadTimeout))
	for {
		switch c.next() {
		case odd:
			return true
		case part:
			return false
		case whole:
			if !c.exchange() {
				return false
			}
		}
	}
}

// next waits for a request and reads its head; part = none came.
func (c *conn) next() verdict {
	c.began = time.Time{}
	for {
		c.skipNewlines()
		if c.r == c.w {
			if !c.rest() {
				return part
			}
			c.began = time.Now()
			continue
		}
		if c.began.IsZero() { // it came with the one before
			c.began = time.Now()
		}
		n, v := c.head.take(c.scratch.in[c.r:c.w])
		if v != part {
			c.r += n
			return v
		}
		if v, ok := c.more(); !ok {
			return v
		}
	}
}

// skipNewlines passes over line ends between requests, which old clients send (RFC 9112, 2.2).
func (c *conn) skipNewlines() {
	for c.served && c.r < c.w && (c.scratch.in[c.r] == '\r' || c.scratch.in[c.r] == '\n') {
		c.r++
	}
}

// rest waits for the first bytes of a request, without a buffer.
func (c *conn) rest() bool {
	c.r, c.w = 0, 0
	if len(c.head.text) > keptHead {
		c.head.forget()
		c.req = http.Request{} // has the fields, too
	}
	c.state.Store(idle)
	if c.server.draining.Load() { // looked at behind the store, as Close does it the other way round
		return false
	}
	return c.fill() == nil && c.state.CompareAndSwap(idle, active)
}

// more reads on in a head that has begun to come.
func (c *conn) more() (v verdict, ok bool) {
	if c.served {
		c.until = time.Time{}
		_ = c.SetReadDeadline(c.began.Add(c.server.cfg.HeadTimeout))
	}
	if c.w == bufferSize {
		c.w = copy(c.scratch.in[:], c.scratch.in[c.r:c.w])
		c.r = 0
	}
	err := c.fill()
	if errors.Is(err, io.EOF) {
		return odd, false // net/http knows what to say to half a head
	}
	return part, err == nil
}

// fill reads what there is, and waits when there is nothing.
func (c *conn) fill() error {
	if err := c.raw.Read(c.try); err != nil {
		return err
	}
	switch {
	case c.err != nil:
		return c.err
	case c.got == 0:
		return io.EOF
	}
	c.w += c.got
	return nil
}

// tryRead reads if there is something to read. A connection that waits for a request has no buffer.
func (c *conn) tryRead(fd uintptr) bool {
	if c.scratch == nil {
		c.scratch = scratches.Get().(*scratch)
	}
	for {
		c.got, c.err = syscall.Read(int(fd), c.scratch.in[c.w:])
		if errors.Is(c.err, syscall.EAGAIN) {
			if c.w == 0 {
				c.release()
			}
			return false
		}
		if !errors.Is(c.err, syscall.EINTR) {
			return true
		}
	}
}

func (c *conn) release() {
	s := c.scratch
	if s == nil {
		return
	}
	if cap(s.out) > maxKept || cap(s.body) > maxKept {
		s.out, s.body = nil, nil
	}
	c.scratch = nil
	scratches.Put(s)
}

// takeBuffered moves what has come already.
func (c *conn) takeBuffered(p []byte) int {
	n := copy(p, c.scratch.in[c.r:c.w])
	c.r += n
	return n
}

// exchange has the request answered whose head was read, and reports whether another may follow.
func (c *conn) exchange() (keep bool) {
	c.served = true
	c.extend(c.began)
	slow := c.head.length > int64(c.w-c.r)
	if slow {
		c.until = time.Time{} // so that it is set anew behind the body
		_ = c.SetReadDeadline(c.began.Add(c.server.cfg.ReadTimeout))
	}
	c.prepare()
	c.server.cfg.Handler.ServeHTTP(&c.answer, &c.req)
	if c.body.failed && c.answer.status == 0 {
		return false
	}
	keep = !c.answer.close && c.body.discard() && !c.server.draining.Load()
	if slow {
		c.extend(time.Now())
	}
	out, even := c.answer.end(!keep)
	if _, err := c.Write(out); err != nil { // who is gone does not get it
		return false
	}
	if !keep && c.body.left > 0 && !c.body.failed {
		c.linger()
	}
	return keep && even
}

// extend gives the client at least the timeout from now on, in steps: setting a deadline costs as much as reading a head.
func (c *conn) extend(now time.Time) {
	timeout := c.server.cfg.IdleTimeout
	if c.until.Sub(now) < timeout {
		c.until = now.Add(timeout + timeout/8)
		_ = c.SetDeadline(c.until)
	}
}

// prepare makes the request as net/http would.
func (c *conn) prepare() {
	c.url = url.URL{Path: c.server.cfg.Path}
	c.body = body{conn: c, left: c.head.length}
	c.req = *c.blank
	c.req.Header, c.req.Host, c.req.ContentLength = c.head.fields, c.head.host, c.head.length
	c.req.Body = http.NoBody
	if c.head.length > 0 {
		c.req.Body = &c.body
	}
	c.answer.reset()
}

// linger lets a client that is still sending see the answer: what comes after a close resets the connection.
func (c *conn) linger() {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(lingering))
	_, _ = io.CopyN(io.Discard, c.Conn, c.body.left) // however it ends, the connection is closed
}
