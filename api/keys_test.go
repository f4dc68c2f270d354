package api_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/api"
	"github.com/hookfleet/hookfleet/auth/keys"
	"github.com/hookfleet/hookfleet/auth/secret"
	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/test/natstest"
)

func TestKeyLife(t *testing.T) {
	t.Parallel()
	b := setup(t)
	made := b.post("/v1/keys", `{"role":"producer","tenants":["acme"],"types":["order.*"],"description":"ERP"}`).want(http.StatusCreated)
	id, key := made.at("id"), made.at("key")
	if made.header.Get("Location") != "/v1/keys/"+id || !keys.WellFormed(key) || !isMillis(made.at("createdat")) {
		t.Errorf("made: %s", made.body)
	}
	for _, r := range []*reply{b.get("/v1/keys"), b.get("/v1/keys/" + id).want(http.StatusOK)} {
		if bytes.Contains(r.body, []byte(key)) || bytes.Contains(r.body, []byte(`"key"`)) || bytes.Contains(r.body, []byte("hash")) {
			t.Errorf("the key is shown again: %s", r.body)
		}
	}
	if r := b.get("/v1/keys/" + id); r.at("role") != "producer" || r.at("tenants") != "[acme]" || r.at("types") != "[order.*]" || r.at("description") != "ERP" {
		t.Errorf("the key: %s", r.body)
	}
	use := func() int {
		return b.do(request{method: "POST", path: "/v1/events", body: eventText("1", "acme", "order.status"), key: key, header: map[string]string{"Content-Type": "application/cloudevents+json"}}).status
	}
	if got := use(); got != http.StatusAccepted {
		t.Errorf("the key in use: %d", got)
	}
	b.delete("/v1/keys/" + id).want(http.StatusNoContent)
	if got := use(); got != http.StatusUnauthorized {
		t.Errorf("the key after its end: %d", got)
	}
	b.delete("/v1/keys/"+id).problem(http.StatusNotFound, api.CodeNotFound)
	b.get("/v1/keys/"+id).problem(http.StatusNotFound, api.CodeNotFound)
}

func TestKeysAreListedByPage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	want := []string{"operator"}
	for range 5 {
		want = append([]string{b.post("/v1/keys", `{"role":"operator"}`).want(http.StatusCreated).at("id")}, want...)
	}
	for _, limit := range []int{1, 2, 6, 100} {
		if got := b.pages(fmt.Sprintf("/v1/keys?limit=%d", limit)); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("limit %d: %v, want %v", limit, got, want)
		}
	}
}

// TestKeysAreStoredHashed looks for the text of keys in everything that is stored.
func TestKeysAreStoredHashed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	key := b.newKey(`{"role":"producer"}`)
	kv, err := b.js.Stream(t.Context(), "KV_"+stream.BucketKeys)
	must(t, err)
	n := 0
	for sequence := uint64(1); sequence <= kv.CachedInfo().State.LastSeq; sequence++ {
		m, err := kv.GetMsg(t.Context(), sequence)
		if err != nil {
			continue
		}
		n++
		for _, text := range []string{key, b.operator} {
			if strings.Contains(string(m.Data), text[3:20]) {
				t.Errorf("a key is stored as it is: %s", m.Data)
			}
		}
	}
	if n < 2 {
		t.Errorf("%d keys are stored", n)
	}
}

func TestOperatorKey(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "data")
	first, err := api.EnsureOperatorKey(dir, secret.Text{})
	must(t, err)
	info, err := os.Stat(first.Path)
	must(t, err)
	if !first.Made || first.Path != filepath.Join(dir, "operator.key") || info.Mode().Perm() != 0o600 || !keys.WellFormed(first.Text.Reveal()) {
		t.Errorf("made %+v with mode %v", first, info.Mode())
	}
	again, err := api.EnsureOperatorKey(dir, secret.Text{})
	must(t, err)
	if again.Made || again.Text.Reveal() != first.Text.Reveal() {
		t.Errorf("the next start: %+v", again)
	}
	set, err := api.EnsureOperatorKey(dir, secret.New("chosen"))
	must(t, err)
	if set.Made || set.Path != "" || set.Text.Reveal() != "chosen" {
		t.Errorf("from the environment: %+v", set)
	}
	must(t, os.WriteFile(first.Path, []byte(" \n"), 0o600))
	if _, err := api.EnsureOperatorKey(dir, secret.Text{}); err == nil {
		t.Error("an empty key file is taken")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".operator.key-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// store is a KeyStore of a process of its own.
func store(t *testing.T, b *bench, js jetstream.JetStream, operator api.OperatorKey) *api.KeyStore {
	t.Helper()
	s := api.NewKeyStore(operator, zerolog.Nop())
	s.Attach(js, b.writer)
	b.run("keys", s.Run)
	await(t, s.Loaded())
	return s
}

// TestOperatorKeyOfTheFleet: which operator keys are known where.
func TestOperatorKeyOfTheFleet(t *testing.T) {
	t.Parallel()
	nc, js := natstest.Start(t)
	b := setupOn(t, nc, js)
	knows := func(s *api.KeyStore, text string, want bool) {
		t.Helper()
		natstest.Eventually(t, soon, func() bool { k, ok := s.Lookup(text); return ok == want && (!ok || k.Role == keys.Operator) })
	}
	worker := store(t, b, js, api.OperatorKey{})
	knows(worker, b.operator, true) // by the bucket
	knows(worker, "", false)
	other := store(t, b, js, api.OperatorKey{Text: secret.New("of-another-file"), Path: "/x/operator.key"})
	knows(other, "of-another-file", true)
	knows(other, b.operator, true)
	knows(worker, "of-another-file", false) // the first one's stays the fleet's
	env := store(t, b, js, api.OperatorKey{Text: secret.New("of-the-environment")})
	knows(env, "of-the-environment", true)
	knows(worker, "of-the-environment", true)
	knows(worker, b.operator, false) // a new one there ends the old one
	b.delete("/v1/keys/operator").problem(http.StatusConflict, api.CodeOperatorKey)
}

// TestKeysReachOtherProcesses: a key works, and ends, in every process.
func TestKeysReachOtherProcesses(t *testing.T) {
	t.Parallel()
	nc, js := natstest.Start(t)
	b := setupOn(t, nc, js)
	other := store(t, b, js, api.OperatorKey{})
	made := b.post("/v1/keys", `{"role":"producer"}`).want(http.StatusCreated)
	natstest.Eventually(t, soon, func() bool { _, ok := other.Lookup(made.at("key")); return ok })
	b.delete("/v1/keys/" + made.at("id")).want(http.StatusNoContent)
	natstest.Eventually(t, soon, func() bool { _, ok := other.Lookup(made.at("key")); return !ok })
	late := store(t, b, js, api.OperatorKey{})
	if _, ok := late.Lookup(made.at("key")); ok {
		t.Error("a key that was ended before a process started")
	}
}

// TestBrokenKeyStopsNothing is F34 for keys.
func TestBrokenKeyStopsNothing(t *testing.T) {
	t.Parallel()
	nc, js := natstest.Start(t)
	b := setupOn(t, nc, js)
	key := b.newKey(`{"role":"producer"}`)
	kv, err := js.KeyValue(t.Context(), stream.BucketKeys)
	must(t, err)
	for name, value := range map[string]string{"a": "nonsense", "b": `{"id":"b","hash":"00"}`, "c": "null"} {
		_, err = kv.PutString(t.Context(), name, value)
		must(t, err)
	}
	late := store(t, b, js, api.OperatorKey{})
	if _, ok := late.Lookup(key); !ok {
		t.Error("a good key beside broken ones is not known")
	}
}
