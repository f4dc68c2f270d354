package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

// tokens is a token server beside a flow's sink, at /token of it.
type tokens struct {
	*flow
	down atomic.Bool
	n    atomic.Int64
	life atomic.Int64 // seconds
}

func newTokens(f *flow) *tokens {
	s := &tokens{flow: f}
	s.life.Store(3600)
	s.give()
	return s
}

// give makes it give tokens, unless it is down.
func (s *tokens) give() {
	s.sink.OnFunc("/token", func(r *sinktest.Request) sinktest.Answer {
		if s.down.Load() {
			return sinktest.Answer{Status: 503, Body: `{"error":"temporarily_unavailable","error_description":"` + canary + `"}`}
		}
		token, life := s.token(s.n.Add(1)), s.life.Load()
		text, _ := json.Marshal(map[string]any{
			"access_token": token, "token_type": "Bearer", "expires_in": life, "data": map[string]any{"token": token, "ttl": fmt.Sprint(life)},
		})
		return sinktest.Answer{Status: 200, Body: string(text)}
	})
}

// token is the nth that it gave.
func (s *tokens) token(n int64) string { return fmt.Sprintf("%s-%s-token-%d", canary, s.name, n) }

// wants makes the sink refuse all but the newest token.
func (s *tokens) wants() {
	s.sink.OnFunc(s.path, func(r *sinktest.Request) sinktest.Answer {
		if r.Header.Get("Authorization") != "Bearer "+s.token(s.n.Load()) {
			return sinktest.Answer{Status: 401, Header: map[string]string{"WWW-Authenticate": `Bearer error="invalid_token"`}}
		}
		return sinktest.Answer{}
	})
}

// fetches are how often it was asked.
func (s *tokens) fetches() int { return len(s.sink.Got("/token")) }

const clientCredential = `"credentialtype":"TOKENSERVER","tokenendpoint":"$SINK/token","clientid":"client","clientsecret":"` + canary + `"`

// testTokenServer: a token server is asked in each way there is, once for many deliveries.
func testTokenServer(t *testing.T, s *fleettest.Server) {
	const server = `"credentialtype":"TOKENSERVER","tokenendpoint":"$SINK/token",`
	basic := "Basic Y2xpZW50OmNhbmFyeS03ZjNhOWM1MQ=="
	for name, test := range map[string]struct{ credential, contentType, authorization, body string }{
		"client": {clientCredential, "application/x-www-form-urlencoded", basic, "grant_type=client_credentials"},
		"client, params": {
			clientCredential + `,"authstyle":"params","scopes":["a","b"],"parameters":{"audience":"x y"}`, "application/x-www-form-urlencoded", "",
			"audience=x+y&client_id=client&client_secret=" + canary + "&grant_type=client_credentials&scope=a+b",
		},
		"password": {
			server + `"granttype":"password","username":"u","password":"` + canary + `","clientid":"client","clientsecret":"` + canary + `"`,
			"application/x-www-form-urlencoded", basic, "grant_type=password&password=" + canary + "&username=u",
		},
		"json": {
			server + `"granttype":"json","username":"u","password":"` + canary + `","usernamefield":"login","passwordfield":"pin","tokenpath":"data.token","expirespath":"data.ttl"`,
			"application/json", "", `{"login":"u","pin":"` + canary + `"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newCredentialFlow(t, s, `"credentialtype":"NONE"`, "")
			tokens := newTokens(f)
			tokens.wants()
			f.show(test.credential, "")
			receipts := append(f.publishMany(100), f.publish())
			f.awaitAll(receipts, "delivered")
			f.once(101)
			asked := f.sink.Got("/token")
			if len(asked) != 1 {
				t.Errorf("asked %d times for 101 deliveries", len(asked))
			}
			if r := asked[0]; r.Method != "POST" || string(r.Body) != test.body || r.Header.Get("Content-Type") != test.contentType ||
				r.Header.Get("Authorization") != test.authorization || r.Header.Get("Webhook-Id") != "" {
				t.Errorf("asked %s %v %s", r.Method, r.Header, r.Body)
			}
			f.hides(f.await(receipts[0], "delivered"))
		})
	}
}

// testTokenEnds: a token that lives for two seconds is fetched anew before it ends, and the sink never sees an old one.
func testTokenEnds(t *testing.T, s *fleettest.Server) {
	f := newCredentialFlow(t, s, `"credentialtype":"NONE"`, "")
	tokens := newTokens(f)
	tokens.life.Store(2)
	tokens.wants()
	f.show(clientCredential, "")
	for tokens.fetches() < 4 {
		if d := f.await(f.publish(), "delivered"); d.AttemptCount != 1 {
			t.Errorf("%+v", d)
		}
	}
	asked := f.sink.Got("/token")
	for i := 1; i < len(asked); i++ {
		if gap := asked[i].At.Sub(asked[i-1].At); gap < 1300*time.Millisecond {
			t.Errorf("a token that lives 2 s is renewed after %v", gap)
		}
	}
	for _, r := range f.sink.Got(f.path) {
		if r.Status != http.StatusNoContent {
			t.Errorf("request %d was answered %d", r.Number, r.Status)
		}
	}
}

// testToken401: a 401 fetches another token, and the request is sent again within the attempt.
func testToken401(t *testing.T, s *fleettest.Server) {
	f := newCredentialFlow(t, s, `"credentialtype":"NONE"`, "")
	tokens := newTokens(f)
	tokens.wants()
	f.show(clientCredential, "")
	f.await(f.publish(), "delivered")
	tokens.n.Add(1) // what the sink wants now is a token that nobody has
	d := f.await(f.publish(), "delivered")
	if d.AttemptCount != 1 || len(d.Attempts) != 1 || d.Attempts[0].Outcome != "delivered" {
		t.Errorf("%+v", d)
	}
	got := f.sink.Wait(f.path, 3)
	if got[1].Status != 401 || got[2].Status != 204 || got[1].ID() != got[2].ID() || tokens.fetches() != 2 {
		t.Errorf("answers %d and %d, %d fetches", got[1].Status, got[2].Status, tokens.fetches())
	}
	f.hides(d)
	// A hundred are refused at a time: one token more.
	tokens.n.Add(1)
	for _, d := range f.awaitAll(f.publishMany(100), "delivered") {
		if d.AttemptCount != 1 {
			t.Errorf("%+v", d)
		}
	}
	if n := tokens.fetches(); n != 3 {
		t.Errorf("%d fetches, want 3", n)
	}
}

// testAlways401: a sink that takes no token at all fails as any other, and its token server is left alone.
func testAlways401(t *testing.T, s *fleettest.Server) {
	f := newCredentialFlow(t, s, `"credentialtype":"NONE"`, "")
	tokens := newTokens(f)
	f.sink.On(f.path, sinktest.Answer{Status: 401})
	f.show(clientCredential, `"retry":{"policy":"fixed","initial":"100ms","jitter":0,"maxattempts":3},"breaker":{"failures":0}`)
	for _, d := range f.awaitAll(f.publishMany(10), "dead") {
		if d.AttemptCount != 3 || d.Reason != "exhausted" {
			t.Errorf("%+v", d)
		}
	}
	if n := tokens.fetches(); n != 2 {
		t.Errorf("%d fetches, want 2", n)
	}
}

// testTokenServerDown: a token server that fails holds the subscription, costs no attempt, and is asked again until it works.
func testTokenServerDown(t *testing.T, s *fleettest.Server) {
	f := newCredentialFlow(t, s, `"credentialtype":"NONE"`, "")
	tokens := newTokens(f)
	tokens.down.Store(true)
	tokens.wants()
	f.show(clientCredential, `"retry":{"maxattempts":1}`)
	all := []fleettest.Receipt{f.publish()}
	if sub := f.client.AwaitState(t, f.name, "held"); sub.Status.Reason != "credential" {
		t.Errorf("status %+v", sub.Status)
	}
	all = append(all, f.publishMany(50)...)
	for _, d := range f.awaitAll(all, "held") {
		if d.AttemptCount != 0 || d.Reason != "credential" {
			t.Errorf("%+v", d)
		}
	}
	f.sink.Wait("/token", 3) // asked again and again, although nobody publishes
	if sub := f.awaitWaiting(51); sub.Status.State != "held" || sub.Status.ConsecutiveFailures != 0 {
		t.Errorf("status %+v", sub.Status)
	}
	if n := len(f.sink.Got(f.path)); n != 0 {
		t.Errorf("%d requests without a token", n)
	}
	if n := f.metric(`hookfleet_token_fetches_total{outcome="server_error"}`); n < 3 {
		t.Errorf("metric of failed fetches is %v", n)
	}
	if !strings.Contains(s.Log(), `"message":"no token"`) || strings.Contains(s.Log(), canary) {
		t.Error("the log does not say that there is no token, or says too much")
	}
	tokens.down.Store(false)
	f.awaitAll(all, "delivered")
	f.once(51)
	if sub := f.client.AwaitState(t, f.name, "active"); sub.Status.Waiting != 0 {
		t.Errorf("status %+v", sub.Status)
	}
	asked := f.sink.Got("/token")
	for i := 1; i < len(asked); i++ {
		if gap := asked[i].At.Sub(asked[i-1].At); gap < 700*time.Millisecond<<min(i-1, 5) {
			t.Errorf("asked again after %v, the %d. time", gap, i)
		}
	}
	// Down again, with a token that is refused: held, and the request that was refused is no attempt.
	tokens.down.Store(true)
	tokens.n.Add(1)
	refused := f.publish()
	f.await(refused, "held")
	f.client.AwaitState(t, f.name, "held")
	tokens.down.Store(false)
	if d := f.await(refused, "delivered"); d.AttemptCount != 1 {
		t.Errorf("%+v", d)
	}
}

// testTokenServerMended: a PUT asks at once, however long the server is still to be left alone.
func testTokenServerMended(t *testing.T, s *fleettest.Server) {
	f := newCredentialFlow(t, s, `"credentialtype":"NONE"`, "")
	tokens := newTokens(f)
	f.show(strings.Replace(clientCredential, "/token", "/nowhere-to-be-found", 1), "")
	f.sink.On("/nowhere-to-be-found", sinktest.Answer{Status: 404})
	held := f.publishMany(5)
	f.client.AwaitState(t, f.name, "held")
	f.sink.Wait("/nowhere-to-be-found", 3)
	f.show(clientCredential, "")
	f.awaitAll(held, "delivered")
	if n := tokens.fetches(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

// testTokenServerHangs: a token server that answers nothing costs other subscriptions nothing, however much waits for it.
func testTokenServerHangs(t *testing.T, s *fleettest.Server) {
	f := newCredentialFlow(t, s, `"credentialtype":"NONE"`, "")
	tokens, other := newTokens(f), newFlow(t, s, "")
	answer := make(chan struct{})
	f.sink.On("/token", sinktest.Answer{Until: answer})
	f.show(clientCredential, "")
	held := f.publishMany(1000)
	f.sink.Wait("/token", 1)
	fleettest.Eventually(t, "nearly all are held", func() (bool, any) {
		n := len(fleettest.List[fleettest.Delivery](t, f.client, "/v1/deliveries?limit=1000&state=held&subscription="+f.name))
		return n > 900, n
	})
	for range 20 {
		r := other.publish()
		if d := other.await(r, "delivered"); d.EndedAt.Sub(d.CreatedAt) > soon {
			t.Errorf("took %v beside a token server that hangs", d.EndedAt.Sub(d.CreatedAt))
		}
	}
	// What is on its way to HELD while it is counted may count twice; they come to rest.
	f.client.AwaitSubscription(t, f.name, "has all of them waiting for its credential", func(sub *fleettest.Subscription) bool {
		return sub.Status.State == "held" && sub.Status.Reason == "credential" && sub.Status.Waiting == 1000
	})
	const patience = 9 * time.Second // a request to it ends after 10 s
	for i, got := 1, f.sink.Got("/token"); i < len(got); i++ {
		if gap := got[i].At.Sub(got[i-1].At); gap < patience {
			t.Errorf("asked again after %v, while the request before hung", gap)
		}
	}
	tokens.give()
	close(answer)
	mended := time.Now()
	f.awaitAll(held, "delivered")
	f.once(1000)
	t.Logf("1000 that waited went out within %v", time.Since(mended))
}

// metric reads one sample of /metrics; 0 when there is none.
func (f *flow) metric(sample string) float64 {
	f.t.Helper()
	text := string(f.client.Do(f.t, http.MethodGet, "/metrics", nil).Body)
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(sample) + ` (\S+)$`).FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		f.t.Fatal(err)
	}
	return v
}

// hasNoCanary looks for secrets in all messages of a stream.
func hasNoCanary(t *testing.T, js jetstream.JetStream, name string) {
	t.Helper()
	s, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	for seq := max(s.CachedInfo().State.FirstSeq, 1); seq <= s.CachedInfo().State.LastSeq; seq++ {
		m, err := s.GetMsg(t.Context(), seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(m.Data)+fmt.Sprint(m.Header), canary) {
			t.Errorf("message %d of %s has a secret", seq, name)
		}
	}
}

// TestTokenServerFleet: three workers ask for one token, once; it survives their restart; and it is in no stream.
func TestTokenServerFleet(t *testing.T) {
	t.Parallel()
	fleet := startSplit(t, 3)
	_, js := connect(t, fleet.api.BrokerURL(operatorKey))
	fleet.awaitWorkers(t, js, 3)
	f := newCredentialFlow(t, fleet.api, `"credentialtype":"NONE"`, "")
	tokens := newTokens(f)
	tokens.wants()
	f.show(clientCredential, "")
	var receipts []fleettest.Receipt
	for range 5 {
		receipts = append(receipts, f.publishMany(100)...)
	}
	f.awaitAll(receipts, "delivered")
	if n := tokens.fetches(); n != 1 {
		t.Errorf("three workers asked %d times", n)
	}
	tokens.n.Add(1) // all three are refused
	f.awaitAll(f.publishMany(300), "delivered")
	if n := tokens.fetches(); n != 2 {
		t.Errorf("three workers that were refused asked %d times in all, want 2", n)
	}
	// A server that fails is asked by one of them at a time.
	tokens.down.Store(true)
	tokens.n.Add(1)
	held := f.publishMany(100)
	f.client.AwaitState(t, f.name, "held")
	f.sink.Wait("/token", 4)
	asked := f.sink.Got("/token")[2:]
	for i := 1; i < len(asked); i++ {
		if gap := asked[i].At.Sub(asked[i-1].At); gap < 700*time.Millisecond {
			t.Errorf("asked again after %v", gap)
		}
	}
	tokens.down.Store(false)
	f.awaitAll(held, "delivered")
	before := tokens.fetches()
	for _, w := range fleet.workers {
		w.Restart(t)
	}
	f.await(f.publish(), "delivered")
	if n := tokens.fetches(); n != before {
		t.Errorf("workers that started anew asked %d times", n-before)
	}
	for _, stream := range []string{"EVENTS", "RETRIES", "HELD", "DEAD", "ATTEMPTS"} {
		hasNoCanary(t, js, stream)
	}
	for _, w := range fleet.workers {
		if strings.Contains(w.Log(), canary) {
			t.Error("the log shows a secret")
		}
	}
	f.do(http.StatusNoContent, http.MethodDelete, "/v1/subscriptions/"+f.name)
	kv, err := js.KeyValue(t.Context(), "hookfleet_tokens")
	if err != nil {
		t.Fatal(err)
	}
	fleettest.Eventually(t, "the token of a deleted subscription is removed", func() (bool, any) {
		_, err := kv.Get(t.Context(), f.name)
		return err != nil, err
	})
	fleet.stop(t)
}
