package events

import (
	"fmt"
	"strings"
	"time"

	"github.com/hookfleet/hookfleet/auth/secret"
)

// Bounds of what a subscription may say, beyond those of the contract.
const (
	maxTypes        = 256                           // one index entry each
	maxTypeBytes    = 1024                          // as long as a subject may sensibly be
	maxSourceBytes  = 4096                          // a URI
	maxDescription  = 4096                          // it is text for people
	minDelay        = Duration(time.Millisecond)    // timers are 1 to 2 ms late; less makes no difference
	maxDelay        = Duration(30 * 24 * time.Hour) // dead letters are kept as long
	maxFactor       = 100.0                         // 5 s, 8 min, 14 h
	maxAttempts     = 1000                          // a record each
	maxSchedule     = 100                           // entries
	maxFilters      = 64                            // API.md 3: in the list
	maxFilterDepth  = 8                             // API.md 3
	maxFilterBytes  = 4096                          // API.md 3: of one filter, as compact JSON
	minSigningBytes = 24                            // SW-5
	maxSigningBytes = 64                            // SW-5
)

func nothingWrong(string) string { return "" }

func wrongID(s string) string {
	if !IsID(s) {
		return "must match ^[a-z0-9][a-z0-9_-]{0,62}$"
	}
	return ""
}

func wrongDescription(s string) string { return wrongLength(s, maxDescription) }

func wrongLength(s string, limit int) string {
	if len(s) > limit {
		return fmt.Sprintf("is longer than %d bytes", limit)
	}
	return ""
}

func wrongSource(s string) string {
	switch {
	case s == "":
		return "must not be empty; leave it out for any source"
	case len(s) > maxSourceBytes:
		return wrongLength(s, maxSourceBytes)
	default:
		return wrongText(s)
	}
}

// wrongType says what is wrong with one of types; "" = nothing. A star elsewhere than in a trailing ".*" would silently
// match nothing.
func wrongType(s string) string {
	name, wild := strings.CutSuffix(s, ".*")
	switch {
	case s == "":
		return "must not be empty"
	case len(s) > maxTypeBytes:
		return wrongLength(s, maxTypeBytes)
	case strings.Contains(name, "*"):
		return "may have a * only at its end, as .*; leave types out for any type"
	case wild && name == "":
		return "has nothing before .*; leave types out for any type"
	default:
		return wrongText(s)
	}
}

// secret reads a secret. A mask passes: it asks to keep what there is.
func (d *subscriptionReader) secret(to *secret.Text, check func(string) string) reader {
	return func(v *jsonValue, at string) {
		if !d.is(jsonString, v, at) {
			return
		}
		if wrong := check(v.text); wrong != "" && !isMask(v.text) {
			d.fault(at, "%s", wrong)
		}
		*to = secret.New(v.text)
	}
}

func (d *subscriptionReader) filters(v *jsonValue, at string) {
	d.array(v, at, maxFilters, func(v *jsonValue, at string) {
		f := d.filter(v, at, 1)
		if text, err := encodeJSON(f); err != nil || len(text) > maxFilterBytes {
			d.fault(at, "is larger than %d bytes", maxFilterBytes)
		}
		d.s.Filters = append(d.s.Filters, f)
	})
}

// filter reads one filter that lies within depth levels, its own included.
func (d *subscriptionReader) filter(v *jsonValue, at string, depth int) (f Filter) {
	if depth > maxFilterDepth {
		d.fault(at, "lies deeper than %d levels", maxFilterDepth)
		return f
	}
	d.object(v, at, map[string]reader{
		"exact": d.conditions(&f.Exact), "prefix": d.conditions(&f.Prefix), "suffix": d.conditions(&f.Suffix),
		"all": d.several(&f.All, depth), "any": d.several(&f.Any, depth),
		"not": func(v *jsonValue, at string) { f.Not = new(d.filter(v, at, depth+1)) },
		"sql": d.later, "cel": d.later, "match": d.later,
	})
	// A filter without a member would hold for everything.
	if v.kind == jsonObject && (len(v.members) != 1 || v.members[0].value.kind == jsonNull) {
		d.fault(at, "must have exactly one of exact, prefix, suffix, all, any, not")
	}
	return f
}

func (d *subscriptionReader) several(to *[]Filter, depth int) reader {
	return func(v *jsonValue, at string) {
		if v.kind == jsonArray && len(v.items) == 0 {
			d.fault(at, "must not be empty")
		}
		d.array(v, at, maxFilterBytes, func(v *jsonValue, at string) {
			*to = append(*to, d.filter(v, at, depth+1))
		})
	}
}

func (d *subscriptionReader) conditions(to *Conditions) reader {
	return func(v *jsonValue, at string) {
		if v.kind == jsonObject && len(v.members) == 0 {
			d.fault(at, "must not be empty")
		}
		if !d.is(jsonObject, v, at) {
			return
		}
		for i := range v.members {
			m := &v.members[i]
			d.condition(m, below(at, m.name))
			*to = append(*to, Condition{m.name, m.value.text})
		}
		to.sort()
	}
}

func (d *subscriptionReader) condition(m *jsonMember, at string) {
	switch {
	case !isName(m.name):
		d.fault(at, "is no attribute name: only lower-case letters and digits, at least one")
	case m.name == "data":
		d.fault(at, "is no attribute: exact, prefix and suffix compare attributes, not data")
	case !d.is(jsonString, &m.value, at):
	case m.value.text == "":
		d.fault(at, "must not be empty")
	}
}
