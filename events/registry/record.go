package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/hookfleet/hookfleet/events"
)

// Bounds of a record.
const (
	// maxPast bounds the earlier versions that still have unsettled events: each is in the index.
	maxPast = 64
	// maxRecord keeps a record below the 1 MiB that the broker takes.
	maxRecord = 900 << 10
)

// record is what is stored under a subscription's id, sealed with what is our own.
type record struct {
	subscription *events.Subscription // nil when deleted
	locked       *events.LockedError  // what it lacks
	note
}

// note is what the registry keeps of a subscription beside it.
type note struct {
	ETag      uint64    `json:"etag,omitempty"` // the revision to show; 0 = that of the record
	CreatedAt time.Time `json:"createdat,omitzero"`
	UpdatedAt time.Time `json:"updatedat,omitzero"`
	Since     uint64    `json:"since,omitempty"`
	From      uint64    `json:"from,omitempty"`
	Past      []version `json:"past,omitempty"`
	Deleted   bool      `json:"deleted,omitempty"`
}

// version is what a subscription matched for events with From < sequence <= Until.
type version struct {
	From    uint64          `json:"from"`
	Until   uint64          `json:"until"`
	Gone    bool            `json:"gone,omitempty"` // of a subscription that was deleted
	Laned   bool            `json:"laned,omitempty"`
	Tenant  string          `json:"tenant"`
	Source  string          `json:"source,omitempty"`
	Types   []string        `json:"types,omitempty"`
	Filters []events.Filter `json:"filters,omitempty"`
}

// criteria is the version as what the index takes.
func (v *version) criteria() *events.Subscription {
	return &events.Subscription{Tenant: v.Tenant, Source: v.Source, Types: v.Types, Filters: v.Filters}
}

// item is all that is known of an id. It is immutable but for the index's links in rules; a change replaces it.
type item struct {
	Entry
	id       string
	revision uint64   // of the record
	stale    bool     // its secrets are not stored with the present key
	history  *history // nil for nearly all
	now      rule     // of the present version; unused when deleted
}

// history are the earlier versions of a subscription.
type history struct {
	past  []version
	rules []*rule
}

func (it *item) past() []version {
	if it.history == nil {
		return nil
	}
	return it.history.past
}

// live reports whether there is a subscription, not just the memory of one.
func (it *item) live() bool { return it.Subscription != nil }

// readRecord makes an item of what is stored under id.
func readRecord(o *events.Opener, id string, text []byte, revision uint64) (*item, error) {
	s, text, err := o.Open(text)
	if err != nil {
		return nil, err
	}
	rec := record{subscription: s, locked: o.Locked()}
	if err := json.Unmarshal(text, &rec.note); err != nil {
		return nil, fmt.Errorf("not a record: %w", err)
	}
	it := &item{id: id, revision: revision, stale: o.Stale()}
	if len(rec.Past) > 0 {
		it.history = &history{past: rec.Past}
	}
	switch {
	case s == nil && rec.Deleted:
		return it, nil
	case s == nil || rec.Deleted:
		return nil, errors.New("not a record: neither a subscription nor deleted")
	case s.ID != id:
		return nil, fmt.Errorf("record is of %q", s.ID)
	}
	it.id = s.ID // the same text, once
	it.Entry = rec.entry(revision)
	return it, nil
}

func (rec *record) entry(revision uint64) Entry {
	if rec.ETag != 0 {
		revision = rec.ETag
	}
	return Entry{
		Subscription: rec.subscription, Revision: revision, Since: rec.Since, From: rec.From,
		CreatedAt: rec.CreatedAt, UpdatedAt: rec.UpdatedAt, Locked: rec.locked,
	}
}

// record is the record that an item was read from, to be changed and stored again.
func (it *item) record() record {
	rec := record{it.Subscription, it.Locked, note{Past: slices.Clone(it.past()), Deleted: !it.live()}}
	if it.live() {
		rec.CreatedAt, rec.UpdatedAt, rec.Since, rec.From = it.CreatedAt, it.UpdatedAt, it.Since, it.From
	}
	return rec
}

// close moves the present version to the past: it holds for events up to sequence. A version that held for none leaves
// no trace.
func (rec *record) close(sequence uint64) {
	s := rec.subscription
	if s == nil || sequence <= rec.From {
		return
	}
	rec.Past = append(rec.Past, version{
		From: rec.From, Until: sequence, Tenant: s.Tenant, Source: s.Source, Types: s.Types, Filters: s.Filters,
		Laned: s.Laned(),
	})
}

// remove turns rec into what is left of a subscription that was deleted at sequence.
func (rec *record) remove(sequence uint64) {
	rec.close(sequence)
	for i := range rec.Past {
		rec.Past[i].Gone = true
	}
	*rec = record{note: note{Past: rec.Past, Deleted: true}}
}

// prune drops versions that only matter for events up to floor, and reports whether there were any.
func (rec *record) prune(floor uint64) bool {
	n := len(rec.Past)
	rec.Past = slices.DeleteFunc(rec.Past, func(v version) bool { return v.Until <= floor })
	return len(rec.Past) < n
}

// text is what is stored.
func (rec *record) text(sealer events.Sealer) ([]byte, error) {
	if rec.locked != nil {
		return nil, rec.locked
	}
	text, err := events.Seal(rec.subscription, &rec.note, sealer)
	if err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	if len(rec.Past) > maxPast || len(text) > maxRecord {
		return nil, ErrBacklog
	}
	return text, nil
}

// sameMatch reports whether both match the same events, and by the same way: from dispatch, or in a lane.
func sameMatch(a, b *events.Subscription) bool {
	return a.Laned() == b.Laned() && a.Tenant == b.Tenant && a.Source == b.Source && slices.Equal(a.Types, b.Types) &&
		slices.EqualFunc(a.Filters, b.Filters, sameFilter)
}

func sameFilter(a, b events.Filter) bool {
	if (a.Not == nil) != (b.Not == nil) || a.Not != nil && !sameFilter(*a.Not, *b.Not) {
		return false
	}
	return a.SQL == b.SQL && a.CEL == b.CEL && a.Match == b.Match &&
		slices.Equal(a.Exact, b.Exact) && slices.Equal(a.Prefix, b.Prefix) && slices.Equal(a.Suffix, b.Suffix) &&
		slices.EqualFunc(a.All, b.All, sameFilter) && slices.EqualFunc(a.Any, b.Any, sameFilter)
}

// link makes the item's rules, for the index.
func (it *item) link() {
	if it.live() {
		it.now = rule{item: it, criteria: it.Subscription, from: it.From, until: math.MaxUint64, laned: it.Subscription.Laned()}
	}
	if it.history == nil {
		return
	}
	it.history.rules = nil
	for i := range it.history.past {
		v := &it.history.past[i]
		r := &rule{item: it, criteria: v.criteria(), from: v.From, until: v.Until, gone: v.Gone, laned: v.Laned}
		it.history.rules = append(it.history.rules, r)
	}
}

// rules yields the item's rules.
func (it *item) rules(yield func(*rule) bool) {
	if it.live() && !yield(&it.now) || it.history == nil {
		return
	}
	for _, r := range it.history.rules {
		if !yield(r) {
			return
		}
	}
}
