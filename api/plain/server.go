package plain

import (
	"bytes"
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Config is what is plain, and who answers it. All of it is needed.
type Config struct {
	Path    string       // of plain requests: letters, digits and slashes
	Handler http.Handler // the one of the http.Server that gets the others
	MaxBody int64        // longer ones are net/http's

	HeadTimeout time.Duration // from its first byte; for the first head, from when the connection was accepted
	ReadTimeout time.Duration // for a whole request, from its first byte

	// IdleTimeout is for taking the answer, and until the next request comes. It counts from the beginning of a request
	// that came whole, and may be an eighth longer.
	IdleTimeout time.Duration

	ErrorLog *log.Logger
}

// Server answers plain requests, and is the listener of an http.Server that gets the others. The bound of its connections
// is that of the listener below it.
type Server struct {
	cfg    Config
	below  net.Listener
	line   string
	ctx    context.Context // of all requests
	cancel context.CancelFunc
	dates  atomic.Pointer[date]

	others   chan net.Conn
	draining atomic.Bool
	closed   chan struct{}
	close    sync.Once
	failure  error // of accepting; valid when closed is
	ended    chan struct{}

	running sync.WaitGroup
	mu      sync.Mutex
	conns   map[*conn]struct{}
}

// New returns a server over a listener. It starts nothing.
func New(below net.Listener, cfg Config) *Server {
	s := &Server{
		cfg: cfg, below: below, line: "POST " + cfg.Path + " HTTP/1.1\r\n", others: make(chan net.Conn), closed: make(chan struct{}),
		ended: make(chan struct{}), conns: map[*conn]struct{}{},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Run accepts connections until Close, and returns when no request is served any more. That accepting failed is told to
// who calls Accept.
func (s *Server) Run() {
	defer s.cancel()
	s.stop(s.accept())
	s.running.Wait()
	close(s.ended)
}

// Accept implements net.Listener: it returns the connections whose requests are not plain.
func (s *Server) Accept() (net.Conn, error) {
	select {
	case nc := <-s.others:
		return nc, nil
	case <-s.closed:
		return nil, s.failure
	}
}

// Addr implements net.Listener.
func (s *Server) Addr() net.Addr { return s.below.Addr() }

// Close implements net.Listener: no connection is accepted any more, and those without a request are closed. Requests that
// have begun are answered. It waits for nothing.
func (s *Server) Close() error {
	s.stop(net.ErrClosed)
	return nil
}

// Shutdown closes, and returns when the requests that had begun have ended. When ctx ends before, so do they.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop(net.ErrClosed)
	select {
	case <-s.ended:
		return nil
	case <-ctx.Done():
		s.cancel()
		s.retire(func(*conn) bool { return true })
		return ctx.Err()
	}
}

func (s *Server) stop(failure error) {
	s.close.Do(func() {
		s.failure = failure
		s.draining.Store(true)
		close(s.closed)
		_ = s.below.Close()
		s.retire(func(c *conn) bool { return c.state.CompareAndSwap(idle, retired) })
	})
}

// retire closes the connections that may be.
func (s *Server) retire(may func(*conn) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if may(c) {
			_ = c.Close()
		}
	}
}

// accept returns why it has ended. A machine that is short of something is waited for, as net/http does.
func (s *Server) accept() error {
	const least, most = 5 * time.Millisecond, time.Second
	pause := least
	for {
		nc, err := s.below.Accept()
		switch {
		case err == nil:
			pause = least
			s.running.Go(func() { s.serve(nc) })
			continue
		case s.draining.Load():
			return net.ErrClosed
		case !passes(err):
			return err
		}
		s.logf("accept: %v; trying again in %v", err, pause)
		select {
		case <-time.After(pause):
		case <-s.closed:
		}
		pause = min(2*pause, most)
	}
}

// passes reports whether an error of accepting is over by itself.
func passes(err error) bool {
	for _, one := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.ECONNRESET} {
		if errors.Is(err, one) {
			return true
		}
	}
	return false
}

// serve serves a connection, and closes it or leaves it to net/http.
func (s *Server) serve(nc net.Conn) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		s.leave(nc)
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		_ = nc.Close() // it is closed already
		return
	}
	c := newConn(s, nc, raw)
	s.enter(c)
	odd := false
	defer func() { s.part(c, odd) }() // also when a handler ends its goroutine
	odd = c.serve()
}

// part ends with a connection: it is closed, or, when its request is odd, left to net/http.
func (s *Server) part(c *conn, odd bool) {
	defer c.cancel()
	s.forget(c)
	var came []byte
	if odd {
		came = bytes.Clone(c.scratch.in[c.r:c.w])
	}
	c.release()
	if !odd {
		_ = c.Close() // what was answered was sent
		return
	}
	_ = c.SetDeadline(time.Time{})
	s.leave(&handed{Conn: c.Conn, rest: came})
}

func (s *Server) enter(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c] = struct{}{}
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// leave gives a connection to net/http; when that takes none any more, it would close it, too.
func (s *Server) leave(nc net.Conn) {
	select {
	case s.others <- nc:
	case <-s.closed:
		_ = nc.Close()
	}
}

func (s *Server) logf(format string, args ...any) { s.cfg.ErrorLog.Printf("http: "+format, args...) }

// date is the value of the header Date for one second.
type date struct {
	second int64
	text   string
}

func (s *Server) date() string {
	now := time.Now()
	d := s.dates.Load()
	if d == nil || d.second != now.Unix() {
		d = &date{now.Unix(), now.UTC().Format(http.TimeFormat)}
		s.dates.Store(d)
	}
	return d.text
}
