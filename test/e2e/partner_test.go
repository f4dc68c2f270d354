package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

// testPartner: a partner does all of its own tenant's, by a key that the command made, and learns of nothing else.
func testPartner(t *testing.T, s *fleettest.Server) {
	mine, theirs := unique("tenant"), unique("tenant")
	partner, id := partnerOf(t, s, mine)
	other, _ := partnerOf(t, s, theirs)
	sink, name := sinktest.New(t), unique("partner")
	sub := &fleettest.Subscription{}
	partner.Must(t, http.StatusCreated, http.MethodPost, "/v1/subscriptions", fmt.Sprintf(
		`{"id":%q,"sink":%q,"protocolsettings":{"signing":{"scheme":"standardwebhooks"}}}`, name, sink.URL("/")), sub)
	if sub.Tenant != mine || !strings.HasPrefix(sub.ProtocolSettings.Signing.Secret, "whsec_") {
		t.Errorf("made %+v", sub)
	}
	publish := func(tenant string) fleettest.Receipt {
		id := unique("event")
		return s.Client().Publish(t, fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/partner","type":"order","tenant":%q,"data":{"of":%q}}`, id, tenant, tenant))
	}
	foreign := publish(theirs)
	first := publish(mine)
	partner.AwaitDelivery(t, first.Sequence, "delivered")
	sink.On("/", sinktest.Answer{Status: 400}, sinktest.Answer{})
	r := publish(mine)
	dead := partner.AwaitDelivery(t, r.Sequence, "dead")
	if letters := partner.DeadLetters(t, name); len(letters) != 1 || letters[0].ID != dead.ID || !strings.Contains(string(letters[0].Event), mine) {
		t.Errorf("dead letters %+v", letters)
	}
	for path, want := range map[string]int{"/v1/subscriptions": 1, "/v1/events": 2, "/v1/deliveries": 2, "/v1/dead-letters": 1} {
		for _, query := range []string{"?limit=10", "?tenant=" + mine} {
			if got := fleettest.List[any](t, partner, path+query); len(got) != want {
				t.Errorf("%s%s: %d, want %d: %v", path, query, len(got), want, got)
			}
		}
		none := append(fleettest.List[any](t, partner, path+"?tenant="+theirs), fleettest.List[any](t, other, path+"?tenant="+mine)...)
		if len(none) > 0 {
			t.Errorf("%s shows another tenant: %v", path, none)
		}
	}
	for _, path := range []string{
		"GET /v1/subscriptions/" + name, "DELETE /v1/subscriptions/" + name, "POST /v1/subscriptions/" + name + "/test",
		"GET /v1/deliveries/" + dead.ID, "POST /v1/deliveries/" + dead.ID + "/retry", "GET /v1/dead-letters/" + dead.ID,
		"POST /v1/dead-letters/" + dead.ID + "/replay", fmt.Sprintf("GET /v1/events/%d", r.Sequence),
	} {
		method, path, _ := strings.Cut(path, " ")
		there := other.Do(t, method, path, nil)
		there.Refused(t, http.StatusNotFound, "not_found")
		missing := other.Do(t, method, strings.NewReplacer(name, "nobodys", fmt.Sprint(r.Sequence), "999999999").Replace(path), nil)
		if string(there.Body) != string(missing.Body) {
			t.Errorf("%s %s can be told from what is not there: %s and %s", method, path, there.Body, missing.Body)
		}
	}
	other.Do(t, http.MethodPut, "/v1/subscriptions/"+name, `{"sink":"https://partner.example/"}`).Refused(t, http.StatusConflict, "id_taken")
	other.Do(t, http.MethodPost, "/v1/subscriptions", fmt.Sprintf(`{"tenant":%q,"sink":"https://partner.example/"}`, mine)).Refused(t, http.StatusForbidden, "forbidden")
	partner.Send(t, http.MethodPost, "/v1/events", structuredHeader, event(unique("event"), "x", "1")).Refused(t, http.StatusForbidden, "forbidden")
	partner.Do(t, http.MethodGet, "/v1/keys", nil).Refused(t, http.StatusForbidden, "forbidden")
	partner.Do(t, http.MethodPost, "/v1/secrets/rotate", nil).Refused(t, http.StatusForbidden, "forbidden")
	partner.Do(t, http.MethodGet, fmt.Sprintf("/v1/events/%d", foreign.Sequence), nil).Refused(t, http.StatusNotFound, "not_found")

	var replayed fleettest.Delivery
	partner.Must(t, http.StatusCreated, http.MethodPost, "/v1/dead-letters/"+dead.ID+"/replay", nil, &replayed)
	fleettest.Eventually(t, "the replay is delivered", func() (bool, any) {
		d := partner.Delivery(t, replayed.ID)
		return d.State == "delivered", d
	})
	other.Do(t, http.MethodGet, "/v1/deliveries/"+replayed.ID, nil).Refused(t, http.StatusNotFound, "not_found")
	partner.Must(t, http.StatusNoContent, http.MethodDelete, "/v1/subscriptions/"+name, nil, nil)
	if nc, err := nats.Connect(s.BrokerURL(partner.Key)); err == nil {
		nc.Close()
		t.Error("a partner key gets in by NATS")
	}
	s.CLI(t, "", "key", "create", "--role", "partner", "--tenants", "a,b").Says(t, 1, "/tenants: a partner key has exactly one")
	s.CLI(t, "", "key", "delete", id).Says(t, 0, "deleted")
	partner.Do(t, http.MethodGet, "/v1/subscriptions", nil).Refused(t, http.StatusUnauthorized, "unauthorized")
}

// partnerOf is a client with a partner key, made by the command.
func partnerOf(t *testing.T, s *fleettest.Server, tenant string) (c *fleettest.Client, id string) {
	t.Helper()
	out := s.CLI(t, "", "key", "create", "--role", "partner", "--tenants", tenant, "--description", "of "+tenant).Says(t, 0, "created")
	line, key, ok := strings.Cut(strings.TrimSpace(out.Stdout), ": ")
	if !ok {
		t.Fatalf("no key in %q", out.Stdout)
	}
	id = strings.TrimPrefix(strings.Fields(line)[0], "key/")
	s.CLI(t, "", "key", "list", "--all").Says(t, 0, id, "partner", tenant)
	c = fleettest.NewClient(s.API, key)
	c.Must(t, http.StatusOK, http.MethodGet, "/v1/subscriptions", nil, nil)
	return c, id
}
