package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const acme = `{"id":"acme-orders","tenant":"acme","types":["order.*","refund"],"sink":"https://partner.example/hook","status":{"state":"held","reason":"throttled","waiting":12}}`

func TestSubscriptionList(t *testing.T) {
	t.Parallel()
	f := newBackend(t)
	f.on("GET /v1/subscriptions", 200, `{"items":[`+acme+`,{"id":"b","tenant":"default","sink":"https://b.example\u001b]0;x\u0007"}]}`)
	f.cli(t, "", "subscription", "list", "--tenant", "acme").expect(t, exitOK, ""+
		"ID           TENANT   STATE  REASON     WAITING  TYPES           SINK\n"+
		"acme-orders  acme     held   throttled  12       order.*,refund  https://partner.example/hook\n"+
		"b            default  -      -          -        -               https://b.example\\x1b]0;x\\a\n", "")
	if diff := cmp.Diff([]string{"GET /v1/subscriptions?limit=100&tenant=acme"}, f.lines()); diff != "" {
		t.Error(diff)
	}
}

// Lists follow the cursor as far as they are asked to.
func TestListPages(t *testing.T) {
	t.Parallel()
	f := newBackend(t)
	next := map[string]string{"": `{"items":[{"id":"a"},{"id":"b","x":1.0}],"next":"c1"}`, "c1": `{"items":[{"id":"c"}],"next":"c2"}`, "c2": `{"items":[]}`}
	f.mux.HandleFunc("GET /v1/keys", func(w http.ResponseWriter, r *http.Request) { reply(w, 200, next[r.URL.Query().Get("cursor")]) })
	f.cli(t, "", "key", "list", "-o", "json", "--limit", "2").expect(t, exitOK, "{\"items\":[\n{\"id\":\"a\"},\n{\"id\":\"b\",\"x\":1.0}\n],\"next\":\"c1\"}\n", "")
	f.cli(t, "", "key", "list", "-o", "json", "--limit", "3").expect(t, exitOK, "{\"items\":[\n{\"id\":\"a\"},\n{\"id\":\"b\",\"x\":1.0},\n{\"id\":\"c\"}\n],\"next\":\"c2\"}\n", "")
	r := f.cli(t, "", "key", "list", "-o", "json", "--all")
	r.expect(t, exitOK, "{\"items\":[\n{\"id\":\"a\"},\n{\"id\":\"b\",\"x\":1.0},\n{\"id\":\"c\"}\n]}\n", "")
	if !json.Valid([]byte(r.stdout)) {
		t.Error("is not JSON:", r.stdout)
	}
	want := []string{
		"GET /v1/keys?limit=2",
		"GET /v1/keys?limit=3", "GET /v1/keys?cursor=c1&limit=1",
		"GET /v1/keys?limit=100", "GET /v1/keys?cursor=c1&limit=100", "GET /v1/keys?cursor=c2&limit=100",
	}
	if diff := cmp.Diff(want, f.lines()); diff != "" {
		t.Error(diff)
	}
}

func TestEmptyListIsJSON(t *testing.T) {
	t.Parallel()
	f := newBackend(t)
	f.on("GET /v1/keys", 200, `{"items":[]}`)
	if r := f.cli(t, "", "key", "list", "-o", "json"); !json.Valid([]byte(r.stdout)) {
		t.Error(r)
	}
}

// What is shown can be edited and applied: the texts keep their types and spelling.
func TestSubscriptionGet(t *testing.T) {
	t.Parallel()
	f := newBackend(t)
	const raw = `{"id":"a","paused":false,"config":{"retry":{"jitter":0.10,"schedule":["5s","2h"]}},"protocolsettings":{"handshake":{"mode":"off"}},"description":"line 1\nyes: \"no\" \ud83d\ude00","filters":[{"exact":{"subject":"01"}}],"x":null,"empty":[],"body":{"n":12345678901234567890123,"d":"2026-01-01"}}`
	f.on("GET /v1/subscriptions/a", 200, raw)
	f.on("PUT /v1/subscriptions/a", 200, raw)
	shown := f.cli(t, "", "subscription", "get", "a")
	shown.expect(t, exitOK, `id: a
paused: false
config:
  retry:
    jitter: 0.10
    schedule:
      - 5s
      - 2h
protocolsettings:
  handshake:
    mode: "off"
description: "line 1\nyes: \"no\" \U0001F600"
filters:
  - exact:
      subject: "01"
x: null
empty: []
body:
  "n": 12345678901234567890123
  d: "2026-01-01"
`, "")
	f.cli(t, "", "subscription", "get", "a", "-o", "json").expect(t, exitOK, raw+"\n", "")
	edited := strings.Replace(shown.stdout, "12345678901234567890123", "7", 1)
	f.cli(t, edited, "subscription", "apply", "-f", "-").expect(t, exitOK, "subscription/a updated\n", "")
	var want, got any
	if err := json.Unmarshal([]byte(strings.Replace(raw, "12345678901234567890123", "7", 1)), &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(f.bodies()[2]), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestApply(t *testing.T) {
	t.Parallel()
	f := newBackend(t)
	f.on("PUT /v1/subscriptions/{id}", 201, `{"id":"a","protocolsettings":{"signing":{"secret":"whsec_abc"}}}`)
	f.on("POST /v1/subscriptions", 201, `{"id":"made-up","protocolsettings":{"signing":{"secret":"••••abcd"}}}`)
	const file = `
# two of them
id: a
sink: https://a.example
protocolsettings: {handshake: {mode: off}, then: hold}
since: 2026-01-01
retry: &retry {initial: 5s, jitter: 0.1, maxattempts: 3}
again: *retry
---
# nothing
---
sink: https://b.example
`
	f.cli(t, file, "subscription", "apply", "-f", "-").expect(t, exitOK,
		"subscription/a created\n  signing secret, shown only now: whsec_abc\nsubscription/made-up created\n", "")
	if diff := cmp.Diff([]string{"PUT /v1/subscriptions/a", "POST /v1/subscriptions"}, f.lines()); diff != "" {
		t.Error(diff)
	}
	want := []string{
		`{"again":{"initial":"5s","jitter":0.1,"maxattempts":3},"id":"a","protocolsettings":{"handshake":{"mode":"off"},"then":"hold"},"retry":{"initial":"5s","jitter":0.1,"maxattempts":3},"since":"2026-01-01","sink":"https://a.example"}`,
		`{"sink":"https://b.example"}`,
	}
	if diff := cmp.Diff(want, f.bodies()); diff != "" {
		t.Error(diff)
	}
}

// A file of JSON is sent as it is.
func TestApplyJSON(t *testing.T) {
	t.Parallel()
	f := newBackend(t)
	f.on("PUT /v1/subscriptions/{id}", 200, `{"id":"a"}`)
	file := filepath.Join(t.TempDir(), "a.json")
	const doc = `{"id":"a", "body":{"n":1.000,"n2":12345678901234567890123}}`
	if err := os.WriteFile(file, []byte(doc+"\n"+doc+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.cli(t, "", "subscription", "apply", "-f", file, "-o", "json").expect(t, exitOK, "{\"id\":\"a\"}\n{\"id\":\"a\"}\n", "")
	if diff := cmp.Diff([]string{doc, doc}, f.bodies()); diff != "" {
		t.Error(diff)
	}
}

// Every document is tried, and every fault of every refusal named.
func TestApplyNamesEveryFault(t *testing.T) {
	t.Parallel()
	f := newBackend(t)
	f.on("PUT /v1/subscriptions/a", 422, `{"code":"invalid","errors":[{"pointer":"/sink","detail":"is missing"},{"pointer":"/config/timeout","detail":"is too long"}]}`)
	f.on("PUT /v1/subscriptions/b", 200, `{"id":"b"}`)
	f.on("PUT /v1/subscriptions/c%2Fd", 404, `{"code":"not_found"}`)
	missing := filepath.Join(t.TempDir(), "missing.yaml")
	f.cli(t, "id: a\n---\nid: b\n---\n- x\n---\nid: c/d\n", "subscription", "apply", "-f", "-", "-f", missing).expect(t, exitFailed, "subscription/b updated\n",
		`hookfleet: -, document 1: 422 invalid
  /sink: is missing
  /config/timeout: is too long
  -, document 3: is not a subscription or source: an object whose id is text
  -, document 4: 404 not_found
  open `+missing+`: no such file or directory
`)
	for name, text := range map[string]string{
		"-: yaml: mapping values are not allowed in this context": "a: b: c",
		"-: has no document":                                             "# nothing\n",
		"-: document 1: yaml: unmarshal errors:":                         "id: a\nid: b",
		"-: document 1: yaml: document contains excessive aliasing":      bomb(),
		"-: is not a subscription or source: an object whose id is text": "id: 5",
		"-: document 1: line 2: 12345678901234567890123 has more digits": "a: 1.50\nn: 12345678901234567890123",
		"-: document 1: has no JSON form: json: unsupported value: +Inf": "n: .inf",
	} {
		r := f.cli(t, text, "subscription", "apply", "-f", "-")
		if r.code != exitFailed || !strings.HasPrefix(r.stderr, "hookfleet: "+name) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// bomb is a document that would be gigabytes when its aliases are written out.
func bomb() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n")
	for i := range 9 {
		alias := strings.Repeat("*a"+string(rune('0'+i))+",", 10)
		b.WriteString("a" + string(rune('1'+i)) + ": &a" + string(rune('1'+i)) + " [" + strings.TrimSuffix(alias, ",") + "]\n")
	}
	return b.String()
}

func TestActions(t *testing.T) {
	t.Parallel()
	f := newBackend(t)
	f.on("DELETE /v1/subscriptions/a", 204, "")
	f.on("POST /v1/subscriptions/a/pause", 200, acme)
	f.on("POST /v1/subscriptions/a/resume", 200, `{"id":"a"}`)
	f.on("POST /v1/deliveries/1-a/retry", 409, `{"code":"ended","detail":"the delivery has ended"}`)
	f.on("POST /v1/deliveries/2-a/retry", 200, `{"id":"2-a"}`)
	f.on("POST /v1/deliveries/2-a/cancel", 200, `{"id":"2-a"}`)
	f.on("POST /v1/dead-letters/1-a/replay", 201, `{"id":"1R1-a"}`)
	f.on("DELETE /v1/keys/k", 204, "")
	f.cli(t, "", "subscription", "delete", "a").expect(t, exitOK, "subscription/a deleted\n", "")
	f.cli(t, "", "subscription", "delete", "a", "-o", "json").expect(t, exitOK, "", "")
	f.cli(t, "", "subscription", "pause", "a", "-o", "json").expect(t, exitOK, acme+"\n", "")
	f.cli(t, "", "subscription", "resume", "a").expect(t, exitOK, "subscription/a resumed\n", "")
	f.cli(t, "", "delivery", "retry", "1-a", "2-a").expect(t, exitFailed, "delivery/2-a is tried now\n", "hookfleet: delivery/1-a: 409 ended: the delivery has ended\n")
	f.cli(t, "", "delivery", "cancel", "2-a").expect(t, exitOK, "delivery/2-a cancelled\n", "")
	f.cli(t, "", "deadletter", "replay", "1-a").expect(t, exitOK, "deadletter/1-a replayed as 1R1-a\n", "")
	f.cli(t, "", "key", "delete", "k").expect(t, exitOK, "key/k deleted\n", "")
}

func TestRotateSecretCommand(t *testing.T) {
	t.Parallel()
	f := newBackend(t)
	f.on("POST /v1/subscriptions/a/rotate-secret", 200,
		`{"id":"a","protocolsettings":{"signing":{"secret":"whsk_abc","publickey":"whpk_def","previousuntil":"2026-11-23T10:00:00.000Z"}}}`)
	f.on("POST /v1/subscriptions/b/rotate-secret", 200, `{"id":"b","protocolsettings":{"signing":{"secret":"••••abcd"}}}`)
	f.on("POST /v1/subscriptions/c/rotate-secret", 409, `{"code":"unsigned","detail":"there is none"}`)
	f.cli(t, "", "subscription", "rotate-secret", "a").expect(t, exitOK,
		"subscription/a signs with a new secret; the one before signs as well until 2026-11-23T10:00:00.000Z\n"+
			"  signing secret, shown only now: whsk_abc\n  public key, for the receiver: whpk_def\n", "")
	f.cli(t, "whsec_new\n", "subscription", "rotate-secret", "b", "--secret-file", "-", "--overlap", "0s").expect(t, exitOK, "subscription/b signs with a new secret\n", "")
	f.cli(t, "", "subscription", "rotate-secret", "c").expect(t, exitFailed, "", "hookfleet: subscription/c: 409 unsigned: there is none\n")
	if r := f.cli(t, "\n", "subscription", "rotate-secret", "c", "--secret-file", "-"); r.code != exitUsage {
		t.Error(r)
	}
	if diff := cmp.Diff([]string{`{}`, `{"overlap":"0s","secret":"whsec_new"}`, `{}`}, f.bodies()); diff != "" {
		t.Error(diff)
	}
}

func TestKeyCreate(t *testing.T) {
	t.Parallel()
	f := newBackend(t)
	f.on("POST /v1/keys", 201, `{"id":"k1","key":"hf_secret","role":"producer"}`)
	f.cli(t, "", "key", "create", "--role", "producer", "--tenants", "a,b", "--types", "order.").expect(t, exitOK, "key/k1 created\n  key, shown only now: hf_secret\n", "")
	if diff := cmp.Diff([]string{`{"role":"producer","tenants":["a","b"],"types":["order."]}`}, f.bodies()); diff != "" {
		t.Error(diff)
	}
}

// The command waits for the first attempt, and its exit code is the sink's answer.
func TestSubscriptionTest(t *testing.T) {
	t.Parallel()
	f := newBackend(t)
	f.on("POST /v1/subscriptions/a/test", 202, `{"id":"9-a","state":"pending"}`)
	looks := 0
	f.mux.HandleFunc("GET /v1/deliveries/9-a", func(w http.ResponseWriter, _ *http.Request) {
		switch looks++; looks {
		case 1:
			reply(w, 404, `{"code":"not_found"}`)
		case 2:
			reply(w, 200, `{"id":"9-a","state":"pending","attemptcount":0}`)
		case 3:
			reply(w, 200, `{"id":"9-a","state":"retrying","reason":"refused","attemptcount":1}`)
		default:
			reply(w, 200, `{"id":"9-a","state":"delivered","attemptcount":1}`)
		}
	})
	if r := f.cli(t, "", "subscription", "test", "a"); r.code != exitFailed || r.stderr != "hookfleet: the sink has not taken it: refused\n" {
		t.Error(r)
	}
	f.cli(t, "", "subscription", "test", "a", "-o", "json").expect(t, exitOK, "{\"id\":\"9-a\",\"state\":\"delivered\",\"attemptcount\":1}\n", "")
	f.cli(t, "", "subscription", "test", "a", "-o", "json", "--wait", "0").expect(t, exitOK, "{\"id\":\"9-a\",\"state\":\"pending\"}\n", "")
}
