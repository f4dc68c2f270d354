package api_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/events"
)

// document is the served document, decoded.
func (b *bench) document() map[string]any {
	b.t.Helper()
	var doc map[string]any
	b.do(request{method: "GET", path: "/openapi.json", key: noKey}).want(http.StatusOK).into(&doc)
	return doc
}

func dig(v any, path ...string) any {
	for _, name := range path {
		object, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = object[name]
	}
	return v
}

func TestDocumentHasEveryRoute(t *testing.T) {
	t.Parallel()
	b := setup(t)
	doc := b.document()
	var documented, served []string
	ids := map[string]bool{}
	for path, item := range dig(doc, "paths").(map[string]any) {
		for method, op := range item.(map[string]any) {
			documented = append(documented, strings.ToUpper(method)+" "+path)
			id, _ := dig(op, "operationId").(string)
			if id == "" || ids[id] || dig(op, "summary") == "" || len(dig(op, "responses").(map[string]any)) == 0 {
				t.Errorf("%s %s: operationId %q, responses %v", method, path, id, dig(op, "responses"))
			}
			ids[id] = true
			for _, name := range []string{"id", "sequence"} {
				if strings.Contains(path, "{"+name+"}") && !strings.Contains(fmt.Sprint(dig(op, "parameters")), "in:path name:"+name) {
					t.Errorf("%s %s does not describe %s: %v", method, path, name, dig(op, "parameters"))
				}
			}
		}
	}
	for _, r := range b.api.Routes() {
		served = append(served, r.Method+" "+r.Path)
		// The mux knows it: neither "nothing here" nor "wrong method".
		if a := b.do(request{method: r.Method, path: somewhere(r.Path)}); a.status == http.StatusMethodNotAllowed ||
			strings.Contains(string(a.body), "nothing at this path") {
			t.Errorf("%s %s is in the table and not served", r.Method, r.Path)
		}
	}
	slices.Sort(documented)
	slices.Sort(served)
	if !slices.Equal(documented, served) {
		t.Errorf("documented\n%v\nserved\n%v", documented, served)
	}
}

// TestDocumentIsSound checks the structure: version, references, and that each schema is one.
func TestDocumentIsSound(t *testing.T) {
	t.Parallel()
	b := setup(t)
	doc := b.document()
	if dig(doc, "openapi") != "3.1.0" || dig(doc, "info", "title") == nil || dig(doc, "info", "version") != "dev" {
		t.Errorf("openapi %v, info %v", dig(doc, "openapi"), dig(doc, "info"))
	}
	schemas := dig(doc, "components", "schemas").(map[string]any)
	var walk func(at string, v any)
	walk = func(at string, v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				if schemas[strings.TrimPrefix(ref, "#/components/schemas/")] == nil {
					t.Errorf("%s: %s leads nowhere", at, ref)
				}
			}
			for name, member := range v {
				walk(at+"/"+name, member)
				if of, ok := member.(map[string]any); ok && strings.HasSuffix(at, "/properties") && of["type"] == nil && of["$ref"] == nil {
					t.Errorf("%s/%s has no type", at, name)
				}
			}
		case []any:
			for i, item := range v {
				walk(fmt.Sprintf("%s/%d", at, i), item)
			}
		case nil:
			t.Errorf("%s is null", at)
		}
	}
	walk("", doc)
	for _, name := range []string{"Subscription", "SubscriptionInput", "Delivery", "DeliveryDetail", "DeadLetter", "Event", "Problem", "Key"} {
		if schemas[name] == nil {
			t.Errorf("no schema %s among %v", name, slices.Sorted(maps.Keys(schemas)))
		}
	}
	if dig(schemas, "SubscriptionInput", "properties", "sink", "description") == nil {
		t.Error("members are not described")
	}
	if got := fmt.Sprint(dig(schemas, "CredentialInput", "required")); got != "[credentialtype]" {
		t.Errorf("a credential must have %s", got)
	}
}

// TestAnswersMatchTheirSchemas asks every kind of answer there is and validates it by the document.
func TestAnswersMatchTheirSchemas(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := &validator{t: t, schemas: dig(b.document(), "components", "schemas").(map[string]any), paths: dig(b.document(), "paths").(map[string]any)}
	const signed = `{"id":"s","tenant":"acme","sink":"https://partner.example/hook","types":["order.*"],"filters":[{"not":{"exact":{"subject":"x"}}}],` +
		`"protocolsettings":{"signing":{"scheme":"standardwebhooks"}},"config":{"retry":{"policy":"schedule","schedule":["5s","1m"]}}}`
	v.check("POST", "/v1/subscriptions", b.post("/v1/subscriptions", signed).want(201))
	v.check("GET", "/v1/subscriptions", b.get("/v1/subscriptions").want(200))
	v.check("GET", "/v1/subscriptions/{id}", b.get("/v1/subscriptions/s").want(200))
	v.check("PUT", "/v1/subscriptions/{id}", b.put("/v1/subscriptions/s", string(b.get("/v1/subscriptions/s").body)).want(200))
	v.check("POST", "/v1/subscriptions/{id}/pause", b.post("/v1/subscriptions/s/pause", "").want(200))
	v.check("POST", "/v1/subscriptions/{id}/resume", b.post("/v1/subscriptions/s/resume", "").want(200))
	v.check("POST", "/v1/subscriptions/{id}/rotate-secret", b.post("/v1/subscriptions/s/rotate-secret", `{"overlap":"1h"}`).want(200))
	v.check("GET", "/v1/subscriptions/{id}", b.get("/v1/subscriptions/s").want(200))
	v.check("PUT", "/v1/subscriptions/{id}", b.put("/v1/subscriptions/e", `{"sink":"https://a.example","protocolsettings":{"signing":{"scheme":"ed25519"}}}`).want(201))
	v.check("POST", "/v1/subscriptions/{id}/test", b.post("/v1/subscriptions/s/test", "").want(202))
	v.check("GET", "/v1/subscriptions/{id}", b.get("/v1/subscriptions/none").want(404))
	v.check("POST", "/v1/subscriptions", b.post("/v1/subscriptions", `{"x":1}`).want(422))
	retried := b.first(b.publish("1", "acme", "order.status"), "s")
	b.retry(retried)
	buried := b.first(b.publish("2", "acme", "order.status"), "s")
	b.bury(buried)
	b.buryOnly(&events.DeadLetter{DeadAt: time.Now(), Delivery: events.Delivery{
		ID: events.DeliveryID(9, string(events.ReasonInvalidEvent), 0), Tenant: "acme", Reason: events.ReasonInvalidEvent, CreatedAt: time.Now(), Event: events.EventRef{Sequence: 9},
	}})
	v.check("GET", "/v1/events", b.get("/v1/events?limit=1").want(200))
	v.check("GET", "/v1/events/{sequence}", b.get(fmt.Sprintf("/v1/events/%d", retried.Delivery.Event.Sequence)).want(200))
	v.check("GET", "/v1/deliveries", b.get("/v1/deliveries").want(200))
	v.check("GET", "/v1/deliveries", b.get("/v1/deliveries?limit=0").want(400))
	v.check("GET", "/v1/deliveries/{id}", b.get("/v1/deliveries/"+retried.Delivery.ID).want(200))
	v.check("POST", "/v1/deliveries/{id}/retry", b.post("/v1/deliveries/"+retried.Delivery.ID+"/retry", "").want(202))
	v.check("POST", "/v1/deliveries/{id}/retry", b.post("/v1/deliveries/"+buried.Delivery.ID+"/retry", "").want(409))
	v.check("GET", "/v1/dead-letters", b.get("/v1/dead-letters").want(200))
	v.check("GET", "/v1/dead-letters/{id}", b.get("/v1/dead-letters/"+buried.Delivery.ID).want(200))
	v.check("POST", "/v1/dead-letters/{id}/replay", b.post("/v1/dead-letters/"+buried.Delivery.ID+"/replay", "").want(201))
	key := b.post("/v1/keys", `{"role":"producer","tenants":["a"],"types":["t.*"]}`).want(201)
	v.check("POST", "/v1/keys", key)
	v.check("GET", "/v1/keys", b.get("/v1/keys").want(200))
	v.check("GET", "/v1/keys/{id}", b.get("/v1/keys/"+key.at("id")).want(200))
	v.check("DELETE", "/v1/keys/{id}", b.delete("/v1/keys/operator").want(409))
	v.check("DELETE", "/v1/keys/{id}", b.delete("/v1/keys/"+key.at("id")).want(204))
	v.check("PUT", "/v1/sources/{id}", b.put("/v1/sources/orders", orders).want(201))
	v.check("PUT", "/v1/sources/{id}", b.put("/v1/sources/orders", "{}").want(422))
	v.check("POST", "/v1/sources", b.post("/v1/sources", orders).want(201))
	v.check("POST", "/v1/sources/{id}/items", b.post("/v1/sources/orders/items", `{"key":"a"}`).want(201))
	v.check("GET", "/v1/sources/{id}/items", b.get("/v1/sources/orders/items").want(200))
	v.check("GET", "/v1/sources", b.get("/v1/sources").want(200))
	v.check("GET", "/v1/sources/{id}", b.get("/v1/sources/orders").want(200))
	v.check("DELETE", "/v1/sources/{id}", b.delete("/v1/sources/orders").want(204))
	v.check("GET", "/v1/egress", b.get("/v1/egress").want(200))
	v.check("GET", "/healthz", b.get("/healthz").want(200))
	v.check("GET", "/readyz", b.get("/readyz").want(200))
	b.problems = []string{"no worker"}
	v.check("GET", "/readyz", b.get("/readyz").want(503))
}

// validator validates by the part of JSON Schema that the document uses; anything else is a mistake of the document.
type validator struct {
	t              *testing.T
	schemas, paths map[string]any
}

func (v *validator) check(method, path string, r *reply) {
	v.t.Helper()
	answer := dig(v.paths, path, strings.ToLower(method), "responses", fmt.Sprint(r.status))
	if answer == nil {
		v.t.Errorf("%s %s: %d is not documented", method, path, r.status)
		return
	}
	media, _, _ := strings.Cut(r.header.Get("Content-Type"), ";")
	content, _ := dig(answer, "content").(map[string]any)
	if len(r.body) == 0 && content == nil {
		return
	}
	schema := dig(content, media, "schema")
	if schema == nil {
		v.t.Errorf("%s %s: %d as %q is not documented", method, path, r.status, media)
		return
	}
	var body any
	if err := json.Unmarshal(r.body, &body); err != nil {
		v.t.Errorf("%s %s: %v", method, path, err)
	}
	v.validate(method+" "+path, schema.(map[string]any), body)
}

func (v *validator) validate(at string, schema map[string]any, value any) {
	v.t.Helper()
	if ref, ok := schema["$ref"].(string); ok {
		v.validate(at, v.schemas[strings.TrimPrefix(ref, "#/components/schemas/")].(map[string]any), value)
		return
	}
	for keyword := range schema {
		if !slices.Contains([]string{"type", "properties", "required", "additionalProperties", "items", "enum", "const", "format", "pattern", "minLength", "description", "readOnly", "examples", "contentEncoding"}, keyword) {
			v.t.Errorf("%s: keyword %s", at, keyword)
		}
	}
	if list, ok := schema["enum"].([]any); ok && !slices.Contains(list, value) {
		v.t.Errorf("%s: %v is none of %v", at, value, list)
	}
	switch value := value.(type) {
	case map[string]any:
		v.object(at, schema, value)
	case []any:
		v.kind(at, schema, "array")
		for i, item := range value {
			v.validate(fmt.Sprintf("%s/%d", at, i), schema["items"].(map[string]any), item)
		}
	case string:
		v.kind(at, schema, "string")
		if schema["format"] == "date-time" && !isMillis(value) {
			v.t.Errorf("%s: %q is no time", at, value)
		}
	case float64:
		if schema["type"] != "number" {
			v.kind(at, schema, "integer")
		}
	case bool:
		v.kind(at, schema, "boolean")
	case nil:
		if types, ok := schema["type"].([]any); schema["type"] != nil && (!ok || !slices.Contains(types, any("null"))) {
			v.t.Errorf("%s is null, and must be %v", at, schema["type"])
		}
	}
}

func (v *validator) kind(at string, schema map[string]any, kind string) {
	v.t.Helper()
	if types, ok := schema["type"].([]any); ok && slices.Contains(types, any(kind)) {
		return
	}
	if schema["type"] != nil && schema["type"] != kind {
		v.t.Errorf("%s is %s, and must be %v", at, kind, schema["type"])
	}
}

func (v *validator) object(at string, schema map[string]any, value map[string]any) {
	v.t.Helper()
	v.kind(at, schema, "object")
	properties, _ := schema["properties"].(map[string]any)
	for name, member := range value {
		switch of, known := properties[name].(map[string]any); {
		case known:
			v.validate(at+"/"+name, of, member)
		case schema["additionalProperties"] == false:
			v.t.Errorf("%s has %s, which is not documented", at, name)
		}
	}
	required, _ := schema["required"].([]any)
	for _, name := range required {
		if _, there := value[name.(string)]; !there {
			v.t.Errorf("%s has no %s", at, name)
		}
	}
}
