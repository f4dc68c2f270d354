package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/hookfleet/hookfleet/api"
)

const signedBy = `{"sink":"https://partner.example/hook","tenant":"acme","protocolsettings":{"signing":{"scheme":"`

func (r *reply) signing(member string) string {
	r.t.Helper()
	return r.at("protocolsettings", "signing", member)
}

// Each scheme makes up a secret of its own kind and shows it once; of ed25519 the public key is always there.
func TestSecretsOfSchemes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for scheme, prefix := range map[string]string{"standardwebhooks": "whsec_", "ed25519": "whsk_", "hmac": ""} {
		at := "/v1/subscriptions/" + scheme
		made := b.put(at, signedBy+scheme+`"}}}`).want(http.StatusCreated)
		if text := made.signing("secret"); !strings.HasPrefix(text, prefix) || len(text) < 40 {
			t.Errorf("%s: secret %q", scheme, text)
		}
		got := b.get(at).want(http.StatusOK)
		if text := got.signing("secret"); !strings.HasPrefix(text, "••••") {
			t.Errorf("%s: shown again: %s", scheme, text)
		}
		if public := got.signing("publickey"); (scheme == "ed25519") != strings.HasPrefix(public, "whpk_") || public != made.signing("publickey") {
			t.Errorf("%s: public key %q", scheme, public)
		}
		kept := b.put(at, string(got.body)).want(http.StatusOK)
		if kept.signing("publickey") != got.signing("publickey") || kept.signing("secret") != got.signing("secret") {
			t.Errorf("%s: after a PUT of what GET answered: %s", scheme, kept.body)
		}
	}
	if got := b.get("/v1/subscriptions/hmac"); got.signing("header") != "x-partner-signature" || got.signing("hash") != "sha256" || got.signing("encoding") != "hex" {
		t.Errorf("defaults of hmac: %s", got.body)
	}
}

func TestRotateSecret(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const at, rotate = "/v1/subscriptions/s", "/v1/subscriptions/s/rotate-secret"
	made := b.put(at, signedBy+`standardwebhooks"}}}`).want(http.StatusCreated)
	first := made.signing("secret")

	r := b.post(rotate, "").want(http.StatusOK)
	second := r.signing("secret")
	if !strings.HasPrefix(second, "whsec_") || second == first || !isMillis(r.signing("previousuntil")) || r.header.Get("Etag") == made.header.Get("Etag") {
		t.Fatalf("rotated: %s", r.body)
	}
	got := b.get(at)
	if got.signing("secret") != "••••"+second[len(second)-4:] || got.signing("previousuntil") != r.signing("previousuntil") ||
		strings.Contains(string(got.body), first[6:20]) {
		t.Errorf("afterwards: %s", got.body)
	}
	if kept := b.put(at, string(got.body)).want(http.StatusOK); kept.signing("previousuntil") != r.signing("previousuntil") {
		t.Errorf("a PUT that keeps the secret ends the overlap: %s", kept.body)
	}
	if e, _ := b.registry.Lookup("s"); e.Subscription.ProtocolSettings.Signing.Previous.Reveal() != first {
		t.Error("the secret before does not sign any more")
	}

	given := "whsec_" + strings.Repeat("QUJD", 12)
	for range 2 {
		r = b.post(rotate, `{"secret":"`+given+`","overlap":"0s"}`).want(http.StatusOK)
		if r.signing("secret") != "••••QUJD" || r.signing("previousuntil") != "" {
			t.Errorf("with a secret of the caller's: %s", r.body)
		}
	}
	b.post(rotate, `{"overlap":"1h"}`).want(http.StatusOK)
	if r = b.put(at, signedBy+`standardwebhooks","secret":"`+given+`"}}}`); r.want(http.StatusOK).signing("previousuntil") != "" {
		t.Errorf("a PUT with a new secret replaces at once: %s", r.body)
	}
	if r = b.do(request{method: "POST", path: rotate, body: "{}", header: map[string]string{"If-Match": made.header.Get("Etag")}}); r.status != 412 {
		t.Errorf("stale If-Match: %d", r.status)
	}
}

func TestRotateSecretRefusals(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.subscribe("unsigned", "acme")
	b.put("/v1/subscriptions/s", signedBy+`ed25519"}}}`).want(http.StatusCreated)
	at := func(id string) string { return "/v1/subscriptions/" + id + "/rotate-secret" }
	b.post(at("unsigned"), "").problem(http.StatusConflict, api.CodeUnsigned)
	b.post(at("none"), "").problem(http.StatusNotFound, api.CodeNotFound)
	b.do(request{method: "POST", path: at("s"), key: b.partnerKey("other")}).problem(http.StatusNotFound, api.CodeNotFound)
	b.do(request{method: "POST", path: at("s"), key: b.newKey(`{"role":"producer"}`)}).problem(http.StatusForbidden, api.CodeForbidden)
	for body, pointer := range map[string]string{
		`{"secret":"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}`: "/secret", `{"secret":"••••"}`: "/secret", `{"overlap":"31d"}`: "/overlap", `{"x":1}`: "/x", `[]`: "",
	} {
		if got := b.post(at("s"), body).problem(422, api.CodeInvalidSubscription); len(got) != 1 || got[0] != pointer {
			t.Errorf("%s: %v", body, got)
		}
	}
	b.post(at("s"), `{`).problem(400, api.CodeInvalidJSON)
	b.do(request{method: "POST", path: at("s"), body: "x", header: map[string]string{"Content-Type": "text/plain"}}).problem(415, api.CodeMediaType)
	b.do(request{method: "POST", path: at("s"), key: b.partnerKey("acme")}).want(http.StatusOK)
}
