package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/test/fleettest"
)

// The JavaScript client, pinned: what is tried is that a client which knows nothing of us works.
var javaScriptPackages = []string{"@nats-io/transport-node@3.4.0", "@nats-io/jetstream@3.4.0"}

const javaScript = `
import { connect, headers } from "@nats-io/transport-node";
import { jetstream } from "@nats-io/jetstream";
const { SERVER, KEY, SUBJECT, EVENT } = process.env;
const out = [];
for (const auth of [{ token: KEY }, { user: KEY }]) {
  const nc = await connect({ servers: SERVER, ...auth });
  const h = headers();
  h.set("Content-Type", "application/cloudevents+json");
  const { stream, seq, duplicate } = await jetstream(nc).publish(SUBJECT, EVENT, { headers: h });
  out.push({ stream, seq, duplicate });
  try {
    await jetstream(nc).publish(SUBJECT, "garbage");
    out.push({ error: "taken" });
  } catch (err) {
    out.push({ error: err.message });
  }
  await nc.close();
}
console.log(JSON.stringify(out));
`

// testJavaScript: the js.publish of the JavaScript client works unchanged.
func testJavaScript(t *testing.T, s *fleettest.Server) {
	if testing.Short() {
		t.Skip("installs npm packages")
	}
	dir := t.TempDir()
	installJavaScript(t, dir, javaScriptPackages...)
	f := newFlow(t, s, "")
	text := event(unique("js"), f.name, `{"n": 1.0}`)
	script := filepath.Join(dir, "publish.mjs")
	if err := os.WriteFile(script, []byte(javaScript), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), fleettest.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "SERVER="+s.NATS, "KEY="+newKey(t, f.client, `{"role":"producer"}`),
		"SUBJECT=hookfleet.publish.default."+f.name, "EVENT="+text)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("node: %v\n%s", err, out)
	}
	var got []struct {
		Stream    string
		Seq       uint64
		Duplicate bool
		Error     string
	}
	if err := json.Unmarshal(out, &got); err != nil || len(got) != 4 {
		t.Fatalf("node said %s: %v", out, err)
	}
	if got[0].Stream != "EVENTS" || got[0].Seq == 0 || got[0].Duplicate || !got[2].Duplicate || got[2].Seq != got[0].Seq {
		t.Errorf("answers %+v", got)
	}
	if got[1].Error == "taken" || !strings.Contains(got[1].Error, "valid") && !strings.Contains(got[1].Error, "event") {
		t.Errorf("garbage is answered %q", got[1].Error)
	}
	if body := f.sink.Wait(f.path, 1)[0].Body; string(body) != text {
		t.Errorf("got %s", body)
	}
}

func installJavaScript(t *testing.T, dir string, packages ...string) {
	t.Helper()
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Skip("SKIPPED: there is no npm here, so nothing was tried in JavaScript")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	args := append([]string{"install", "--no-audit", "--no-fund", "--no-save", "--ignore-scripts", "--prefix", dir}, packages...)
	cmd := exec.CommandContext(ctx, npm, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: npm could not install %v: %v\n%s", packages, err, out)
	}
}
