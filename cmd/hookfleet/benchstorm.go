package main

import (
	"context"
	"net/http"
	"time"
)

// How the storm is prepared.
const (
	stormBatch   = 500
	stormBacklog = 5000 // first attempts on their way
	// stormRate is how fast the first attempts have to fail, as a part of raw POSTs: the instant at which all retries are
	// due is told to the first of them already, and must lie behind the last.
	stormRate = 0.12
	stormLead = 3 * time.Second
	// stormConcurrency is the most that a subscription may have.
	stormConcurrency = 500
)

// storm fails every first attempt with a Retry-After that names one instant, which is a floor for the retry and, beside
// a 500, no reason to hold the sink. So all timers are due at once.
func (b *bench) storm(ctx context.Context) error {
	raw, err := b.rawPost(ctx, rawConns)
	if err != nil {
		return err
	}
	s, err := b.stage(ctx)
	if err != nil {
		return err
	}
	defer s.end()
	n := b.scale.timers
	if err := b.sink.begin(ctx, s.run, n, 1); err != nil {
		return err
	}
	err = s.subscribe(ctx, 1, true, benchSubscription{
		Concurrency: stormConcurrency, Retry: map[string]any{"policy": "fixed", "initial": "1s", "jitter": 0, "maxattempts": 5},
	})
	if err != nil {
		return err
	}
	start := time.Now()
	due := start.Add(time.Duration(float64(n)/(stormRate*raw.rate)*float64(time.Second)) + stormLead).Truncate(time.Second)
	if err := b.sink.answer(ctx, benchAnswer{Fail: 1, RetryAfter: due.UTC().Format(http.TimeFormat)}); err != nil {
		return err
	}
	set, err := s.setTimers(ctx, n)
	if err != nil {
		return err
	}
	b.report.add("first attempts failed and timers set", float64(n)/set.Sub(start).Seconds(), "/s", noGoal)
	if set.After(due) {
		b.report.note("timers were set until %s after the instant: the times below are too short", set.Sub(due).Round(time.Millisecond))
	}
	if !waitFor(ctx, max(0, time.Until(due)-settleWait)) {
		return context.Cause(ctx)
	}
	wait := s.profile(ctx, "storm", 5*time.Second)
	before := s.mark(ctx)
	if err := s.awaitCounts(ctx, func(c benchCounts) bool { return c.Taken >= int64(n) }); err != nil {
		return err
	}
	wait()
	return s.reportStorm(ctx, due, before)
}

// setTimers publishes n events and waits until the first attempts have failed. It gives when that was.
func (s *benchStage) setTimers(ctx context.Context, n int) (time.Time, error) {
	load := s.load(batchConns, min(stormBatch, n))
	load.limit, load.lasting, load.backlog = n, 0, stormBacklog
	defer load.follow(ctx, s, 1)()
	if _, err := load.send(ctx); err != nil {
		return time.Time{}, err
	}
	err := s.awaitCounts(ctx, func(c benchCounts) bool { return c.Requests >= int64(n) })
	return time.Now(), err
}

func (s *benchStage) reportStorm(ctx context.Context, due time.Time, before benchMark) error {
	spent := before.since(s.mark(ctx))
	arrivals, err := s.sink.arrivals(ctx)
	if err != nil {
		return err
	}
	var late []time.Duration
	early, again, missing := 0, 0, 0
	for _, a := range arrivals {
		lateness := time.Unix(0, a.last).Sub(due)
		switch {
		case a.times < 2:
			missing++
			continue
		case a.times > 2:
			again++
		}
		if lateness < 0 {
			early++
		}
		late = append(late, lateness)
	}
	if missing+early+again > 0 {
		s.report.note("of %d retries %d did not come, %d came before their time, %d more than once", len(arrivals), missing, early, again)
	}
	s.report.addLatency("due to arrival,", late, noGoal, noGoal)
	all := quantile(late, 1) / float64(time.Second)
	s.report.add("due to the last arrival", all, "s", goalStorm)
	s.report.add("retries", float64(len(late))/all, "/s", noGoal)
	s.report.add("fleet CPU", micros(spent.fleet)/float64(len(late)), "µs/retry", noGoal)
	s.report.addOthers("retries", spent, before.at)
	s.report.add("peak memory", spent.peak/(1<<20), "MiB", noGoal)
	return nil
}
