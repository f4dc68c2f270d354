package scheduler

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/events/stream"
)

// tightTrim is how often settled events are deleted while the store is tight: at 100 MB/s the tenth between tight and
// full of a 1 GB store passes in a second.
const tightTrim = time.Second

// pinInterval is how often the pin of the timers is looked after: a request, and a write when something was due since.
const pinInterval = 5 * time.Second

// Deps are what a scheduler works with.
type Deps struct {
	JS       jetstream.JetStream // its connection should not be one that publishes much
	Registry *registry.Registry
	Writer   *stream.Writer
	Storage  *stream.Storage
	Metrics  prometheus.Registerer // nil = none
	Log      zerolog.Logger

	Index       jetstream.JetStream // reads all events for the index of statuses, on a connection that nobody else waits for
	IndexWriter *stream.Writer      // stores the statuses
	Sync        stream.Syncer       // makes them durable; nil where an acknowledgement is that
	Tap         *Tap                // of what this process stores; nil = all events are read from the broker
	Left        *Left               // what was left, and is again; nil = nothing is kept, nor was. With Config.Index somebody has to read it
	Desk        *Desk               // where this process asks for statuses; nil = by the broker

	Replays      jetstream.JetStream // reads what is replayed, on a connection that no live event waits for
	ReplayWriter *stream.Writer      // makes replays' deliveries, on such a connection too
}

// Scheduler is one process's candidate for the scheduler of the fleet.
type Scheduler struct {
	Deps
	cfg      Config
	waitlist *stream.Waitlist
	events   *stream.EventLog
	history  *stream.History
	statuses *stream.Statuses
	index    *indexer
	lease    atomic.Pointer[lease] // nil before Run
	letters  *prometheus.CounterVec

	sweeper sweeper
	auditor auditor
	metrics *metrics
}

// New checks cfg. It starts nothing.
func New(deps Deps, cfg Config) (*Scheduler, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("scheduler: %w", err)
	}
	s := &Scheduler{
		metrics: newMetrics(deps.Metrics), Deps: deps, cfg: cfg,
		waitlist: stream.NewWaitlist(deps.JS), events: stream.NewEventLog(deps.JS), history: stream.NewHistory(deps.JS, nil),
		statuses: stream.NewStatuses(deps.JS), auditor: newAuditor(),
	}
	var err error
	if s.letters, err = deadLetters(deps.Metrics); err != nil {
		return nil, fmt.Errorf("scheduler: %w", err)
	}
	s.index = newIndexer(s)
	return s, nil
}

// deadLetters is the counter of dead letters, which is a worker's too where one runs in this process.
func deadLetters(r prometheus.Registerer) (*prometheus.CounterVec, error) {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "hookfleet_dead_letters_total", Help: "Deliveries given up, by reason.",
	}, []string{"reason"})
	err := r.Register(c)
	if known, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if c, ok = known.ExistingCollector.(*prometheus.CounterVec); ok {
			return c, nil
		}
	}
	return c, err
}

// Run acts whenever this process holds the lease, until ctx ends.
func (s *Scheduler) Run(ctx context.Context) error {
	l := newLease(s.JS, s.cfg, s.Log)
	s.lease.Store(l)
	if s.cfg.Index {
		defer s.index.leaveCopy()
	} else if s.Left != nil {
		if err := errors.Join(s.Left.copied.sweep(), s.Left.backlog.sweep()); err != nil {
			s.Log.Warn().Err(err).Msg("files of a copy of statuses are left, which nobody needs any more")
		}
	}
	return l.run(ctx, s.act)
}

// act runs everything until ctx ends.
func (s *Scheduler) act(ctx context.Context) {
	s.sweeper, s.auditor = sweeper{}, newAuditor()
	var loops sync.WaitGroup
	defer loops.Wait()
	loops.Go(func() { s.every(ctx, s.cfg.Sweep, "sweep timers", s.sweep) })
	if s.cfg.Index {
		loops.Go(func() {
			if s.index.takeUp(ctx) { // all else need not wait for that
				s.runIndex(ctx)
			}
		})
	}
	loops.Go(func() { s.every(ctx, s.cfg.Expire, "look after held deliveries", s.lookAfterHeld) })
	loops.Go(func() { newReplays(s).run(ctx) })
	loops.Go(func() {
		s.every(ctx, pinInterval, "pin timers", stream.NewPin(s.Replays, s.ReplayWriter, s.Storage).Renew)
	})
	loops.Go(func() { s.every(ctx, min(tightTrim, s.cfg.Trim), "trim events", (&trimmer{s: s}).step) })
}

// every runs step at once and then each interval, until ctx ends. A step that fails is logged and tried again.
func (s *Scheduler) every(ctx context.Context, interval time.Duration, what string, step func(context.Context) error) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if err := step(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, context.Canceled) {
			s.Log.Warn().Err(err).Str("step", what).Msg("scheduler step failed; trying again")
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
