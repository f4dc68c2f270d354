package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// fillBatch and fillConns fill a backlog fast.
const (
	fillBatch = 500
	fillConns = batchConns
)

// drain measures how fast a backlog is delivered: by a single process that starts with it in its store, and by a worker
// that joins the process which took it. The backlog is accepted by a process without worker, as it would be while all
// workers are away; nothing has been looked at before.
func (b *bench) drain(ctx context.Context) error {
	raw, err := b.rawPost(ctx, rawConns)
	if err != nil {
		return err
	}
	b.report.add("raw POST just before", raw.rate, "/s", noGoal)
	if err := b.drainAlone(ctx, raw); err != nil {
		return err
	}
	return b.drainJoined(ctx, raw)
}

// fill starts a fleet without worker and publishes a backlog for one subscription.
func (b *bench) fill(ctx context.Context, want benchSubscription, args ...string) (*benchStage, *benchLedger, error) {
	s, err := b.stage(ctx, append([]string{"--roles", "api,scheduler"}, args...)...)
	if err != nil {
		return nil, nil, err
	}
	ledger, err := s.fillBacklog(ctx, want)
	if err != nil {
		s.end()
		return nil, nil, err
	}
	return s, ledger, nil
}

func (s *benchStage) fillBacklog(ctx context.Context, want benchSubscription) (*benchLedger, error) {
	n := s.scale.backlog
	if err := s.sink.begin(ctx, s.run, n, 1); err != nil {
		return nil, err
	}
	if err := s.subscribe(ctx, 1, true, want); err != nil {
		return nil, err
	}
	load := s.load(fillConns, min(fillBatch, n))
	load.limit, load.lasting = n, 0
	return load.send(ctx)
}

// drainAlone lets one process with all roles start on the backlog.
func (b *bench) drainAlone(ctx context.Context, raw rawRate) error {
	_, err := b.drainBy(ctx, "single process", raw, benchSubscription{Concurrency: singleConcurrency})
	return err
}

// drainBy lets one process with all roles start on the backlog of a subscription like want, and returns how fast it went.
func (b *bench) drainBy(ctx context.Context, what string, raw rawRate, want benchSubscription) (rate float64, err error) {
	s, ledger, err := b.fill(ctx, want, "--nats-listen", "")
	if err != nil {
		return 0, err
	}
	defer s.end()
	if err := s.fleet.stop(); err != nil {
		return 0, err
	}
	s.complain(s.fleet)
	start := time.Now()
	if err := s.start(ctx); err != nil {
		return 0, err
	}
	defer s.profile(ctx, "drain", s.scale.full/2)()
	return s.reportDrain(ctx, what, ledger, start, raw)
}

// drainJoined lets a worker join the process that has the backlog.
func (b *bench) drainJoined(ctx context.Context, raw rawRate) error {
	s, ledger, err := b.fill(ctx, benchSubscription{Concurrency: singleConcurrency}, "--nats-listen", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer s.end()
	address, err := url.Parse(s.fleet.nats)
	if err != nil {
		return fmt.Errorf("the fleet's broker: %w", err)
	}
	address.User = url.User(s.client.key.Reveal())
	start := time.Now()
	worker, err := s.startWorker(ctx, address.String())
	if err != nil {
		return err
	}
	defer func() {
		if err := worker.stop(); err != nil {
			b.report.note("%v", err)
		}
		s.complain(worker)
	}()
	_, err = s.reportDrain(ctx, "worker of its own", ledger, start, raw, worker)
	return err
}

func (s *benchStage) reportDrain(ctx context.Context, what string, l *benchLedger, start time.Time, raw rawRate, more ...*benchFleet) (rate float64, err error) {
	before := s.mark(ctx, more...)
	expected := l.accepted()
	if err := s.awaitCounts(ctx, func(c benchCounts) bool { return c.Taken >= int64(expected) }); err != nil {
		return 0, err
	}
	until := before.since(s.mark(ctx, more...))
	waitFor(ctx, settleWait) // until the last are settled too
	spent := before.since(s.mark(ctx, more...))
	arrivals, err := s.sink.arrivals(ctx)
	if err != nil {
		return 0, err
	}
	got, err := s.results(ctx, l, 1)
	if err != nil {
		return 0, err
	}
	first := got.last.UnixNano()
	for _, a := range arrivals {
		if a.times > 0 {
			first = min(first, a.first)
		}
	}
	n := float64(got.arrived)
	rate = n / got.last.Sub(time.Unix(0, first)).Seconds()
	s.report.add(fmt.Sprintf("%s, backlog of %d", what, expected), rate, "deliveries/s", noGoal)
	s.report.add(what+", to raw POST", rate/raw.rate, "ratio", goalBulk)
	s.report.addHad(what, raw, until, got)
	s.report.add(what+", start of the process to first arrival", time.Unix(0, first).Sub(start).Seconds(), "s", noGoal)
	s.report.add(what+", fleet CPU", micros(spent.fleet)/n, "µs/delivery", goalCPU)
	s.report.addOthers(what, spent, before.at)
	s.report.add(what+", peak memory", spent.peak/(1<<20), "MiB", noGoal)
	got.complain(s.report, what)
	return rate, nil
}

// startWorker starts a worker beside the stage's fleet, with a directory of its own.
func (s *benchStage) startWorker(ctx context.Context, broker string) (*benchFleet, error) {
	dir, err := os.MkdirTemp(s.dir, "worker-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for the worker: %w", err)
	}
	key, err := os.ReadFile(filepath.Join(s.fleet.dir, secretsFile))
	if err != nil {
		return nil, fmt.Errorf("read the secrets' key of the fleet: %w", err)
	}
	return startFleet(ctx, dir, "--roles", "worker", "--nats-url", broker, "--secrets-keys", strings.TrimSpace(string(key)))
}
