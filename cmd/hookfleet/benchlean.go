package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/hookfleet/hookfleet/auth/secret"
)

// leanConn is one HTTP connection that publishes at as little CPU time as it can: a request is one write, and of the answer
// it reads no more than the status and the length. Load and fleet share the machine, so that what the load takes is missing
// in what is measured: net/http took 31 to 34 µs a request, as much as a delivery's own POST and its sink together.
type leanConn struct {
	ctx    context.Context
	target *url.URL
	key    secret.Text

	conn net.Conn // nil = is to be dialled
	in   *bufio.Reader
	out  []byte

	mu   sync.Mutex // guards open: what the end of the context closes
	open net.Conn
	stop func() bool
}

func newLeanConn(ctx context.Context, target *url.URL, key secret.Text) *leanConn {
	c := &leanConn{ctx: ctx, target: target, key: key}
	c.stop = context.AfterFunc(ctx, c.hangUp)
	return c
}

func (c *leanConn) close() {
	c.stop()
	c.hangUp()
}

func (c *leanConn) hangUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open != nil {
		_ = c.open.Close() // whoever uses it sees that
		c.open = nil
	}
}

// dial connects, unless it is connected.
func (c *leanConn) dial() error {
	if c.conn != nil {
		return nil
	}
	dialer := &net.Dialer{Timeout: benchDial}
	conn, err := dialer.DialContext(c.ctx, "tcp", c.target.Host)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.open = conn
	c.mu.Unlock()
	if c.ctx.Err() != nil { // it may have ended in between
		c.hangUp()
	}
	c.conn, c.in = conn, bufio.NewReader(conn)
	return nil
}

// post implements benchConn.
func (c *leanConn) post(b *benchBatch) (sent, answered int64, err error) {
	if err := c.dial(); err != nil {
		return 0, 0, fmt.Errorf("post to %s: %w", c.target, err)
	}
	c.out = append(c.head(c.out[:0], b), b.body...)
	sent = time.Now().UnixNano()
	_, err = c.conn.Write(c.out)
	if err == nil {
		err = c.answer()
	}
	if err != nil {
		c.hangUp()
		c.conn = nil
		return 0, 0, fmt.Errorf("post to %s: %w", c.target, err)
	}
	return sent, time.Now().UnixNano(), nil
}

// head appends the head of a request.
func (c *leanConn) head(to []byte, b *benchBatch) []byte {
	to = append(append(append(to, "POST "...), c.target.RequestURI()...), " HTTP/1.1\r\nHost: "...)
	to = append(append(to, c.target.Host...), "\r\nUser-Agent: hookfleet-bench\r\nContent-Type: "...)
	to = append(append(to, b.kind...), "\r\nContent-Length: "...)
	to = strconv.AppendInt(to, int64(len(b.body)), 10)
	if !c.key.IsZero() {
		to = append(append(to, "\r\nAuthorization: Bearer "...), c.key.Reveal()...)
	}
	return append(to, "\r\n\r\n"...)
}

// answer reads an answer to its end. The error is of one that does not accept, too. What is not as the fleet answers as a
// rule is left to net/http.
func (c *leanConn) answer() error {
	if _, err := c.in.Peek(1); err != nil { // until it comes
		return err
	}
	text, err := c.in.Peek(c.in.Buffered())
	if err != nil {
		return err
	}
	if head, length, ok := plainAnswer(text); ok {
		_, err := c.in.Discard(head + length)
		return err
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return unaccepted(resp)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.Close {
		c.hangUp()
		c.conn = nil
	}
	return nil
}

// plainAnswer finds the length of the head and of the body of an answer that accepts, says how long it is, and leaves the
// connection open; ok is false for all others, and for one whose head has not come whole.
func plainAnswer(text []byte) (head, length int, ok bool) {
	const status, size = "HTTP/1.1 2", "\r\nContent-Length: "
	head = bytes.Index(text, []byte("\r\n\r\n")) + len("\r\n\r\n")
	if head < len("\r\n\r\n") || !bytes.HasPrefix(text, []byte(status)) || bytes.Contains(text[:head], []byte("\r\nConnection: ")) {
		return 0, 0, false
	}
	_, rest, found := bytes.Cut(text[:head], []byte(size))
	digits, _, _ := bytes.Cut(rest, []byte("\r\n"))
	length, err := strconv.Atoi(string(digits))
	return head, length, found && err == nil && length >= 0
}
