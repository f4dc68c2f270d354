package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/api"
	"github.com/hookfleet/hookfleet/auth/egress"
	"github.com/hookfleet/hookfleet/auth/keys"
	"github.com/hookfleet/hookfleet/config"
	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/filter"
	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/events/stream/embedded"
	"github.com/hookfleet/hookfleet/events/stream/ids"
	"github.com/hookfleet/hookfleet/producer"
	"github.com/hookfleet/hookfleet/scheduler"
	"github.com/hookfleet/hookfleet/scheduler/poll"
	"github.com/hookfleet/hookfleet/worker"
)

// fleet is the parts that one process runs, and how they are put together.
type fleet struct {
	cfg      *config.Config
	log      zerolog.Logger
	demo     bool
	operator api.OperatorKey
	secrets  secretKeys

	lostSecrets bool // start although keys are missing

	pprofListen string   // "" = no profiles
	pprof       net.Addr // where they are

	base, support, roles *layer

	broker   *embedded.Broker // nil on an external cluster
	front    *nats.Conn       // of the API: publishers, queries
	back     *nats.Conn       // of the worker
	index    *nats.Conn       // of the scheduler, which reads all events once more
	replays  *nats.Conn       // of its replays, which read and write beside live events
	query    *nats.Conn       // of reads: the broker answers them in the order of what else comes by a connection
	js       jetstream.JetStream
	metrics  *prometheus.Registry
	keys     *api.KeyStore
	topology *stream.Topology
	registry *registry.Registry
	storage  *stream.Storage
	egress   *egress.Client
	admin    *stream.Writer   // what API and scheduler write, durably
	ingest   *producer.Ingest // of the roles that take events
	turns    *stream.Turns    // of who stores events in the embedded broker
	ids      *ids.Index       // of events, while the broker does not know them; nil elsewhere
	ownIDs   bool             // it is to know them from the start
	begun    chan struct{}    // closed when turns are taken
	tap      scheduler.Tap    // from there to the index of statuses
	desk     scheduler.Desk   // and from that to the API
	left     *scheduler.Left  // of statuses by the process before; nil on an external cluster
	worker   *worker.Worker
	api      *api.API
}

// start starts all parts and returns when they are ready.
func (f *fleet) start(ctx context.Context) error {
	f.metrics = prometheus.NewRegistry()
	f.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	f.base.run("thrift", thrift)
	for _, step := range []func(context.Context) error{
		f.startProfiling, f.startBroker, f.connect, f.startSupport, f.startWorker, f.startIngest, f.startScheduler, f.startAPI, f.startDemo, f.awaitWorker,
	} {
		if err := step(ctx); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// startBroker starts the embedded broker, unless there is a cluster.
func (f *fleet) startBroker(ctx context.Context) (err error) {
	if f.cfg.Embedded() || f.cfg.Has(config.RoleAPI) {
		if f.operator, err = api.EnsureOperatorKey(f.cfg.Data, f.cfg.OperatorKey); err != nil {
			return err
		}
	}
	f.keys = api.NewKeyStore(f.operator, f.log)
	if !f.cfg.Embedded() {
		return nil
	}
	if f.storage, err = stream.NewDiskStorage(f.storeDir(), f.cfg.Events.MaxSize); err != nil {
		return err
	}
	f.begun = make(chan struct{})
	f.broker, err = embedded.New(embedded.Config{
		Dir: f.storeDir(), Listen: f.cfg.NATS.Listen, Sync: f.cfg.NATS.Sync,
		Authenticate: f.natsPermissions, HasRoom: func() bool { return f.storage.Ratio() < roomRatio },
		Full: f.storage.Exhausted, BeforeGuest: f.share,
	}, f.log)
	if err != nil {
		return err
	}
	f.keys.OnEnd(f.broker.End)
	f.base.run("broker", f.runBroker)
	f.readLeft()
	select {
	case <-f.broker.Ready():
		f.dropLeft()
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// runBroker runs the broker until ctx ends. One that still opens its store then is left to the end of the process: nothing uses it yet, or,
// where it was started anew, any more.
func (f *fleet) runBroker(ctx context.Context) error {
	err := f.broker.Run(ctx)
	if errors.Is(err, embedded.ErrOpening) {
		f.log.Info().Msg("the broker still opens its store, and is not waited for: the store is as after a kill")
		return nil
	}
	return err
}

// readLeft reads what the process before has left of statuses while the broker starts, once that has the store for itself.
func (f *fleet) readLeft() {
	if !f.cfg.Has(config.RoleScheduler) {
		return
	}
	f.left = scheduler.NewLeft(f.statusesDir(), f.log)
	if f.cfg.Statuses.Retention == 0 {
		return
	}
	f.base.run("left statuses", func(ctx context.Context) error {
		select {
		case <-f.broker.Locked():
			f.left.Read(ctx)
		case <-ctx.Done():
		}
		<-ctx.Done()
		return nil
	})
}

// roomRatio is below which use of the store a broker that ran out of room is started again: as much as ingest is refused
// above (DESIGN.md, Durability).
const roomRatio = 0.9

func (f *fleet) storeDir() string    { return filepath.Join(f.cfg.Data, "nats") }
func (f *fleet) statusesDir() string { return filepath.Join(f.cfg.Data, "statuses") }

// natsPermissions is what a client of the embedded broker may do by its API key (API.md 6).
func (f *fleet) natsPermissions(token string) (embedded.Permissions, bool) {
	key, ok := f.keys.Lookup(token)
	if !ok {
		return embedded.Permissions{}, false
	}
	switch key.Role {
	case keys.Operator:
		return embedded.Permissions{All: true, Key: key.ID}, true
	case keys.Producer:
		return embedded.Permissions{Publish: publishSubjects(key), Key: key.ID}, true
	default:
		return embedded.Permissions{}, false
	}
}

// publishSubjects are the subjects that a producer key may publish to.
func publishSubjects(key *keys.Key) []string {
	var subjects []string
	for _, tenant := range key.Scope() {
		prefix := stream.SubjectPublish + tenant + "."
		if len(key.Types) == 0 {
			subjects = append(subjects, prefix+">")
		}
		for _, t := range key.Types {
			if head, more := keys.TypeHead(t); more {
				subjects = append(subjects, prefix+stream.EncodeType(head)+".>")
			} else {
				subjects = append(subjects, prefix+stream.EncodeType(t))
			}
		}
	}
	return subjects
}

// syncer is how writes are made durable: by us on the embedded broker, by the cluster's acknowledgement elsewhere.
func (f *fleet) syncer() stream.Syncer {
	if f.broker == nil {
		return nil
	}
	return f.broker.Sync
}

// startSupport makes the streams and starts what all roles stand on.
func (f *fleet) startSupport(ctx context.Context) (err error) {
	dedupe, err := f.dedupe(ctx)
	if err != nil {
		return err
	}
	f.topology, err = stream.NewTopology(f.js, stream.Config{
		Replicas: f.cfg.NATS.Replicas, Retention: f.cfg.Events.Retention, MaxSize: f.cfg.Events.MaxSize, Dedupe: dedupe,
		Statuses: f.cfg.Statuses.Retention,
	}, f.log)
	if err != nil {
		return err
	}
	if err := f.topology.Ensure(ctx); err != nil {
		return err
	}
	if f.broker == nil {
		f.storage = stream.NewAccountStorage(f.js)
	} else if err := f.broker.SyncMetadata(); err != nil {
		return err
	} else if err := f.mend(ctx); err != nil {
		return err
	}
	f.forgetKilled(ctx)
	f.admin = stream.NewWriter(f.front, f.syncer())
	if f.broker != nil {
		f.admin.InTurns(f.turns) // the tests of sinks are events, too
	}
	registryConfig := registry.DefaultConfig()
	registryConfig.Sync, registryConfig.Secrets, registryConfig.Admit = f.syncer(), f.secrets.Vault, f.storage.Admit
	if f.registry, err = registry.New(f.js, registryConfig, f.log); err != nil {
		return err
	}
	f.metrics.MustRegister(f.registry.Metrics()...)
	f.keys.Attach(f.js, f.admin)
	f.support.run("topology", f.topology.Run)
	f.support.run("storage", f.storage.Run)
	f.support.run("admin writer", f.admin.Run)
	f.support.run("registry", f.registry.Run)
	f.support.run("keys", f.keys.Run)
	if err := f.awaitLoaded(ctx); err != nil {
		return err
	}
	return f.checkSecrets(ctx)
}

func (f *fleet) awaitLoaded(ctx context.Context) error {
	for _, loaded := range []<-chan struct{}{f.registry.Loaded(), f.keys.Loaded()} {
		select {
		case <-loaded:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// recordPace gathers history records: what was sent keeps its slot of the worker for so long, and its sink waits for nothing.
// At 7,000 deliveries/s 35 share a group.
const recordPace = 5 * time.Millisecond

// startWorker starts the worker, and the egress that only it sends by.
func (f *fleet) startWorker(context.Context) (err error) {
	egressConfig := egress.DefaultConfig()
	egressConfig.Allow, egressConfig.Deny = f.cfg.Egress.Allow, f.cfg.Egress.Deny
	egressConfig.PlainHTTP, egressConfig.Source = f.cfg.Egress.PlainHTTP, f.cfg.Egress.Source
	egressConfig.UserAgent = "hookfleet/" + version()
	if !f.cfg.Egress.Proxy.IsZero() {
		if egressConfig.Proxy, err = egress.ParseProxy(f.cfg.Egress.Proxy); err != nil {
			return fmt.Errorf("egress.proxy: %w", err)
		}
	}
	if f.egress, err = egress.New(egressConfig); err != nil {
		return err
	}
	if !f.cfg.Has(config.RoleWorker) {
		return nil
	}
	js, err := jetstream.New(f.back)
	if err != nil {
		return fmt.Errorf("jetstream: %w", err)
	}
	records, waits := stream.NewWriter(f.back, nil).Paced(recordPace), stream.NewWriter(f.back, f.syncer())
	ticks := stream.NewSourceTicks(f.js, f.log)
	f.support.run("source ticks", ticks.Run)
	f.support.run("record writer", records.Run)
	f.support.run("waits writer", waits.Run)
	cfg := worker.DefaultConfig()
	cfg.Concurrency, cfg.PublicURL, cfg.Broker = f.cfg.Worker.Concurrency, f.cfg.API.PublicURL, f.broker != nil
	f.worker, err = worker.New(worker.Deps{
		Conn: f.back, JS: js, Registry: f.registry, Egress: f.egress, Sinks: f.sinkPolicy(), Records: records, Waits: waits,
		History: stream.NewHistory(f.js, nil), Waitlist: stream.NewWaitlist(f.js), Tokens: stream.NewTokens(js, f.secrets.Vault),
		Ticks: ticks, Progress: stream.NewProgresses(f.js, waits), Metrics: f.metrics, Log: f.log,
		Tight:   func() bool { return f.storage.Ratio() >= stream.StorageTight },
		Alone:   f.alone(),
		Reserve: f.brokerEnd,
	}, cfg)
	if err != nil {
		return err
	}
	f.roles.run("worker", f.worker.Run)
	return nil
}

// laneEnd is how long the broker takes to end for each lane. All of an end takes 30 s at most.
const laneEnd = 10 * time.Millisecond

// brokerEnd is how long the embedded broker will take to end.
func (f *fleet) brokerEnd() (d time.Duration) {
	if !f.cfg.Embedded() {
		return 0
	}
	for range f.registry.Lanes() {
		d += laneEnd
	}
	return d
}

// awaitWorker returns when the worker delivers: only then is the process ready.
func (f *fleet) awaitWorker(ctx context.Context) error {
	if f.worker == nil {
		return nil
	}
	select {
	case <-f.worker.Loaded():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (f *fleet) startScheduler(context.Context) (err error) {
	if !f.cfg.Has(config.RoleScheduler) {
		return nil
	}
	cfg := scheduler.DefaultConfig()
	cfg.Retention, cfg.Index = f.cfg.Events.Retention, f.cfg.Statuses.Retention > 0
	if f.cfg.Embedded() {
		cfg.Broker = true
	} else if _, err := os.Stat(f.cfg.Data); err == nil { // as in a container, where nothing else may be written to
		cfg.CopyDir = f.cfg.Data
	}
	var index, replays jetstream.JetStream
	var indexWriter, replayWriter *stream.Writer
	if f.index, index, indexWriter, err = f.ownWriter("index"); err != nil {
		return err
	}
	if f.replays, replays, replayWriter, err = f.ownWriter("replay"); err != nil {
		return err
	}
	s, err := scheduler.New(scheduler.Deps{
		JS: f.js, Registry: f.registry, Writer: f.admin, Storage: f.storage, Metrics: f.metrics, Log: f.log,
		Index: index, IndexWriter: indexWriter, Sync: f.syncer(), Tap: &f.tap, Left: f.left, Desk: &f.desk, Replays: replays, ReplayWriter: replayWriter,
	}, cfg)
	if err != nil {
		return err
	}
	f.roles.run("scheduler", s.Run)
	return f.startPoller()
}

// ownWriter opens a connection of its own for what may not be in anybody's way, and starts a writer on it.
func (f *fleet) ownWriter(name string) (*nats.Conn, jetstream.JetStream, *stream.Writer, error) {
	nc, err := f.dial("hookfleet " + name)
	if err != nil {
		return nil, nil, nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nc, nil, nil, fmt.Errorf("jetstream: %w", err)
	}
	writer := stream.NewWriter(nc, f.syncer())
	f.support.run(name+" writer", writer.Run)
	return nc, js, writer, nil
}

// startPoller starts what polls status sources.
func (f *fleet) startPoller() error {
	cfg := poll.DefaultConfig()
	cfg.Broker = f.broker != nil
	p, err := poll.New(poll.Deps{
		JS: f.js, Registry: f.registry, Writer: f.admin, Egress: f.egress, Tokens: stream.NewTokens(f.js, f.secrets.Vault),
		Publish: f.publish, Metrics: f.metrics, Log: f.log,
	}, cfg)
	if err != nil {
		return err
	}
	f.roles.run("sources", p.Run)
	return nil
}

// publish stores an event as a producer's. The same id with another time is the same event, found once more.
func (f *fleet) publish(ctx context.Context, e *events.Event) error {
	_, err := f.ingest.Accept(ctx, []*events.Event{e})
	if errors.Is(err, producer.ErrReuse) {
		return nil
	}
	return err
}

// startIngest starts what events are taken by.
func (f *fleet) startIngest(context.Context) error {
	if !f.cfg.Has(config.RoleAPI) && !f.cfg.Has(config.RoleScheduler) {
		return nil
	}
	writer := stream.NewWriter(f.front, f.syncer())
	if f.broker == nil && f.cfg.NATS.Replicas > 1 {
		writer = stream.NewClusterWriter(f.front, stream.Events)
	}
	batches := stream.NewBatches(f.front, f.syncer())
	if f.broker != nil {
		batches.UpTo(embedded.MaxBatch).InTurns(f.turns)
		writer.InTurns(f.turns)
	}
	f.support.run("ingest writer", writer.Run)
	f.ingest = producer.NewIngest(producer.IngestDeps{
		JS: f.js, Writer: writer, Batches: batches, Admit: f.admit, Stored: f.stored, Metrics: f.metrics,
	})
	return nil
}

// startStatus serves health and metrics of a process without the api role, where it was told an address to listen on:
// the default is the API's, which may run on the same machine.
func (f *fleet) startStatus(ctx context.Context) (err error) {
	if f.cfg.API.Listen == config.Default().API.Listen {
		return nil
	}
	cfg := api.DefaultConfig()
	cfg.Listen, cfg.Version, cfg.StatusOnly = f.cfg.API.Listen, version(), true
	f.api, err = api.New(api.Deps{
		JetStream: f.js, Registry: f.registry, Writer: f.admin, Keys: f.keys, Metrics: f.metrics, Log: f.log, Checks: f.checks(),
		Storage: f.storage.Ratio,
	}, cfg)
	if err != nil {
		return err
	}
	f.roles.run("status", f.api.Run)
	select {
	case <-f.api.Listening():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// startAPI starts ingest by HTTP and NATS, and the API.
func (f *fleet) startAPI(ctx context.Context) (err error) {
	if !f.cfg.Has(config.RoleAPI) {
		return f.startStatus(ctx)
	}
	handler := &producer.Handler{Ingest: f.ingest}
	cfg := api.DefaultConfig()
	cfg.Listen, cfg.Version, cfg.NoStatuses = f.cfg.API.Listen, version(), f.cfg.Statuses.Retention == 0
	f.api, err = api.New(api.Deps{
		JetStream: f.js, Registry: f.registry, Writer: f.admin, Keys: f.keys, Metrics: f.metrics, Log: f.log, Checks: f.checks(),
		Ingest: handler, Codes: ingestCodes, Sinks: f.sinkPolicy(), Storage: f.storage.Ratio,
		Unsettled: f.unsettled(), AskStatus: f.desk.Ask,
		Sender: func(ctx context.Context) stream.Sender { return worker.SenderOf(ctx, f.egress) },
	}, cfg)
	if err != nil {
		return err
	}
	handler.MayPublish, handler.Fail = f.api.MayPublish, f.api.Fail
	responder := producer.NewResponder(f.front, f.ingest, f.log)
	f.roles.run("nats ingest", responder.Run)
	f.roles.run("api", f.api.Run)
	for _, listening := range []<-chan struct{}{responder.Listening(), f.api.Listening()} {
		select {
		case <-listening:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// sinkPolicy is which sinks and filters may be registered: what the egress would refuse is refused early, and what would
// fail for every event.
func (f *fleet) sinkPolicy() events.SinkPolicy {
	policy := events.SinkPolicy{
		PlainHTTP: f.cfg.Egress.PlainHTTP, HostDenied: f.egress.Guard().HostDenied, WrongFilter: filter.Wrong,
	}
	if u, err := url.Parse(f.cfg.API.PublicURL); err == nil {
		policy.Origin = u.Hostname()
	}
	return policy
}

// ingestCodes are the answers to what ingest refuses.
var ingestCodes = map[error]api.Code{
	producer.ErrForbidden:   api.CodeForbidden,
	producer.ErrReuse:       api.CodeIDReuse,
	producer.ErrUnavailable: api.CodeUnavailable,
}

// errStreams refuses events while a stream is lost.
var errStreams = errors.New("streams are not as they should be")

// admit refuses events that the fleet could not keep.
func (f *fleet) admit(bytes int) error {
	if problem := f.topology.Problem(); problem != "" {
		return fmt.Errorf("%w: %s", errStreams, problem)
	}
	if f.broker != nil && f.broker.Failed() {
		return stream.ErrStorageFull
	}
	return f.storage.Admit(bytes)
}

// checks are what readiness depends on, beside what the API looks at itself.
func (f *fleet) checks() []api.Check {
	checks := []api.Check{
		func() (string, string) { return "streams", f.topology.Problem() },
		func() (string, string) { return "storage", f.storageProblem() },
		func() (string, string) { return "secrets", f.missingKeys() },
	}
	if f.worker != nil {
		checks = append(checks, func() (string, string) { return "worker", f.worker.Ready() })
	}
	return checks
}

func (f *fleet) storageProblem() string {
	if f.broker != nil && f.broker.Failed() {
		return "a write to the store failed; the broker is restarted when there is room"
	}
	if err := f.storage.Admit(0); err != nil {
		return err.Error()
	}
	return ""
}
