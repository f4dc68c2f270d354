package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

// introduced is a subscription whose token server gives tokens only to who tells it planted secrets, and whose sink takes
// only the newest; and a source with the same credential, at another path of the server.
type introduced struct {
	*tokens
	s *fleettest.Server
}

// introduction is what the token server wants to hear: a parameter and a client's secret.
const introduction = `"audience":"https://partner.example/` + plantedBytes + `"`

func newIntroduced(t *testing.T, s *fleettest.Server) *introduced {
	t.Helper()
	v := &introduced{&tokens{flow: &flow{t: t, server: s, client: s.Client(), sink: sinktest.New(t), name: unique("introduced"), path: "/introduced"}}, s}
	for _, path := range []string{"/token", "/of-source"} {
		v.sink.OnFunc(path, func(r *sinktest.Request) sinktest.Answer {
			if body := string(r.Body); !strings.Contains(body, "audience="+url.QueryEscape("https://partner.example/"+plantedBytes)) ||
				!strings.Contains(body, "client_secret="+plantedBytes) {
				return sinktest.Answer{Status: http.StatusUnauthorized}
			}
			token := "of the source"
			if path == "/token" {
				token = v.token(v.n.Add(1))
			}
			return sinktest.Answer{Status: http.StatusOK, Body: fmt.Sprintf(`{"access_token":%q,"token_type":"Bearer","expires_in":3600}`, token)}
		})
	}
	v.wants()
	v.sink.On("/of/a", sinktest.Answer{Status: http.StatusUnauthorized}) // so that the source asks for tokens again and again
	credential := func(path string) string {
		return fmt.Sprintf(`{"credentialtype":"TOKENSERVER","tokenendpoint":%q,"authstyle":"params","clientid":"c","clientsecret":%q,"parameters":{%s}}`,
			v.sink.URL(path), plantedBytes, introduction)
	}
	v.client.Subscribe(t, v.name, fmt.Sprintf(`{"types":[%q],"sink":%q,"sinkcredential":%s}`, v.name, v.sink.URL(v.path), credential("/token")))
	v.client.Do(t, http.MethodPut, "/v1/sources/"+v.name, fmt.Sprintf(`{"url":%q,"type":"t","every":"1s","credential":%s}`,
		v.sink.URL("/of")+"/${key}", credential("/of-source"))).Must(t, http.StatusCreated, nil)
	v.client.Must(t, http.StatusCreated, http.MethodPost, "/v1/sources/"+v.name+"/items", `{"key":"a"}`, nil)
	return v
}

// inTheClear stores both records as the first release left them: the parameters within, the other secret beside.
func (v *introduced) inTheClear() {
	v.t.Helper()
	for bucket, places := range map[string][2]string{
		"hookfleet_subscriptions": {"subscription", "sinkcredential"}, "hookfleet_sources": {"source", "credential"},
	} {
		storedRecord(v.t, v.s, bucket, v.name, func(r map[string]json.RawMessage) {
			delete(r, "sealed")
			r["secrets"] = fmt.Appendf(nil, `{"/%s/clientsecret":%q}`, places[1], plantedBytes)
			before := string(r[places[0]])
			r[places[0]] = json.RawMessage(strings.Replace(before, `"audience":""`, introduction, 1))
			if string(r[places[0]]) == before {
				v.t.Fatalf("no parameters in %s", before)
			}
		})
	}
}

// delivers publishes an event whose delivery needs the token that is there, and one that needs a new one; and sees to it
// that the source's token server is asked as it should be.
func (v *introduced) delivers(why string) {
	v.t.Helper()
	v.client = v.s.Client()
	v.await(v.publish(), "delivered")
	asked := v.fetches()
	v.n.Add(1) // what the sink wants now is a token that nobody has
	if d := v.await(v.publish(), "delivered"); d.AttemptCount != 1 {
		v.t.Errorf("%s: %+v", why, d)
	}
	if v.fetches() == asked {
		v.t.Errorf("%s: the token server was not asked", why)
	}
	n := len(v.sink.Got("/of-source"))
	if r := v.sink.Wait("/of-source", n+1)[n]; r.Status != http.StatusOK {
		v.t.Errorf("%s: the source's token server answers %d", why, r.Status)
	}
}

// scrubbed is what the log says when a command has had all records stored anew.
const scrubbed = "have nothing of the secrets that were stored before"

// rotated runs the command, which must have something to do for both, and nothing after that. Each time it waits until all
// records were stored anew: a subscription that is stored between two deliveries forgets that a token was accepted, and one
// that was fetched just now is then not fetched again, which costs an attempt.
func (v *introduced) rotated() {
	v.t.Helper()
	for _, n := range []string{"2", "0"} {
		before := strings.Count(v.s.Log(), scrubbed)
		v.s.CLI(v.t, "", "key", "rotate-secrets").Says(v.t, 0, "secrets of "+n+" ")
		fleettest.Eventually(v.t, "the store's files have nothing of before", func() (bool, any) {
			return strings.Count(v.s.Log(), scrubbed) > before, nil
		})
	}
}

// TestRotateSecretsOfTokenServers: secrets that were stored in the clear, or under a key that is to go, are encrypted with
// the present one. Deliveries with them go on, and nothing in the store tells them any more.
func TestRotateSecretsOfTokenServers(t *testing.T) {
	t.Parallel()
	s := fleettest.Start(t, fleettest.Options{})
	v := newIntroduced(t, s)
	v.delivers("at first")
	v.inTheClear()
	s.Restart(t)
	if !strings.Contains(s.Log(), "hookfleet key rotate-secrets") {
		t.Error("the log does not say that secrets are not encrypted")
	}
	v.delivers("stored in the clear")
	if leaks(t, filepath.Join(s.Data, "nats"), "") == nil {
		t.Error("the secrets are not found in the store: the search is blind")
	}
	v.rotated()
	v.delivers("rotated")
	s.Kill()
	if found := leaks(t, s.Data, s.Log()); found != nil {
		t.Errorf("found: %v", found)
	}

	file := filepath.Join(s.Data, "secrets.key")
	older, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	newer := newSecretsKey(t, s)
	s.SetKeys(newer + "," + strings.TrimSpace(string(older)))
	s.Start(t)
	v.delivers("with both keys")
	v.rotated()
	v.delivers("rotated again")
	s.SetKeys(newer)
	s.Restart(t)
	v.delivers("with the new key alone")
	s.Kill()
	if found := leaks(t, s.Data, s.Log()); found != nil {
		t.Errorf("found: %v", found)
	}
}
