package plain_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/api/plain"
)

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(soon))
	return c
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// closes waits until the server has closed, and returns what came before.
func closes(t *testing.T, c net.Conn) string {
	t.Helper()
	got, err := io.ReadAll(c)
	if err != nil {
		t.Errorf("it did not close in order: %q, %v", got, err)
	}
	return string(got)
}

// TestHalfClosed: a client that sends no more gets its answer. By net/http alone it may get none.
func TestHalfClosed(t *testing.T) {
	t.Parallel()
	s := startPlain(t, http.HandlerFunc(handler))
	if got := talk(t, s.addr, []string{post("", "body") + post("", "last")}, true, 3); len(got) != 2 || got[1].Body != "last" {
		t.Errorf("%+v", got)
	}
}

// TestCutBody: a body that does not come whole has no answer, ends the context, and is no request behind it.
func TestCutBody(t *testing.T) {
	t.Parallel()
	saw := make(chan error, 1)
	s := startPlain(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		saw <- errors.Join(err, r.Context().Err())
	}))
	if got := talk(t, s.addr, []string{line + "Host: x\r\nContent-Length: 5\r\n\r\nbody"}, true, 1); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	if err := <-saw; !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(err, context.Canceled) {
		t.Errorf("the handler saw %v", err)
	}
}

// TestSlowClients: a head, a body and the next request have their times, and a slow client does not get more.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	const short = 50 * time.Millisecond
	ok := post("", "body")
	for name, c := range map[string]struct {
		cfg  plain.Config
		text string
		want int // answers at most
	}{
		"no head":         {plain.Config{HeadTimeout: short}, "", 0},
		"half a head":     {plain.Config{HeadTimeout: short}, ok[:40], 0},
		"half the second": {plain.Config{HeadTimeout: short}, ok + ok[:40], 1},
		"half a body":     {plain.Config{ReadTimeout: short}, ok[:len(ok)-2], 0},
		"no next":         {plain.Config{IdleTimeout: short}, ok, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if _, err := io.ReadAll(r.Body); err != nil {
					panic(http.ErrAbortHandler)
				}
			}), &c.cfg)
			conn := dial(t, s.addr)
			send(t, conn, c.text)
			in, n := bufio.NewReader(conn), 0
			for ; ; n++ {
				r, err := http.ReadResponse(in, nil)
				if err != nil {
					break
				}
				r.Body.Close()
			}
			if _, err := in.ReadByte(); !errors.Is(err, io.EOF) && !isReset(err) || n > c.want { // on a slow day there may be less
				t.Errorf("%d answers, then %v", n, err)
			}
		})
	}
}

func isReset(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && !op.Timeout()
}

// TestNobodyReadsAnswers: a client that sends and never reads holds a connection no longer than the timeout.
func TestNobodyReadsAnswers(t *testing.T) {
	t.Parallel()
	large := make([]byte, 1<<20)
	begun := make(chan struct{}, 1)
	s := start(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(large)
		select {
		case begun <- struct{}{}:
		default:
		}
	}), &plain.Config{IdleTimeout: 100 * time.Millisecond})
	c := dial(t, s.addr)
	go func() {
		for {
			if _, err := io.WriteString(c, post("", "")); err != nil {
				return
			}
		}
	}()
	<-begun
	if err := s.stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestShutdown: idle connections are closed at once, requests that have begun are answered and are the last.
func TestShutdown(t *testing.T) {
	t.Parallel()
	begun, finish := make(chan struct{}, 2), make(chan struct{})
	s := startPlain(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Header.Get("X-Wait") {
		case "end":
			begun <- struct{}{}
			<-finish
		case "body":
			begun <- struct{}{}
		}
		handler(w, r)
	}))
	fresh, used, busy, half, other := dial(t, s.addr), dial(t, s.addr), dial(t, s.addr), dial(t, s.addr), dial(t, s.addr)
	send(t, used, post("", "body"))
	if r, err := http.ReadResponse(bufio.NewReader(used), nil); err != nil || r.StatusCode != http.StatusAccepted || r.Close {
		t.Fatalf("%v, %v", r, err)
	}
	send(t, other, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if r, err := http.ReadResponse(bufio.NewReader(other), nil); err != nil || r.StatusCode != http.StatusAccepted {
		t.Fatalf("%v, %v", r, err)
	}
	cut := post("X-Wait: body\r\n", "body")
	send(t, half, cut[:len(cut)-2])
	send(t, busy, post("X-Wait: end\r\n", "body"))
	<-begun
	<-begun
	ended := make(chan error, 1)
	go func() { ended <- s.stop(t.Context()) }()
	for _, c := range []net.Conn{fresh, used, other} {
		closes(t, c)
	}
	if c, err := net.Dial("tcp", s.addr); err == nil {
		c.Close()
		t.Error("it takes connections")
	}
	close(finish)
	send(t, half, cut[len(cut)-2:])
	for _, c := range []net.Conn{busy, half} {
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || r.StatusCode != http.StatusAccepted || !r.Close {
			t.Errorf("%v, %v", r, err)
		}
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	<-s.ended
}

// TestClosedHard: when the grace is over, contexts end and connections close.
func TestClosedHard(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{})
	s := startPlain(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
	}))
	c := dial(t, s.addr)
	send(t, c, post("", "body"))
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.stop(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("there is an answer")
	}
	<-s.ended
}

// TestHandlerEndsItsGoroutine: its connection is closed, and not held for ever.
func TestHandlerEndsItsGoroutine(t *testing.T) {
	t.Parallel()
	s := startPlain(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { runtime.Goexit() }))
	c := dial(t, s.addr)
	send(t, c, post("", "body"))
	if got := closes(t, c); got != "" {
		t.Errorf("it answered %q", got)
	}
}

// TestShutdownUnderLoad: each request that a handler has accepted is answered, whenever the end comes.
func TestShutdownUnderLoad(t *testing.T) {
	t.Parallel()
	for round := range 20 {
		var accepted atomic.Int64
		s := startPlain(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); err == nil {
				accepted.Add(1)
				w.WriteHeader(http.StatusAccepted)
			}
		}))
		var answers atomic.Int64
		var clients sync.WaitGroup
		for range 8 {
			c := dial(t, s.addr)
			clients.Go(func() {
				in := bufio.NewReader(c)
				for n := range 10_000 {
					if _, err := io.WriteString(c, post("", fmt.Sprint(n))); err != nil {
						return
					}
					r, err := http.ReadResponse(in, nil)
					if err != nil {
						return
					}
					answers.Add(1)
					if r.Close {
						return
					}
				}
			})
		}
		for answers.Load() < int64(round*50) {
			runtime.Gosched()
		}
		if err := s.stop(t.Context()); err != nil {
			t.Error(err)
		}
		<-s.ended
		clients.Wait()
		if a, b := accepted.Load(), answers.Load(); a != b {
			t.Errorf("round %d: %d accepted, %d answered", round, a, b)
		}
	}
}

// TestAcceptFails: that no connection can be accepted any more is told to who serves the others.
func TestAcceptFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	s := plain.New(brokenListener{broken}, plain.Config{Path: path})
	s.Run()
	if _, err := s.Accept(); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

type brokenListener struct{ err error }

func (l brokenListener) Accept() (net.Conn, error) { return nil, l.err }
func (l brokenListener) Close() error              { return nil }
func (l brokenListener) Addr() net.Addr            { return nil }

// TestIdleConnectionsAreSmall: thousands of connections that do nothing hold no buffers, and no long heads.
func TestIdleConnectionsAreSmall(t *testing.T) { // alone: it measures the heap
	many := ""
	for i := range 60 {
		many += fmt.Sprintf("X-%d: %0110d\r\n", i, i)
	}
	for name, requests := range map[string][]string{
		"short head":                {post("", "body")},
		"long head":                 {post("X-A: "+strings.Repeat("a", 7<<10)+"\r\n", "body")},
		"many fields":               {post(many, "body")},
		"many fields, then a short": {post(many, "body"), post("", "body")},
	} {
		t.Run(name, func(t *testing.T) {
			s := startPlain(t, http.HandlerFunc(handler))
			const n = 300
			before := heap()
			for range n {
				c := dial(t, s.addr)
				send(t, c, strings.Join(requests, ""))
				in := bufio.NewReaderSize(c, 16)
				for range requests {
					r, err := http.ReadResponse(in, nil)
					if err != nil || r.StatusCode != http.StatusAccepted {
						t.Fatalf("%v, %v", r, err)
					}
					_, _ = io.Copy(io.Discard, r.Body)
				}
			}
			for s.plainS.Resting() < n {
				runtime.Gosched()
			}
			each := (heap() - before) / n
			t.Logf("%d bytes of heap a connection, with its client", each)
			if each > 8<<10 {
				t.Errorf("%d bytes of heap a connection", each)
			}
		})
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what was in a pool is gone after the second
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
