package partners

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// Bounds of a receiver.
const (
	maxBody   = 4 << 20 // far more than any of the partners is sent
	keptWhole = 5000    // calls whose header and body are kept; of older ones the rest stays
	maxNamed  = 20      // faults that are named
)

// Answer is what a partner says to a request that is in order. The zero value is 204 at once.
type Answer struct {
	Status int               // 0 = 204
	Header map[string]string // of the answer
	Body   string
	After  time.Duration // how long it takes
	Cut    bool          // closes the connection instead
}

// Rules are what one partner looks at. All functions are called one at a time.
type Rules struct {
	Judge func(c *Call, past []*Call) // past are the earlier calls with its webhook-id, oldest first
	Taken func(c *Call)               // told of each that the partner took for the first time; nil = it keeps nothing
}

// Receiver is the endpoint of a partner. It is safe for concurrent use.
type Receiver struct {
	rules Rules

	mu      sync.Mutex
	calls   []*Call
	byID    map[string][]*Call
	answer  func(*Call) Answer
	open    int
	peak    int
	repeats int
	faults  []string
	faulty  int
	watch   func(*Call)
	changed chan struct{} // closed and replaced with each change
}

// NewReceiver makes a receiver that takes whatever is in order.
func NewReceiver(rules Rules) *Receiver {
	return &Receiver{rules: rules, byID: map[string][]*Call{}, changed: make(chan struct{})}
}

// Answer says what the partner answers to requests that are in order: nil = it takes them. It is called one at a time.
func (r *Receiver) Answer(f func(*Call) Answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = f
}

// Watch has f told of each call once its answer is decided, one at a time; nil = nobody.
func (r *Receiver) Watch(f func(*Call)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watch = f
}

// ServeHTTP takes one request.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	at := time.Now()
	body, err := io.ReadAll(io.LimitReader(req.Body, maxBody))
	if err != nil {
		return // cut short by the client: it was never a whole request
	}
	c := &Call{
		Method: req.Method, Path: req.URL.EscapedPath(), Query: req.URL.RawQuery, Host: req.Host, From: req.RemoteAddr,
		Header: req.Header, Body: body, At: at,
	}
	answer := r.take(c)
	defer r.end()
	if answer.After > 0 {
		timer := time.NewTimer(answer.After)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-req.Context().Done():
			return
		}
	}
	_ = answer.write(w) // who has gone does not get it
}

// take judges a call and decides its answer.
func (r *Receiver) take(c *Call) Answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open++
	r.peak = max(r.peak, r.open)
	r.calls = append(r.calls, c)
	c.Number = len(r.calls)
	past := r.byID[c.ID()]
	for _, p := range past {
		c.Repeat = c.Repeat || p.Taken()
	}
	c.common()
	r.rules.Judge(c, past)
	r.byID[c.ID()] = append(past, c)
	answer := r.decide(c)
	r.note(c)
	if old := len(r.calls) - keptWhole; old > 0 {
		r.calls[old-1].Header, r.calls[old-1].Body = nil, nil
	}
	r.notify()
	return answer
}

// decide gives the answer to a call that was judged. The caller holds mu.
func (r *Receiver) decide(c *Call) Answer {
	var answer Answer
	switch {
	case c.refuse != 0:
		answer = Answer{Status: c.refuse, Body: c.Faults[0]}
	case r.answer != nil:
		answer = r.answer(c)
	}
	answer.Status = cmp.Or(answer.Status, http.StatusNoContent)
	if !answer.Cut {
		c.Status = answer.Status
	}
	return answer
}

// note keeps what is to be said of a call. The caller holds mu.
func (r *Receiver) note(c *Call) {
	switch {
	case c.Taken() && c.Repeat:
		r.repeats++
	case c.Taken() && r.rules.Taken != nil:
		r.rules.Taken(c)
	}
	for _, f := range c.Faults {
		r.faulty++
		if len(r.faults) < maxNamed {
			r.faults = append(r.faults, f+" ("+c.String()+")")
		}
	}
	if r.watch != nil {
		r.watch(c)
	}
}

func (r *Receiver) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open--
	r.notify()
}

// notify wakes all who wait. The caller holds mu.
func (r *Receiver) notify() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// Add writes down a fault that is of no single call.
func (r *Receiver) Add(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faulty++
	if len(r.faults) < maxNamed {
		r.faults = append(r.faults, fmt.Sprintf(format, args...))
	}
	r.notify()
}

// Faults is what was wrong: nil = all was in order. The first 20 are named.
func (r *Receiver) Faults() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := append([]string(nil), r.faults...)
	if more := r.faulty - len(r.faults); more > 0 {
		all = append(all, fmt.Sprintf("and %d more", more))
	}
	return all
}

// Calls are all so far, in the order of arrival. Of those that lie far back the header and the body are gone.
func (r *Receiver) Calls() []Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]Call, len(r.calls))
	for i, c := range r.calls {
		all[i] = *c
	}
	return all
}

// Counts are how many calls came, how many were taken, how many of these repeat one that was taken before, and how many
// were answered at a time, at most.
func (r *Receiver) Counts() (calls, taken, repeats, peak int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.calls {
		if c.Taken() {
			taken++
		}
	}
	return len(r.calls), taken, r.repeats, r.peak
}

// Wait returns when there are n calls that which accepts, nil when all count; or with the error of ctx.
func (r *Receiver) Wait(ctx context.Context, n int, which func(*Call) bool) error {
	seen, count := 0, 0
	for {
		r.mu.Lock()
		for ; seen < len(r.calls); seen++ {
			if which == nil || which(r.calls[seen]) {
				count++
			}
		}
		changed := r.changed
		r.mu.Unlock()
		if count >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d calls came: %w", count, n, ctx.Err())
		}
	}
}

func (a *Answer) write(w http.ResponseWriter) error {
	if a.Cut {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return err
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			err = tcp.SetLinger(0)
		}
		return errors.Join(err, conn.Close())
	}
	for k, v := range a.Header {
		w.Header().Set(k, v)
	}
	w.WriteHeader(a.Status)
	if a.Body == "" {
		return nil
	}
	_, err := io.WriteString(w, a.Body)
	return err
}
