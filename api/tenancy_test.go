package api_test

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/hookfleet/hookfleet/api"
	"github.com/hookfleet/hookfleet/events/stream"
)

// things are objects of the tenant acme, of which nobody else is to learn anything. Everything in them that could be
// learnt has the word acme in it.
type things struct {
	subscription, event, delivery, letter, key, source, subject, replay string
}

// make makes things that no other call has touched.
func (b *bench) things(n int) things {
	b.t.Helper()
	o := things{subscription: fmt.Sprintf("acme-%d", n)}
	b.put("/v1/subscriptions/"+o.subscription, `{"tenant":"acme","description":"of acme","sink":"https://acme.example/hook","types":["acme.order"],
		"protocolsettings":{"signing":{"scheme":"standardwebhooks"}}}`).want(http.StatusCreated)
	dead := b.first(b.publish(fmt.Sprintf("acme-dead-%d", n), "acme", "acme.order"), o.subscription)
	b.bury(dead)
	sequence := b.publish(fmt.Sprintf("acme-%d", n), "acme", "acme.order")
	o.letter, o.event, o.delivery = dead.Delivery.ID, fmt.Sprint(sequence), b.first(sequence, o.subscription).Delivery.ID
	o.subject = fmt.Sprintf("acme-subject-%d", n)
	b.status(sequence, "acme", "acme.order", o.subject, `,"data":{"status":"acme"}`)
	o.key = b.post("/v1/keys", `{"role":"producer","tenants":["acme"]}`).want(http.StatusCreated).at("id")
	o.source = fmt.Sprintf("acme-source-%d", n)
	b.put("/v1/sources/"+o.source, acmeSource).want(http.StatusCreated)
	b.post("/v1/sources/"+o.source+"/items", `{"key":"acme-item"}`).want(http.StatusCreated)
	return o
}

// replayOf makes a replay, which is forgotten again by the function that it returns: only so many may be open.
func (b *bench) replayOf(o *things) (forget func()) {
	b.t.Helper()
	o.replay = b.post("/v1/replays", fmt.Sprintf(`{"subscription":%q,"from":"events"}`, o.subscription)).want(http.StatusCreated).at("id")
	return func() {
		store := stream.NewReplays(b.js, b.writer)
		all, err := store.List(b.t.Context())
		must(b.t, err)
		for _, s := range all {
			must(b.t, store.Delete(b.t.Context(), s))
		}
	}
}

// object is which of them a route is about.
func (o *things) object(path string) string {
	id := map[string]string{
		"subscriptions": o.subscription, "events": o.event, "deliveries": o.delivery, "dead-letters": o.letter, "keys": o.key,
		"sources": o.source, "statuses": o.subject, "replays": o.replay,
	}[strings.Split(path+"//", "/")[2]]
	if path == "/v1/statuses" {
		return path + "?subject=" + o.subject
	}
	return strings.NewReplacer("{id}", id, "{sequence}", id, "{subject}", id).Replace(path)
}

// access is what a route answers about a thing of acme: to the operator, to acme's partner and producer, and to the
// partner of another tenant.
type access struct {
	body                               string
	operator, partner, producer, other int
}

const (
	acmeHook   = `{"tenant":"acme","sink":"https://acme.example/hook"}`
	acmeSource = `{"tenant":"acme","url":"https://acme.example/orders/${key}","type":"acme.order"}`
	acmeEvent  = `{"specversion":"1.0","id":"acme-new","source":"/acme","type":"acme.order","tenant":"acme"}`
)

// accesses is API.md 1 once more, route by route, from outside. Who adds a route says here who may what.
var accesses = map[string]access{
	"POST /v1/events":            {acmeEvent, 202, 403, 202, 403},
	"GET /v1/events":             {"", 200, 200, 403, 200},
	"GET /v1/events/{sequence}":  {"", 200, 200, 403, 404},
	"GET /v1/subscriptions":      {"", 200, 200, 403, 200},
	"POST /v1/subscriptions":     {acmeHook, 201, 201, 403, 403},
	"GET /v1/subscriptions/{id}": {"", 200, 200, 403, 404},
	"PUT /v1/subscriptions/{id}": {`{"sink":"https://acme.example/new","tenant":"%s"}`, 200, 200, 403, 409},

	"DELETE /v1/subscriptions/{id}":             {"", 204, 204, 403, 404},
	"POST /v1/subscriptions/{id}/pause":         {"", 200, 200, 403, 404},
	"POST /v1/subscriptions/{id}/resume":        {"", 200, 200, 403, 404},
	"POST /v1/subscriptions/{id}/test":          {"", 202, 202, 403, 404},
	"POST /v1/subscriptions/{id}/rotate-secret": {"{}", 200, 200, 403, 404},

	"GET /v1/deliveries":              {"", 200, 200, 403, 200},
	"GET /v1/deliveries/{id}":         {"", 200, 200, 403, 404},
	"POST /v1/deliveries/{id}/retry":  {"", 202, 202, 403, 404},
	"POST /v1/deliveries/{id}/cancel": {"", 202, 202, 403, 404}, // no worker has it yet

	"GET /v1/dead-letters":              {"", 200, 200, 403, 200},
	"GET /v1/dead-letters/{id}":         {"", 200, 200, 403, 404},
	"DELETE /v1/dead-letters/{id}":      {"", 204, 204, 403, 404},
	"POST /v1/dead-letters/{id}/replay": {"", 201, 201, 403, 404},

	"GET /v1/replays":              {"", 200, 200, 403, 200},
	"POST /v1/replays":             {`{"subscription":"%o","from":"events"}`, 201, 201, 403, 404},
	"GET /v1/replays/{id}":         {"", 200, 200, 403, 404},
	"POST /v1/replays/{id}/pause":  {"", 200, 200, 403, 404},
	"POST /v1/replays/{id}/resume": {"", 200, 200, 403, 404},
	"DELETE /v1/replays/{id}":      {"", 204, 204, 403, 404},

	"GET /v1/sources":             {"", 200, 403, 403, 403},
	"POST /v1/sources":            {acmeSource, 201, 403, 403, 403},
	"GET /v1/sources/{id}":        {"", 200, 403, 403, 403},
	"PUT /v1/sources/{id}":        {acmeSource, 200, 403, 403, 403},
	"DELETE /v1/sources/{id}":     {"", 204, 403, 403, 403},
	"GET /v1/sources/{id}/items":  {"", 200, 403, 403, 403},
	"POST /v1/sources/{id}/items": {`{"key":"acme-2"}`, 201, 403, 201, 403},
	"GET /v1/statuses":            {"", 404, 200, 403, 404}, // the operator's is the tenant default
	"GET /v1/statuses/{subject}":  {"", 404, 200, 403, 404},

	"GET /v1/egress":          {"", 200, 200, 403, 200},
	"GET /v1/keys":            {"", 200, 403, 403, 403},
	"POST /v1/keys":           {`{"role":"partner","tenants":["acme"]}`, 201, 403, 403, 403},
	"GET /v1/keys/{id}":       {"", 200, 403, 403, 403},
	"DELETE /v1/keys/{id}":    {"", 204, 403, 403, 403},
	"POST /v1/secrets/rotate": {"", 200, 403, 403, 403},

	"GET /v1/handshakes/{token}":  {"", 404, 404, 404, 404}, // what is in its path says who may
	"POST /v1/handshakes/{token}": {"", 404, 404, 404, 404},

	"GET /healthz":      {"", 200, 200, 200, 200},
	"GET /readyz":       {"", 200, 200, 200, 200},
	"GET /metrics":      {"", 200, 200, 200, 200},
	"GET /openapi.json": {"", 200, 200, 200, 200},
}

// TestEveryRouteForEveryone asks every route about a thing of acme with every kind of key.
func TestEveryRouteForEveryone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.indexed()
	partner, producer, other := b.partnerKey("acme"), b.newKey(`{"role":"producer","tenants":["acme"]}`), b.partnerKey("other")
	n := 0
	for _, r := range b.api.Routes() {
		name := r.Method + " " + r.Path
		want, known := accesses[name]
		if !known {
			t.Errorf("%s: say in the table who may call it", name)
			continue
		}
		for _, caller := range []struct {
			name, key, tenant string
			want              int
		}{
			{"operator", "", "acme", want.operator}, {"partner", partner, "acme", want.partner},
			{"producer", producer, "acme", want.producer}, {"other", other, "other", want.other},
		} {
			n++
			mine := b.things(n)
			forget := func() {}
			if strings.HasPrefix(r.Path, "/v1/replays") {
				forget = b.replayOf(&mine)
			}
			req := request{method: r.Method, path: mine.object(r.Path), key: caller.key, body: strings.NewReplacer("%s", caller.tenant, "%o", mine.subscription).Replace(want.body)}
			if want.body == acmeEvent {
				req.header = map[string]string{"Content-Type": "application/cloudevents+json"}
			}
			a := b.do(req)
			if a.status != caller.want {
				t.Errorf("%s as %s: %d, want %d: %.300s", name, caller.name, a.status, caller.want, a.body)
			}
			if caller.name == "other" && strings.Contains(string(a.body), "acme") && r.Path != "/openapi.json" {
				t.Errorf("%s tells another tenant: %.300s", name, a.body)
			}
			if a.status >= 400 || caller.name == "other" { // what was refused has not happened
				b.untouched(name+" as "+caller.name, mine)
			}
			forget()
		}
	}
}

// untouched checks that all of acme's things are as they were made.
func (b *bench) untouched(what string, o things) {
	b.t.Helper()
	s := b.get("/v1/subscriptions/" + o.subscription)
	if s.status != http.StatusOK || s.at("paused") != "false" || s.at("sink") != "https://acme.example/hook" || s.at("tenant") != "acme" {
		b.t.Errorf("%s: the subscription is %s", what, s.body)
	}
	if d := b.get("/v1/deliveries/" + o.delivery); d.status != http.StatusOK || d.at("state") != "pending" {
		b.t.Errorf("%s: the delivery is %s", what, d.body)
	}
	if r := b.get("/v1/replays/" + o.replay); o.replay != "" && (r.status != http.StatusOK || r.at("state") != "running") {
		b.t.Errorf("%s: the replay is %s", what, r.body)
	}
	for _, path := range []string{"/v1/dead-letters/" + o.letter, "/v1/keys/" + o.key} {
		if r := b.get(path); r.status != http.StatusOK {
			b.t.Errorf("%s: %s is %d", what, path, r.status)
		}
	}
}

// TestPartnerKeys: what a partner key must say, and what its tenant is good for.
func TestPartnerKeys(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for body, want := range map[string]string{
		`{"role":"partner"}`:                                  "/tenants",
		`{"role":"partner","tenants":[]}`:                     "/tenants",
		`{"role":"partner","tenants":["a","b"]}`:              "/tenants",
		`{"role":"partner","tenants":["*"]}`:                  "/tenants/0",
		`{"role":"partner","tenants":["a"],"types":["x"]}`:    "/types",
		`{"role":"partner","types":["x"],"description":null}`: "/tenants /types",
	} {
		if got := b.post("/v1/keys", body).problem(422, api.CodeInvalidKey); strings.Join(got, " ") != want {
			t.Errorf("%s: faults at %v, want %s", body, got, want)
		}
	}
	b.subscribe("elsewhere", "other")
	key := b.partnerKey("acme")
	for body, want := range map[string]int{
		`{"id":"a","sink":"https://a.example"}`:                    201,
		`{"id":"b","tenant":"acme","sink":"https://a.example"}`:    201,
		`{"id":"c","tenant":"default","sink":"https://a.example"}`: 403,
		`{"id":"d","tenant":"other","sink":"https://a.example"}`:   403,
		`{"id":"elsewhere","sink":"https://a.example"}`:            409,
	} {
		a := b.do(request{method: "POST", path: "/v1/subscriptions", key: key, body: body})
		if a.status != want || want == 201 && a.at("tenant") != "acme" {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
	a := b.do(request{method: "PUT", path: "/v1/subscriptions/e", key: key, body: `{"sink":"https://a.example"}`}).want(201)
	if a.at("tenant") != "acme" {
		t.Errorf("put: %s", a.body)
	}
	b.do(request{method: "PUT", path: "/v1/subscriptions/e", key: key, body: `{"tenant":"other","sink":"https://a.example"}`}).problem(403, api.CodeForbidden)
	for path, want := range map[string]string{
		"/v1/subscriptions": "a b e", "/v1/subscriptions?tenant=acme": "a b e", "/v1/subscriptions?tenant=other": "", "/v1/subscriptions?tenant=default": "",
	} {
		ids, _ := b.do(request{method: "GET", path: path, key: key}).ids()
		if slices.Sort(ids); strings.Join(ids, " ") != want {
			t.Errorf("%s: %v, want %s", path, ids, want)
		}
	}
}

// TestForgedCursors: a cursor of one tenant is refused for another, and one that is forged shows its own things only.
func TestForgedCursors(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i, tenant := range []string{"other", "acme", "other", "acme", "acme", "other"} {
		o := fmt.Sprintf("%s-%d", tenant, i)
		b.subscribe(o, tenant)
		b.bury(b.first(b.publish(o, tenant, "order"), o))
	}
	acme, other := b.partnerKey("acme"), b.partnerKey("other")
	for _, path := range []string{"/v1/subscriptions", "/v1/events", "/v1/deliveries", "/v1/dead-letters"} {
		page := func(key, cursor string) *reply {
			return b.do(request{method: "GET", path: path + "?limit=1" + cursor, key: key})
		}
		_, theirs := page(acme, "").ids()
		_, own := page(other, "").ids()
		_, all := page("", "").ids()
		for name, cursor := range map[string]string{"acme's": theirs, "the operator's": all} {
			if page(other, "&cursor="+cursor).status != http.StatusBadRequest {
				t.Errorf("%s: %s cursor is taken", path, name)
			}
			forged := forge(t, own, cursor)
			a := page(other, "&cursor="+forged)
			if a.status != http.StatusOK && a.status != http.StatusBadRequest || strings.Contains(string(a.body), "acme") {
				t.Errorf("%s: forged of %s: %d %s", path, name, a.status, a.body)
			}
		}
	}
}

// forge puts the position of one cursor behind the head of another.
func forge(t *testing.T, head, position string) string {
	t.Helper()
	const size = 5 // of the version and the checksum
	h, err := base64.RawURLEncoding.DecodeString(head)
	must(t, err)
	p, err := base64.RawURLEncoding.DecodeString(position)
	must(t, err)
	return base64.RawURLEncoding.EncodeToString(append(h[:size:size], p[size:]...))
}

// TestAccessesAreRoutes: a row of the table that is of no route is a mistake, but for those that are to come.
func TestAccessesAreRoutes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	left := maps.Clone(accesses)
	for _, r := range b.api.Routes() {
		delete(left, r.Method+" "+r.Path)
	}
	if len(left) > 0 {
		t.Errorf("no routes: %v", slices.Sorted(maps.Keys(left)))
	}
}
