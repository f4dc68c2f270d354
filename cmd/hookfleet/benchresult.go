package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// benchResults is what became of the events of a load.
type benchResults struct {
	fromAccept []time.Duration // answer to arrival of each delivery; 0 when it arrived before the answer
	fromSend   []time.Duration // start of the request to arrival
	arrived    int             // deliveries of accepted events
	missing    int             // accepted, and did not arrive
	again      int             // arrived more than once
	unsigned   int64
	last       time.Time // when the last delivery arrived for the first time
}

// results looks at what has arrived of a load so far.
func (s *benchStage) results(ctx context.Context, l *benchLedger, fan int) (*benchResults, error) {
	return s.resultsOf(ctx, l, fan, func(int) bool { return true })
}

// resultsOf looks at the events for which keep holds only.
func (s *benchStage) resultsOf(ctx context.Context, l *benchLedger, fan int, keep func(n int) bool) (*benchResults, error) {
	arrivals, err := s.sink.arrivals(ctx)
	if err != nil {
		return nil, err
	}
	counts, err := s.sink.counts(ctx)
	if err != nil {
		return nil, err
	}
	r := &benchResults{unsigned: counts.Unsigned}
	last := int64(0)
	for n, answered := range l.answered {
		if answered == 0 || !keep(n) {
			continue
		}
		for _, a := range arrivals[n*fan : (n+1)*fan] {
			if a.times == 0 {
				r.missing++
				continue
			}
			r.arrived++
			if a.times > 1 {
				r.again++
			}
			last = max(last, a.first)
			r.fromAccept = append(r.fromAccept, time.Duration(max(a.first-answered, 0)))
			r.fromSend = append(r.fromSend, time.Duration(a.first-l.sent[n]))
		}
	}
	r.last = time.Unix(0, last)
	return r, nil
}

// complain notes what should not be.
func (r *benchResults) complain(report *benchReport, what string) {
	if r.missing > 0 {
		report.note("%s: %d deliveries of accepted events DID NOT ARRIVE", what, r.missing)
	}
	if r.again > 0 {
		report.note("%s: %d deliveries arrived more than once", what, r.again)
	}
	if r.unsigned > 0 {
		report.note("%s: %d requests were not signed", what, r.unsigned)
	}
}

// follow keeps the load informed of what has arrived, until the function that it returns is called.
func (l *benchLoad) follow(ctx context.Context, s *benchStage, fan int) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var arrived atomic.Int64
	l.arrived = func() int { return int(arrived.Load()) / fan }
	var following sync.WaitGroup
	following.Go(func() {
		for waitFor(ctx, arrivalLook) {
			if c, err := s.sink.counts(ctx); err == nil {
				arrived.Store(c.Arrived)
			}
		}
	})
	return func() {
		cancel()
		following.Wait()
	}
}
