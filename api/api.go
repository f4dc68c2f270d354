package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/auth/keys"
	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/events/stream"
)

// Config holds the settings of the API.
type Config struct {
	Listen         string // host:port; port 0 = any free one
	MaxConnections int    // open connections at a time; more wait to be accepted
	Version        string // of this build, for the OpenAPI document
	NoStatuses     bool   // there is no index of statuses
	StatusOnly     bool   // serve only what needs no key: health, readiness, metrics. For processes without the api role
}

// DefaultConfig returns the settings of API.md 1.
func DefaultConfig() Config {
	return Config{
		Listen:         "127.0.0.1:8080",
		MaxConnections: 8192, // 4 KB each while idle, 24 with a request that has begun: 200 MB at worst
		Version:        "dev",
	}
}

// Validate names everything that cannot work.
func (c Config) Validate() error {
	var errs []error
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		errs = append(errs, fmt.Errorf("api.listen: %w", err))
	}
	if c.MaxConnections < 1 {
		errs = append(errs, errors.New("api: maximum of connections must be above 0"))
	}
	return errors.Join(errs...)
}

// Deps is what the API stands on. All but Sinks, Codes, Storage, Unsettled, Checks, Sender, AskStatus and SourceTerminal are needed.
type Deps struct {
	JetStream jetstream.JetStream // for reading: on a connection that nothing much is published on
	Registry  *registry.Registry
	Writer    *stream.Writer // running
	Ingest    http.Handler   // POST /v1/events: reads, checks and stores the events; asks MayPublish and answers errors by Fail
	Keys      *KeyStore
	Sinks     events.SinkPolicy
	Codes     map[error]Code // what Fail answers for errors of Ingest that this package cannot know
	Metrics   *prometheus.Registry
	Storage   func() float64                      // part of the broker's store in use, 0 to 1
	Unsettled func() (n uint64, ok bool)          // how many events the worker of this process has not settled, if it knows; nil = it never does
	Checks    []Check                             // what /readyz asks, beside the broker and the registry
	Sender    func(context.Context) stream.Sender // where requests of this process would come from
	Log       zerolog.Logger

	// AskStatus asks for a status where the index of them is in this process, as stream.Statuses.Ask does; ok is false when it is not.
	AskStatus func(context.Context, stream.StatusName) (s *stream.Status, ok bool)
	// SourceTerminal returns the statuses that complete an item of a status source of a tenant; none = there is no such
	// source, or nothing completes its items. nil = there are no sources.
	SourceTerminal func(tenant, id string) []string
}

// API serves /v1. It is safe for concurrent use.
type API struct {
	cfg      Config
	deps     Deps
	log      zerolog.Logger
	failures *keys.Failures
	routes   []route
	text     []byte // the OpenAPI document
	metrics  *metrics
	sampled  zerolog.Logger // for what a broker that is away makes every request say

	events  *stream.EventLog
	history *stream.History
	waiting *stream.Waitlist
	dead    *stream.DeadList
	status  *stream.Statuses
	pending *pendingCounts
	cancels *cancels
	replays *stream.Replays
	lanes   *stream.Lanes
	items   *stream.ItemStore
	polls   *stream.Polls

	started   time.Time
	listening chan struct{}
	addr      net.Addr // valid once listening is closed
}

// New returns an API that does not listen yet.
func New(deps Deps, cfg Config) (*API, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	a := &API{
		cfg: cfg, deps: deps, log: deps.Log, failures: keys.NewFailures(), started: time.Now(), listening: make(chan struct{}),
	}
	a.sampled = deps.Log.Sample(&zerolog.BurstSampler{Burst: 20, Period: time.Second})
	a.events, a.waiting, a.dead = stream.NewEventLog(deps.JetStream), stream.NewWaitlist(deps.JetStream), stream.NewDeadList(deps.JetStream)
	a.history, a.status = stream.NewHistory(deps.JetStream, a.match).WithLanes(a.laneVersions), stream.NewStatuses(deps.JetStream)
	backlog := stream.NewBacklog(a.history).WithUnsettled(deps.Unsettled)
	a.pending = newPendingCounts(backlog)
	a.cancels, a.lanes = newCancels(), stream.NewLanes(deps.JetStream)
	a.replays = stream.NewReplays(deps.JetStream, deps.Writer)
	a.items, a.polls = stream.NewItemStore(deps.JetStream, deps.Writer), stream.NewPolls(deps.JetStream)
	a.metrics = newMetrics(deps.Metrics)
	if err := deps.Metrics.Register(newFleetMetrics(backlog, deps.Storage)); err != nil {
		return nil, fmt.Errorf("register the fleet's metrics: %w", err)
	}
	a.routes = a.table()
	var err error
	if a.text, err = a.document(); err != nil {
		return nil, fmt.Errorf("make the OpenAPI document: %w", err)
	}
	return a, nil
}

// table is every route there is.
func (a *API) table() []route {
	if a.cfg.StatusOnly {
		return a.processRoutes()
	}
	var all []route
	for _, group := range [][]route{
		a.eventRoutes(), a.subscriptionRoutes(), a.deliveryRoutes(), a.deadLetterRoutes(), a.replayRoutes(), a.statusRoutes(), a.keyRoutes(), a.secretRoutes(), a.egressRoutes(),
		a.sourceRoutes(), a.handshakeRoutes(), a.processRoutes(),
	} {
		all = append(all, group...)
	}
	return all
}

// match is the stream.Matcher of the registry: the ids of the subscriptions that the event went to when it was accepted,
// those that are gone since included, whose deliveries a worker is about to cancel. It is as new as the last Fresh, which each call makes that asks.
func (a *API) match(_ context.Context, e *events.Event, sequence uint64) ([]string, error) {
	var ids []string
	for _, m := range a.deps.Registry.Matched(e, sequence, nil) {
		ids = append(ids, m.ID)
	}
	return ids, nil
}

// laneVersions is the stream.LaneLister of the registry, as new as match.
func (a *API) laneVersions(subscription string) (versions []stream.LaneVersion) {
	ids := a.deps.Registry.Lanes()
	if subscription != "" {
		ids = slices.Values([]string{subscription})
	}
	for id := range ids {
		for _, v := range a.deps.Registry.LaneVersions(id) {
			versions = append(versions, stream.LaneVersion{
				Subscription: id, From: v.From, Until: v.Until, Tenant: v.Tenant, Types: v.Types, Whole: v.Whole(),
			})
		}
	}
	return versions
}
