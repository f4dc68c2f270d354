package egress_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookfleet/hookfleet/auth/egress"
)

// patience is far above what anything here takes, so that only a hang reaches it.
const patience = time.Minute

func kindOf(err error) egress.Kind {
	if e, ok := errors.AsType[*egress.Error](err); ok {
		return e.Kind
	}
	return "no egress.Error"
}

// client returns a client that may reach receivers on this machine, over http too.
func client(t testing.TB, change ...func(*egress.Config)) *egress.Client {
	t.Helper()
	cfg := egress.DefaultConfig()
	cfg.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	cfg.PlainHTTP = true
	for _, f := range change {
		f(&cfg)
	}
	c, err := egress.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func parse(t testing.TB, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func post(t testing.TB, to string) *egress.Request {
	t.Helper()
	return &egress.Request{
		URL: parse(t, to), Header: http.Header{"Content-Type": {"application/cloudevents+json"}}, Body: []byte(`{"id":"1"}`),
		Timeout: patience, Tenant: "default",
	}
}

func TestRequestOnTheWire(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*egress.Request)
		want   string
	}{
		"post": {func(*egress.Request) {},
			"POST /hook?ref=1%202 HTTP/1.1\nHost: HOST\nUser-Agent: hookfleet\nContent-Length: 10\nContent-Type: application/cloudevents+json\n\n{\"id\":\"1\"}"},
		"own agent": {func(r *egress.Request) { r.Header.Set("User-Agent", "mine") },
			"POST /hook?ref=1%202 HTTP/1.1\nHost: HOST\nContent-Length: 10\nContent-Type: application/cloudevents+json\nUser-Agent: mine\n\n{\"id\":\"1\"}"},
		"put": {func(r *egress.Request) { r.Method = "PUT" },
			"PUT /hook?ref=1%202 HTTP/1.1\nHost: HOST\nUser-Agent: hookfleet\nContent-Length: 10\nContent-Type: application/cloudevents+json\n\n{\"id\":\"1\"}"},
		"post of nothing": {func(r *egress.Request) { r.Body = nil },
			"POST /hook?ref=1%202 HTTP/1.1\nHost: HOST\nUser-Agent: hookfleet\nContent-Length: 0\nContent-Type: application/cloudevents+json\n\n"},
		"get": {func(r *egress.Request) { r.Method, r.Body, r.Header = "GET", nil, nil },
			"GET /hook?ref=1%202 HTTP/1.1\nHost: HOST\nUser-Agent: hookfleet\n\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := make(chan string, 1)
			r := raw(t, func(conn net.Conn, request string) {
				got <- request
				io.WriteString(conn, ok)
			})
			req := post(t, r.url+"/hook?ref=1%202")
			tt.change(req)
			if _, err := client(t).Do(t.Context(), req); err != nil {
				t.Fatal(err)
			}
			want := strings.ReplaceAll(strings.ReplaceAll(tt.want, "HOST", req.URL.Host), "\n", "\r\n")
			if diff := cmp.Diff(want, <-got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestResponseAsItCame(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 201, 202, 204, 205, 206, 226, 299, 300, 304, 400, 404, 410, 418, 429, 500, 503, 599, 600, 999} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Seen", "1")
			w.WriteHeader(status)
			if status != 204 && status != 304 {
				io.WriteString(w, "\x1b[31m<script>\xff\x00")
			}
		}))
		defer s.Close()
		got, err := client(t).Do(t.Context(), post(t, s.URL))
		if err != nil {
			t.Fatalf("%d: %v", status, err)
		}
		want := "\x1b[31m<script>\xff\x00"
		if status == 204 || status == 304 {
			want = ""
		}
		if got.Status != status || string(got.Body) != want || got.Header.Get("X-Seen") != "1" {
			t.Errorf("%d: %+v", status, got)
		}
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	var hits atomic.Int64
	second := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer second.Close()
	c := client(t)
	for _, status := range []int{300, 301, 302, 303, 307, 308} {
		first := httptest.NewServer(http.RedirectHandler(second.URL, status))
		defer first.Close()
		req := post(t, first.URL)
		req.Header.Set("Authorization", "Bearer canary")
		got, err := c.Do(t.Context(), req)
		if err != nil || got.Status != status || got.Header.Get("Location") != second.URL {
			t.Errorf("%d: %+v, %v", status, got, err)
		}
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("the target of the redirects saw %d requests", n)
	}
}

func TestConnectionIsReused(t *testing.T) {
	t.Parallel()
	r := raw(t, func(conn net.Conn, _ string) { io.WriteString(conn, ok) })
	c := client(t)
	for range 20 {
		if _, err := c.Do(t.Context(), post(t, r.url)); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.conns.Load(); n != 1 {
		t.Errorf("%d connections for 20 requests one after the other, want 1", n)
	}
}

// Contexts that end when their exchange has ended take no connection with them, and one that is heeded over several exchanges does
// when it ends.
func TestConnectionHeedsItsContext(t *testing.T) {
	t.Parallel()
	var hang atomic.Bool
	began := make(chan struct{})
	r := raw(t, func(conn net.Conn, _ string) {
		if hang.Load() {
			close(began)
			io.Copy(io.Discard, conn)
			return
		}
		io.WriteString(conn, ok)
	})
	c := client(t)
	do := func(ctx context.Context) error { _, err := c.Do(ctx, post(t, r.url)); return err }
	for range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		if err := do(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
	}
	long, stop := context.WithCancel(t.Context())
	defer stop()
	for range 5 {
		if err := do(long); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.conns.Load(); n != 1 {
		t.Errorf("%d connections for 10 requests one after the other, want 1", n)
	}
	hang.Store(true)
	failed := make(chan error, 1)
	go func() { failed <- do(long) }()
	<-began
	stop()
	if err := <-failed; kindOf(err) != egress.Stopped {
		t.Errorf("%v, want that the caller stopped", err)
	}
	hang.Store(false)
	if err := do(t.Context()); err != nil {
		t.Errorf("after the end of the context before: %v", err)
	}
}

// A connection that idles under a context which has ended is not used by another.
func TestIdleConnectionOfAnEndedContext(t *testing.T) {
	t.Parallel()
	r := raw(t, func(conn net.Conn, _ string) { io.WriteString(conn, ok) })
	c := client(t)
	long, stop := context.WithCancel(t.Context())
	for range 3 {
		if _, err := c.Do(long, post(t, r.url)); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	for range 3 {
		if _, err := c.Do(t.Context(), post(t, r.url)); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.conns.Load(); n != 2 {
		t.Errorf("%d connections, want one for each context", n)
	}
}

func TestConnectionsAreNotSharedByTenants(t *testing.T) {
	t.Parallel()
	r := raw(t, func(conn net.Conn, _ string) { io.WriteString(conn, ok) })
	c := client(t)
	for range 3 {
		for _, tenant := range []string{"a", "b"} {
			req := post(t, r.url)
			req.Tenant = tenant
			if _, err := c.Do(t.Context(), req); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := r.conns.Load(); n != 2 {
		t.Errorf("%d connections of two tenants, want 2", n)
	}
}

func TestProxyEnvironmentIsIgnored(t *testing.T) {
	var hits atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer proxy.Close()
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"} {
		t.Setenv(name, proxy.URL)
	}
	r := raw(t, func(conn net.Conn, _ string) { io.WriteString(conn, ok) })
	c := client(t, func(cfg *egress.Config) { cfg.Allow = append(cfg.Allow, netip.MustParsePrefix("192.0.2.0/24")) })
	if _, err := c.Do(t.Context(), post(t, r.url)); err != nil {
		t.Error(err)
	}
	far := post(t, "http://192.0.2.1/") // net/http would use a proxy for this one, not for loopback
	far.Timeout = 50 * time.Millisecond
	if _, err := c.Do(t.Context(), far); err == nil {
		t.Error("a documentation address answers")
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("the proxy of the environment saw %d requests", n)
	}
}

func TestSourceAddress(t *testing.T) {
	t.Parallel()
	from := make(chan string, 1)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { from <- r.RemoteAddr }))
	defer s.Close()
	c := client(t, func(cfg *egress.Config) { cfg.Source = netip.MustParseAddr("127.0.0.9") })
	if _, err := c.Do(t.Context(), post(t, s.URL)); err != nil {
		t.Fatal(err)
	}
	if got := <-from; !strings.HasPrefix(got, "127.0.0.9:") {
		t.Errorf("sent from %s", got)
	}
}

func TestBlockedBeforeTheFirstPacket(t *testing.T) {
	t.Parallel()
	r := raw(t, func(conn net.Conn, _ string) { io.WriteString(conn, ok) })
	port := parse(t, r.url).Port()
	strict := client(t, func(cfg *egress.Config) { cfg.Allow = nil })
	for _, host := range []string{
		"127.0.0.1", "localhost", "[::1]", "0.0.0.0", "[::]", "[::ffff:127.0.0.1]", "127.1", "2130706433", "0x7f.1", "１２７.0.0.1",
		"[::127.0.0.1]", "[64:ff9b::127.0.0.1]", "169.254.169.254", "168.63.129.16", "10.0.0.1",
	} {
		if _, err := strict.Do(t.Context(), post(t, "http://"+host+":"+port+"/?token=canary")); kindOf(err) != egress.Blocked {
			t.Errorf("%s: %v, want blocked", host, err)
		} else if strings.Contains(err.Error(), "canary") {
			t.Errorf("the error has the query: %v", err)
		}
	}
	if n := r.conns.Load(); n != 0 {
		t.Errorf("%d connections came through", n)
	}
	for name, c := range map[string]*egress.Client{"https only": client(t, func(cfg *egress.Config) { cfg.PlainHTTP = false }), "any": client(t)} {
		for _, scheme := range []string{"http", "ftp", "file", "", "HTTP"} {
			u := parse(t, r.url)
			u.Scheme = scheme
			_, err := c.Do(t.Context(), &egress.Request{URL: u, Timeout: patience})
			if want := scheme != "http" || name == "https only"; (kindOf(err) == egress.Blocked) != want {
				t.Errorf("%s, scheme %q: %v, want blocked %v", name, scheme, err, want)
			}
		}
	}
}

func TestCheckURL(t *testing.T) {
	t.Parallel()
	strict, plain := client(t, func(cfg *egress.Config) { cfg.Allow, cfg.PlainHTTP = nil, false }), client(t)
	for text, want := range map[string]string{
		"https://partner.example/hook":        "",
		"https://partner.example:8443/?a=b":   "",
		"https://1.1.1.1/":                    "",
		"https://[2606:4700:4700::1111]:443/": "",
		"http://partner.example/":             "scheme is http, and egress.plainhttp is off",
		"ftp://partner.example/":              "scheme is not https",
		"//partner.example/":                  "scheme is not https",
		"https:partner.example":               "has no host",
		"https:///x":                          "has no host",
		"https://:443/":                       "host has no host",
		"https://user:pass@partner.example/":  "has user info",
		"https://@partner.example/":           "has user info",
		"https://partner.example/#x":          "has a fragment",
		"https://partner.example:/":           "has a port that is not 1 to 65535",
		"https://partner.example:0/":          "has a port that is not 1 to 65535",
		"https://partner.example:65536/":      "has a port that is not 1 to 65535",
		"https://127.0.0.1/":                  "host is private or special",
		"https://[fe80::1%25eth0]/":           "host has a zone",
		"https://localhost/":                  "host is this machine",
		"https://2130706433/":                 "host is a number, not a name",
	} {
		got := ""
		if e, ok := errors.AsType[*egress.Error](strict.CheckURL(parse(t, text))); ok {
			got = e.Err.Error()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	for _, text := range []string{"http://localhost:8080/x", "http://127.0.0.1:1/", "https://[::1]/"} {
		if err := plain.CheckURL(parse(t, text)); err != nil {
			t.Errorf("%s with loopback and http allowed: %v", text, err)
		}
	}
}

func TestCallerStops(t *testing.T) {
	t.Parallel()
	errStopping := errors.New("worker: stopping")
	for name, stop := range map[string]func(context.Context) (context.Context, func()){
		"cancel": func(ctx context.Context) (context.Context, func()) { return context.WithCancel(ctx) },
		"with cause": func(ctx context.Context) (context.Context, func()) {
			ctx, f := context.WithCancelCause(ctx)
			return ctx, func() { f(errStopping) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := stop(t.Context())
			defer cancel()
			r := raw(t, func(conn net.Conn, _ string) { cancel(); io.Copy(io.Discard, conn) })
			_, err := client(t).Do(ctx, post(t, r.url))
			if kindOf(err) != egress.Stopped || !errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v of kind %q, want Canceled", err, kindOf(err))
			}
			if name == "with cause" && !errors.Is(err, errStopping) {
				t.Errorf("%v does not say why", err)
			}
			if _, err = client(t).Do(ctx, post(t, r.url)); kindOf(err) != egress.Stopped {
				t.Errorf("begun after the end: %v", err)
			}
		})
	}
}

func TestTimeoutIsNotCancel(t *testing.T) {
	t.Parallel()
	r := raw(t, func(conn net.Conn, _ string) { io.Copy(io.Discard, conn) })
	req := post(t, r.url)
	req.Timeout = 30 * time.Millisecond
	_, err := client(t).Do(t.Context(), req)
	if kindOf(err) != egress.Timeout || errors.Is(err, context.Canceled) {
		t.Errorf("%v, want timeout", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	req.Timeout = 0
	if _, err := client(t).Do(ctx, req); kindOf(err) != egress.Timeout {
		t.Errorf("the caller's own deadline: %v, want timeout", err)
	}
}

func TestManyAtATime(t *testing.T) {
	t.Parallel()
	var seen atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		seen.Add(1)
		w.Write(b)
	}))
	defer s.Close()
	c := client(t)
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			for j := range 50 {
				req := post(t, s.URL)
				req.Body = []byte(strings.Repeat(string(rune('a'+i%26)), 100+j*200))
				got, err := c.Do(t.Context(), req)
				if err != nil {
					t.Error(err)
					return
				}
				if want := string(req.Body[:min(len(req.Body), 4<<10)]); string(got.Body) != want {
					t.Errorf("got another's answer or a cut one: %d bytes, want %d", len(got.Body), len(want))
				}
			}
		})
	}
	wg.Wait()
	if seen.Load() != 32*50 {
		t.Errorf("receiver saw %d of %d", seen.Load(), 32*50)
	}
}

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	if err := egress.DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	bad := egress.Config{Allow: make([]netip.Prefix, 1), Deny: make([]netip.Prefix, 1), Source: netip.MustParseAddr("224.0.0.1"), UserAgent: "a\r\nb", KeepBodyBytes: -1}
	err := bad.Validate()
	if err == nil {
		t.Fatal("valid")
	}
	for _, want := range []string{"egress.allow", "egress.deny", "egress.source", "user agent", "header bytes", "body bytes", "idle connections", "kept"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not among the faults:\n%v", want, err)
		}
	}
	if _, err := egress.New(bad); err == nil {
		t.Error("New takes it")
	}
}

func TestKeep(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("x", 70<<10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }))
	t.Cleanup(server.Close)
	c := client(t)
	for keep, want := range map[int]int{0: 4 << 10, 10: 10, 60 << 10: 60 << 10} {
		r := post(t, server.URL)
		r.Keep = keep
		answer, err := c.Do(t.Context(), r)
		if err != nil || len(answer.Body) != want {
			t.Errorf("keep %d: %d bytes, %v", keep, len(answer.Body), err)
		}
	}
}
