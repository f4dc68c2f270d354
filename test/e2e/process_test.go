package e2e

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/test/fleettest"
)

// TestSettingsRefused: every fault of the settings is named at once, and the exit code is 2.
func TestSettingsRefused(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "hookfleet.yaml")
	if err := os.WriteFile(file, []byte("worker:\n  concurrency: 0\nnats:\n  snyc: group\nbogus: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := fleettest.Exec(t, fleettest.Binary(t), []string{"HOOKFLEET_EVENTS_RETENTION=soon", "HOOKFLEET_LOG_LEVEL=loud"},
		"serve", "--config", file, "--api-listen", "nowhere", "--roles", "api,cook", "--data", t.TempDir())
	if code := p.Exit(t); code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	for _, want := range []string{"worker.concurrency", "nats.snyc", "bogus", "events.retention", "HOOKFLEET_EVENTS_RETENTION", "log.level", "api.listen", "--api-listen", "cook"} {
		if !strings.Contains(p.Log(), want) {
			t.Errorf("%s is not named in\n%s", want, p.Log())
		}
	}
	for _, args := range [][]string{{"serve", "--bogus"}, {"serve", "extra"}, {"bogus"}, {"subscription", "get"}, {"serve", "--config", "/does/not/exist.yaml"}} {
		if p := fleettest.Exec(t, fleettest.Binary(t), nil, args...); p.Exit(t) != 2 {
			t.Errorf("%v: exit code is not 2; it says\n%s", args, p.Log())
		}
	}
}

// TestProcess: the ready line, the settings' order, a second process on the same data, and an orderly end.
func TestProcess(t *testing.T) {
	t.Parallel()
	s := fleettest.New(t, fleettest.Options{Env: []string{"HOOKFLEET_PORT=tcp://10.0.0.1:80", "HOOKFLEET_LOG_LEVEL=debug"}, Args: []string{"--log-format", "json"}})
	s.Start(t)
	if s.API == "" || s.NATS == "" || len(s.Key) < 20 {
		t.Errorf("it is ready at %q and %q with a key of %d bytes", s.API, s.NATS, len(s.Key))
	}
	if !strings.Contains(s.Log(), "HOOKFLEET_PORT") || !strings.Contains(s.Log(), `"level":"warn"`) {
		t.Errorf("an unknown variable is not warned about:\n%s", s.Log())
	}
	if strings.Contains(s.Log(), s.Key) {
		t.Error("the operator key is in the log")
	}
	for line := range strings.Lines(s.Log()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("a log line is not JSON: %s", line)
		}
	}
	second := fleettest.New(t, fleettest.Options{Data: s.Data})
	second.Launch(t)
	if code := second.Exit(t); code != 1 {
		t.Errorf("a second process on the same data ends with %d, want 1", code)
	}
	s.Client().Must(t, http.StatusOK, http.MethodGet, "/readyz", nil, nil)
	key := s.Key
	s.Restart(t)
	if again := fleettest.ReadKey(t, s.Data); again != key {
		t.Error("the second start made another operator key")
	}
	s.Signal(syscall.SIGINT)
	if code := s.Exit(t); code != 0 {
		t.Errorf("exit code %d after SIGINT, want 0", code)
	}
}

// TestOperatorKeyOfEnvironment: HOOKFLEET_OPERATOR_KEY sets the key, and no file is written.
func TestOperatorKeyOfEnvironment(t *testing.T) {
	t.Parallel()
	s := fleettest.Start(t, fleettest.Options{Key: operatorKey, Roles: "api"})
	s.Client().Must(t, http.StatusOK, http.MethodGet, "/v1/keys", nil, nil)
	if _, err := os.Stat(filepath.Join(s.Data, "operator.key")); !os.IsNotExist(err) {
		t.Errorf("operator.key: %v", err)
	}
	found := ""
	err := filepath.WalkDir(s.Data, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), operatorKey) {
			found = path
		}
		return err
	})
	if err != nil || found != "" {
		t.Errorf("the operator key is in plain text in %q, %v", found, err)
	}
	s.MustStop(t)
}

// testOpenAPI: the document is served, and lists what the contract has so far.
func testOpenAPI(t *testing.T, s *fleettest.Server) {
	none := fleettest.NewClient(s.API, "")
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]any
	}
	none.Must(t, http.StatusOK, http.MethodGet, "/openapi.json", nil, &doc)
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("version %q", doc.OpenAPI)
	}
	for path, methods := range map[string]string{
		"/v1/events": "get post", "/v1/events/{sequence}": "get",
		"/v1/subscriptions": "get post", "/v1/subscriptions/{id}": "get put delete",
		"/v1/subscriptions/{id}/pause": "post", "/v1/subscriptions/{id}/resume": "post", "/v1/subscriptions/{id}/test": "post",
		"/v1/deliveries": "get", "/v1/deliveries/{id}": "get", "/v1/deliveries/{id}/retry": "post", "/v1/deliveries/{id}/cancel": "post",
		"/v1/dead-letters": "get", "/v1/dead-letters/{id}": "get delete", "/v1/dead-letters/{id}/replay": "post",
		"/v1/keys": "get post", "/v1/keys/{id}": "delete", "/healthz": "get", "/readyz": "get", "/metrics": "get",
	} {
		for method := range strings.FieldsSeq(methods) {
			if doc.Paths[path][method] == nil {
				t.Errorf("%s %s is not in the document", method, path)
			}
		}
	}
}

// testMetrics: the names that others rely on (API.md 7), and what needs no key.
func testMetrics(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, `"retry":{"policy":"fixed","initial":"50ms","maxattempts":2}`, fails)
	f.await(f.publish(), "dead")
	none := fleettest.NewClient(s.API, "")
	none.Must(t, http.StatusOK, http.MethodGet, "/healthz", nil, nil)
	none.Must(t, http.StatusOK, http.MethodGet, "/readyz", nil, nil)
	fleettest.Eventually(t, "all metrics are there", func() (bool, any) {
		text := string(none.Must(t, http.StatusOK, http.MethodGet, "/metrics", nil, nil).Body)
		var missing []string
		for _, name := range []string{
			"hookfleet_events_accepted_total ", `hookfleet_attempts_total{outcome="retry",reason="server_error"}`, "hookfleet_delivery_seconds_count", "hookfleet_attempt_seconds_bucket",
			`hookfleet_backlog{state="`, "hookfleet_oldest_undelivered_seconds", `hookfleet_dead_letters_total{reason="exhausted"}`, "hookfleet_worker_saturation", "hookfleet_storage_used_ratio",
		} {
			if !strings.Contains(text, "\n"+name) {
				missing = append(missing, name)
			}
		}
		return len(missing) == 0, missing
	})
}

// TestTerminatedWhileStarting: SIGTERM at any moment of a start ends it in order.
func TestTerminatedWhileStarting(t *testing.T) {
	t.Parallel()
	s := fleettest.New(t, fleettest.Options{Args: []string{"--log-level", "debug"}})
	for round := range 12 {
		s.Launch(t)
		moment := time.NewTimer(time.Duration(round) * 40 * time.Millisecond)
		select {
		case <-moment.C:
		case <-s.Done():
		}
		code := s.Stop(t)
		if code == -1 && s.Log() == "" {
			continue // it had not come to listen for signals
		}
		if code != 0 {
			t.Errorf("round %d: exit code %d, its log:\n%s", round, code, s.Log())
		}
	}
	s.Start(t)
	s.MustStop(t)
}

// TestTerminatedWhileTheStoreIsRead: SIGTERM waited until the broker had read its store, and so did a second one. Here reading never ends:
// one of its files is a pipe.
func TestTerminatedWhileTheStoreIsRead(t *testing.T) {
	t.Parallel()
	s := fleettest.Start(t, fleettest.Options{})
	f := newFlow(t, s, `"concurrency":4`)
	f.await(f.publish(), "delivered")
	s.MustStop(t)
	file := filepath.Join(s.Data, "nats", "jetstream", "$G", "streams", "EVENTS", "meta.inf")
	if err := errors.Join(os.Rename(file, file+".kept"), syscall.Mkfifo(file, 0o600)); err != nil {
		t.Fatal(err)
	}
	s.Launch(t)
	var pipe *os.File
	fleettest.Eventually(t, "the broker reads its store", func() (bool, any) {
		var err error
		pipe, err = os.OpenFile(file, os.O_WRONLY|syscall.O_NONBLOCK, 0) // refused while nobody reads
		return err == nil, err
	})
	defer pipe.Close()
	if code := s.Stop(t); code != 0 {
		t.Errorf("exit code %d, its log:\n%s", code, s.Log())
	}
	if !strings.Contains(s.Log(), "still opens its store") || !strings.Contains(s.Log(), "hookfleet has stopped") {
		t.Errorf("it is not said:\n%s", s.Log())
	}
	if err := os.Rename(file+".kept", file); err != nil {
		t.Fatal(err)
	}
	s.Start(t)
	f.await(f.publish(), "delivered")
	s.MustStop(t)
}
