package e2e

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/hookfleet/hookfleet/test/fleettest"
)

// testKeys: what keys may do, and that they are shown once.
func testKeys(t *testing.T, s *fleettest.Server) {
	c := s.Client()
	var k struct {
		ID, Key, Role, Description string

		Tenants, Types []string
	}
	r := c.Must(t, http.StatusCreated, http.MethodPost, "/v1/keys", `{"role":"producer","tenants":["acme"],"types":["order.*"],"description":"shop"}`, &k)
	if k.ID == "" || k.Key == "" || k.Role != "producer" || k.Description != "shop" || len(k.Tenants) != 1 || r.Header.Get("Location") != "/v1/keys/"+k.ID {
		t.Errorf("key %+v, Location %q", k, r.Header.Get("Location"))
	}
	if list := c.Must(t, http.StatusOK, http.MethodGet, "/v1/keys?limit=1000", nil, nil); !contains(string(list.Body), k.ID) || contains(string(list.Body), k.Key) {
		t.Errorf("the list shows keys, or not this one: %s", list.Body)
	}
	p := fleettest.NewClient(s.API, k.Key)
	publish := func(tenant, typ string) *fleettest.Response {
		text := fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/keys","type":%q,"tenant":%q}`, unique("key"), typ, tenant)
		return p.Send(t, http.MethodPost, "/v1/events", structuredHeader, text)
	}
	publish("acme", "order.status").Must(t, http.StatusAccepted, nil)
	publish("other", "order.status").Refused(t, http.StatusForbidden, "forbidden")
	publish("acme", "invoice.paid").Refused(t, http.StatusForbidden, "forbidden")
	for _, route := range []string{"GET /v1/subscriptions", "GET /v1/events", "GET /v1/deliveries", "GET /v1/dead-letters", "GET /v1/keys", "DELETE /v1/subscriptions/x"} {
		var method, path string
		if _, err := fmt.Sscan(route, &method, &path); err != nil {
			t.Fatal(err)
		}
		p.Do(t, method, path, nil).Refused(t, http.StatusForbidden, "forbidden")
		fleettest.NewClient(s.API, "wrong").Do(t, method, path, nil).Refused(t, http.StatusUnauthorized, "unauthorized")
	}
	c.Do(t, http.MethodPost, "/v1/keys", `{"role":"partner"}`).Refused(t, http.StatusUnprocessableEntity, "invalid_key")
	c.Do(t, http.MethodPost, "/v1/keys", `{"role":"king","tenants":["NO"],"x":1}`).Refused(t, http.StatusUnprocessableEntity, "invalid_key")
	c.Must(t, http.StatusNoContent, http.MethodDelete, "/v1/keys/"+k.ID, nil, nil)
	publish("acme", "order.status").Refused(t, http.StatusUnauthorized, "unauthorized")
	c.Do(t, http.MethodDelete, "/v1/keys/"+k.ID, nil).Refused(t, http.StatusNotFound, "not_found")

	second := newKey(t, c, `{"role":"operator"}`)
	fleettest.NewClient(s.API, second).Must(t, http.StatusOK, http.MethodGet, "/v1/keys", nil, nil)
}

// testRefusedMembers: what a subscription may not say, all at once.
func testRefusedMembers(t *testing.T, s *fleettest.Server) {
	c := s.Client()
	for _, limit := range []string{"0", "501", "-1", "1.5"} {
		c.Do(t, http.MethodPost, "/v1/subscriptions", fmt.Sprintf(`{"sink":"https://partner.example/","config":{"concurrency":%s}}`, limit)).
			Refused(t, http.StatusUnprocessableEntity, "invalid_subscription")
	}
	p := c.Do(t, http.MethodPost, "/v1/subscriptions",
		`{"id":"BAD","sink":"http://10.0.0.1/","config":{"timeout":"1ms","ordering":{"key":"a b"},"retry":{"policy":"never"}},"x":1}`).
		Refused(t, http.StatusUnprocessableEntity, "invalid_subscription")
	named := map[string]bool{}
	for _, e := range p.Errors {
		named[e.Pointer] = true
	}
	for _, pointer := range []string{"/id", "/sink", "/config/timeout", "/config/ordering/key", "/config/retry/policy", "/x"} {
		if !named[pointer] {
			t.Errorf("%s is not named among %v", pointer, p.Errors)
		}
	}
	f := newFlow(t, s, "")
	c.Do(t, http.MethodPost, "/v1/subscriptions", fmt.Sprintf(`{"id":%q,"sink":"https://partner.example/"}`, f.name)).
		Refused(t, http.StatusConflict, "id_taken")
	got := c.Must(t, http.StatusOK, http.MethodGet, "/v1/subscriptions/"+f.name, nil, nil)
	put := func(tag string) *fleettest.Response {
		return c.Send(t, http.MethodPut, "/v1/subscriptions/"+f.name, http.Header{"Content-Type": {fleettest.JSON}, "If-Match": {tag}}, got.Body)
	}
	etag := got.Header.Get("Etag")
	put(etag).Must(t, http.StatusOK, nil)
	put(etag).Refused(t, http.StatusPreconditionFailed, "revision_conflict")
}
