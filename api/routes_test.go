package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/hookfleet/hookfleet/api"
	"github.com/hookfleet/hookfleet/auth/keys"
)

// somewhere is a path of the route to an object that nobody has made.
func somewhere(path string) string {
	return strings.NewReplacer("{id}", "nobodys", "{sequence}", "77", "{subject}", "nobodys").Replace(path)
}

// TestRoles asks every route with a key of every role, and without: the matrix of API.md 1.
func TestRoles(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.indexed()
	callers := map[keys.Role]string{
		keys.Operator: b.operator,
		keys.Producer: b.newKey(`{"role":"producer","tenants":["acme"]}`),
		keys.Partner:  b.partnerKey("acme"),
	}
	for _, r := range b.api.Routes() {
		for role, key := range callers {
			a := b.do(request{method: r.Method, path: somewhere(r.Path), key: key})
			may := len(r.Roles) == 0 || slices.Contains(r.Roles, role)
			if forbidden := a.status == http.StatusForbidden; a.status == http.StatusUnauthorized || forbidden == may {
				t.Errorf("%s %s as %s: %d, may: %v", r.Method, r.Path, role, a.status, may)
			}
		}
		a := b.do(request{method: r.Method, path: somewhere(r.Path), key: noKey})
		refused := a.status == http.StatusUnauthorized || a.status == http.StatusTooManyRequests // after so many
		if public := len(r.Roles) == 0; public == refused {
			t.Errorf("%s %s without a key: %d", r.Method, r.Path, a.status)
		}
	}
}

// TestContractRoles says who may what once more by hand, so that a slip in the table is seen.
func TestContractRoles(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, r := range b.api.Routes() {
		var want []keys.Role
		switch {
		case r.Method == "POST" && r.Path == "/v1/events":
			want = []keys.Role{keys.Operator, keys.Producer}
		case r.Method == "POST" && r.Path == "/v1/sources/{id}/items":
			want = []keys.Role{keys.Operator, keys.Producer}
		case strings.HasPrefix(r.Path, "/v1/sources"):
			want = []keys.Role{keys.Operator}
		case strings.HasPrefix(r.Path, "/v1/keys"), strings.HasPrefix(r.Path, "/v1/secrets"):
			want = []keys.Role{keys.Operator}
		case strings.HasPrefix(r.Path, "/v1/handshakes/"): // its path is the key
		case strings.HasPrefix(r.Path, "/v1/"):
			want = []keys.Role{keys.Operator, keys.Partner}
		}
		if !slices.Equal(r.Roles, want) {
			t.Errorf("%s %s: %v, want %v", r.Method, r.Path, r.Roles, want)
		}
	}
}

func TestUnauthorized(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, given := range []string{
		"", "Bearer", "Bearer ", "Bearer nonsense", "Basic " + b.operator, b.operator, "Bearer " + b.operator + "x",
		"Bearer  " + b.operator, "Bearer " + strings.Repeat("k", 10_000),
	} {
		r := b.do(request{method: "GET", path: "/v1/keys", key: noKey, header: map[string]string{"Authorization": given}})
		r.problem(http.StatusUnauthorized, api.CodeUnauthorized)
		if got := r.header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Bearer") {
			t.Errorf("%q: WWW-Authenticate %q", given, got)
		}
	}
}

// TestFailedAuthenticationIsLimited is S32: guesses end in 429, and who has a key does not notice.
func TestFailedAuthenticationIsLimited(t *testing.T) {
	t.Parallel()
	b := setup(t)
	limited := false
	for i := range 200 {
		r := b.do(request{method: "GET", path: "/v1/keys", key: fmt.Sprintf("guess-%d", i)})
		if r.status == http.StatusTooManyRequests {
			r.problem(http.StatusTooManyRequests, api.CodeTooManyFailures)
			if r.header.Get("Retry-After") == "" {
				t.Fatal("429 without Retry-After")
			}
			limited = true
			break
		}
		r.problem(http.StatusUnauthorized, api.CodeUnauthorized)
	}
	if !limited {
		t.Fatal("200 guesses and no limit")
	}
	b.get("/v1/keys").want(http.StatusOK)
}

func TestMethodsAndPaths(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, c := range []struct {
		method, path string
		status       int
		code         api.Code
		allow        string
	}{
		{"DELETE", "/v1/events", 405, api.CodeMethodNotAllowed, "GET, HEAD, POST"},
		{"TRACE", "/v1/subscriptions", 405, api.CodeMethodNotAllowed, "GET, HEAD, POST"},
		{"PATCH", "/v1/subscriptions/x", 405, api.CodeMethodNotAllowed, "DELETE, GET, HEAD, PUT"},
		{"GET", "/v1/subscriptions/x/pause", 405, api.CodeMethodNotAllowed, "POST"},
		{"OPTIONS", "/v1/keys", 405, api.CodeMethodNotAllowed, "GET, HEAD, POST"},
		{"POST", "/healthz", 405, api.CodeMethodNotAllowed, "GET, HEAD"},
		{"GET", "/", 404, api.CodeNotFound, ""},
		{"GET", "/v1", 404, api.CodeNotFound, ""},
		{"GET", "/v1/nothing", 404, api.CodeNotFound, ""},
		{"POST", "/v1/subscriptions/", 404, api.CodeNotFound, ""},
		{"GET", "/v1/subscriptions/a/b/c", 404, api.CodeNotFound, ""},
		{"GET", "/v1//subscriptions", 404, api.CodeNotFound, ""},
		{"GET", "/v1/subscriptions/../keys", 404, api.CodeNotFound, ""},
		{"GET", "/v1/subscriptions/%2e%2e/keys", 404, api.CodeNotFound, ""},
		{"GET", "/v1/subscriptions/..%2f..%2fkeys", 404, api.CodeNotFound, ""},
		{"GET", "/v1/subscriptions/%2A", 400, api.CodeBadID, ""},
		{"GET", "/v1/subscriptions/%3E", 400, api.CodeBadID, ""},
		{"GET", "/v1/subscriptions/a%20b", 400, api.CodeBadID, ""},
		{"GET", "/v1/subscriptions/a%00b", 400, api.CodeBadID, ""},
		{"GET", "/v1/subscriptions/UPPER", 400, api.CodeBadID, ""},
		{"GET", "/v1/subscriptions/" + strings.Repeat("a", 300), 400, api.CodeBadID, ""},
		{"GET", "/v1/events/none", 400, api.CodeBadID, ""},
		{"GET", "/v1/events/-1", 400, api.CodeBadID, ""},
		{"GET", "/v1/events/0", 404, api.CodeNotFound, ""},
		{"GET", "/v1/events/99", 404, api.CodeNotFound, ""},
		{"GET", "/v1/deliveries/%3E", 404, api.CodeNotFound, ""},
		{"GET", "/v1/deliveries/nope", 404, api.CodeNotFound, ""},
		{"GET", "/v1/dead-letters/*", 404, api.CodeNotFound, ""},
		{"GET", "/v1/keys/nope", 404, api.CodeNotFound, ""},
	} {
		r := b.do(request{method: c.method, path: c.path})
		r.problem(c.status, c.code)
		if got := r.header.Get("Allow"); got != c.allow {
			t.Errorf("%s %s: Allow %q, want %q", c.method, c.path, got, c.allow)
		}
	}
	if r := b.do(request{method: "HEAD", path: "/v1/subscriptions"}); r.status != http.StatusOK || len(r.body) != 0 {
		t.Errorf("HEAD: %d with %d bytes", r.status, len(r.body))
	}
}

// TestTenants is I3 and B67: what is another tenant's is not there.
func TestTenants(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.subscribe("acme-hook", "acme")
	sequence := b.publish("1", "acme", "order.status")
	w := b.first(sequence, "acme-hook")
	b.bury(w)
	other := b.partnerKey("other")
	for _, path := range []string{
		"GET /v1/subscriptions/acme-hook", "DELETE /v1/subscriptions/acme-hook", "POST /v1/subscriptions/acme-hook/pause",
		"POST /v1/subscriptions/acme-hook/resume", "POST /v1/subscriptions/acme-hook/test", fmt.Sprintf("GET /v1/events/%d", sequence),
		"GET /v1/deliveries/" + w.Delivery.ID, "POST /v1/deliveries/" + w.Delivery.ID + "/retry", "POST /v1/deliveries/" + w.Delivery.ID + "/cancel",
		"GET /v1/dead-letters/" + w.Delivery.ID, "DELETE /v1/dead-letters/" + w.Delivery.ID, "POST /v1/dead-letters/" + w.Delivery.ID + "/replay",
	} {
		method, path, _ := strings.Cut(path, " ")
		b.do(request{method: method, path: path, key: other}).problem(http.StatusNotFound, api.CodeNotFound)
	}
	for _, path := range []string{"/v1/subscriptions", "/v1/events", "/v1/deliveries", "/v1/dead-letters"} {
		for _, query := range []string{"", "?tenant=acme"} {
			ids, next := b.do(request{method: "GET", path: path + query, key: other}).ids()
			if len(ids) != 0 || next != "" {
				t.Errorf("%s%s shows another tenant %v", path, query, ids)
			}
		}
		if ids := b.pages(path); len(ids) != 1 {
			t.Errorf("%s shows the operator %v", path, ids)
		}
		if ids, _ := b.do(request{method: "GET", path: path, key: b.partnerKey("acme")}).ids(); len(ids) != 1 {
			t.Errorf("%s shows its own tenant %v", path, ids)
		}
	}
	sink := `"sink":"https://partner.example/hook"`
	b.do(request{method: "PUT", path: "/v1/subscriptions/acme-hook", body: "{" + sink + "}", key: other}).problem(http.StatusConflict, api.CodeIDTaken)
	b.do(request{method: "POST", path: "/v1/subscriptions", body: `{"tenant":"acme",` + sink + "}", key: other}).problem(http.StatusForbidden, api.CodeForbidden)
	if got := b.do(request{method: "POST", path: "/v1/subscriptions", body: "{" + sink + "}", key: other}).want(http.StatusCreated).at("tenant"); got != "other" {
		t.Errorf("a partner's subscription is of tenant %q", got)
	}
}
