package registry

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

// What a write may be refused for, beside an *events.LockedError: a change of a subscription whose secrets do not open would
// destroy them. A Put that brings them anew may.
var (
	ErrNotFound = errors.New("no such subscription")
	ErrTaken    = errors.New("the id is taken")
	ErrConflict = errors.New("the subscription has changed since")
	// ErrBacklog refuses a change when too many earlier versions still have events to be matched. It passes by itself.
	ErrBacklog = errors.New("too many earlier versions have events waiting")
)

// Registry is the view of one process. It is safe for concurrent use.
type Registry struct {
	js  jetstream.JetStream
	nc  *nats.Conn
	cfg Config
	log zerolog.Logger

	opener events.Opener // the watch's

	mu     sync.RWMutex // of the next eight, which only the watch changes
	items  map[string]*item
	index  index
	order  order
	aged   map[string]struct{} // ids with earlier versions, or deleted: what Prune looks at
	broken map[string]fault
	stale  map[string]struct{} // ids whose secrets are not stored with the present key: what Reseal looks at
	locked map[string]*events.LockedError
	lanes  map[string]struct{} // ids that have a version with a lane

	healthMu   sync.RWMutex // of the next two
	health     map[string]storedHealth
	backlogged map[string]struct{}

	sourceMu      sync.RWMutex
	sources       map[string]*SourceEntry
	sourceBucket  *bucket
	sourceChanges changes

	subscriptions, sinks *bucket
	loaded               chan struct{}
	floor                atomic.Uint64 // the highest that Prune was told
	fresh                fresh
	changes              changes
	scrubs               chan struct{} // asks for one
}

// Entry is a subscription as it is now. It is immutable.
type Entry struct {
	Subscription *events.Subscription // shared, must not be changed
	Revision     uint64               // the ETag: changes with every write but our own bookkeeping
	Since        uint64               // EVENTS sequence after which it was created; see Owns
	From         uint64               // EVENTS sequence after which its present types, source, filters and tenant hold
	CreatedAt    time.Time
	UpdatedAt    time.Time
	Locked       *events.LockedError // secrets that Subscription lacks because they do not open: nothing may be sent; nil = none
	SecretMade   bool                // in the answer of the write that made a secret up: show it, this once
}

// Owns reports whether a delivery is this subscription's. One that is not belongs to a deleted subscription of the same
// id, and is cancelled (unsubscribed).
func (e *Entry) Owns(d *events.Delivery) bool {
	if d.ReplayOf != "" || d.Event.Sequence == 0 {
		return !d.CreatedAt.Before(e.CreatedAt)
	}
	return d.Event.Sequence > e.Since
}

// Match is one subscription that an event goes to.
type Match struct {
	ID    string
	Entry *Entry // as it is now; nil: deleted since the event was accepted, so the delivery is cancelled (unsubscribed)
}

// fault is a record that cannot be read.
type fault struct {
	revision uint64
	why      string
}

// New returns a registry over js. Nothing is read before Run.
func New(js jetstream.JetStream, cfg Config, log zerolog.Logger) (*Registry, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	r := &Registry{
		js: js, nc: js.Conn(), cfg: cfg, log: log,
		items: make(map[string]*item), index: newIndex(), aged: make(map[string]struct{}),
		broken: make(map[string]fault), stale: make(map[string]struct{}), locked: make(map[string]*events.LockedError),
		lanes: make(map[string]struct{}), opener: events.Opener{Sealer: cfg.Secrets},
		health: make(map[string]storedHealth), backlogged: make(map[string]struct{}),
		sources: make(map[string]*SourceEntry),
		loaded:  make(chan struct{}), scrubs: make(chan struct{}, 1),
	}
	r.sourceBucket = newBucket(stream.BucketSources, sourceTable{r})
	r.subscriptions = newBucket(stream.BucketSubscriptions, subscriptionTable{r})
	r.sinks = newBucket(stream.BucketSinks, healthTable{r})
	r.fresh.turn = make(chan struct{}, 1)
	return r, nil
}

// Run watches its buckets until ctx ends. It takes up a lost watch by itself.
func (r *Registry) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { r.follow(ctx, r.subscriptions) })
	wg.Go(func() { r.follow(ctx, r.sinks) })
	wg.Go(func() { r.follow(ctx, r.sourceBucket) })
	wg.Go(func() {
		if r.subscriptions.wait(ctx) == nil && r.sinks.wait(ctx) == nil && r.sourceBucket.wait(ctx) == nil {
			close(r.loaded)
		}
	})
	wg.Go(func() { r.scrubWhenAsked(ctx) })
	wg.Wait()
	r.changes.end()
	r.sourceChanges.end()
	return nil
}

// Loaded is closed when everything that was stored at the start is in memory.
func (r *Registry) Loaded() <-chan struct{} { return r.loaded }

// Lookup returns a subscription as it is now; false when it is absent or deleted.
func (r *Registry) Lookup(id string) (*Entry, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if it := r.items[id]; it != nil && it.live() {
		return &it.Entry, true
	}
	return nil, false
}

// Match appends to dst the subscriptions that the event e, stored at sequence, goes to from dispatch: those whose version of
// that sequence holds for it and is not a lane's, each once, in no particular order. It is as new as the last Fresh. A
// filter that fails counts as false, and in the metrics.
func (r *Registry) Match(e *events.Event, sequence uint64, dst []Match) []Match {
	return r.match(e, sequence, dst, false)
}

// Matched is Match for who looks an event up that was matched before, lanes included: nothing is counted again.
func (r *Registry) Matched(e *events.Event, sequence uint64, dst []Match) []Match {
	return r.match(e, sequence, dst, true)
}

func (r *Registry) match(e *events.Event, sequence uint64, dst []Match, quiet bool) []Match {
	if e.Type() == events.TypeTest {
		return dst // the subscription that is tested has its delivery already
	}
	r.mu.RLock()
	s := r.index.find(e, sequence, quiet, dst)
	r.mu.RUnlock()
	return s.matches(quiet, r.log)
}

func (r *Registry) isBroken(id string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, broken := r.broken[id]
	return broken
}

// Broken returns the ids of records that cannot be read, and why. Their last good version stays in use.
func (r *Registry) Broken() map[string]string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := make(map[string]string, len(r.broken))
	for id, f := range r.broken {
		all[id] = f.why
	}
	return all
}
