package sinktest

import (
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// Patience is how long a test waits for what must come: generous, for a loaded machine under -race.
const Patience = 45 * time.Second

// Sink is one server with any number of paths. Each path is a sink of its own.
type Sink struct {
	t    testing.TB
	base string

	mu      sync.Mutex
	paths   map[string]*path
	changed chan struct{} // closed and replaced with each change
}

// path is what is known of one.
type path struct {
	answer   func(*Request) Answer
	requests []*Request
	open     int // requests being answered
	answered int
	peak     int // most of them at a time
}

// New runs a sink until the test ends. Paths that nothing is said about answer 204.
func New(t testing.TB) *Sink {
	t.Helper()
	s := &Sink{t: t, paths: map[string]*path{}, changed: make(chan struct{})}
	s.base = Serve(t, http.HandlerFunc(s.serve))
	return s
}

// Serve runs handler on a free port of 127.0.0.1 until the test ends, and returns its URL.
func Serve(t testing.TB, handler http.Handler) string {
	t.Helper()
	l := Listen(t)
	server := &http.Server{Handler: handler, ReadHeaderTimeout: Patience}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) }) // ends with an error always
	t.Cleanup(func() {
		_ = server.Close() // what still hangs is meant to
		serving.Wait()
	})
	return "http://" + l.Addr().String()
}

// Listen listens on a free port of 127.0.0.1 until the test ends.
func Listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("sink: %v", err)
	}
	t.Cleanup(func() { _ = l.Close() }) // a server may have closed it
	return l
}

// Raw runs a sink that speaks no HTTP, until the test ends: talk is called for each connection, on its own goroutine,
// and the connection is closed when it returns.
func Raw(t testing.TB, talk func(net.Conn)) (url string) {
	t.Helper()
	l := Listen(t)
	var talking sync.WaitGroup
	talking.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			talking.Go(func() {
				defer conn.Close()
				talk(conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		talking.Wait()
	})
	return "http://" + l.Addr().String()
}

// URL is that of a path, which begins with a slash.
func (s *Sink) URL(path string) string { return s.base + path }

// On says what path answers: each in turn, the last for all that follow.
func (s *Sink) On(path string, answers ...Answer) {
	if len(answers) == 0 {
		s.t.Fatalf("sink: no answers for %s", path)
	}
	first := len(s.Got(path))
	s.OnFunc(path, func(r *Request) Answer { return answers[min(r.Number-first, len(answers))-1] })
}

// OnFunc lets answer decide for each request of path.
func (s *Sink) OnFunc(path string, answer func(*Request) Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at(path).answer = answer
}

// at returns a path's state. The caller holds mu.
func (s *Sink) at(name string) *path {
	p, ok := s.paths[name]
	if !ok {
		p = &path{answer: func(*Request) Answer { return Answer{} }}
		s.paths[name] = p
	}
	return p
}

// Got are the requests of path so far, as copies, in the order of arrival.
func (s *Sink) Got(path string) []*Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	var got []*Request
	for _, r := range s.at(path).requests {
		c := *r
		got = append(got, &c)
	}
	return got
}

// Peak is how many requests of path were being answered at a time, at most.
func (s *Sink) Peak(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at(path).peak
}

// Open is how many requests of path are being answered now.
func (s *Sink) Open(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at(path).open
}

// Wait returns the requests of path when there are n, and fails the test when they do not come.
func (s *Sink) Wait(path string, n int) []*Request {
	s.t.Helper()
	s.Until("requests to "+path, n, func() int { return len(s.at(path).requests) })
	return s.Got(path)
}

// WaitAnswered is Wait, for requests that have been answered.
func (s *Sink) WaitAnswered(path string, n int) []*Request {
	s.t.Helper()
	s.Until("answers of "+path, n, func() int { return s.at(path).answered })
	return slices.DeleteFunc(s.Got(path), func(r *Request) bool { return r.Answered.IsZero() })
}

// WaitOpen returns when n requests of path are being answered.
func (s *Sink) WaitOpen(path string, n int) {
	s.t.Helper()
	s.Until("open requests of "+path, n, func() int { return s.at(path).open })
}

// Until waits for count, which is called under the sink's lock after each change, to reach n.
func (s *Sink) Until(what string, n int, count func() int) {
	s.t.Helper()
	over := time.NewTimer(Patience)
	defer over.Stop()
	for {
		s.mu.Lock()
		is, changed := count(), s.changed
		s.mu.Unlock()
		if is >= n {
			return
		}
		select {
		case <-changed:
		case <-over.C:
			s.t.Fatalf("sink: waited %v for %d %s, there are %d", Patience, n, what, is)
		case <-s.t.Context().Done():
			s.t.Fatalf("sink: the test ended while it waited for %d %s, there are %d", n, what, is)
		}
	}
}

func (s *Sink) serve(w http.ResponseWriter, r *http.Request) {
	at := time.Now()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // cut short by the client: it was never a whole request
	}
	got := newRequest(r, body, at)
	answer := s.arrived(got)
	ok := answer.await(r)
	s.left(got, ok, answer.status())
	if ok {
		_ = answer.write(w) // who has gone does not get it
	}
}

func (s *Sink) arrived(r *Request) Answer {
	s.mu.Lock()
	p := s.at(r.Path)
	p.requests = append(p.requests, r)
	r.Number = len(p.requests)
	p.open++
	p.peak = max(p.peak, p.open)
	answer := p.answer
	s.notify()
	s.mu.Unlock()
	return answer(r)
}

func (s *Sink) left(r *Request, answered bool, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.at(r.Path)
	p.open--
	if answered {
		p.answered++
		r.Answered, r.Status = time.Now(), status
	}
	s.notify()
}

// notify wakes all who wait. The caller holds mu.
func (s *Sink) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}
