package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

// testPublishCommand: one event by flags, and many by lines.
func testPublishCommand(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, "")
	id := unique("cli")
	args := []string{"publish", "--type", f.name, "--source", "/e2e", "--id", id, "--subject", "order-1", "--data", `{"n": 1.0}`}
	s.CLI(t, "", args...).Says(t, 0, "event/"+id+" accepted, sequence ")
	s.CLI(t, "", args...).Says(t, 0, "is a duplicate")
	if got := string(f.sink.Wait(f.path, 1)[0].Body); !strings.Contains(got, `"data":{"n": 1.0}`) || !strings.Contains(got, `"subject":"order-1"`) {
		t.Errorf("got %s", got)
	}
	var r fleettest.Receipt
	one := s.CLI(t, "", "publish", "--type", f.name, "--data", "1", "--output", "json").Says(t, 0)
	if err := json.Unmarshal([]byte(one.Stdout), &r); err != nil || r.Sequence == 0 {
		t.Errorf("--output json: %s, %v", one.Stdout, err)
	}
	var lines strings.Builder
	const n = 2500 // more than two batches
	for range n {
		lines.WriteString(event(unique("line"), f.name, `{ "n":1.0 }`) + "\n")
	}
	s.CLI(t, lines.String(), "publish", "-").Says(t, 0, fmt.Sprint(n))
	f.sink.Wait(f.path, 2+n)
	f.once(2 + n)
	bad := event(unique("line"), f.name, "1") + "\n{\"specversion\":\"1.0\"}\nnonsense\n" + event(unique("line"), f.name, "2") + "\n"
	s.CLI(t, bad, "publish", "-").Says(t, 1, "line 2", "line 3")
	f.sink.Wait(f.path, 4+n)
	s.CLI(t, "", "publish", "--type", f.name, "--data", "{").Says(t, 2)
	s.CLI(t, "", "publish", "--type", f.name, "--key", "wrong").Says(t, 1, "401")
}

// testSubscriptionCommand: apply, list, get, pause, resume, test and delete.
func testSubscriptionCommand(t *testing.T, s *fleettest.Server) {
	sink, first, second := sinktest.New(t), unique("applied"), unique("applied")
	manifest := fmt.Sprintf(`# two partners
id: %s
types: [%s, %s.*]
sink: %s
protocolsettings:
  signing:
    scheme: standardwebhooks
config:
  timeout: 5s
  retry: {policy: fixed, initial: 50ms, maxattempts: 2}
---
id: %s
sink: %s
types: [%s]
`, first, first, first, sink.URL("/first"), second, sink.URL("/second"), second)
	file := filepath.Join(t.TempDir(), "subscriptions.yaml")
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	s.CLI(t, "", "subscription", "apply", "-f", file).
		Says(t, 0, "subscription/"+first+" created", "subscription/"+second+" created", "whsec_")
	again := s.CLI(t, manifest, "subscription", "apply", "-f", "-").Says(t, 0, "subscription/"+first+" updated")
	if strings.Contains(again.Stdout, "whsec_") {
		t.Errorf("the secret is shown twice: %s", again.Stdout)
	}
	s.CLI(t, "", "subscription", "list", "--all").Says(t, 0, "ID", first, second, "active")
	s.CLI(t, "", "subscription", "get", first).Says(t, 0, "timeout: 5s", "policy: fixed")
	var sub fleettest.Subscription
	get := s.CLI(t, "", "subscription", "get", first, "--output", "json").Says(t, 0)
	if err := json.Unmarshal([]byte(get.Stdout), &sub); err != nil || sub.ID != first {
		t.Errorf("--output json: %s, %v", get.Stdout, err)
	}
	s.CLI(t, "", "subscription", "pause", first, second).Says(t, 0, first+" paused", second+" paused")
	s.CLI(t, "", "subscription", "list", "--all").Says(t, 0, "paused")
	s.CLI(t, "", "subscription", "resume", first, second).Says(t, 0, first+" resumed")
	s.CLI(t, "", "subscription", "test", first).Says(t, 0, "delivered", "204")
	sink.On("/first", sinktest.Answer{Status: 400, Body: "no such hook"})
	s.CLI(t, "", "subscription", "test", first).Says(t, 1, "no such hook", "rejected")
	s.CLI(t, "", "subscription", "delete", first, "never-was", second).Says(t, 1, first+" deleted", second+" deleted", "never-was", "404")
	s.CLI(t, "sink: nowhere\nconcurency: 1\n", "subscription", "apply", "-f", "-").Says(t, 1, "/sink", "/concurency")
	var list fleettest.Page[fleettest.Subscription]
	all := s.CLI(t, "", "subscription", "list", "--all", "--output", "json").Says(t, 0)
	if err := json.Unmarshal([]byte(all.Stdout), &list); err != nil || strings.Contains(all.Stdout, first) {
		t.Errorf("the list after deleting: %.500s, %v", all.Stdout, err)
	}
}

// testDeliveryCommand: deliveries and dead letters.
func testDeliveryCommand(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, `"retry":{"policy":"schedule","schedule":["50ms","1h"]}`, fails, fails, sinktest.Answer{Status: 400}, sinktest.Answer{})
	r := f.publish()
	var d *fleettest.Delivery
	fleettest.Eventually(t, "two attempts are made", func() (bool, any) {
		d = f.await(r, "retrying")
		return d.AttemptCount == 2, d
	})
	s.CLI(t, "", "delivery", "list", "--subscription", f.name).Says(t, 0, "ID", d.ID, "retrying", "server_error")
	s.CLI(t, "", "delivery", "get", d.ID).Says(t, 0, d.ID, "ATTEMPT", "500", "not now")
	s.CLI(t, "", "delivery", "retry", d.ID).Says(t, 0, d.ID)
	f.await(r, "dead")
	s.CLI(t, "", "deadletter", "list", "--subscription", f.name, "--since", "1h").Says(t, 0, d.ID, "rejected")
	s.CLI(t, "", "deadletter", "get", d.ID).Says(t, 0, r.ID)
	s.CLI(t, "", "deadletter", "replay", d.ID).Says(t, 0, "replayed as ")
	f.sink.Wait(f.path, 4)
	var list fleettest.Page[fleettest.Delivery]
	fleettest.Eventually(t, "the replay is listed", func() (bool, any) {
		out := s.CLI(t, "", "delivery", "list", "--subscription", f.name, "--state", "delivered", "-o", "json")
		err := json.Unmarshal([]byte(out.Stdout), &list)
		return err == nil && len(list.Items) == 1 && list.Items[0].ReplayOf == d.ID, out
	})
	s.CLI(t, "", "delivery", "get", "nothing").Says(t, 1, "404")
	s.CLI(t, "", "key", "list").Says(t, 0, "operator")
	s.CLI(t, "", "health").Says(t, 0, `"ready":true`)
	s.CLI(t, "", "version").Says(t, 0)
}

// testListenCommand: the local receiver verifies and prints what it gets.
func testListenCommand(t *testing.T, s *fleettest.Server) {
	c, name, addr := s.Client(), unique("listen"), fleettest.FreeAddress(t)
	p := fleettest.Exec(t, fleettest.Binary(t), nil, "listen", "--addr", addr, "--secret", testSecret, "--status", "500,204", "--output", "json")
	fleettest.Eventually(t, "it listens", func() (bool, any) { return strings.Contains(p.Log(), addr), p.Log() })
	c.Subscribe(t, name, fmt.Sprintf(`{"types":[%q],"sink":"http://%s/hook","protocolsettings":{"signing":{"scheme":"standardwebhooks","secret":%q}},
		"config":{"retry":{"policy":"fixed","initial":"50ms"}}}`, name, addr, testSecret))
	text := event(unique("event"), name, `{"n": 1.0}`)
	c.Publish(t, text)
	for _, status := range []int{500, 204} {
		line, ok := p.Line(t)
		var got struct {
			Body, Signature, Method, URL string
			Status                       int
			Headers                      map[string]string
		}
		if err := json.Unmarshal([]byte(line), &got); !ok || err != nil {
			t.Fatalf("it printed %q, %v", line, err)
		}
		if got.Body != text || got.Signature != "ok" || got.Status != status || got.Method != http.MethodPost || got.URL != "/hook" || got.Headers["webhook-id"] == "" {
			t.Errorf("it printed %s, want status %d", line, status)
		}
	}
	if code := p.Stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
