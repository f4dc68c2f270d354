package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Loads of the scenarios that look at delays.
const (
	pacedConns  = 64 // more than are ever needed at these rates, so that the clock alone starts requests
	gentleRate  = 100
	hangingRate = 300
	hangingOf   = 10 // sinks, of which the last hangs
	hangingFor  = 10 * time.Second
)

// gentle: few events, so that the delay is that of the fleet and not of a queue.
func (b *bench) gentle(ctx context.Context) error {
	s, err := b.stage(ctx)
	if err != nil {
		return err
	}
	defer s.end()
	before := s.mark(ctx)
	got, err := s.paced(ctx, gentleRate, b.scale.gentle, 1, nil)
	if err != nil {
		return err
	}
	b.report.addOthers("100/s", before.since(s.mark(ctx)), before.at)
	b.report.addLatency("accept to arrival,", got.fromAccept, goalMedian, goalTail)
	b.report.addLatency("request to arrival,", got.fromSend, goalMedian, goalTail) // more than is asked for
	got.complain(b.report, "100/s")
	return nil
}

// hanging: what one sink that hangs does to the other nine.
func (b *bench) hanging(ctx context.Context) error {
	var tails []float64
	for _, hangs := range []bool{false, true} {
		what, answers := "all ten answer", []benchAnswer(nil)
		if hangs {
			what = "one of ten hangs"
			answers = make([]benchAnswer, hangingOf)
			answers[hangingOf-1].Delay = hangingFor
		}
		s, err := b.stage(ctx)
		if err != nil {
			return err
		}
		before := s.mark(ctx)
		got, err := s.paced(ctx, hangingRate, b.scale.hanging, hangingOf, answers)
		b.report.addOthers(what, before.since(s.mark(ctx)), before.at)
		err = errors.Join(err, b.sink.answer(ctx)) // so that the end need not wait for those that hang
		s.end()
		if err != nil {
			return err
		}
		b.report.addLatency(what+": accept to arrival at the nine,", got.fromAccept, noGoal, noGoal)
		b.report.addLatency(what+": request to arrival at the nine,", got.fromSend, noGoal, noGoal)
		got.complain(b.report, what)
		tails = append(tails, quantile(got.fromAccept, 0.99), quantile(got.fromSend, 0.99)) // sorted by now
	}
	// From accept, most times are 0, because the sink has the event before its publisher has the answer: a ratio of what
	// little is left says nothing. The goal is for the whole way.
	b.report.add("the nine's p99 from accept, with one that hangs to without", tails[2]/tails[0], "ratio", noGoal)
	b.report.add("the nine's p99 from request, with one that hangs to without", tails[3]/tails[1], "ratio", goalHanging)
	return nil
}

// paced publishes at a rate to so many subscriptions in turn, each with events of its own type, and gives what came of
// it. When some hooks are told to hang, the last one's events are left out.
func (s *benchStage) paced(ctx context.Context, rate float64, lasting time.Duration, sinks int, answers []benchAnswer) (*benchResults, error) {
	load := s.load(pacedConns, 1)
	load.rate, load.limit, load.lasting = rate, int(rate*lasting.Seconds()), 0
	load.types = nil
	for k := range sinks {
		load.types = append(load.types, s.typ(k))
	}
	if err := s.sink.begin(ctx, s.run, load.limit, 1); err != nil {
		return nil, err
	}
	if err := s.sink.answer(ctx, answers...); err != nil {
		return nil, err
	}
	if err := s.subscribe(ctx, sinks, false, benchSubscription{}); err != nil {
		return nil, err
	}
	ledger, err := load.send(ctx)
	if err != nil {
		return nil, err
	}
	healthy := func(n int) bool { return sinks == 1 || n%sinks != sinks-1 }
	expected := 0
	for n, at := range ledger.answered {
		if at != 0 && healthy(n) {
			expected++
		}
	}
	var got *benchResults
	err = s.awaitCounts(ctx, func(benchCounts) bool {
		if got, err = s.resultsOf(ctx, ledger, 1, healthy); err != nil {
			return true
		}
		return got.arrived >= expected
	})
	if err != nil {
		return nil, fmt.Errorf("paced load: %w", err)
	}
	slices.Sort(got.fromAccept)
	slices.Sort(got.fromSend)
	return got, nil
}
