package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hookfleet/hookfleet/auth/secret"
)

// Bounds of a load.
const (
	benchDial   = 10 * time.Second      // to connect; answers are waited for as long as the scenario may take
	benchPause  = 50 * time.Millisecond // after a request that was not accepted, and may be the next time
	backlogLook = time.Millisecond      // how often a connection looks whether the backlog has shrunk
)

// benchLoad publishes events, or posts them to the sink, over a fixed number of connections.
type benchLoad struct {
	url     string
	key     secret.Text   // zero = none
	conns   int           // connections, each with one request at a time
	batch   int           // events of one request
	run     string        // tells the events from those of other runs
	types   []string      // event n is of types[n mod len]; with more than one, batch is 1
	limit   int           // events at most
	lasting time.Duration // no request starts later; 0 = until limit
	rate    float64       // requests a second, started by the clock; 0 = each when the one before is answered
	signed  bool          // carries a signature header, as the fleet's requests do: raw loops only

	// backlog bounds the events that have been accepted and of which arrived does not tell yet; 0 = no bound.
	backlog int
	arrived func() int

	next    atomic.Int64 // number of the next event
	refused atomic.Int64
	started time.Time
	ended   time.Time
}

// benchLedger is when each event was sent and answered, in Unix nanoseconds, by its number. 0 = was not.
type benchLedger struct{ sent, answered []int64 }

func newLedger(limit int) *benchLedger {
	return &benchLedger{make([]int64, limit), make([]int64, limit)}
}

// accepted counts the events that were answered.
func (l *benchLedger) accepted() (n int) {
	for _, at := range l.answered {
		if at != 0 {
			n++
		}
	}
	return n
}

// send runs the load until its limit, its time or ctx ends it.
func (l *benchLoad) send(ctx context.Context) (*benchLedger, error) {
	target, err := url.Parse(l.url)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	l.batch = max(l.batch, 1)
	ledger := newLedger(l.limit)
	var connections errgroup.Group
	l.started = time.Now()
	for range l.conns {
		connections.Go(func() error { return l.connection(ctx, target, ledger) })
	}
	err = connections.Wait()
	l.ended = time.Now()
	if err == nil {
		err = context.Cause(ctx)
	}
	return ledger, err
}

// connection sends one request after the other.
func (l *benchLoad) connection(ctx context.Context, target *url.URL, ledger *benchLedger) error {
	c := newBenchConn(ctx, target, l.key)
	defer c.close()
	if l.signed {
		c.req.Header["Webhook-Signature"] = []string{"v1,c2lnbmF0dXJlIG9mIHRoZSByYXcgbG9vcCwgNDQgbG9uZw=="}
	}
	bodies := make([]*benchBatch, len(l.types))
	for i, typ := range l.types {
		bodies[i] = newBenchBatch(l.run, typ, l.batch)
	}
	for {
		first, ok := l.take(ctx)
		if !ok {
			return nil
		}
		body := bodies[first/l.batch%len(bodies)]
		body.number(first)
		for {
			sent, answered, err := c.post(body)
			if err == nil {
				for n := first; n < first+l.batch; n++ {
					ledger.sent[n], ledger.answered[n] = sent, answered
				}
				break
			}
			if errors.Is(err, errRefused) {
				return err
			}
			l.refused.Add(1)
			if !waitFor(ctx, benchPause) || l.over() {
				return nil // who asked for a number of events sees that some are not accepted
			}
		}
	}
}

// take gives the number of the first event of the next request, when it is time for it; false = the load is over.
func (l *benchLoad) take(ctx context.Context) (first int, ok bool) {
	first = int(l.next.Add(int64(l.batch))) - l.batch
	if first+l.batch > l.limit || ctx.Err() != nil {
		return 0, false
	}
	if l.rate > 0 {
		due := l.started.Add(time.Duration(float64(first/l.batch) / l.rate * float64(time.Second)))
		if wait := time.Until(due); wait > 0 && !waitFor(ctx, wait) {
			return 0, false
		}
	}
	for l.backlog > 0 && first-l.arrived() > l.backlog {
		if !waitFor(ctx, backlogLook) || l.over() {
			return 0, false
		}
	}
	return first, !l.over()
}

func (l *benchLoad) over() bool { return l.lasting > 0 && time.Since(l.started) > l.lasting }

// benchConn is one HTTP connection, used as fast as net/http lets one: no client, no redirects, no copies, one request
// value for all requests. The body is of a type that net/http knows to be in memory, else it sends header and body in two
// writes.
type benchConn struct {
	transport *http.Transport
	req       *http.Request
	body      bytes.Reader
	stop      func() bool
}

func newBenchConn(ctx context.Context, target *url.URL, key secret.Text) *benchConn {
	c := &benchConn{}
	var mu sync.Mutex
	var open []net.Conn
	c.stop = context.AfterFunc(ctx, func() { // cheaper than a context for each request
		mu.Lock()
		defer mu.Unlock()
		for _, conn := range open {
			_ = conn.Close()
		}
	})
	dialer := &net.Dialer{Timeout: benchDial}
	c.transport = &http.Transport{
		MaxIdleConnsPerHost: 1, DisableCompression: true,
		DialContext: func(dial context.Context, network, addr string) (net.Conn, error) {
			conn, err := dialer.DialContext(dial, network, addr)
			if err == nil {
				mu.Lock()
				open = append(open, conn)
				mu.Unlock()
			}
			return conn, err
		},
	}
	c.req = &http.Request{
		Method: http.MethodPost, URL: target, Host: target.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"User-Agent": {"hookfleet-bench"}}, Body: io.NopCloser(&c.body),
	}
	if !key.IsZero() {
		c.req.Header["Authorization"] = []string{"Bearer " + key.Reveal()}
	}
	return c
}

func (c *benchConn) close() {
	c.stop()
	c.transport.CloseIdleConnections()
}

// errRefused says that the same request will be refused again.
var errRefused = errors.New("refused")

// unaccepted is the error of an answer that is no 2xx.
func unaccepted(resp *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxShown))
	err = errors.Join(fmt.Errorf("%s: %s", resp.Status, text), err)
	if resp.StatusCode/100 == 4 && resp.StatusCode != http.StatusTooManyRequests {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	return err
}

// post sends one request, and says when it did and when the answer had come whole, in Unix nanoseconds.
func (c *benchConn) post(b *benchBatch) (sent, answered int64, err error) {
	c.body.Reset(b.body)
	c.req.ContentLength = int64(len(b.body))
	c.req.Header["Content-Type"] = []string{b.kind}
	sent = time.Now().UnixNano()
	resp, err := c.transport.RoundTrip(c.req)
	if err != nil {
		return 0, 0, fmt.Errorf("post to %s: %w", c.req.URL, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return 0, 0, fmt.Errorf("post to %s: %w", c.req.URL, unaccepted(resp))
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0, 0, fmt.Errorf("post to %s: %w", c.req.URL, err)
	}
	return sent, time.Now().UnixNano(), nil
}
