package main

import (
	"context"
	"time"
)

// killInFlight is how many requests are in flight when the process is killed: not more than a worker sends at a time by
// default, so that all of them are.
const killInFlight = 200

// killDelay is how long the sink takes for the first attempts: longer than the scenario.
const killDelay = 2 * time.Minute

// kill ends a fleet with SIGKILL while its requests are at a slow sink, starts it again at once, and looks when they are
// sent again.
func (b *bench) kill(ctx context.Context) error {
	s, err := b.stage(ctx)
	if err != nil {
		return err
	}
	defer s.end()
	if err := b.sink.begin(ctx, s.run, killInFlight, 1); err != nil {
		return err
	}
	if err := b.sink.answer(ctx, benchAnswer{Delay: killDelay}); err != nil {
		return err
	}
	if err := s.subscribe(ctx, 1, true, benchSubscription{Concurrency: singleConcurrency}); err != nil {
		return err
	}
	load := s.load(pacedConns, 1)
	load.limit, load.lasting = killInFlight, 0
	if _, err := load.send(ctx); err != nil {
		return err
	}
	if err := s.awaitCounts(ctx, func(c benchCounts) bool { return c.Arrived >= killInFlight }); err != nil {
		return err
	}
	killed := time.Now()
	s.fleet.kill()
	s.complain(s.fleet)
	if err := b.sink.answer(ctx); err != nil { // from now on at once
		return err
	}
	if err := s.start(ctx); err != nil {
		return err
	}
	b.report.add("SIGKILL to ready again", time.Since(killed).Seconds(), "s", noGoal)
	if err := s.awaitCounts(ctx, func(c benchCounts) bool { return c.Requests >= 2*killInFlight }); err != nil {
		return err
	}
	return s.reportKill(ctx, killed)
}

func (s *benchStage) reportKill(ctx context.Context, killed time.Time) error {
	arrivals, err := s.sink.arrivals(ctx)
	if err != nil {
		return err
	}
	var after []time.Duration
	more, missing := 0, 0
	for _, a := range arrivals {
		switch {
		case a.times < 2:
			missing++
			continue
		case a.times > 2:
			more++
		}
		after = append(after, time.Unix(0, a.last).Sub(killed))
	}
	if missing+more > 0 {
		s.report.note("of %d requests in flight %d were not sent again, %d more than once", len(arrivals), missing, more)
	}
	s.report.add("requests in flight", float64(len(arrivals)), "", noGoal)
	s.report.addLatency("SIGKILL to sent again,", after, noGoal, noGoal)
	s.report.add("SIGKILL to the last sent again", quantile(after, 1)/float64(time.Second), "s", goalKill)
	return nil
}

// idleSettle is how long a fleet may still be busy with its start.
const idleSettle = 2 * time.Second

// idle looks at a fleet that has nothing to do.
func (b *bench) idle(ctx context.Context) error {
	s, err := b.stage(ctx)
	if err != nil {
		return err
	}
	defer s.end()
	if !waitFor(ctx, idleSettle) {
		return context.Cause(ctx)
	}
	before := s.mark(ctx)
	if !waitFor(ctx, b.scale.idle) {
		return context.Cause(ctx)
	}
	after := s.mark(ctx)
	b.report.add("memory", after.rss/(1<<20), "MiB", goalIdle)
	b.report.add("CPU", 100*(after.fleet-before.fleet).Seconds()/after.at.Sub(before.at).Seconds(), "% of a core", noGoal)
	return nil
}
