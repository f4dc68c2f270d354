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
	SQL    string     `json:"sql,omitempty"`   // CESQL 1.0, over attributes
	CEL    string     `json:"cel,omitempty"`   // over attributes and data
	Match  string     `json:"match,omitempty"` // path conditions over data (API.md 3.2)
}

// Language is what an expression in a filter is written in.
type Language string

// The languages of filters.
const (
	LanguageSQL   Language = "sql"
	LanguageCEL   Language = "cel"
	LanguageMatch Language = "match"
)

// Expression returns the expression of the filter and its language; "" when it has none.
func (f *Filter) Expression() (l Language, text string) {
	switch {
	case f.SQL != "":
		return LanguageSQL, f.SQL
	case f.CEL != "":
		return LanguageCEL, f.CEL
	case f.Match != "":
		return LanguageMatch, f.Match
	default:
		return "", ""
	}
}

// Judge evaluates the filter for e (SU-4). An attribute that e does not have makes its condition False. expression
// evaluates the sql, cel and match in it; nil makes them Failed, which is what is right for one that cannot be evaluated.
func (f *Filter) Judge(e *Event, expression func(*Filter) Truth) Truth {
	switch {
	case f.Exact != nil:
		return truth(f.Exact.hold(e, equal))
	case f.Prefix != nil:
		return truth(f.Prefix.hold(e, strings.HasPrefix))
	case f.Suffix != nil:
		return truth(f.Suffix.hold(e, strings.HasSuffix))
	case f.Any != nil:
		return judgeAny(f.Any, e, expression)
	case f.Not != nil:
		return f.Not.Judge(e, expression).Not()
	case f.SQL == "" && f.CEL == "" && f.Match == "":
		return JudgeAll(f.All, e, expression)
	case expression == nil:
		return Failed
	default:
		return expression(f)
	}
}

// JudgeAll is True when all filters are; none always are. It allocates nothing.
func JudgeAll(filters []Filter, e *Event, expression func(*Filter) Truth) Truth {
	all := True
	for i := range filters {
		if all = min(all, filters[i].Judge(e, expression)); all == False {
			break
		}
	}
	return all
}

func judgeAny(filters []Filter, e *Event, expression func(*Filter) Truth) Truth {
	some := False
	for i := range filters {
		if some = max(some, filters[i].Judge(e, expression)); some == True {
			break
		}
	}
	return some
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

// Takes reports whether tenant, types and source of s hold for e. Whether its filters do is another question.
func (s *Subscription) Takes(e *Event) bool {
	return s.Tenant == e.Tenant() && (s.Source == "" || s.Source == e.Source()) && s.matchType(e.Type())
}

func (s *Subscription) matchType(typ string) bool {
	for _, pattern := range s.Types {
		if TypeMatches(pattern, typ) {
			return true
		}
	}
	return len(s.Types) == 0
}
