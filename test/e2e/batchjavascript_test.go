package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/hookfleet/hookfleet/test/fleettest"
)

const batchJavaScript = `
import { readFileSync } from "node:fs";
import { HTTP } from "cloudevents";
import { Webhook } from "standardwebhooks";
const { headers, body, secret } = JSON.parse(readFileSync(process.env.REQUEST, "utf8"));
const signed = new Webhook(secret).verify(body, headers);
const events = HTTP.toEvent({ headers, body });
console.log(JSON.stringify({ signed: signed.length, ids: events.map((e) => (e.validate(), e.id)), data: events.map((e) => e.data) }));
`

// testBatchJavaScript: the CloudEvents SDK and the Standard Webhooks library of JavaScript take a batch as it is sent.
func testBatchJavaScript(t *testing.T, s *fleettest.Server) {
	if testing.Short() {
		t.Skip("installs npm packages")
	}
	dir := t.TempDir()
	installJavaScript(t, dir, "cloudevents@10.0.0", "standardwebhooks@1.0.0")
	f := newBatchFlow(t, s, `"maxevents":3,"linger":"5m"`, "")
	rs := f.publishMany(3)
	got := f.sink.Wait(f.path, 1)[0]
	headers := map[string]string{}
	for name := range got.Header {
		headers[name] = got.Header.Get(name)
	}
	request, err := json.Marshal(map[string]any{"headers": headers, "body": string(got.Body), "secret": testSecret})
	if err != nil {
		t.Fatal(err)
	}
	script, in := filepath.Join(dir, "batch.mjs"), filepath.Join(dir, "request.json")
	if err := os.WriteFile(script, []byte(batchJavaScript), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(in, request, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), fleettest.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", script)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "REQUEST="+in)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("node: %v\n%s", err, out)
	}
	var seen struct {
		Signed int
		IDs    []string
		Data   []struct{ N int }
	}
	if err := json.Unmarshal(out, &seen); err != nil || seen.Signed != 3 || len(seen.IDs) != 3 {
		t.Fatalf("node said %s: %v", out, err)
	}
	byID := map[string]int{}
	for i, id := range seen.IDs {
		byID[id] = seen.Data[i].N
	}
	for i, r := range rs {
		if n, ok := byID[r.ID]; !ok || n != i {
			t.Errorf("event %s has %d", r.ID, n)
		}
	}
}
