package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/hookfleet/hookfleet/auth/egress"
	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/events/stream"
)

// Keys of log fields.
const (
	fieldDelivery     = "delivery"
	fieldSubscription = "subscription"
)

// maxAckPending bounds what all workers together have in hand of one consumer: 40 workers of the default concurrency, or
// ten of which each has also gathered as much for batches as it may.
const maxAckPending = 50_000

// prepareTimeout bounds the reading of the history at a start: some ten million records.
const prepareTimeout = time.Minute

// consumerTimeout bounds the making of a consumer: a broker that starts may never answer a request that came early.
const consumerTimeout = 5 * time.Second

// housekeeping is how often the worker looks after what it keeps in memory.
const housekeeping = 15 * time.Second

// Bounds of Config.Concurrency: a slot for each way that deliveries come by, and as many sends as a host has ports.
const (
	minConcurrency = 4
	maxConcurrency = 1 << 16
)

// Config bounds a worker.
type Config struct {
	Concurrency int           // simultaneous sends, worker.concurrency
	Grace       time.Duration // how long attempts in flight may go on after the end was asked for
	Broker      bool          // this process runs the broker
	PublicURL   string        // of the API, for the callbacks of handshakes, api.publicurl; "" = they have none
	QuietLook   time.Duration // how often one that could take events from memory looks whether it is alone with the broker again
}

// DefaultConfig is what API.md 6 says: 512 sends; a stop within 30 s leaves 5 s for what comes after the attempts.
func DefaultConfig() Config {
	return Config{Concurrency: 512, Grace: 20 * time.Second, QuietLook: quietLook}
}

// Validate names everything that is wrong.
func (c Config) Validate() error {
	var errs []error
	if c.Concurrency < minConcurrency || c.Concurrency > maxConcurrency {
		errs = append(errs, fmt.Errorf("worker.concurrency: %d is not within %d..%d", c.Concurrency, minConcurrency, maxConcurrency))
	}
	if c.Grace <= 0 {
		errs = append(errs, fmt.Errorf("grace: %s is not positive", c.Grace))
	}
	if c.QuietLook <= 0 {
		errs = append(errs, fmt.Errorf("quiet look: %s is not positive", c.QuietLook))
	}
	return errors.Join(errs...)
}

// Deps is what a worker works with.
type Deps struct {
	Conn     *nats.Conn
	JS       jetstream.JetStream
	Registry *registry.Registry
	Egress   *egress.Client
	Sinks    events.SinkPolicy // which sinks are taken that events have for themselves
	Records  *stream.Writer    // of the history: acknowledged, not synced
	Waits    *stream.Writer    // of timers, held deliveries and dead letters: durable
	History  *stream.History
	Waitlist *stream.Waitlist
	Tokens   *stream.Tokens      // of token servers, shared by all workers
	Ticks    *stream.SourceTicks // when polls of status sources are through
	Progress *stream.Progresses  // what was delivered for the keys of lifecycles
	Metrics  prometheus.Registerer
	Log      zerolog.Logger

	Tight func() bool // whether EVENTS needs room, so that no lane may keep its backlog there; nil = it never does

	// Alone reports whether nobody else works with the broker, who could take events from it or put some there. If so, and leave is not
	// nil, leave is called before that changes, and whoever comes waits until it returns. nil = others always may. See Offer.
	Alone func(leave func()) bool

	// Reserve is what ends after the worker and takes long, which the grace of attempts is shortened by, by half at most. nil =
	// nothing does.
	Reserve func() time.Duration
}

// Worker delivers. Several of them, in as many processes, share the work.
type Worker struct {
	cfg      Config
	tight    func() bool
	reserve  func() time.Duration
	nc       *nats.Conn
	js       jetstream.JetStream
	log      zerolog.Logger
	registry *registry.Registry
	egress   *egress.Client
	sinks    events.SinkPolicy
	records  *stream.Writer
	waits    *stream.Writer
	waitlist *stream.Waitlist
	tokens   *stream.Tokens

	sourceTicks *stream.SourceTicks
	progress    *stream.Progresses

	first, due, held *slots
	fleet            *fleet
	gates            *gates // of the subscriptions' sinks
	targets          *gates // of the sinks that events have for themselves, by subscription and origin
	rooms            *gates // in the gatherer, for each subscription
	gatherer         *gatherer
	lanes            *lanes
	pacers           *pacers
	plans            *plans
	keeper           *keeper
	settled          *settled
	cancels          *cancels
	feed             *feed // nil = events always come from the consumer
	failures         *failures
	backlogs         *backlogs
	handed           *handedBack
	metrics          *metrics

	// The lives of what handlers do, which begin on the broker's callbacks: waiting ends when Run is told to, sends
	// outlive that by the grace.
	turns, sends context.Context //nolint:containedctx // see above

	stop   atomic.Bool
	loaded chan struct{} // closed when it delivers

	crowded   atomic.Bool   // sinks wait for their drain
	staggered atomic.Int64  // messages that wait for their time
	before    atomic.Uint64 // last sequence of RETRIES when we connected; 0 = no leftovers can be below it
}

// New makes a worker. It starts nothing.
func New(deps Deps, cfg Config) (*Worker, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Ticks == nil || deps.Progress == nil {
		return nil, errors.New("worker: lanes need the ticks of sources, and the progress of lifecycles")
	}
	id := "w-" + strings.ToLower(rand.Text()[:12])
	log := deps.Log.With().Str("worker", id).Logger()
	w := &Worker{
		cfg: cfg, nc: deps.Conn, js: deps.JS, log: log, registry: deps.Registry, egress: deps.Egress, sinks: deps.Sinks,
		records: deps.Records, waits: deps.Waits, waitlist: deps.Waitlist, tokens: deps.Tokens,
		sourceTicks: deps.Ticks, progress: deps.Progress,
		// Half for first attempts, a quarter each for retries and for what was held: together what the setting allows.
		first: newSlots("first", stream.Events, "", cfg.Concurrency/2),
		due:   newSlots("due", stream.Retries, stream.PlaceDue, cfg.Concurrency/4),
		held:  newSlots("held", stream.HeldName, stream.PlaceHeld, cfg.Concurrency/4),
		fleet: newFleet(deps.Conn, deps.JS, log, id), gates: newGates(), targets: newGates(), rooms: newGates(),
		pacers: newPacers(stream.NewPaces(deps.Conn, deps.Records)), plans: newPlans(), keeper: newKeeper(deps.Conn),
		settled: newSettled(deps.History), cancels: newCancels(deps.JS, log), backlogs: &backlogs{last: map[string]time.Time{}},
		handed: &handedBack{times: map[uint64]int{}}, loaded: make(chan struct{}), tight: deps.Tight, reserve: deps.Reserve,
	}
	if w.tight == nil {
		w.tight = func() bool { return false }
	}
	if w.reserve == nil {
		w.reserve = func() time.Duration { return 0 }
	}
	w.fleet.parts.makeRoom = w.makeRoom
	w.fleet.broker = cfg.Broker
	w.fleet.from = func(ctx context.Context) stream.Sender { return SenderOf(ctx, deps.Egress) }
	w.plans.credential = w.newCredential
	w.failures = newFailures(deps.Registry, log)
	w.gatherer = newGatherer(func(b *batch) { w.sendBatch(w.sends, w.turns, b) })
	w.feed = newFeed(w, &deps, cap(w.first.hands))
	w.lanes = newLanes(w, stream.NewLanes(deps.JS))
	w.cancels.told = func(delivery string) {
		if _, subscription, _, ok := events.ParseDeliveryID(delivery); ok {
			w.lanes.tell(subscription, func(t *tenure) { t.cancel(delivery) })
		}
	}
	w.metrics = newMetrics(deps.Metrics, w)
	return w, nil
}

// Ready says why the worker does not deliver yet; "" when it does.
func (w *Worker) Ready() string {
	select {
	case <-w.loaded:
		return ""
	default:
		return "the worker has not read its state yet"
	}
}

// Loaded is closed when the worker delivers for the first time.
func (w *Worker) Loaded() <-chan struct{} { return w.loaded }

func (w *Worker) stopping() bool { return w.stop.Load() }

// Run delivers until ctx ends. Then it takes nothing new, lets the attempts in flight end or hands them back uncounted,
// and returns when all is settled.
func (w *Worker) Run(ctx context.Context) error {
	sends, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	w.sends = sends
	select {
	case <-w.registry.Loaded():
	case <-ctx.Done():
		return nil
	}
	if err := w.prepare(ctx); err != nil {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // told to stop while preparing
		}
		return err
	}
	// What supports the deliveries ends after them.
	support, endSupport := context.WithCancel(context.WithoutCancel(ctx))
	defer endSupport()
	var supporting errgroup.Group
	supporting.Go(func() error { return w.keeper.run(support) })
	supporting.Go(func() error { return w.failures.run(support) })
	supporting.Go(func() error { return w.cancels.run(support) })
	supporting.Go(func() error { return w.fleet.run(support, ctx) })
	w.fleet.parts.await(ctx)

	delivering, inner := errgroup.WithContext(ctx)
	w.turns = inner
	delivering.Go(func() error { return w.takeEvents(inner) })
	delivering.Go(func() error {
		return w.pull(inner, w.due, stream.ConsumerDue, w.retry, func(p *puller) { p.inOrder = w.replayInOrder })
	})
	delivering.Go(func() error { return w.drainAll(inner) })
	delivering.Go(func() error { return w.lanes.run(inner) })
	delivering.Go(func() error { return w.gatherer.run(inner) })
	delivering.Go(func() error { return w.keepHouse(inner) })
	delivering.Go(func() error { return newAsker(w).run(inner) })
	delivering.Go(func() error { return w.cutAfterGrace(inner, sends, cut) })
	close(w.loaded)
	delivering.Go(func() error {
		<-inner.Done()
		w.stop.Store(true)
		return nil
	})
	err := delivering.Wait()
	endSupport()
	return errors.Join(err, supporting.Wait(), w.flush(ctx))
}

// cutAfterGrace ends the attempts in flight when the grace after the end is over.
func (w *Worker) cutAfterGrace(ctx, sends context.Context, cut context.CancelFunc) error {
	<-ctx.Done()
	timer := time.AfterFunc(max(w.cfg.Grace/2, w.cfg.Grace-w.reserve()), cut)
	context.AfterFunc(sends, func() { timer.Stop() })
	return nil
}

// flush makes sure that the broker has our last acks.
func (w *Worker) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if w.feed != nil {
		if err := w.feed.finish(ctx); err != nil {
			return err
		}
	}
	if err := stream.Flush(ctx, w.nc); err != nil {
		return fmt.Errorf("flush the last acks: %w", err)
	}
	return nil
}

// prepare makes the consumers and reads what was settled before us, or before the broker was away.
func (w *Worker) prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, prepareTimeout)
	defer cancel()
	if err := w.ensureConsumers(ctx); err != nil {
		return err
	}
	if err := w.readSettled(ctx); err != nil {
		return err
	}
	w.lookForLeftovers(ctx)
	return nil
}

func (w *Worker) ensureConsumers(ctx context.Context) error {
	for _, c := range []struct{ stream, name, filter string }{
		{stream.Events, stream.ConsumerDispatch, stream.SubjectEvents + ">"},
		{stream.Retries, stream.ConsumerDue, stream.SubjectDue + ">"},
	} {
		asked, cancel := context.WithTimeout(ctx, consumerTimeout)
		_, err := w.js.CreateOrUpdateConsumer(asked, c.stream, jetstream.ConsumerConfig{
			Durable: c.name, FilterSubject: c.filter, AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait,
			MaxDeliver: -1, MaxAckPending: maxAckPending, MaxWaiting: 512,
		})
		cancel()
		if err != nil {
			return fmt.Errorf("make consumer %s: %w", c.name, err)
		}
	}
	return nil
}

// readSettled sets the fences: what lay in the streams before we connected may have been settled, and the broker may have
// forgotten the acks of its last 100 ms. The history since the oldest event that is not acknowledged says what was.
func (w *Worker) readSettled(ctx context.Context) error {
	oldest := time.Now()
	for _, name := range []string{stream.Events, stream.Retries, stream.HeldName, stream.Attempts} {
		s, err := w.js.Stream(ctx, name)
		if err != nil {
			return fmt.Errorf("look at stream %s: %w", name, err)
		}
		state := s.CachedInfo().State
		switch {
		case name == stream.Attempts && state.Msgs > 0:
			// What was settled without its ack was recorded just before the end.
			oldest = earlier(state.LastTime, oldest)
		case name == stream.Events:
			at, err := w.oldestUnsettled(ctx, s, state.LastSeq)
			if err != nil {
				return err
			}
			oldest = earlier(oldest, at)
		case name == stream.Retries:
			w.before.Store(state.LastSeq)
		}
		w.settled.fence(name, state.LastSeq)
	}
	return w.settled.load(ctx, oldest)
}

// oldestUnsettled is when the oldest event was stored that is not acknowledged; now, when all are. What was not handed out may be settled as
// well: the feed moves the consumer behind itself.
func (w *Worker) oldestUnsettled(ctx context.Context, s jetstream.Stream, last uint64) (time.Time, error) {
	state, err := readConsumer(ctx, w.nc, stream.Events, stream.ConsumerDispatch)
	if err != nil {
		return time.Time{}, err
	}
	floor := state.AckFloor.Stream
	if floor >= last {
		return time.Now(), nil
	}
	m, err := s.GetMsg(ctx, floor+1, jetstream.WithGetMsgSubject(stream.SubjectEvents+">"))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return time.Now(), nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("read event %d: %w", floor+1, err)
	}
	return m.Time, nil
}

// pull runs pullers until ctx ends, each as with makes it, and makes a consumer that was deleted again.
func (w *Worker) pull(ctx context.Context, l *slots, consumer string, handle func(*nats.Msg), with func(*puller)) error {
	for ctx.Err() == nil {
		p := w.newPuller(l.stream, consumer, cap(l.hands))
		with(p)
		p.handle = func(m *nats.Msg) {
			defer p.release()
			handle(m)
		}
		err := p.run(ctx)
		if err == nil || ctx.Err() != nil {
			return nil
		}
		w.log.Error().Err(err).Str("consumer", consumer).Msg("pull broke off")
		if err := w.prepare(ctx); err != nil && ctx.Err() == nil {
			w.log.Error().Err(err).Msg("consumers not made; trying again")
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}
	return nil
}

// keepHouse forgets what belongs to subscriptions that are gone, and what nobody asks for any more.
func (w *Worker) keepHouse(ctx context.Context) error {
	changed, end := w.registry.Watch()
	defer end()
	tick := time.NewTicker(housekeeping)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			w.settled.shrink(now)
			w.targets.prune(now)
			w.lookForLeftovers(ctx)
		case id := <-changed:
			if _, ok := w.registry.Lookup(id); !ok {
				w.gates.forget(id)
				w.forgetToken(ctx, id)
				w.rooms.forget(id)
				w.pacers.forget(id)
				w.plans.forget(id)
			}
		}
	}
}
