package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

// canary is in every secret of these tests, and nowhere to be seen.
const canary = "canary-7f3a9c51"

// newCredentialFlow subscribes a sink that wants a credential. $SINK and $TYPE in it are those of the flow.
func newCredentialFlow(t *testing.T, s *fleettest.Server, credential, settings string) *flow {
	t.Helper()
	f := &flow{t: t, server: s, client: s.Client(), sink: sinktest.New(t), name: unique("credential")}
	f.path = "/" + f.name
	f.show(credential, settings)
	return f
}

// show replaces the subscription with one that has this credential.
func (f *flow) show(credential, settings string) *fleettest.Subscription {
	f.t.Helper()
	credential = strings.ReplaceAll(credential, "$SINK", f.sink.URL(""))
	return f.client.Subscribe(f.t, f.name, fmt.Sprintf(`{"types":[%q],"sink":%q,"sinkcredential":{%s},"config":{%s}}`,
		f.name, f.sink.URL(f.path), credential, settings))
}

// refusal is what the API says to this credential: the pointers.
func (f *flow) refusal(credential string) string {
	f.t.Helper()
	r := f.client.Do(f.t, http.MethodPut, "/v1/subscriptions/"+f.name, fmt.Sprintf(`{"types":[%q],"sink":%q,"sinkcredential":{%s}}`,
		f.name, f.sink.URL(f.path), strings.ReplaceAll(credential, "$SINK", f.sink.URL(""))))
	var p fleettest.Problem
	r.Must(f.t, http.StatusUnprocessableEntity, &p)
	var at []string
	for _, e := range p.Errors {
		at = append(at, e.Pointer)
	}
	return strings.Join(at, " ")
}

// testCredentials: each credential that needs no server arrives as it should, and is seen nowhere else.
func testCredentials(t *testing.T, s *fleettest.Server) {
	for name, test := range map[string]struct{ credential, header, query, shown string }{
		"none":          {`"credentialtype":"NONE"`, "", "", ""},
		"key":           {`"credentialtype":"APIKEY","value":"` + canary + `"`, "Authorization: " + canary, "", ""},
		"key in header": {`"credentialtype":"APIKEY","in":"header","name":"X-Api-Key","value":"` + canary + `"`, "X-Api-Key: " + canary, "", ""},
		"key in query":  {`"credentialtype":"APIKEY","in":"query","name":"apk","value":"` + canary + ` &"`, "", "apk=" + canary + "%20%26", "?apk=****"},
		"key, short":    {`"credentialtype":"APIKEY","secret":"x-short:` + canary + `"`, "X-Short: " + canary, "", ""},
		"key, shorter":  {`"credentialtype":"APIKEY","secret":"` + canary + `"`, "Authorization: " + canary, "", ""},
		"plain":         {`"credentialtype":"PLAIN","identifier":"user","secret":"` + canary + `"`, "Authorization: Basic dXNlcjpjYW5hcnktN2YzYTljNTE=", "", ""},
		"plain, short":  {`"credentialtype":"PLAIN","secret":"user:` + canary + `"`, "Authorization: Basic dXNlcjpjYW5hcnktN2YzYTljNTE=", "", ""},
		"bearer":        {`"credentialtype":"BEARER","accesstoken":"` + canary + `"`, "Authorization: Bearer " + canary, "", ""},
		"access token":  {`"credentialtype":"ACCESSTOKEN","accesstoken":"` + canary + `","accesstokentype":"bearer","accesstokenexpiresutc":"2999-01-01T00:00:00Z"`, "Authorization: Bearer " + canary, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newCredentialFlow(t, s, test.credential, `"retry":{"policy":"fixed","initial":"10ms"}`)
			// A sink that repeats what it got, and wants it twice.
			f.sink.OnFunc(f.path, func(r *sinktest.Request) sinktest.Answer {
				if r.Number > 1 {
					return sinktest.Answer{}
				}
				return sinktest.Answer{Status: 500, Header: map[string]string{"X-Echo": r.Header.Get("Authorization") + r.Query}, Body: fmt.Sprint(r.Header, r.Query)}
			})
			d := f.await(f.publish(), "delivered")
			for _, r := range f.sink.Wait(f.path, 2) {
				name, value, _ := strings.Cut(test.header, ": ")
				if r.Query != test.query || name != "" && r.Header.Get(name) != value || name != "Authorization" && r.Header.Get("Authorization") != "" {
					t.Errorf("got %s?%s %v", r.Path, r.Query, r.Header)
				}
			}
			f.hides(d)
			if got := d.Attempts[0].URL; got != f.sink.URL(f.path)+test.shown {
				t.Errorf("url of the attempt: %s", got)
			}
		})
	}
}

// hides checks that no secret is in what the API answers about a flow, or in the log.
func (f *flow) hides(d *fleettest.Delivery) {
	f.t.Helper()
	for _, path := range []string{"/v1/subscriptions/" + f.name, "/v1/deliveries/" + d.ID, "/v1/deliveries?subscription=" + f.name, "/v1/dead-letters?subscription=" + f.name} {
		if body := string(f.client.Do(f.t, http.MethodGet, path, nil).Body); strings.Contains(body, canary) || strings.Contains(body, "dXNlcjpjYW5hcnk") {
			f.t.Errorf("%s shows the secret: %s", path, body)
		}
	}
	metrics := string(f.client.Do(f.t, http.MethodGet, "/metrics", nil).Body)
	if strings.Contains(f.server.Log()+metrics, canary) {
		f.t.Error("the log or the metrics show the secret")
	}
}

// testCredentialChanges: what is masked or left out is kept, but not for another place or another kind.
func testCredentialChanges(t *testing.T, s *fleettest.Server) {
	f := newCredentialFlow(t, s, `"credentialtype":"APIKEY","secret":"x-key:`+canary+`"`, "")
	key := func() string {
		n := len(f.sink.Got(f.path))
		f.await(f.publish(), "delivered")
		return f.sink.Wait(f.path, n+1)[n].Header.Get("X-Key")
	}
	for _, credential := range []string{
		`"credentialtype":"APIKEY"`, `"credentialtype":"APIKEY","secret":"••••"`,
		`"credentialtype":"APIKEY","in":"header","name":"X-Key","value":"••••9c51"`,
	} {
		f.show(credential, "")
		if got := key(); got != canary {
			t.Errorf("after %s: %q", credential, got)
		}
	}
	got := f.client.Do(t, http.MethodGet, "/v1/subscriptions/"+f.name, nil)
	if !strings.Contains(string(got.Body), `"value":"••••`) {
		t.Errorf("no mask: %s", got.Body)
	}
	f.client.Must(t, http.StatusOK, http.MethodPut, "/v1/subscriptions/"+f.name, json.RawMessage(got.Body), nil)
	if got := key(); got != canary {
		t.Errorf("after PUT of what GET answered: %q", got)
	}
	for credential, want := range map[string]string{
		`"credentialtype":"PLAIN","identifier":"u"`:                                                                       "/sinkcredential/secret",
		`"credentialtype":"PLAIN","secret":"••••"`:                                                                        "/sinkcredential/secret",
		`"credentialtype":"BEARER","accesstoken":"••••9c51"`:                                                              "/sinkcredential/accesstoken",
		`"credentialtype":"BEARER","value":"x","in":"cookie"`:                                                             "/sinkcredential/value /sinkcredential/in",
		`"credentialtype":"APIKEY","name":"Host","value":"x\n"`:                                                           "/sinkcredential/value /sinkcredential/name",
		`"credentialtype":"TOKENSERVER","tokenendpoint":"http://169.254.169.254/token","clientid":"c","clientsecret":"s"`: "/sinkcredential/tokenendpoint",
	} {
		if got := f.refusal(credential); got != want {
			t.Errorf("%s: %s, want %s", credential, got, want)
		}
	}
	// Another sink must be told again.
	elsewhere := sinktest.New(t)
	r := f.client.Do(t, http.MethodPut, "/v1/subscriptions/"+f.name,
		fmt.Sprintf(`{"types":[%q],"sink":%q,"sinkcredential":{"credentialtype":"APIKEY","name":"X-Key","value":"••••9c51"}}`, f.name, elsewhere.URL("/x")))
	r.Refused(t, http.StatusUnprocessableEntity, "invalid_subscription")
	if got := key(); got != canary {
		t.Errorf("after what was refused: %q", got)
	}
	f.show(`"credentialtype":"NONE"`, "")
	if got := key(); got != "" {
		t.Errorf("after NONE: %q", got)
	}
}

// testAccessToken: after its end the subscription is held; a PUT with a new token releases it.
func testAccessToken(t *testing.T, s *fleettest.Server) {
	end := time.Now().Add(10 * time.Second).UTC().Truncate(time.Second)
	credential := func(token string, end time.Time) string {
		return fmt.Sprintf(`"credentialtype":"ACCESSTOKEN","accesstoken":%q,"accesstokenexpiresutc":%q`, token, end.Format(time.RFC3339))
	}
	f := newCredentialFlow(t, s, credential(canary, end), "")
	f.await(f.publish(), "delivered")
	if sub := f.client.AwaitState(t, f.name, "held"); sub.Status.Reason != "credential" || time.Now().Before(end) {
		t.Errorf("%v before its end: %+v", time.Until(end), sub.Status)
	}
	held := f.publishMany(20)
	for _, d := range f.awaitAll(held, "held") {
		if d.Reason != "credential" || d.AttemptCount != 0 {
			t.Errorf("%+v", d)
		}
	}
	if n := len(f.sink.Got(f.path)); n != 1 {
		t.Errorf("%d requests with a token that had ended", n-1)
	}
	if sub := f.show(credential("new-token", time.Now().Add(time.Hour)), ""); sub.Status.State != "active" {
		t.Errorf("after the PUT: %+v", sub.Status)
	}
	f.awaitAll(held, "delivered")
	for _, r := range f.sink.Wait(f.path, 21)[1:] {
		if r.Header.Get("Authorization") != "Bearer new-token" {
			t.Errorf("%v", r.Header)
		}
	}
	f.once(21)
}
