// Package keys holds the API keys: who calls, and what that caller may do.
package keys

import (
	"net/netip"
	"time"

	"github.com/hookfleet/hookfleet/auth/secret"
)

// Role is what a key is for.
type Role string

// The roles.
const (
	Operator Role = "operator" // everything
	Producer Role = "producer" // publishes events and adds items to sources, of its tenants and types
	Partner  Role = "partner"  // its tenant's subscriptions, deliveries, dead letters and replays; reads its events and statuses
)

// Key is one API key without its text.
type Key struct {
	ID          string    `json:"id"`
	Role        Role      `json:"role"`
	Tenants     []string  `json:"tenants,omitempty"`
	Types       []string  `json:"types,omitempty"`
	Description string    `json:"description,omitempty"`
	Hash        Hash      `json:"-"` // never in answers; a store writes it beside
	CreatedAt   time.Time `json:"createdat"`
}

// Hash is the SHA-256 of a key's text.
type Hash [32]byte

// HashOf returns the hash under which text is stored.
func HashOf(text string) Hash { return Hash{} }

// Generate returns a new id and the text of a new key.
func Generate() (id string, text secret.Text) { return "", secret.Text{} }

// Table is the set of keys that are valid now. The zero value is an empty table. It is safe for concurrent use.
type Table struct{}

// Lookup returns the key whose text this is.
func (t *Table) Lookup(text string) (*Key, bool) { return nil, false }

// Replace makes list the whole set.
func (t *Table) Replace(list []*Key) {}

// Put adds k, or replaces the key with its id.
func (t *Table) Put(k *Key) {}

// Remove takes the key with this id out.
func (t *Table) Remove(id string) {}

// Failures limits failed authentications by remote address.
type Failures struct{}

// NewFailures returns an empty limiter.
func NewFailures() *Failures { return &Failures{} }

// Allowed reports whether addr may try now, and if not, after which time it may.
func (f *Failures) Allowed(addr netip.Addr, now time.Time) (retryAfter time.Duration, ok bool) {
	return 0, true
}

// Failed counts a failed authentication by addr.
func (f *Failures) Failed(addr netip.Addr, now time.Time) {}

// Valid reports every fault of k as something to create, nil when there is none.
func (k *Key) Validate() error { return nil }

// MayPublish reports whether the key may publish events of this tenant and type.
func (k *Key) MayPublish(tenant, eventType string) bool { return false }

// MayManage reports whether the key may read and change subscriptions, deliveries, dead letters and replays of this tenant.
func (k *Key) MayManage(tenant string) bool { return false }

// MayRead reports whether the key may read events and statuses of this tenant.
func (k *Key) MayRead(tenant string) bool { return false }

// MayFeed reports whether the key may add items to sources of this tenant.
func (k *Key) MayFeed(tenant string) bool { return false }

// MayOperate reports whether the key may do what belongs to no tenant: keys, sources, egress.
func (k *Key) MayOperate() bool { return false }
