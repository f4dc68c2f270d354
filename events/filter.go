package events

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Filter is one condition on an event: exactly one member is set. The zero value holds for every event.
type Filter struct {
	Exact  Conditions `json:"exact,omitempty"`
	Prefix Conditions `json:"prefix,omitempty"`
	Suffix Conditions `json:"suffix,omitempty"`
	All    []Filter   `json:"all,omitempty"`
	Any    []Filter   `json:"any,omitempty"`
	Not    *Filter    `json:"not,omitempty"`
}

// Match reports whether the filter holds for e (SU-4). An attribute that e does not have makes its condition false;
// data is not accessible. It allocates nothing.
func (f *Filter) Match(e *Event) bool {
	switch {
	case f.Exact != nil:
		return f.Exact.hold(e, equal)
	case f.Prefix != nil:
		return f.Prefix.hold(e, strings.HasPrefix)
	case f.Suffix != nil:
		return f.Suffix.hold(e, strings.HasSuffix)
	case f.Any != nil:
		return matchAny(f.Any, e)
	case f.Not != nil:
		return !f.Not.Match(e)
	default:
		return MatchAll(f.All, e)
	}
}

// MatchAll reports whether all filters hold for e; none always do.
func MatchAll(filters []Filter, e *Event) bool {
	for i := range filters {
		if !filters[i].Match(e) {
			return false
		}
	}
	return true
}

func matchAny(filters []Filter, e *Event) bool {
	for i := range filters {
		if filters[i].Match(e) {
			return true
		}
	}
	return false
}

// Conditions are attributes and what to compare them with, sorted by name; all must hold. In JSON they are an object.
// A slice, not a map: a map costs 340 bytes, and filters are held in memory by the hundred thousand.
type Conditions []Condition

// Condition is one attribute and what it is compared with, case-sensitively and in canonical string form.
type Condition struct{ Name, Value string }

func (c Conditions) hold(e *Event, compare func(attribute, value string) bool) bool {
	for i := range c {
		if v, has := e.Attribute(c[i].Name); !has || !compare(v, c[i].Value) {
			return false
		}
	}
	return true
}

func equal(a, b string) bool { return a == b }

// MarshalJSON writes an object.
func (c Conditions) MarshalJSON() ([]byte, error) {
	m := make(map[string]string, len(c))
	for _, cond := range c {
		m[cond.Name] = cond.Value
	}
	return encodeJSON(m)
}

// UnmarshalJSON takes an object of strings.
func (c *Conditions) UnmarshalJSON(b []byte) error {
	var m map[string]string
	if err := json.Unmarshal(b, &m); err != nil {
		return fmt.Errorf("conditions: %w", err)
	}
	*c = make(Conditions, 0, len(m))
	for name, value := range m {
		*c = append(*c, Condition{name, value})
	}
	c.sort()
	return nil
}

func (c Conditions) sort() {
	slices.SortFunc(c, func(a, b Condition) int { return strings.Compare(a.Name, b.Name) })
}

// TypeMatches reports whether typ is what pattern says: exactly it, or, when pattern ends in ".*", what stands before the
// star and one or more further tokens.
func TypeMatches(pattern, typ string) bool {
	if prefix, ok := TypePrefix(pattern); ok {
		return strings.HasPrefix(typ, prefix)
	}
	return pattern == typ
}

// TypePrefix returns what types must begin with, the dot included, for a pattern with a trailing ".*".
func TypePrefix(pattern string) (prefix string, ok bool) {
	if !strings.HasSuffix(pattern, ".*") {
		return "", false
	}
	return pattern[:len(pattern)-1], true
}

// Match reports whether e goes to s: tenant, types, source and all filters hold.
func (s *Subscription) Match(e *Event) bool {
	return s.Tenant == e.Tenant() && (s.Source == "" || s.Source == e.Source()) && s.matchType(e.Type()) &&
		MatchAll(s.Filters, e)
}

func (s *Subscription) matchType(typ string) bool {
	for _, pattern := range s.Types {
		if TypeMatches(pattern, typ) {
			return true
		}
	}
	return len(s.Types) == 0
}
