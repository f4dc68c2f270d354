package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/hookfleet/hookfleet/test/fleettest"
)

// What receivers use, pinned.
var receiverPackages = []string{"cloudevents@10.0.0", "standardwebhooks@1.1.1"}

// receiver reads requests, and says of each whether its signature holds and what event the SDK makes of it.
const receiver = `
import { readFileSync } from "node:fs";
import { HTTP } from "cloudevents";
import { Webhook } from "standardwebhooks";
const out = [];
for (const { mode, headers, body } of JSON.parse(readFileSync(process.env.REQUESTS, "utf8"))) {
  const got = { mode, signed: false, event: null };
  try {
    new Webhook(process.env.SECRET).verify(body, headers);
    got.signed = true;
  } catch (err) {
    got.error = String(err);
  }
  if (HTTP.isEvent({ headers, body })) {
    const e = HTTP.toEvent({ headers, body });
    got.event = { id: e.id, source: e.source, type: e.type, subject: e.subject, tenant: e.tenant ?? "", data: e.data, valid: e.validate() };
  }
  out.push(got);
}
console.log(JSON.stringify(out));
`

// received is one request as a JavaScript server has it.
type received struct {
	Mode    string            `json:"mode"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
}

// testReceivers: the CloudEvents SDK for JavaScript makes the same event of what we send in either mode, and the Standard
// Webhooks libraries for JavaScript and Go take the signature in every mode.
func testReceivers(t *testing.T, s *fleettest.Server) {
	if testing.Short() {
		t.Skip("installs npm packages")
	}
	dir := t.TempDir()
	installJavaScript(t, dir, receiverPackages...)
	var requests []received
	var typ []string
	for _, mode := range []string{`"structured"`, `"binary"`, `"structured","omit":["tenant"]`, `"data"`, `"template","body":{"n":"${n}"}`} {
		f := newRendered(t, s, `"sink":"%s","protocolsettings":{"contentmode":`+mode+`,"signing":{"secret":"`+testSecret+`"}}`)
		f.client.Publish(t, fmt.Sprintf(`{"specversion":"1.0","id":"js","source":"/e2e/%s","type":%q,"subject":"order-1","tenant":"default","data":{"n":1.5}}`, f.name, f.name))
		r := f.sink.Wait(f.path, 1)[0]
		verifySigned(t, mode, r.Header, r.Body)
		headers := map[string]string{}
		for name := range r.Header {
			headers[strings.ToLower(name)] = r.Header.Get(name)
		}
		requests, typ = append(requests, received{mode, headers, string(r.Body)}), append(typ, f.name)
	}
	for i, got := range receive(t, dir, requests) {
		var want map[string]any
		if i < 3 {
			want = map[string]any{"id": "js", "source": "/e2e/" + typ[i], "type": typ[i], "subject": "order-1", "tenant": "default", "data": map[string]any{"n": 1.5}, "valid": true}
		}
		if i == 2 {
			want["tenant"] = ""
		}
		if diff := cmp.Diff(want, got.Event); diff != "" || !got.Signed {
			t.Errorf("%s: signed %v, %s", got.Mode, got.Signed, diff)
		}
	}
}

func verifySigned(t *testing.T, mode string, h http.Header, body []byte) {
	t.Helper()
	signed, err := standardwebhooks.NewWebhook(testSecret)
	if err != nil {
		t.Fatal(err)
	}
	if err := signed.Verify(body, h); err != nil {
		t.Errorf("signature of mode %s: %v", mode, err)
	}
}

// verdict is what the receiver said of a request.
type verdict struct {
	Mode   string
	Signed bool
	Event  map[string]any
}

func receive(t *testing.T, dir string, requests []received) (got []verdict) {
	t.Helper()
	script, file := filepath.Join(dir, "receive.mjs"), filepath.Join(dir, "requests.json")
	text, err := json.Marshal(requests)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{script: []byte(receiver), file: text} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), fleettest.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "REQUESTS="+file, "SECRET="+testSecret)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("node: %v\n%s", err, out)
	}
	if err := json.Unmarshal(out, &got); err != nil || len(got) != len(requests) {
		t.Fatalf("node said %s: %v", out, err)
	}
	return got
}
