package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/filter"
)

// LaneVersion is a version of a subscription whose events its lane takes: those with From < sequence <= Until. It is
// immutable, as what it names.
type LaneVersion struct {
	From, Until uint64 // Until of the present version is math.MaxUint64
	Tenant      string
	Types       []string // exact, or with a trailing .*; none = any

	rule *rule
}

// Takes reports whether the event e, stored at sequence, is the lane's by this version. A filter that fails counts as
// false, and in the metrics.
func (v *LaneVersion) Takes(e *events.Event, sequence uint64) bool {
	r := v.rule
	switch {
	case sequence <= v.From || sequence > v.Until || !r.criteria.Takes(e) || e.Type() == events.TypeTest:
		return false
	case r.filters != nil:
		return r.filters.Judge(filter.NewEvaluation(e)) == events.True
	default:
		return events.JudgeAll(r.criteria.Filters, e, nil) == events.True
	}
}

// Current reports whether it is the present version.
func (v *LaneVersion) Current() bool { return v.rule == &v.rule.item.now }

// Whole reports whether it takes all events of its tenant and types. None of those are tests of sinks.
func (v *LaneVersion) Whole() bool {
	c := v.rule.criteria
	tests := func(t string) bool {
		prefix, open := strings.CutSuffix(t, "*")
		return t == events.TypeTest || open && strings.HasPrefix(events.TypeTest, prefix)
	}
	return v.Current() && c.Source == "" && len(c.Filters) == 0 && len(c.Types) > 0 && !slices.ContainsFunc(c.Types, tests)
}

// Lanes yields the ids that have a lane: the present version of the subscription asks for one, or an earlier one whose
// events may not all be settled. They may be deleted subscriptions'.
func (r *Registry) Lanes() iter.Seq[string] {
	r.mu.RLock()
	ids := slices.Collect(maps.Keys(r.lanes))
	r.mu.RUnlock()
	return slices.Values(ids)
}

// HasLanes reports whether some subscription has a lane.
func (r *Registry) HasLanes() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.lanes) > 0
}

// Laned reports whether id has a lane.
func (r *Registry) Laned(id string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, ok := r.lanes[id]
	return ok
}

// LaneVersions returns the versions of id that have a lane, oldest first.
func (r *Registry) LaneVersions(id string) (versions []LaneVersion) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	it := r.items[id]
	if it == nil {
		return nil
	}
	for rule := range it.rules {
		if rule.laned {
			c := rule.criteria
			versions = append(versions, LaneVersion{From: rule.from, Until: rule.until, Tenant: c.Tenant, Types: c.Types, rule: rule})
		}
	}
	slices.SortFunc(versions, func(a, b LaneVersion) int { return cmp.Compare(a.From, b.From) })
	return versions
}

// laned reports whether some version has a lane.
func (it *item) laned() bool {
	for r := range it.rules {
		if r.laned {
			return true
		}
	}
	return false
}

// ForgetLane forgets the earlier version after from of id, whose events its lane has all settled. It is no error when
// there is none.
func (r *Registry) ForgetLane(ctx context.Context, id string, from uint64) error {
	for range maxTries {
		if err := r.Fresh(ctx); err != nil {
			return err
		}
		rec, old, revision := r.current(id)
		at := slices.IndexFunc(rec.Past, func(v version) bool { return v.Laned && v.From == from })
		if at < 0 || rec.locked != nil {
			return nil
		}
		rec.Past = slices.Delete(rec.Past, at, at+1)
		if old != nil {
			rec.ETag = old.Revision
		}
		if _, err := r.store(ctx, id, &rec, revision); !errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
			return err
		}
	}
	return fmt.Errorf("%w: others change it all the time", ErrConflict)
}
