package api

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hookfleet/hookfleet/events"
)

// Page sizes (API.md 1).
const (
	defaultLimit = 100
	maxLimit     = 1000
)

// maxParamBytes bounds a query parameter; an id or source that is longer is none of ours.
const maxParamBytes = 4096

// kind is what a query parameter may hold.
type kind int

// The kinds of query parameters.
const (
	kindText     kind = iota // any text
	kindID                   // an id or a tenant
	kindTime                 // RFC 3339
	kindSequence             // a positive integer
	kindEnum                 // one of param.values
	kindLimit
	kindCursor
)

// param is a query parameter that a route takes.
type param struct {
	name   string
	kind   kind
	text   string
	values []string // kindEnum
}

// The parameters of every list.
var pageParams = []param{
	{name: "limit", kind: kindLimit, text: "how many items at most, 1 to 1000 (default 100)"},
	{name: "cursor", kind: kindCursor, text: "next of the page before; only valid with the same other parameters"},
}

// query holds the parameters of one call, checked against what its route declares.
type query struct {
	route  string
	values map[string]string
	times  map[string]time.Time
	limit  int
}

// parseQuery checks all parameters and names all faults at once.
func parseQuery(r *route, raw string) (query, error) {
	q := query{route: r.id, limit: defaultLimit}
	if raw == "" {
		return q, nil
	}
	given, err := url.ParseQuery(raw)
	if err != nil {
		return q, problem(CodeInvalidParameter, "the query is not URL-encoded")
	}
	q.values, q.times = make(map[string]string, len(given)), map[string]time.Time{}
	var faults []events.Fault
	code := Code("")
	for _, name := range slices.Sorted(maps.Keys(given)) {
		bad, detail := q.take(r, name, given[name])
		if detail == "" {
			continue
		}
		faults = append(faults, events.Fault{Pointer: name, Detail: detail})
		if code != "" && code != bad {
			bad = CodeInvalidParameter
		}
		code = bad
	}
	if len(faults) > 0 {
		return q, faulty(code, faults...)
	}
	return q, nil
}

// take keeps one parameter, or says what is wrong with it.
func (q *query) take(r *route, name string, given []string) (code Code, detail string) {
	i := slices.IndexFunc(r.query, func(p param) bool { return p.name == name })
	switch {
	case i < 0:
		return CodeInvalidParameter, "is not known here; known are " + knownParams(r)
	case len(given) > 1:
		return CodeInvalidParameter, "is given more than once"
	case len(given[0]) > maxParamBytes:
		return CodeInvalidParameter, fmt.Sprintf("is longer than %d bytes", maxParamBytes)
	case given[0] == "":
		return CodeInvalidParameter, "is empty; leave it out"
	}
	q.values[name] = given[0]
	return q.check(&r.query[i], given[0])
}

func (q *query) check(p *param, value string) (code Code, detail string) {
	code = CodeInvalidParameter
	switch p.kind {
	case kindID:
		if !events.IsID(value) {
			detail = "does not match ^[a-z0-9][a-z0-9_-]{0,62}$"
		}
	case kindTime:
		t, err := time.Parse(time.RFC3339, value)
		if err != nil {
			detail = "is not an RFC 3339 time such as 2026-01-01T00:00:00Z (write + as %2B)"
		}
		q.times[p.name] = t
	case kindSequence:
		if n, err := strconv.ParseUint(value, 10, 63); err != nil || n == 0 {
			detail = "is not a sequence, an integer from 1"
		}
	case kindEnum:
		if !slices.Contains(p.values, value) {
			detail = "is not one of " + strings.Join(p.values, ", ")
		}
	case kindLimit:
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > maxLimit {
			code, detail = CodeBadLimit, fmt.Sprintf("is not an integer from 1 to %d", maxLimit)
		}
		q.limit = n
	case kindText, kindCursor:
	}
	return code, detail
}

func knownParams(r *route) string {
	if len(r.query) == 0 {
		return "none"
	}
	names := make([]string, 0, len(r.query))
	for _, p := range r.query {
		names = append(names, p.name)
	}
	return strings.Join(names, ", ")
}

// text returns a parameter; "" when it is absent.
func (q *query) text(name string) string { return q.values[name] }

// time returns a time parameter; the zero time when it is absent.
func (q *query) time(name string) time.Time { return q.times[name] }

// sequence returns a sequence parameter; 0 when it is absent.
func (q *query) sequence(name string) uint64 {
	n, _ := strconv.ParseUint(q.values[name], 10, 64) // checked by parseQuery
	return n
}
