package registry

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/events"
)

// What a write may be refused for.
var (
	ErrNotFound = errors.New("no such subscription")
	ErrTaken    = errors.New("the id is taken")
	ErrConflict = errors.New("the subscription has changed since")
	// ErrBacklog refuses a change when too many earlier versions still have events to be matched. It passes by itself.
	ErrBacklog = errors.New("too many earlier versions have events waiting")
)

// Registry is the view of one process. It is safe for concurrent use.
type Registry struct{}

// Entry is a subscription as it is now. It is immutable.
type Entry struct {
	Subscription *events.Subscription // shared, must not be changed
	Revision     uint64               // the ETag: changes with every write but our own bookkeeping
	Since        uint64               // EVENTS sequence after which this subscription was created; older deliveries are a deleted namesake's
	From         uint64               // EVENTS sequence after which its present types, source, filters and tenant hold
	CreatedAt    time.Time
	UpdatedAt    time.Time
	SecretMade   bool // in the answer of the write that made a secret up: show it, this once
}

// Match is one subscription that an event goes to.
type Match struct {
	ID    string
	Entry *Entry // as it is now; nil: deleted since the event was accepted, so the delivery is cancelled (unsubscribed)
}

// New returns a registry over js. Nothing is read before Run.
func New(js jetstream.JetStream, cfg Config, log zerolog.Logger) (*Registry, error) {
	panic("not yet")
}

// Run watches both buckets until ctx ends. It takes up a lost watch by itself.
func (r *Registry) Run(ctx context.Context) error { panic("not yet") }

// Loaded is closed when everything that was stored at the start is in memory.
func (r *Registry) Loaded() <-chan struct{} { panic("not yet") }

// Lookup returns a subscription as it is now; false when it is absent or deleted.
func (r *Registry) Lookup(id string) (*Entry, bool) { panic("not yet") }

// Match appends to dst the subscriptions that the event e, stored at sequence, goes to: those whose version of that
// sequence holds for it, each once, in no particular order. It is as new as the last Fresh.
func (r *Registry) Match(e *events.Event, sequence uint64, dst []Match) []Match { panic("not yet") }

// Fresh returns when this registry has seen every write that was finished when the call began. Calls that wait together
// share one request to the broker.
func (r *Registry) Fresh(ctx context.Context) error { panic("not yet") }

// Create stores a new subscription, and makes up its id if it has none. ErrTaken when there is one with this id.
func (r *Registry) Create(ctx context.Context, s *events.Subscription) (*Entry, error) {
	panic("not yet")
}

// Put stores s under its id, with the secrets of what it replaces where s has none. created tells whether it is new.
// ifMatch is the Revision that is to be replaced (ErrConflict when it is another); 0 = any, or none.
func (r *Registry) Put(ctx context.Context, s *events.Subscription, ifMatch uint64) (e *Entry, created bool, err error) {
	panic("not yet")
}

// Delete removes a subscription; ifMatch as for Put. ErrNotFound when there is none.
func (r *Registry) Delete(ctx context.Context, id string, ifMatch uint64) error { panic("not yet") }

// SetPaused pauses or resumes a subscription.
func (r *Registry) SetPaused(ctx context.Context, id string, paused bool) (*Entry, error) {
	panic("not yet")
}

// List returns the newest subscriptions of a tenant ("" = all) after the cursor ("" = from the start), at most limit, and the
// cursor of the next page; "" when there is none. A cursor that IsCursor refuses reads as "".
func (r *Registry) List(tenant, after string, limit int) (page []*Entry, next string) {
	panic("not yet")
}

// IsCursor reports whether s is a cursor of List.
func IsCursor(s string) bool { panic("not yet") }

// Broken returns the ids of records that cannot be read, and why. Their last good version stays in use.
func (r *Registry) Broken() map[string]string { panic("not yet") }

// Prune forgets the versions and tombstones that only matter for events up to floor, the highest EVENTS sequence up to
// which everything is settled.
func (r *Registry) Prune(ctx context.Context, floor uint64) error { panic("not yet") }

// Watch returns the ids whose subscription or health changes, each at least once after its change, until cancel is
// called. Ids that nobody takes are kept, each once.
func (r *Registry) Watch() (changed <-chan string, cancel func()) { panic("not yet") }

// Health returns the health of a subscription's sink; active when nothing is stored.
func (r *Registry) Health(id string) Health { panic("not yet") }

// SetHealth changes the health of a subscription's sink by change, which may be called several times and returns false
// to leave it as it is. It returns when the change is stored and visible here.
func (r *Registry) SetHealth(ctx context.Context, id string, change func(h *Health) bool) error {
	panic("not yet")
}

// Backlogged yields the ids of subscriptions that have held deliveries.
func (r *Registry) Backlogged() iter.Seq[string] { panic("not yet") }
