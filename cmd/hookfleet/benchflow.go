package main

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"time"
)

// Loads of the scenarios at full rate.
const (
	batchConns = 8 // connections that send batches: enough that one is always being stored

	// singleConcurrency is that of the subscription which takes everything: one sink at full rate needs more than the
	// default of 64.
	singleConcurrency = 256

	bulkBacklog = 10_000 // events on their way: some tenths of a second, so that the backlog is never empty and never the point

	fanSubscriptions = 100
	fanConns         = 16
	fanBacklog       = 50      // events on their way, each to 100 subscriptions
	fanSlots         = 2 << 20 // deliveries at most: 40 MiB at the sink
)

// ingestSingle: one event a request.
func (b *bench) ingestSingle(ctx context.Context) error {
	for _, conns := range []int{64, 256} {
		if err := b.ingest(ctx, conns, 1, fmt.Sprintf("%d connections", conns)); err != nil {
			return err
		}
	}
	return nil
}

// ingestBatch: many events a request.
func (b *bench) ingestBatch(ctx context.Context) error {
	for _, batch := range []int{100, 500} {
		if err := b.ingest(ctx, batchConns, batch, fmt.Sprintf("batches of %d, %d connections", batch, batchConns)); err != nil {
			return err
		}
	}
	return nil
}

// ingest publishes what nobody takes.
func (b *bench) ingest(ctx context.Context, conns, batch int, what string) error {
	s, err := b.stage(ctx)
	if err != nil {
		return err
	}
	defer s.end()
	load := s.load(conns, batch)
	defer s.profile(ctx, fmt.Sprintf("ingest-%dx%d", conns, batch), load.lasting)()
	before := s.mark(ctx)
	ledger, err := load.send(ctx)
	if err != nil {
		return err
	}
	spent := before.since(s.mark(ctx))
	n := float64(ledger.accepted())
	b.report.add(what, n/load.ended.Sub(load.started).Seconds(), "events/s", noGoal)
	b.report.addLatency(what+", request to 202,", ledger.answers(), noGoal, noGoal)
	b.report.add(what+", fleet CPU", micros(spent.fleet)/n, "µs/event", noGoal)
	b.report.addSurroundings(what, spent, before.at, load)
	return nil
}

// answers are how long the requests took, one for each event.
func (l *benchLedger) answers() []time.Duration {
	var all []time.Duration
	for n, at := range l.answered {
		if at != 0 {
			all = append(all, time.Duration(at-l.sent[n]))
		}
	}
	return all
}

// endToEndSingle: one event a request, to one subscription.
func (b *bench) endToEndSingle(ctx context.Context) error {
	best := math.NaN()
	for _, conns := range []int{64, 256} {
		ratio, err := b.endToEnd(ctx, &benchFlow{
			what: fmt.Sprintf("%d connections", conns), profile: fmt.Sprintf("single%d", conns), conns: conns, batch: 1, fan: 1, cpu: goalCPU,
		})
		if err != nil {
			return err
		}
		if !(ratio < best) { // also when best is none yet
			best = ratio
		}
	}
	b.report.add("the better of both, to raw POST", best, "ratio", goalSingle)
	b.report.note("concurrency of the subscription: %d", singleConcurrency)
	return nil
}

// endToEndBulk: batches, to one subscription. The contract takes up to 1,000 events a batch; 100 is what a service has
// that publishes each tenth of a second, 500 one that moves much.
func (b *bench) endToEndBulk(ctx context.Context) error {
	for _, batch := range []int{100, 500, 1000} {
		_, err := b.endToEnd(ctx, &benchFlow{
			what: fmt.Sprintf("batches of %d", batch), profile: fmt.Sprintf("bulk%d", batch), conns: batchConns, batch: batch, fan: 1,
			backlog: bulkBacklog, ratio: goalBulk, cpu: goalCPU,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// fanOut: each event to many subscriptions.
func (b *bench) fanOut(ctx context.Context) error {
	_, err := b.endToEnd(ctx, &benchFlow{
		what: fmt.Sprintf("%d subscriptions", fanSubscriptions), profile: "fanout", conns: fanConns, batch: 1, fan: fanSubscriptions, backlog: fanBacklog,
		cpu: goalCPU,
	})
	return err
}

// benchFlow is a load from end to end at full rate.
type benchFlow struct {
	what, profile string
	conns, batch  int
	fan           int // subscriptions, each of which takes every event
	backlog       int // events on their way at most; 0 = no bound
	ratio, cpu    goal
}

// endToEnd publishes until its time is over, waits until all has arrived, and reports. It gives the ratio of deliveries
// to raw POSTs that were measured just before.
func (b *bench) endToEnd(ctx context.Context, f *benchFlow) (ratio float64, err error) {
	raw, err := b.rawPost(ctx, rawConns)
	if err != nil {
		return 0, err
	}
	s, err := b.stage(ctx)
	if err != nil {
		return 0, err
	}
	defer s.end()
	load := s.load(f.conns, f.batch)
	load.limit = min(load.limit, fanSlots/f.fan)
	if err := b.sink.begin(ctx, s.run, load.limit*f.fan, f.fan); err != nil {
		return 0, err
	}
	want := benchSubscription{}
	if f.fan == 1 {
		want.Concurrency = singleConcurrency
	}
	if err := s.subscribe(ctx, f.fan, true, want); err != nil {
		return 0, err
	}
	if f.backlog > 0 {
		load.backlog = f.backlog
		defer load.follow(ctx, s, f.fan)()
	}
	defer s.profile(ctx, f.profile, load.lasting)()
	before := s.mark(ctx)
	ledger, err := load.send(ctx)
	if err != nil {
		return 0, err
	}
	expected := int64(ledger.accepted() * f.fan)
	if err := s.awaitCounts(ctx, func(c benchCounts) bool { return c.Taken >= expected }); err != nil {
		return 0, err
	}
	until := before.since(s.mark(ctx))
	waitFor(ctx, settleWait) // until the last are settled too
	spent := before.since(s.mark(ctx))
	got, err := s.results(ctx, ledger, f.fan)
	if err != nil {
		return 0, err
	}
	s.report.addHad(f.what, raw, until, got)
	return s.report.addFlow(f, load, raw, got, spent, before), nil
}

// addFlow reports a load from end to end.
func (r *benchReport) addFlow(f *benchFlow, load *benchLoad, raw rawRate, got *benchResults, spent, before benchMark) (ratio float64) {
	n := float64(got.arrived)
	rate := n / got.last.Sub(load.started).Seconds()
	r.add(f.what+", raw POST just before", raw.rate, "/s", noGoal)
	r.add(f.what+", client and sink CPU of a raw POST", raw.client+raw.sink, "µs", noGoal)
	r.add(f.what, rate, "deliveries/s", noGoal)
	if f.fan > 1 {
		r.add(f.what+", events", rate/float64(f.fan), "events/s", noGoal)
	}
	r.add(f.what+", to raw POST", rate/raw.rate, "ratio", f.ratio)
	r.add(f.what+", fleet CPU", micros(spent.fleet)/n, "µs/delivery", f.cpu)
	r.add(f.what+", fleet CPU beside a raw POST's", micros(spent.fleet)/n/(raw.client+raw.sink), "ratio", noGoal)
	r.add(f.what+", fleet allocates", spent.allocated/n, "B/delivery", noGoal)
	r.addLatency(f.what+", accept to arrival,", got.fromAccept, noGoal, noGoal)
	r.addLatency(f.what+", request to arrival,", got.fromSend, noGoal, noGoal)
	r.add(f.what+", peak memory", spent.peak/(1<<20), "MiB", goalPeak)
	r.addSurroundings(f.what, spent, before.at, load)
	got.complain(r, f.what)
	return rate / raw.rate
}

// addHad reports the ratio to raw POSTs by the CPU time that there was for ours: what they used, and what lay idle. On a
// machine that others use too, or of which the hypervisor gives now more, now less, it says more than that by the clock.
func (r *benchReport) addHad(what string, raw rawRate, spent benchMark, got *benchResults) {
	ours := spent.fleet + spent.sink + spent.self
	n := float64(got.arrived)
	r.add(what+", to raw POST by CPU time to be had", raw.had/(micros(ours+spent.idle)/n), "ratio", noGoal)
	r.add(what+", idle", spent.idle.Seconds()/(ours+spent.idle).Seconds(), "of the CPU time to be had", noGoal)
}

// addOthers reports how much of the machine none of ours used.
func (r *benchReport) addOthers(what string, spent benchMark, start time.Time) {
	r.add(what+", CPU used by others", spent.others(start)*float64(runtime.NumCPU()), "cores", noGoal)
}

// addSurroundings reports what the load and the sink used, and notes who else was busy.
func (r *benchReport) addSurroundings(what string, spent benchMark, start time.Time, load *benchLoad) {
	cores := func(d time.Duration) float64 { return d.Seconds() / spent.at.Sub(start).Seconds() }
	r.note("%s: cores used: fleet %s, sink %s, load %s", what, number(cores(spent.fleet)), number(cores(spent.sink)), number(cores(spent.self)))
	r.addOthers(what, spent, start)
	if n := load.refused.Load(); n > 0 {
		r.note("%s: %d requests were refused and sent again", what, n)
	}
}
