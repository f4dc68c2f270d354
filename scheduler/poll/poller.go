package poll

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/auth/credential"
	"github.com/hookfleet/hookfleet/auth/egress"
	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/events/stream"
)

// Publish stores an event, and returns when it is durable. It is nil also for one that is known already.
type Publish func(ctx context.Context, e *events.Event) error

// Deps are what a poller works with.
type Deps struct {
	JS       jetstream.JetStream // its connection should not be one that publishes much
	Registry *registry.Registry
	Writer   *stream.Writer // durable
	Egress   *egress.Client
	Tokens   credential.Store
	Publish  Publish
	Metrics  prometheus.Registerer
	Log      zerolog.Logger
}

// Poller is one process's part in polling the sources of the fleet.
type Poller struct {
	deps    Deps
	cfg     Config
	log     zerolog.Logger
	id      string
	fleet   *fleet
	items   *stream.ItemStore
	polls   *stream.Polls
	metrics *metrics
	room    chan struct{} // a place for each simultaneous request of this process

	askers sync.Map // by source: *asker of its newest revision

	mu    sync.Mutex
	state map[string]*sourceState
	wake  chan struct{}
}

// sourceState is what this process knows of a source.
type sourceState struct {
	revision uint64
	running  bool
	next     time.Time // when to look at it; zero = now
}

// New checks cfg. It starts nothing.
func New(deps Deps, cfg Config) (*Poller, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("poller: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	// A token of a subject: hosts may be called with dots.
	id := fmt.Sprintf("%s-%d-%s", strings.NewReplacer(".", "-", " ", "-", "*", "-", ">", "-").Replace(host), os.Getpid(), rand.Text()[:8])
	return &Poller{
		deps: deps, cfg: cfg, log: deps.Log, id: id, fleet: newFleet(deps.JS, cfg, deps.Log, id),
		items: stream.NewItemStore(deps.JS, deps.Writer), polls: stream.NewPolls(deps.JS), metrics: newMetrics(deps.Metrics),
		room: make(chan struct{}, cfg.Requests), state: make(map[string]*sourceState), wake: make(chan struct{}, 1),
	}, nil
}

// Run polls until ctx ends, and what is in flight then.
func (p *Poller) Run(ctx context.Context) error {
	// Others must not take what we have in hand for a dead one's: heartbeats go on until all is done.
	beating, hush := context.WithCancel(context.WithoutCancel(ctx))
	var living, polling sync.WaitGroup
	living.Go(func() { p.fleet.run(beating) })
	defer living.Wait()
	defer hush()
	defer polling.Wait()
	select {
	case <-ctx.Done():
		return nil
	case <-p.fleet.loaded:
	}
	changed, cancel := p.deps.Registry.WatchSources()
	defer cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-changed:
			if !ok {
				return nil
			}
		case <-p.wake:
		case <-timer.C:
		}
		timer.Reset(p.start(ctx, &polling))
	}
}

// maxIdle bounds how long nobody looks, in case a clock is set.
const maxIdle = 10 * time.Second

// start begins what is due, and returns for how long nothing else will be.
func (p *Poller) start(ctx context.Context, polling *sync.WaitGroup) time.Duration {
	entries := p.deps.Registry.Sources()
	p.mu.Lock()
	defer p.mu.Unlock()
	now, wait := time.Now(), maxIdle
	there := make(map[string]bool, len(entries))
	for _, e := range entries {
		id := e.Source.ID
		there[id] = true
		st := p.state[id]
		if st == nil {
			st = &sourceState{}
			p.state[id] = st
		}
		if st.revision != e.Revision {
			st.revision, st.next = e.Revision, time.Time{}
		}
		switch {
		case st.running:
		case st.next.After(now):
			wait = min(wait, st.next.Sub(now))
		default:
			st.running = true
			polling.Go(func() { p.look(ctx, e, st) })
		}
	}
	for id, st := range p.state {
		if !there[id] && !st.running {
			delete(p.state, id)
			p.askers.Delete(id)
		}
	}
	return max(wait, time.Millisecond)
}

// look polls a source if it is time, and notes when to look again.
func (p *Poller) look(ctx context.Context, e *registry.SourceEntry, st *sourceState) {
	next, err := p.poll(ctx, e)
	if err != nil && ctx.Err() == nil {
		p.log.Warn().Err(err).Str("source", e.Source.ID).Msg("source not polled; trying again")
		next = time.Now().Add(p.cfg.Look)
	}
	p.mu.Lock()
	st.running = false
	if st.revision == e.Revision {
		st.next = next
	}
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// askerOf prepares what asks a source.
func (p *Poller) askerOf(e *registry.SourceEntry) (*asker, error) {
	type prepared struct {
		revision uint64
		asker    *asker
	}
	if known, ok := p.askers.Load(e.Source.ID); ok {
		if have := known.(prepared); have.revision == e.Revision {
			return have.asker, nil
		}
	}
	a, err := newAsker(p.deps.Egress, e, credential.Deps{Store: p.deps.Tokens, Report: p.metrics.fetched(p.log)})
	if err != nil {
		return nil, err
	}
	p.askers.Store(e.Source.ID, prepared{e.Revision, a})
	return a, nil
}
