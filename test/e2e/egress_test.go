package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

// discard takes what servers say of connections that tests break.
var discard = log.New(io.Discard, "", 0)

// proxyScript is a forward proxy that asks for a password, and says what it is asked for.
const proxyScript = `
import { Server } from "proxy-chain";
const server = new Server({
  port: Number(process.argv[2]), host: "127.0.0.1",
  prepareRequestFunction: ({ username, password, hostname, port, isHttp }) => {
    const known = username === "fleet" && password === "pass:word";
    console.log((known ? "" : "unknown ") + (isHttp ? "http " : "connect ") + hostname + ":" + port);
    return { requestAuthentication: !known };
  },
});
await server.listen();
console.log("ready");
`

// forward is such a proxy, in a process of its own.
type forward struct {
	t            *testing.T
	dir, address string
	process      *fleettest.Process
}

func newForward(t *testing.T) *forward {
	t.Helper()
	if testing.Short() {
		t.Skip("installs npm packages")
	}
	f := &forward{t: t, dir: t.TempDir(), address: fleettest.FreeAddress(t)}
	installJavaScript(t, f.dir, "proxy-chain@3.0.1")
	if err := os.WriteFile(filepath.Join(f.dir, "proxy.mjs"), []byte(proxyScript), 0o600); err != nil {
		t.Fatal(err)
	}
	f.start()
	return f
}

func (f *forward) start() {
	f.t.Helper()
	_, port, _ := strings.Cut(f.address, ":")
	f.process = fleettest.Exec(f.t, "node", nil, filepath.Join(f.dir, "proxy.mjs"), port)
	f.next("ready")
}

// next checks what the proxy says next.
func (f *forward) next(want string) {
	f.t.Helper()
	if got, _ := f.process.Line(f.t); got != want {
		f.t.Errorf("the proxy says %q, want %q", got, want)
	}
}

// TestProxy: sinks of both schemes by a proxy process, none where the subscription says so, and what goes wrong there is tried again.
func TestProxy(t *testing.T) {
	t.Parallel()
	f := newForward(t)
	s := fleettest.Start(t, fleettest.Options{Env: []string{
		"HOOKFLEET_EGRESS_PROXY=http://fleet:pass%3Aword@" + f.address, "HTTPS_PROXY=http://127.0.0.1:1", "HTTP_PROXY=http://127.0.0.1:1",
	}})
	a := newAuthority(t)
	secure := newSecured(t, &tls.Config{Certificates: []tls.Certificate{a.issue(nil)}})
	f.after(t, func() {
		overTLS(t, s, secure.url, map[string]any{"tls": map[string]any{"cacert": a.pem()}}, "delivered")
	},
		"connect "+strings.TrimPrefix(secure.url, "https://"))

	retry := `"retry":{"policy":"fixed","initial":"100ms","jitter":0}`
	plain := newFlow(t, s, retry)
	host := strings.TrimPrefix(plain.sink.URL(""), "http://")
	f.after(t, func() { plain.await(plain.publish(), "delivered") }, "http "+host)
	got := plain.sink.Wait(plain.path, 1)[0]
	if got.Host != host || got.Header["Proxy-Authorization"] != nil || got.Header["Proxy-Connection"] != nil {
		t.Errorf("the sink got %v for host %s", got.Header, got.Host)
	}

	if body := string(s.Client().Do(t, http.MethodGet, "/v1/egress", nil).Body); !contains(body, `"proxy":"http://`+f.address+`"`) || contains(body, "fleet") {
		t.Errorf("egress %s", body)
	}

	f.process.Kill()
	direct := newFlow(t, s, "")
	direct.client.Subscribe(t, direct.name, fmt.Sprintf(`{"types":[%q],"sink":%q,"protocolsettings":{"proxy":"none"}}`, direct.name, direct.sink.URL(direct.path)))
	direct.await(direct.publish(), "delivered")

	r := plain.publish()
	var d *fleettest.Delivery
	fleettest.Eventually(t, "an attempt fails for want of the proxy", func() (bool, any) {
		found := plain.client.DeliveriesOf(t, r.Sequence)
		if len(found) == 1 && found[0].AttemptCount > 0 {
			d = plain.client.Delivery(t, found[0].ID)
		}
		return d != nil, found
	})
	if at := d.Attempts[0]; at.Reason != "refused" || at.Outcome != "retry" || at.Response.Body != "refused: proxy: connection refused" {
		t.Errorf("attempt %+v %+v", at, at.Response)
	}
	f.start()
	plain.await(r, "delivered")
	if log := s.Log(); contains(log, "pass:word") || contains(log, "pass%3Aword") {
		t.Error("the proxy's password is in the log")
	}
}

// after does something, and checks what the proxy says of it.
func (f *forward) after(t *testing.T, do func(), want string) {
	t.Helper()
	do()
	f.next(want)
}

// TestProxyRefuses: a proxy that does not know us, and one that reaches nothing, cost an attempt each and say so.
func TestProxyRefuses(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusProxyAuthRequired, http.StatusBadGateway} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			t.Parallel()
			asked := sinktest.New(t)
			asked.OnFunc("", func(*sinktest.Request) sinktest.Answer { return sinktest.Answer{Status: status} }) // CONNECT has no path
			s := fleettest.Start(t, fleettest.Options{Args: []string{"--egress-proxy", asked.URL("")}})
			d := overTLS(t, s, "https://127.0.0.1:9", nil, "dead")
			if at := d.Attempts[0]; len(d.Attempts) != 2 || at.Reason != "refused" || !strings.HasPrefix(at.Response.Body, fmt.Sprintf("refused: proxy: answered %d ", status)) {
				t.Errorf("%+v %+v", d, at.Response)
			}
			if n := len(asked.Got("")); n != 2 {
				t.Errorf("the proxy was asked %d times", n)
			}
		})
	}
}

// TestProxyIsNotAskedForDeniedTargets: what the guard denies is denied before the proxy hears of it, which itself needs no leave.
func TestProxyIsNotAskedForDeniedTargets(t *testing.T) {
	t.Parallel()
	asked := sinktest.New(t)
	s := fleettest.New(t, fleettest.Options{Args: []string{"--egress-proxy", asked.URL("")}})
	s.Start(t)
	f := newFlow(t, s, `"retry":{"policy":"fixed","initial":"50ms","maxattempts":2}`)
	s.MustStop(t)
	s.Deny("127.0.0.0/8")
	s.Start(t)
	d := f.await(f.publish(), "dead")
	if at := d.Attempts[0]; len(d.Attempts) != 2 || at.Reason != "blocked" {
		t.Errorf("%+v", d)
	}
	if n := len(f.sink.Got(f.path)) + len(asked.Got(f.path)); n != 0 {
		t.Errorf("%d requests for a denied target", n)
	}
}

// TestSource: requests leave from egress.source, which partners can ask for.
func TestSource(t *testing.T) {
	t.Parallel()
	s := fleettest.Start(t, fleettest.Options{Args: []string{"--egress-source", "127.0.0.42"}})
	from := make(chan string, 1)
	url := sinktest.Serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		from <- host
	}))
	c, name := s.Client(), unique("source")
	c.Subscribe(t, name, fmt.Sprintf(`{"types":[%q],"sink":%q}`, name, url))
	c.AwaitDelivery(t, c.Publish(t, event(unique("event"), name, `1`)).Sequence, "delivered")
	if got := <-from; got != "127.0.0.42" {
		t.Errorf("the request came from %s", got)
	}
	if body := string(c.Do(t, http.MethodGet, "/v1/egress", nil).Body); body != `{"addresses":["127.0.0.42"],"proxy":null}`+"\n" {
		t.Errorf("egress %s", body)
	}
	s.CLI(t, "", "egress").Says(t, 0, "127.0.0.42")
}

// TestHostileSinks: answers without end, drop by drop, and redirects cost one attempt each, and the fleet's memory stays where it was.
func TestHostileSinks(t *testing.T) {
	t.Parallel()
	s := fleettest.Start(t, fleettest.Options{})
	big := strings.Repeat("x", 1<<20)
	sinks := map[string]struct {
		timeout string
		url     string
		reason  string // of the attempt
	}{
		"50 MB": {"30s", sinktest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(50<<20))
			w.WriteHeader(http.StatusInternalServerError)
			for range 50 {
				if _, err := io.WriteString(w, big); err != nil {
					return
				}
			}
		})), "server_error"},
		"1 byte a second": {"4s", sinktest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for r.Context().Err() == nil {
				_, _ = io.WriteString(w, "x") // the client's end is seen in its context
				_ = http.NewResponseController(w).Flush()
				<-tick.C
			}
		})), "timeout"},
		"redirect": {"30s", sinktest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "/"+r.URL.Path)
			w.WriteHeader(http.StatusTemporaryRedirect)
		})), "redirect"},
	}
	const n = 60
	c := s.Client()
	round := func() {
		var all sync.WaitGroup
		for name, sink := range sinks {
			all.Go(func() {
				id := unique("hostile")
				c.Subscribe(t, id, fmt.Sprintf(
					`{"types":[%q],"sink":%q,"config":{"timeout":%q,"breaker":{"failures":0},"retry":{"policy":"fixed","initial":"50ms","maxattempts":1}}}`, id, sink.url, sink.timeout))
				events := make([]string, n)
				for i := range events {
					events[i] = event(unique("event"), id, `1`)
				}
				receipts := c.PublishBatch(t, "["+strings.Join(events, ",")+"]")
				for _, d := range c.AwaitAll(t, id, receipts, "dead") {
					if d.AttemptCount != 1 || d.Reason != "exhausted" {
						t.Errorf("%s: %+v", name, d)
					}
				}
				for _, at := range c.AwaitDelivery(t, receipts[0].Sequence, "dead").Attempts {
					if at.Reason != sink.reason || at.Response == nil || len(at.Response.Body) > 4<<10 {
						t.Errorf("%s: attempt %+v", name, at)
					}
				}
			})
		}
		all.Wait()
	}
	round() // warms up
	before := residentMemory(t, s.PID())
	for range 3 {
		round()
	}
	after := residentMemory(t, s.PID())
	t.Logf("resident memory %d MiB before, %d MiB after %d deliveries, a third of them of 50 MB", before>>20, after>>20, 9*n)
	if grown := after - before; grown > 64<<20 {
		t.Errorf("resident memory has grown by %d MiB", grown>>20)
	}
}

var residentLine = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)

// residentMemory is that of a process, in bytes.
func residentMemory(t *testing.T, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skipf("SKIPPED: no /proc here: %v", err)
	}
	m := residentLine.FindSubmatch(text)
	if m == nil {
		t.Fatalf("no VmRSS in %s", text)
	}
	kib, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}
