package api

import (
	"reflect"
	"slices"
	"strings"

	"github.com/hookfleet/hookfleet/auth/keys"
)

// route is one method on one path. The table of routes is the single source of the mux, of who may call what, of the
// checks of parameters and bodies, and of the OpenAPI document.
type route struct {
	method, path string
	rest         bool   // the wildcard takes the rest of the path, slashes included
	id           string // operationId
	tag          string
	summary      string
	text         string      // what the contract leaves open and was decided here
	roles        []keys.Role // who may call it; none = everyone, also without a key
	query        []param
	headers      []string // names from requestHeaders
	body         *content // nil = no body
	answers      []answer
	codes        []Code // problems of its own; what is common to all is added

	handle func(*call) error // answers, or returns what went wrong
	mount  func(*call) error // instead of handle: reads its parameters and body itself, without a time limit of ours
}

// content is a body that a route takes.
type content struct {
	media    []string
	value    reflect.Type // what its JSON decodes into; nil = described by text alone
	text     string
	maxBytes int64
	optional bool
}

// answer is what a route says when it went well.
type answer struct {
	status  int
	text    string
	value   reflect.Type // nil = no body
	media   string       // "" = application/json
	headers []string     // names from answerHeaders
}

// Media types.
const (
	jsonType    = "application/json"
	problemType = "application/problem+json"
)

// The sets of roles that routes are open to.
var (
	operatorOnly = []keys.Role{keys.Operator}
	managers     = []keys.Role{keys.Operator, keys.Partner}
	publishers   = []keys.Role{keys.Operator, keys.Producer}
)

// public reports whether the route takes calls without a key.
func (r *route) public() bool { return len(r.roles) == 0 }

// changes reports whether the route changes something that people are to know of: what is published is told by metrics.
func (r *route) changes() bool { return !r.public() && r.method != "GET" && r.mount == nil }

// open reports whether the role may call the route at all.
func (r *route) open(role keys.Role) bool { return r.public() || slices.Contains(r.roles, role) }

// pathParam is the name of the wildcard in the path; "" when there is none. No path has two.
func (r *route) pathParam() string {
	_, rest, found := strings.Cut(r.path, "{")
	if !found {
		return ""
	}
	name, _, _ := strings.Cut(rest, "}")
	return name
}

// typeOf is the reflect.Type of T.
func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }
