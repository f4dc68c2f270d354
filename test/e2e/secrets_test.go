package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

// The bytes of a planted secret, which are looked for in every form.
const plantedBytes = "PLANTED-canary-secret-0123456789"

var planted = "whsec_" + base64.StdEncoding.EncodeToString([]byte(plantedBytes))

// newSecretsKey makes a key for secrets.keys by the command.
func newSecretsKey(t *testing.T, s *fleettest.Server) string {
	t.Helper()
	key := strings.TrimSpace(s.CLI(t, "", "key", "new-secret").Says(t, 0).Stdout)
	if b, err := base64.StdEncoding.DecodeString(key); err != nil || len(b) != 32 {
		t.Fatalf("key new-secret prints %q", key)
	}
	return key
}

// vaulted is a subscription with a planted secret.
type vaulted struct {
	*flow
	s *fleettest.Server
}

func newVaulted(t *testing.T, s *fleettest.Server) *vaulted {
	t.Helper()
	v := &vaulted{&flow{t: t, server: s, client: s.Client(), sink: sinktest.New(t), name: unique("vaulted"), path: "/vaulted"}, s}
	v.put(planted)
	return v
}

// put makes or changes the subscription; without a secret it keeps the one it has.
func (v *vaulted) put(secret string) *fleettest.Response {
	v.t.Helper()
	signing := map[string]string{"scheme": "standardwebhooks"}
	if secret != "" {
		signing["secret"] = secret
	}
	return v.s.Client().Do(v.t, http.MethodPut, "/v1/subscriptions/"+v.name, map[string]any{
		"sink": v.sink.URL(v.path), "types": []string{v.name}, "protocolsettings": map[string]any{"signing": signing},
	})
}

// delivers publishes an event, and checks that it comes and is signed with the planted secret.
func (v *vaulted) delivers(why string) {
	v.t.Helper()
	v.client = v.s.Client()
	n := len(v.sink.Got(v.path))
	v.publish()
	v.arrived(n+1, why)
}

// arrived waits for n requests, the last of which must be signed with the planted secret.
func (v *vaulted) arrived(n int, why string) {
	v.t.Helper()
	wh, err := standardwebhooks.NewWebhook(planted)
	if err != nil {
		v.t.Fatal(err)
	}
	got := v.sink.Wait(v.path, n)[n-1]
	if err := wh.Verify(got.Body, got.Header); err != nil {
		v.t.Errorf("%s: %v", why, err)
	}
}

// forms are the spellings in which a secret may leak.
func forms() map[string][]byte {
	raw := []byte(plantedBytes)
	return map[string][]byte{
		"raw": raw, "base64": []byte(strings.TrimPrefix(planted, "whsec_")[:40]), "url": []byte(url.QueryEscape(planted)),
		"hex": []byte(hex.EncodeToString(raw)), "base64 of it": []byte(base64.StdEncoding.EncodeToString([]byte(planted))[:48]), "its beginning": raw[:14],
	}
}

// leaks looks for the planted secret in every file below dir, and in text.
func leaks(t *testing.T, dir, text string) (found []string) {
	t.Helper()
	all := map[string][]byte{"the log": []byte(text)}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		all[path], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for path, b := range all {
		for form, want := range forms() {
			if bytes.Contains(b, want) {
				found = append(found, form+" in "+path)
			}
		}
	}
	return found
}

// asked is a subscription, and a source of the same name, whose token servers are told planted parameters.
type asked struct {
	*flow
	s *fleettest.Server
}

const askedParameters = `{"audience":"https://partner.example/` + plantedBytes + `","blank":""}`

func newAsked(t *testing.T, s *fleettest.Server) *asked {
	t.Helper()
	v := &asked{&flow{t: t, server: s, client: s.Client(), sink: sinktest.New(t), name: unique("asked"), path: "/asked"}, s}
	v.sink.On("/token", sinktest.Answer{Status: 401})
	v.sink.On("/of-source", sinktest.Answer{Status: 401})
	v.put(askedParameters)
	v.client.Must(t, http.StatusCreated, http.MethodPost, "/v1/sources/"+v.name+"/items", `{"key":"a"}`, nil)
	v.publish()
	return v
}

// put makes or changes both; "" says nothing of parameters.
func (v *asked) put(parameters string) {
	v.t.Helper()
	if parameters != "" {
		parameters = `,"parameters":` + parameters
	}
	credential := func(path string) string {
		return fmt.Sprintf(`{"credentialtype":"TOKENSERVER","tokenendpoint":%q,"clientid":"c","clientsecret":"s"%s}`, v.sink.URL(path), parameters)
	}
	c := v.s.Client()
	c.Subscribe(v.t, v.name, fmt.Sprintf(`{"types":[%q],"sink":%q,"sinkcredential":%s}`, v.name, v.sink.URL(v.path), credential("/token")))
	c.Do(v.t, http.MethodPut, "/v1/sources/"+v.name, fmt.Sprintf(`{"url":%q,"type":"t","every":"100ms","credential":%s}`,
		v.sink.URL("/of")+"/${key}", credential("/of-source")))
}

// asks changes both by what they answer, by a mask and by nothing, and checks that their token servers are asked with the
// planted parameters, which no answer shows.
func (v *asked) asks(why string) {
	v.t.Helper()
	c := v.s.Client()
	for _, path := range []string{"/v1/subscriptions/", "/v1/sources/"} {
		got := c.Must(v.t, http.StatusOK, http.MethodGet, path+v.name, nil, nil)
		if bytes.Contains(got.Body, []byte(plantedBytes[:14])) || !bytes.Contains(got.Body, []byte(`{"audience":"••••6789","blank":""}`)) {
			v.t.Errorf("%s: %s shows %s", why, path, got.Body)
		}
		c.Do(v.t, http.MethodPut, path+v.name, got.Body).Must(v.t, http.StatusOK, nil)
	}
	v.put("")
	v.put(`{"audience":"••••","blank":""}`)
	for _, path := range []string{"/token", "/of-source"} {
		n := len(v.sink.Got(path))
		if r := v.sink.Wait(path, n+1)[n]; !strings.Contains(string(r.Body), "&blank=&") || !strings.Contains(string(r.Body), plantedBytes) {
			v.t.Errorf("%s: %s was asked %s", why, path, r.Body)
		}
	}
}

// TestSecretsAtRest is I11 for the disk: no file and no log has a secret, and the key is in a file of its own.
func TestSecretsAtRest(t *testing.T) {
	t.Parallel()
	s := fleettest.Start(t, fleettest.Options{Args: []string{"--log-level", "trace"}})
	v := newVaulted(t, s)
	v.delivers("at first")
	server := newAsked(t, s)
	for range 3 { // changes, and an answer with a mask that comes back
		v.put("").Must(t, http.StatusOK, nil)
		got := s.Client().Must(t, http.StatusOK, http.MethodGet, "/v1/subscriptions/"+v.name, nil, nil)
		if bytes.Contains(got.Body, []byte(planted)) {
			t.Errorf("shown: %s", got.Body)
		}
		s.Client().Do(t, http.MethodPut, "/v1/subscriptions/"+v.name, got.Body).Must(t, http.StatusOK, nil)
	}
	v.delivers("after changes")
	server.asks("after changes")
	log := s.Log()
	s.Restart(t)
	v.delivers("after a restart")
	server.asks("after a restart")
	s.Kill()
	if found := leaks(t, s.Data, log+s.Log()); found != nil {
		t.Errorf("found: %v", found)
	}
	control := filepath.Join(s.Data, "control")
	if err := os.WriteFile(control, []byte(planted), 0o600); err != nil {
		t.Fatal(err)
	}
	if leaks(t, s.Data, "") == nil {
		t.Error("a planted file is not found: the search is blind")
	}
	if !strings.Contains(readAll(t, filepath.Join(s.Data, "nats")), v.name) {
		t.Error("not even the subscription is found in the store: the search is blind")
	}
	info, err := os.Stat(filepath.Join(s.Data, "secrets.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("secrets.key: %v, %v", info, err)
	}
}

// readAll is the content of all files below dir.
func readAll(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		all.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// record is the stored record of the subscription, as JSON.
func (v *vaulted) record(change func(record map[string]json.RawMessage)) string {
	v.t.Helper()
	return storedRecord(v.t, v.s, "hookfleet_subscriptions", v.name, change)
}

// storedRecord is what lies in a bucket, as JSON; change, if there is one, changes it first.
func storedRecord(t *testing.T, s *fleettest.Server, bucket, key string, change func(record map[string]json.RawMessage)) string {
	t.Helper()
	_, js := connect(t, s.BrokerURL(s.Key))
	kv, err := js.KeyValue(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	e, err := kv.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if change == nil {
		return string(e.Value())
	}
	record := map[string]json.RawMessage{}
	if err := json.Unmarshal(e.Value(), &record); err != nil {
		t.Fatal(err)
	}
	change(record)
	b, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(t.Context(), key, b); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestRotateSecrets: from a store without encryption to a key, to another key, by the command; nothing else changes.
func TestRotateSecrets(t *testing.T) {
	t.Parallel()
	s := fleettest.Start(t, fleettest.Options{})
	v := newVaulted(t, s)
	plain := v.record(func(r map[string]json.RawMessage) { // as an earlier release left it
		delete(r, "sealed")
		r["secrets"] = json.RawMessage(`{"/protocolsettings/signing/secret":"` + planted + `"}`)
	})
	if !strings.Contains(plain, planted) {
		t.Fatal(plain)
	}
	s.Restart(t)
	if !strings.Contains(s.Log(), "hookfleet key rotate-secrets") {
		t.Error("the log does not say that secrets are not encrypted")
	}
	v.delivers("stored in the clear")
	tag := s.Client().Must(t, http.StatusOK, http.MethodGet, "/v1/subscriptions/"+v.name, nil, nil).Header.Get("Etag")
	s.CLI(t, "", "key", "rotate-secrets").Says(t, 0, "secrets of 1 subscriptions rotated")
	s.CLI(t, "", "key", "rotate-secrets").Says(t, 0, "secrets of 0 subscriptions rotated")
	if text := v.record(nil); strings.Contains(text, planted) || !strings.Contains(text, "v1.") {
		t.Errorf("stored as %s", text)
	}
	v.delivers("rotated")

	file := filepath.Join(s.Data, "secrets.key")
	older, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	newer := newSecretsKey(t, s)
	if err := os.WriteFile(file, []byte(newer+"\n"+string(older)), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Restart(t)
	v.delivers("with both keys")
	var done struct{ Rotated, Remaining, Locked int }
	out := s.CLI(t, "", "key", "rotate-secrets", "-o", "json").Says(t, 0)
	if err := json.Unmarshal([]byte(out.Stdout), &done); err != nil || done.Rotated != 1 || done.Remaining+done.Locked != 0 {
		t.Errorf("%s, %v", out.Stdout, err)
	}
	s.SetKeys(newer) // set instead of in the file, which is not read then
	s.Restart(t)
	v.delivers("with the new key alone")
	if got := s.Client().Must(t, http.StatusOK, http.MethodGet, "/v1/subscriptions/"+v.name, nil, nil).Header.Get("Etag"); got != tag {
		t.Errorf("the ETag was %s and is %s", tag, got)
	}
	v.put("").Must(t, http.StatusOK, nil)
	v.delivers("after a change that keeps the secret")
}

func awaitReady(t *testing.T, c *fleettest.Client) {
	t.Helper()
	fleettest.Eventually(t, "it is ready", func() (bool, any) {
		a := c.Do(t, http.MethodGet, "/readyz", nil)
		return a.Status == http.StatusOK, string(a.Body)
	})
}

// TestLostKey: without the key it does not start and says what is missing, keeps everything, and has a way out.
func TestLostKey(t *testing.T) {
	t.Parallel()
	s := fleettest.Start(t, fleettest.Options{})
	v, other := newVaulted(t, s), newFlow(t, s, "")
	file := filepath.Join(s.Data, "secrets.key")
	kept, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	id := strings.Split(v.record(nil)[strings.Index(v.record(nil), "v1."):], ".")[1]
	newer := newSecretsKey(t, s)
	s.MustStop(t)
	refused := func(why string, want ...string) {
		t.Helper()
		s.Launch(t)
		code := s.Exit(t)
		for _, text := range append(want, "key "+id+" is missing", "1 subscription ("+v.name+")", "--lost-secrets") {
			if code != 1 || !strings.Contains(s.Log(), text) {
				t.Errorf("%s: exit code %d, and not %q in its log:\n%s", why, code, text, s.Log())
			}
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	refused("no file", "There is no "+file)
	if _, err := os.Stat(file); err == nil {
		t.Error("a new key is made although the store needs the old one")
	}
	s.SetKeys(newer)
	refused("another key", "Add it to secrets.keys")
	s.SetKeys("")
	if err := os.WriteFile(file, kept, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Start(t)
	v.delivers("with the key back")
	s.MustStop(t)

	s.SetKeys(newer)
	s.AddArgs("--lost-secrets")
	s.Start(t)
	c := s.Client()
	awaitReady(t, c)
	n := len(v.sink.Got(v.path))
	v.client, other.client = c, c
	r := v.publish()
	v.await(r, "held")
	if st := c.AwaitState(t, v.name, "held"); st.Status.Reason != "credential" {
		t.Errorf("%+v", st.Status)
	}
	v.awaitWaiting(1)
	other.await(other.publish(), "delivered")
	if got := len(v.sink.Got(v.path)); got != n {
		t.Errorf("%d requests without their secret", got-n)
	}
	c.Do(t, http.MethodPost, "/v1/subscriptions/"+v.name+"/pause", nil).Refused(t, http.StatusConflict, "secrets_locked")
	c.Do(t, http.MethodPost, "/v1/subscriptions/"+v.name+"/rotate-secret", nil).Refused(t, http.StatusConflict, "secrets_locked")
	if p := v.put("").Refused(t, http.StatusUnprocessableEntity, "invalid_subscription"); len(p.Errors) != 1 || p.Errors[0].Pointer != "/protocolsettings/signing/secret" {
		t.Errorf("%+v", p)
	}
	s.CLI(t, "", "key", "rotate-secrets").Says(t, 1, "those of 1 cannot be opened")
	v.put(planted).Must(t, http.StatusOK, nil)
	v.await(r, "delivered")
	v.arrived(n+1, "sent again")
	s.CLI(t, "", "key", "rotate-secrets").Says(t, 0)
	s.MustStop(t)
	s.DropArgs("--lost-secrets")
	s.Start(t)
	v.delivers("with the new key")
}

// TestTamperedSecret: a record that was changed in the store holds its subscription and no other.
func TestTamperedSecret(t *testing.T) {
	t.Parallel()
	s := fleettest.Start(t, fleettest.Options{})
	v, other := newVaulted(t, s), newVaulted(t, s)
	v.delivers("as it is")
	stolen := map[string]json.RawMessage{}
	if err := json.Unmarshal([]byte(other.record(nil)), &stolen); err != nil {
		t.Fatal(err)
	}
	v.record(func(r map[string]json.RawMessage) { r["sealed"] = stolen["sealed"] })
	s.Client().AwaitState(t, v.name, "held")
	r := v.publish()
	v.await(r, "held")
	other.delivers("beside it")
	s.Restart(t)
	awaitReady(t, s.Client())
	if !strings.Contains(s.Log(), "was changed, or is of another place") {
		t.Error("the log does not say so")
	}
	v.put(planted).Must(t, http.StatusOK, nil)
	v.client = s.Client()
	v.await(r, "delivered")
}

// TestSecretsOfAFleet: a process with other keys does not start; one that misses a rotation sends nothing, loses nothing
// and says so.
func TestSecretsOfAFleet(t *testing.T) {
	t.Parallel()
	api := fleettest.Start(t, fleettest.Options{Roles: "api,scheduler", Key: operatorKey})
	newer := newSecretsKey(t, api)
	status := fleettest.FreeAddress(t)
	worker := fleettest.New(t, fleettest.Options{
		Roles: "worker", Key: operatorKey, Broker: api.BrokerURL(operatorKey), Keys: newer, Args: []string{"--api-listen", status},
	})
	refused := func(why, want string) {
		t.Helper()
		worker.Launch(t)
		if code := worker.Exit(t); code != 1 || !strings.Contains(worker.Log(), want) {
			t.Errorf("%s: exit code %d, and not %q in the log:\n%s", why, code, want, worker.Log())
		}
	}
	refused("before there is a secret", "with which the fleet encrypts secrets")
	v := newVaulted(t, api)
	refused("with a secret", "1 subscription ("+v.name+")")
	worker.SetKeys(fleettest.SharedKeys)
	worker.Start(t)
	v.delivers("the fleet")

	api.SetKeys(newer + "," + fleettest.SharedKeys)
	api.Restart(t)
	api.CLI(t, "", "key", "rotate-secrets").Says(t, 0, "secrets of 1 subscriptions")
	n := len(v.sink.Got(v.path))
	v.client = api.Client()
	r := v.publish()
	v.await(r, "held")
	ready := fleettest.NewClient("http://"+status, "")
	fleettest.Eventually(t, "the worker is not ready", func() (bool, any) {
		a := ready.Do(t, http.MethodGet, "/readyz", nil)
		return a.Status == http.StatusServiceUnavailable && strings.Contains(string(a.Body), "is missing"), string(a.Body)
	})
	worker.SetKeys(newer + "," + fleettest.SharedKeys)
	worker.Restart(t)
	v.await(r, "delivered")
	v.arrived(n+1, "after the worker has the key")
	awaitReady(t, ready)

	alone := fleettest.Exec(t, fleettest.Binary(t), nil, "serve", "--roles", "worker", "--nats-url", api.BrokerURL(operatorKey), "--data", t.TempDir())
	if code := alone.Exit(t); code != 2 || !strings.Contains(alone.Log(), "secrets.keys: is required with nats.url") {
		t.Errorf("without secrets.keys: exit code %d, %s", code, alone.Log())
	}
	wrong := fleettest.Exec(t, fleettest.Binary(t), []string{"HOOKFLEET_SECRETS_KEYS=hunter2"}, "serve", "--data", t.TempDir())
	if code := wrong.Exit(t); code != 2 || !strings.Contains(wrong.Log(), "secrets.keys: key 1 is not 32 bytes") || strings.Contains(wrong.Log(), "hunter2") {
		t.Errorf("with what is no key: exit code %d, %s", code, wrong.Log())
	}
}
