package api_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/api"
	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
)

func TestCredentialIsWriteOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := &validator{t: t, schemas: dig(b.document(), "components", "schemas").(map[string]any), paths: dig(b.document(), "paths").(map[string]any)}
	const text = `{"id":"s","sink":"https://partner.example/hook","sinkcredential":{"credentialtype":"TOKENSERVER","granttype":"password",
		"tokenendpoint":"https://auth.example/token","username":"u","password":"canary-0123456789","clientid":"c","clientsecret":"canary",
		"scopes":["a"],"parameters":{"audience":"x"}}}`
	made := b.post("/v1/subscriptions", text).want(http.StatusCreated)
	v.check("POST", "/v1/subscriptions", made)
	got := b.get("/v1/subscriptions/s").want(http.StatusOK)
	for _, r := range []*reply{made, got, b.get("/v1/subscriptions").want(http.StatusOK)} {
		if strings.Contains(string(r.body), "canary") {
			t.Errorf("shows the secret: %s", r.body)
		}
	}
	if p, s := got.at("sinkcredential", "password"), got.at("sinkcredential", "clientsecret"); p != "••••6789" || s != "••••" {
		t.Errorf("masks %q and %q", p, s)
	}
	b.put("/v1/subscriptions/s", string(got.body)).want(http.StatusOK)
	if e, _ := b.registry.Lookup("s"); e.Subscription.SinkCredential.Password.Reveal() != "canary-0123456789" {
		t.Error("PUT of what GET answered lost the secret")
	}
	moved := strings.Replace(string(got.body), "https://auth.example/", "https://evil.example/", 1)
	if r := b.put("/v1/subscriptions/s", moved).problem(http.StatusUnprocessableEntity, api.CodeInvalidSubscription); !slices.Contains(r, "/sinkcredential/password") {
		t.Errorf("%v", r)
	}
}

// All faults at once: also the secrets that a new subscription lacks.
func TestCredentialFaults(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.post("/v1/subscriptions", `{"id":"S","sink":"https://partner.example/hook","sinkcredential":{"credentialtype":"TOKENSERVER",
		"tokenendpoint":"https://169.254.169.254/token","clientid":"c"}}`).problem(http.StatusUnprocessableEntity, api.CodeInvalidSubscription)
	for _, pointer := range []string{"/id", "/sinkcredential/clientsecret"} {
		if !slices.Contains(r, pointer) {
			t.Errorf("no %s in %v", pointer, r)
		}
	}
	b.put("/v1/subscriptions/x", `{"sink":"https://partner.example/hook","sinkcredential":{"credentialtype":"BEARER"}}`).
		problem(http.StatusUnprocessableEntity, api.CodeInvalidSubscription)
}

// An access token that has ended holds the subscription until there is a new one.
func TestExpiredAccessToken(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := &validator{t: t, schemas: dig(b.document(), "components", "schemas").(map[string]any), paths: dig(b.document(), "paths").(map[string]any)}
	put := func(expires string) *reply {
		return b.put("/v1/subscriptions/s", `{"sink":"https://partner.example/hook","sinkcredential":{"credentialtype":"ACCESSTOKEN",
			"accesstoken":"t","accesstokenexpiresutc":"`+expires+`"}}`)
	}
	r := put("2020-01-01T00:00:00Z")
	v.check("PUT", "/v1/subscriptions/{id}", r)
	if r.at("status", "state") != "held" || r.at("status", "reason") != "credential" || r.at("status", "since") != "2020-01-01T00:00:00.000Z" {
		t.Errorf("%s", r.body)
	}
	if r := put(time.Now().Add(time.Hour).Format(time.RFC3339)); r.at("status", "state") != "active" {
		t.Errorf("%s", r.body)
	}
}

// A PUT ends the hold of a credential, because it may have mended it.
func TestPutEndsTheHoldOfACredential(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const text = `{"sink":"https://partner.example/hook"}`
	b.put("/v1/subscriptions/s", text).want(http.StatusCreated)
	for reason, want := range map[events.Reason]string{events.ReasonCredential: "active", events.ReasonThrottled: "held"} {
		err := b.registry.SetHealth(t.Context(), "s", func(h *registry.Health) bool {
			*h = registry.Health{State: registry.SinkHeld, Reason: reason, Until: time.Now().Add(time.Hour)}
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		if r := b.put("/v1/subscriptions/s", text); r.at("status", "state") != want {
			t.Errorf("%s: %s", reason, r.body)
		}
	}
}
