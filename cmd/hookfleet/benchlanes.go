package main

import (
	"context"
)

// idleLanes is how many lanes an idle fleet is given.
const idleLanes = 1000

// lanes measures how fast an ordered subscription catches up, beside one that is not ordered in the same run, and what
// lanes cost that have nothing to do.
func (b *bench) lanes(ctx context.Context) error {
	raw, err := b.rawPost(ctx, rawConns)
	if err != nil {
		return err
	}
	b.report.add("raw POST just before", raw.rate, "/s", noGoal)
	plain, err := b.drainBy(ctx, "plain", raw, benchSubscription{Concurrency: singleConcurrency})
	if err != nil {
		return err
	}
	ordered, err := b.drainBy(ctx, "ordered", raw, benchSubscription{Concurrency: singleConcurrency, Ordered: true})
	if err != nil {
		return err
	}
	b.report.add("ordered, to plain", ordered/plain, "ratio", goalLane)
	return b.idleLanes(ctx)
}

// idleLanes looks at a fleet before and after it is given lanes that have nothing to do.
func (b *bench) idleLanes(ctx context.Context) error {
	s, err := b.stage(ctx)
	if err != nil {
		return err
	}
	defer s.end()
	if err := s.sink.begin(ctx, s.run, 1, 1); err != nil {
		return err
	}
	look := func(name string) (rss, cpu float64, err error) {
		if !waitFor(ctx, idleSettle) {
			return 0, 0, context.Cause(ctx)
		}
		before := s.mark(ctx)
		if !waitFor(ctx, b.scale.idle) {
			return 0, 0, context.Cause(ctx)
		}
		spent, now := before.since(s.mark(ctx)), s.mark(ctx)
		rss, cpu = now.rss/(1<<20), 100*spent.fleet.Seconds()/b.scale.idle.Seconds()
		b.report.add(name+", memory", rss, "MiB", noGoal)
		b.report.add(name+", CPU", cpu, "% of a core", noGoal)
		return rss, cpu, nil
	}
	rss, _, err := look("idle")
	if err != nil {
		return err
	}
	if err := s.subscribe(ctx, idleLanes, false, benchSubscription{Ordered: true}); err != nil {
		return err
	}
	more, cpu, err := look("1,000 idle lanes")
	if err != nil {
		return err
	}
	b.report.add("1,000 idle lanes, more memory", more-rss, "MiB", goalLaneMemory)
	b.report.add("1,000 idle lanes, CPU of a core", cpu, "%", goalLaneCPU)
	return nil
}
