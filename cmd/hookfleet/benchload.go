package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
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
	raw     bool          // by net/http, with the headers that the fleet's requests have: the raw loops

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
	c := l.newConn(ctx, target)
	defer c.close()
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

// newConn makes the connection: the raw loops are what net/http lets one do, all others are to cost as little as they can.
func (l *benchLoad) newConn(ctx context.Context, target *url.URL) benchConn {
	if l.raw {
		return newRawConn(ctx, target)
	}
	return newLeanConn(ctx, target, l.key)
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
