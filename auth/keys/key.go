// Package keys holds the API keys: who calls, and what that caller may do.
//
// It promises that the text of a key is nowhere but in the answer of Generate, that a look-up tells nothing about other keys by the time it
// takes, and that what a role may is said in one table. It does not promise to store keys, to say 401 or 403, or to know routes.
package keys

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// DefaultTenant is whose things are that name no tenant.
const DefaultTenant = "default"

// Bounds of one key; they are far above what people write, and keep a table of thousands of keys small.
const (
	maxTenants     = 1000
	maxTypes       = 100
	maxTypeBytes   = 255
	maxDescription = 1024
)

// Role is what a key is for.
type Role string

// The roles.
const (
	Operator Role = "operator" // everything
	Producer Role = "producer" // publishes events and adds items to sources, of its tenants and types
	Partner  Role = "partner"  // its tenant's subscriptions, deliveries, dead letters and replays; reads its events and statuses
)

// action is something that a role may or may not.
type action int

const (
	publish action = iota
	feed
	manage
	read
	operate
)

// may says what a role may do, within its tenants.
var may = map[Role][]action{
	Operator: {publish, feed, manage, read, operate},
	Producer: {publish, feed},
	Partner:  {manage, read},
}

// Key is one API key without its text. Encoded as JSON it is what an answer shows, so it has no hash. It is not changed once it is in a Table.
type Key struct {
	ID          string    `json:"id"`
	Role        Role      `json:"role"`
	Tenants     []string  `json:"tenants,omitempty"` // none: DefaultTenant, or every tenant for an operator
	Types       []string  `json:"types,omitempty"`   // of events that a producer publishes: exact, or with a trailing dot or .*; none: any
	Description string    `json:"description,omitempty"`
	Hash        Hash      `json:"-"` // of the text; a store writes it beside
	CreatedAt   time.Time `json:"createdat"`
}

// Validate reports every fault of k as something to create. It does not look at ID, Hash and CreatedAt.
func (k *Key) Validate() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if may[k.Role] == nil {
		fault("role: must be operator, producer or partner")
	}
	switch {
	case k.Role == Operator && len(k.Tenants) > 0:
		fault("tenants: an operator key has none, it is for all")
	case k.Role == Partner && len(k.Tenants) != 1:
		fault("tenants: a partner key has exactly one")
	case len(k.Tenants) > maxTenants:
		fault("tenants: at most %d", maxTenants)
	}
	switch {
	case (k.Role == Operator || k.Role == Partner) && len(k.Types) > 0:
		fault("types: only a producer key has them")
	case len(k.Types) > maxTypes:
		fault("types: at most %d", maxTypes)
	}
	for i, tenant := range k.Tenants {
		if !isTenant(tenant) {
			fault("tenants/%d: must match ^[a-z0-9][a-z0-9_-]{0,62}$", i)
		} else if slices.Contains(k.Tenants[:i], tenant) {
			fault("tenants/%d: is there twice", i)
		}
	}
	for i, pattern := range k.Types {
		if why := wrongType(pattern); why != "" {
			fault("types/%d: %s", i, why)
		}
	}
	if len(k.Description) > maxDescription {
		fault("description: is longer than %d bytes", maxDescription)
	}
	return errors.Join(errs...)
}

func isTenant(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '_' || s[0] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

func wrongType(pattern string) string {
	name, _ := strings.CutSuffix(pattern, ".*")
	switch {
	case name == "":
		return "must not be empty"
	case len(pattern) > maxTypeBytes:
		return "is too long"
	case strings.Contains(name, "*"):
		return "may have a * only at its end, as .*"
	case strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return "must not have spaces or control characters"
	default:
		return ""
	}
}

// Scope returns the tenants that the key is for; nil for an operator, who is for all.
func (k *Key) Scope() []string {
	switch {
	case k.Role == Operator:
		return nil
	case len(k.Tenants) == 0:
		return []string{DefaultTenant}
	default:
		return k.Tenants
	}
}

// Home returns the tenant of a request that names none: a partner's own, else DefaultTenant.
func (k *Key) Home() string {
	if k.Role == Partner && len(k.Tenants) > 0 {
		return k.Tenants[0]
	}
	return DefaultTenant
}

// MayPublish reports whether the key may publish events of this tenant and type.
func (k *Key) MayPublish(tenant, eventType string) bool {
	return k.may(publish, tenant) && (len(k.Types) == 0 || slices.ContainsFunc(k.Types, func(pattern string) bool {
		return typeMatches(pattern, eventType)
	}))
}

// TypeHead takes apart one of a key's types: with a trailing dot or .* it is for all that begin with head and a dot, else
// for head alone.
func TypeHead(pattern string) (head string, more bool) {
	return strings.CutSuffix(strings.TrimSuffix(pattern, "*"), ".")
}

func typeMatches(pattern, eventType string) bool {
	head, more := TypeHead(pattern)
	if !more {
		return pattern == eventType
	}
	rest, ok := strings.CutPrefix(eventType, head)
	return ok && strings.HasPrefix(rest, ".")
}

// MayFeed reports whether the key may add items to sources of this tenant.
func (k *Key) MayFeed(tenant string) bool { return k.may(feed, tenant) }

// MayManage reports whether the key may read and change subscriptions, deliveries, dead letters and replays of this tenant.
func (k *Key) MayManage(tenant string) bool { return k.may(manage, tenant) }

// MayRead reports whether the key may read events and statuses of this tenant.
func (k *Key) MayRead(tenant string) bool { return k.may(read, tenant) }

// MayOperate reports whether the key may do what belongs to no tenant: keys, sources, egress.
func (k *Key) MayOperate() bool { return slices.Contains(may[k.Role], operate) }

func (k *Key) may(a action, tenant string) bool {
	if !slices.Contains(may[k.Role], a) {
		return false
	}
	if len(k.Tenants) == 0 {
		return k.Role == Operator || tenant == DefaultTenant
	}
	return slices.Contains(k.Tenants, tenant)
}
