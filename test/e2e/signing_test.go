package e2e

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

// signature is what the API shows of one.
type signature struct {
	Secret, PublicKey, Header, PreviousUntil string
}

// sign makes a signed flow, and returns it with what its receiver has to know.
func sign(t *testing.T, s *fleettest.Server, signing string) (*flow, signature) {
	t.Helper()
	f := &flow{t: t, server: s, client: s.Client(), sink: sinktest.New(t), name: unique("signed")}
	f.path = "/" + f.name
	return f, f.put(signing)
}

func (f *flow) put(signing string) signature {
	f.t.Helper()
	r := f.client.Do(f.t, http.MethodPut, "/v1/subscriptions/"+f.name, fmt.Sprintf(
		`{"types":[%q],"sink":%q,"protocolsettings":{"signing":%s}}`, f.name, f.sink.URL(f.path), signing))
	if r.Status != http.StatusCreated && r.Status != http.StatusOK {
		f.t.Fatalf("%d %s", r.Status, r.Body)
	}
	return signatureOf(f.t, r)
}

func signatureOf(t *testing.T, r *fleettest.Response) signature {
	t.Helper()
	var v struct{ ProtocolSettings struct{ Signing signature } }
	if err := json.Unmarshal(r.Body, &v); err != nil {
		t.Fatal(err)
	}
	return v.ProtocolSettings.Signing
}

// next publishes an event and returns the request that it becomes.
func (f *flow) next() *sinktest.Request {
	f.t.Helper()
	n := len(f.sink.Got(f.path))
	f.publish()
	return f.sink.Wait(f.path, n+1)[n]
}

// verifies reports whether the published library takes the request with this secret.
func verifies(t *testing.T, r *sinktest.Request, secret string) bool {
	t.Helper()
	wh, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	return wh.Verify(r.Body, r.Header) == nil
}

// testSigning: what each scheme sends is what its receivers verify, in Go and in JavaScript.
func testSigning(t *testing.T, s *fleettest.Server) {
	plain, v1 := sign(t, s, `{}`)
	asymmetric, v1a := sign(t, s, `{"scheme":"ed25519"}`)
	custom, body := sign(t, s, `{"scheme":"hmac","secret":"It's a Secret to Everybody","header":"x-hub-signature-512","hash":"sha512","encoding":"base64","prefix":"sha512="}`)
	if !strings.HasPrefix(v1.Secret, "whsec_") || !strings.HasPrefix(v1a.Secret, "whsk_") || !strings.HasPrefix(v1a.PublicKey, "whpk_") || body.Secret != "••••body" {
		t.Fatalf("%+v %+v %+v", v1, v1a, body)
	}
	first, second, third := plain.next(), asymmetric.next(), custom.next()
	if !verifies(t, first, v1.Secret) || !strings.HasPrefix(first.Header.Get("Webhook-Signature"), "v1,") {
		t.Errorf("standardwebhooks: %v", first.Header)
	}
	public, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(v1a.PublicKey, "whpk_"))
	if err != nil || len(public) != ed25519.PublicKeySize {
		t.Fatalf("public key %q", v1a.PublicKey)
	}
	value, ok := strings.CutPrefix(second.Header.Get("Webhook-Signature"), "v1a,")
	raw, err := base64.StdEncoding.DecodeString(value)
	text := fmt.Sprintf("%s.%s.%s", second.ID(), second.Header.Get("Webhook-Timestamp"), second.Body)
	if !ok || err != nil || !ed25519.Verify(public, []byte(text), raw) {
		t.Errorf("ed25519: %v", second.Header)
	}
	mac := hmac.New(sha512.New, []byte("It's a Secret to Everybody"))
	mac.Write(third.Body)
	if want := "sha512=" + base64.StdEncoding.EncodeToString(mac.Sum(nil)); third.Header.Get("X-Hub-Signature-512") != want || third.Header["Webhook-Signature"] != nil {
		t.Errorf("hmac: %v, want %s", third.Header, want)
	}
	t.Run("javascript", func(t *testing.T) {
		verifyInJavaScript(t, []signedRequest{
			{"v1", v1.Secret, first.Header, string(first.Body)}, {"v1a", v1a.PublicKey, second.Header, string(second.Body)},
			{"hmac", "It's a Secret to Everybody", third.Header, string(third.Body)},
		})
	})
}

// signedRequest is a request as a script gets it.
type signedRequest struct {
	Scheme, Key string
	Header      http.Header
	Body        string
}

const verifyScript = `
import { createHmac, createPublicKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";
import { Webhook } from "standardwebhooks";
for (const { Scheme, Key, Header, Body } of JSON.parse(readFileSync(process.argv[2]))) {
  const headers = Object.fromEntries(Object.entries(Header).map(([name, values]) => [name.toLowerCase(), values.join(", ")]));
  switch (Scheme) {
    case "v1":
      new Webhook(Key).verify(Body, headers);
      break;
    case "v1a": {
      const key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: Buffer.from(Key.slice(5), "base64").toString("base64url") }, format: "jwk" });
      const text = headers["webhook-id"] + "." + headers["webhook-timestamp"] + "." + Body;
      const good = headers["webhook-signature"].split(" ").some((s) => s.startsWith("v1a,") && verify(null, Buffer.from(text), key, Buffer.from(s.slice(4), "base64")));
      if (!good) throw new Error("v1a does not verify");
      break;
    }
    case "hmac":
      if (headers["x-hub-signature-512"] !== "sha512=" + createHmac("sha512", Key).update(Body).digest("base64")) throw new Error("hmac does not verify");
  }
}
console.log("verified");
`

// verifyInJavaScript verifies with the published library, and with node's own cryptography what that does not have.
func verifyInJavaScript(t *testing.T, all []signedRequest) {
	if testing.Short() {
		t.Skip("installs npm packages")
	}
	dir := t.TempDir()
	installJavaScript(t, dir, "standardwebhooks@1.1.1")
	script, data := filepath.Join(dir, "verify.mjs"), filepath.Join(dir, "requests.json")
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string][]byte{script: []byte(verifyScript), data: text} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), fleettest.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", script, data)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "verified\n" {
		t.Errorf("node: %v\n%s", err, out)
	}
}

func (f *flow) rotate(body string) signature {
	f.t.Helper()
	return signatureOf(f.t, f.client.Must(f.t, http.StatusOK, http.MethodPost, "/v1/subscriptions/"+f.name+"/rotate-secret", body, nil))
}

// testRotation: both secrets sign until the overlap is over, and then the new one alone; a PUT replaces at once.
func testRotation(t *testing.T, s *fleettest.Server) {
	f, before := sign(t, s, `{}`)
	after := f.rotate(`{}`)
	until, err := time.Parse(time.RFC3339, after.PreviousUntil)
	if err != nil || time.Until(until) < 23*time.Hour || time.Until(until) > 24*time.Hour || after.Secret == before.Secret {
		t.Fatalf("rotated: %+v", after)
	}
	r := f.next()
	if values := strings.Fields(r.Header.Get("Webhook-Signature")); len(values) != 2 || !verifies(t, r, before.Secret) || !verifies(t, r, after.Secret) {
		t.Errorf("during the overlap: %v", r.Header)
	}
	last := f.rotate(`{"overlap":"1s"}`)
	if r = f.next(); verifies(t, r, before.Secret) || !verifies(t, r, last.Secret) {
		t.Errorf("after another rotation: %v", r.Header)
	}
	fleettest.Eventually(t, "the overlap is over", func() (bool, any) {
		r = f.next()
		return !verifies(t, r, after.Secret), r.Header
	})
	if !verifies(t, r, last.Secret) || f.client.Do(t, http.MethodGet, "/v1/subscriptions/"+f.name, nil).Status != http.StatusOK {
		t.Errorf("after the overlap: %v", r.Header)
	}
	f.rotate(`{}`)
	f.put(`{"secret":"` + testSecret + `"}`)
	if r = f.next(); !verifies(t, r, testSecret) || verifies(t, r, last.Secret) || strings.Contains(r.Header.Get("Webhook-Signature"), " ") {
		t.Errorf("after a PUT with a new secret: %v", r.Header)
	}
	custom, _ := sign(t, s, `{"scheme":"hmac","secret":"one"}`)
	alone := custom.next()
	custom.rotate(`{"secret":"two"}`)
	both := custom.next()
	if alone.Header["X-Partner-Signature-Previous"] != nil || len(both.Header["X-Partner-Signature"]) != 1 || len(both.Header["X-Partner-Signature-Previous"]) != 1 ||
		both.Header.Get("X-Partner-Signature") == both.Header.Get("X-Partner-Signature-Previous") {
		t.Errorf("hmac: %v, then %v", alone.Header, both.Header)
	}
	unsigned := newFlow(t, s, "")
	unsigned.client.Do(t, http.MethodPost, "/v1/subscriptions/"+unsigned.name+"/rotate-secret", nil).Refused(t, http.StatusConflict, "unsigned")
}

// TestRotationSurvivesRestart: the secret before signs also after a restart, and is in no answer and no log.
func TestRotationSurvivesRestart(t *testing.T) {
	t.Parallel()
	s := fleettest.Start(t, fleettest.Options{})
	f, before := sign(t, s, `{}`)
	after := f.rotate("")
	s.Restart(t)
	f.client = s.Client()
	if r := f.next(); !verifies(t, r, before.Secret) || !verifies(t, r, after.Secret) {
		t.Errorf("after a restart: %v", r.Header)
	}
	shown := f.client.Do(t, http.MethodGet, "/v1/subscriptions", nil)
	if slices.ContainsFunc([]string{before.Secret, after.Secret}, func(secret string) bool {
		return contains(string(shown.Body), secret[6:30]) || contains(s.Log(), secret[6:30])
	}) {
		t.Errorf("a secret is shown: %s", shown.Body)
	}
}
