package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hookfleet/hookfleet/test/fleettest"
)

// The OAuth 2.0 server, pinned. It knows nothing of us, and signs its tokens.
var oauthPackages = []string{"oauth2-mock-server@9.3.0"}

const oauthServer = `
import { OAuth2Server, Events } from "oauth2-mock-server";
const server = new OAuth2Server();
await server.issuer.keys.generate("RS256");
server.service.on(Events.BeforeTokenSigning, (token, req) => {
  token.payload.seen = { grant: req.body.grant_type, scope: req.body.scope, audience: req.body.audience, user: req.body.username,
    client: req.body.client_id, header: req.headers.authorization };
});
server.service.on(Events.BeforeResponse, (response) => { response.body.expires_in = Number(process.env.LIFE); });
await server.start(Number(process.env.PORT), "127.0.0.1");
console.log("listening at " + server.issuer.url);
`

// oauth is the server's process.
type oauth struct {
	t    *testing.T
	dir  string
	port string
	cmd  *exec.Cmd
}

func newOAuth(t *testing.T) *oauth {
	t.Helper()
	if testing.Short() {
		t.Skip("installs npm packages")
	}
	o := &oauth{t: t, dir: t.TempDir(), port: fleettest.FreeAddress(t)}
	o.port = o.port[strings.LastIndex(o.port, ":")+1:]
	installJavaScript(t, o.dir, oauthPackages...)
	if err := os.WriteFile(filepath.Join(o.dir, "server.mjs"), []byte(oauthServer), 0o600); err != nil {
		t.Fatal(err)
	}
	return o
}

// start starts it (again) at its port; its tokens live so many seconds.
func (o *oauth) start(life int) {
	o.t.Helper()
	var log bytes.Buffer
	o.cmd = exec.CommandContext(o.t.Context(), "node", filepath.Join(o.dir, "server.mjs"))
	o.cmd.Dir, o.cmd.Env, o.cmd.Stderr = o.dir, append(os.Environ(), "PORT="+o.port, fmt.Sprintf("LIFE=%d", life)), &log
	out, err := o.cmd.StdoutPipe()
	if err != nil {
		o.t.Fatal(err)
	}
	if err := o.cmd.Start(); err != nil {
		o.t.Fatal(err)
	}
	line := make([]byte, 256)
	n, err := out.Read(line)
	if err != nil || !strings.HasPrefix(string(line[:n]), "listening") {
		_ = o.cmd.Wait()
		o.t.Fatalf("the OAuth 2.0 server did not start: %v %s %s", err, line[:n], log.String())
	}
	o.t.Cleanup(o.stop)
}

// stop kills it.
func (o *oauth) stop() {
	if o.cmd != nil {
		_ = o.cmd.Process.Kill() // it may have ended
		_ = o.cmd.Wait()
		o.cmd = nil
	}
}

func (o *oauth) url(path string) string { return "http://127.0.0.1:" + o.port + path }

// accepts reports whether the server takes the token as one of its own that has not ended.
func (o *oauth) accepts(token string) bool {
	o.t.Helper()
	r, err := fleettest.NewClient(o.url(""), token).Call(o.t.Context(), http.MethodGet, "/userinfo", nil, nil)
	return err == nil && r.Status == http.StatusOK
}

// claims are what a token says.
func claims(t *testing.T, token string) (seen map[string]string) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no JWT", token)
	}
	var all struct{ Seen map[string]string }
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil {
		t.Fatal(err)
	}
	return all.Seen
}

// testOAuth2: an OAuth 2.0 server that knows nothing of us gives tokens for each grant; while it is down nothing is lost.
func testOAuth2(t *testing.T, s *fleettest.Server) {
	o := newOAuth(t)
	o.start(3600)
	const basic = "Basic Y2xpZW50OmNhbmFyeS03ZjNhOWM1MQ=="
	for name, test := range map[string]struct {
		members string
		want    map[string]string
	}{
		"header": {`"clientid":"client","clientsecret":"` + canary + `","scopes":["a","b"],"parameters":{"audience":"x"}`,
			map[string]string{"grant": "client_credentials", "scope": "a b", "audience": "x", "header": basic}},
		"params": {`"clientid":"client","clientsecret":"` + canary + `","authstyle":"params"`,
			map[string]string{"grant": "client_credentials", "client": "client"}},
		"password": {`"granttype":"password","username":"ü u","password":"` + canary + `","clientid":"client","clientsecret":"` + canary + `"`,
			map[string]string{"grant": "password", "user": "ü u", "header": basic}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newCredentialFlow(t, s, `"credentialtype":"TOKENSERVER","tokenendpoint":"`+o.url("/token")+`",`+test.members, "")
			d := f.awaitAll(f.publishMany(20), "delivered")
			var first string
			for _, r := range f.sink.Wait(f.path, 20) {
				token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
				if first == "" {
					first = token
				}
				if !ok || token != first {
					t.Errorf("Authorization %q", r.Header.Get("Authorization"))
				}
			}
			got := claims(t, first)
			for claim, want := range test.want {
				if got[claim] != want {
					t.Errorf("%s was %q, want %q", claim, got[claim], want)
				}
			}
			f.hides(&d[0])
		})
	}
	t.Run("down", func(t *testing.T) { oauthDown(t, s, o) })
}

// oauthDown: the server is killed while its tokens live for three seconds, and started again.
func oauthDown(t *testing.T, s *fleettest.Server, o *oauth) {
	o.stop()
	o.start(3)
	f := newCredentialFlow(t, s, `"credentialtype":"TOKENSERVER","tokenendpoint":"`+o.url("/token")+`","clientid":"client","clientsecret":"`+canary+`"`,
		`"retry":{"maxattempts":1}`)
	f.await(f.publish(), "delivered")
	o.stop()
	sent := 1
	for f.client.Subscription(t, f.name).Status.State != "held" { // with the token that there is, until it ends
		f.publish()
		sent++
		f.client.AwaitSubscription(t, f.name, "is done or held", func(sub *fleettest.Subscription) bool {
			return sub.Status.Waiting == 0 || sub.Status.State == "held"
		})
	}
	if sub := f.client.Subscription(t, f.name); sub.Status.Reason != "credential" {
		t.Errorf("status %+v", sub.Status)
	}
	sent += len(f.publishMany(50))
	o.start(3600)
	f.client.AwaitSubscription(t, f.name, "is active and has nothing waiting", func(sub *fleettest.Subscription) bool {
		return sub.Status.State == "active" && sub.Status.Waiting == 0
	})
	f.once(sent)
	got := f.sink.Got(f.path)
	if letters := f.client.DeadLetters(t, f.name); len(letters) != 0 {
		t.Errorf("dead letters %+v", letters)
	}
	if token := strings.TrimPrefix(got[len(got)-1].Header.Get("Authorization"), "Bearer "); !o.accepts(token) {
		t.Errorf("the server does not know its token: %v", claims(t, token))
	}
}
