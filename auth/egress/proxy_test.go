package egress_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookfleet/hookfleet/auth/egress"
	"github.com/hookfleet/hookfleet/auth/secret"
)

// forward is a forward proxy that keeps what it was asked.
type forward struct {
	*httptest.Server

	mu    sync.Mutex
	asked []string      // CONNECT host:port, POST http://…
	heads []http.Header // of each
	names map[string]string
	deny  int // answers this to everything, if it is not 0
}

// proxy starts one, over TLS with the certificate of a. Names that it knows better than the resolver are in names.
func proxy(t testing.TB, a *authority, names map[string]string) *forward {
	t.Helper()
	f := &forward{names: names}
	f.Server = httptest.NewUnstartedServer(http.HandlerFunc(f.serve))
	if a == nil {
		f.Start()
	} else {
		f.TLS = &tls.Config{Certificates: []tls.Certificate{a.issue(t, nil)}}
		f.StartTLS()
	}
	t.Cleanup(f.Close)
	return f
}

func (f *forward) serve(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.asked, f.heads = append(f.asked, r.Method+" "+r.RequestURI), append(f.heads, r.Header.Clone())
	deny := f.deny
	f.mu.Unlock()
	switch {
	case deny != 0:
		w.Header().Set("Proxy-Authenticate", "Basic")
		w.WriteHeader(deny)
	case r.Method == http.MethodConnect:
		f.tunnel(w, f.address(r.Host))
	default:
		p := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.Out.URL.Host = f.address(r.URL.Host) }}
		p.ServeHTTP(w, r)
	}
}

func (f *forward) address(host string) string {
	name, port, _ := net.SplitHostPort(host)
	if known := f.names[name]; known != "" {
		return net.JoinHostPort(known, port)
	}
	return host
}

func (f *forward) tunnel(w http.ResponseWriter, to string) {
	there, err := net.Dial("tcp", to)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer there.Close()
	here, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer here.Close()
	io.WriteString(here, "HTTP/1.1 200 Connection established\r\n\r\n")
	var back sync.WaitGroup
	back.Go(func() {
		io.Copy(here, there)
		here.Close()
	})
	io.Copy(there, buffered)
	there.Close()
	back.Wait()
}

func (f *forward) got() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked)
}

func (f *forward) head(i int) http.Header {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.heads[i]
}

func by(t testing.TB, proxyURL string) func(*egress.Config) {
	t.Helper()
	p, err := egress.ParseProxy(secret.New(proxyURL))
	if err != nil {
		t.Fatal(err)
	}
	return func(cfg *egress.Config) { cfg.Proxy = p }
}

func withUser(url string) string { return strings.Replace(url, "://", "://us%40er:p%3Ass@", 1) }

// What goes by a proxy arrives as it would without, over a tunnel or in absolute form, and the proxy's credentials reach the proxy alone.
func TestProxy(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	for _, secureProxy := range []bool{false, true} {
		for _, scheme := range []string{"http", "https"} {
			t.Run(fmt.Sprintf("%s, TLS to the proxy %v", scheme, secureProxy), func(t *testing.T) {
				t.Parallel()
				var mu sync.Mutex
				var requests []string
				answer := func(conn net.Conn, request string) {
					mu.Lock()
					requests = append(requests, request)
					mu.Unlock()
					io.WriteString(conn, ok)
				}
				r := raw(t, answer)
				if scheme == "https" {
					l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{a.issue(t, nil)}})
					if err != nil {
						t.Fatal(err)
					}
					r = serve(t, l, "https", answer)
				}
				var f *forward
				if secureProxy {
					f = proxy(t, a, nil)
				} else {
					f = proxy(t, nil, nil)
				}
				c := client(t, by(t, withUser(f.URL)), func(cfg *egress.Config) {
					cfg.Roots = a.pool
				})
				req := post(t, r.url+"/hook?a=b%20c")
				req.Header.Set("Proxy-Authorization", "of the caller")
				for range 3 {
					got, err := c.Do(t.Context(), req)
					if err != nil || got.Status != 200 || string(got.Body) != "ok" {
						t.Fatalf("%+v, %v", got, err)
					}
				}
				want := []string{"CONNECT " + req.URL.Host} // one tunnel for all
				if scheme == "http" {
					want = slices.Repeat([]string{"POST " + r.url + "/hook?a=b%20c"}, 3)
				}
				if diff := cmp.Diff(want, f.got()); diff != "" {
					t.Error(diff)
				}
				if h := f.head(0); h.Get("Proxy-Authorization") != "Basic dXNAZXI6cDpzcw==" || h.Get("User-Agent") != "hookfleet" {
					t.Errorf("header to the proxy %v", h)
				}
				if len(requests) != 3 || strings.Contains(requests[0], "Proxy-") || !strings.HasPrefix(requests[0], "POST /hook?a=b%20c HTTP/1.1\r\nHost: "+req.URL.Host) {
					t.Errorf("the receiver got %q", requests)
				}
				req.NoProxy = true
				if got, err := c.Do(t.Context(), req); err != nil || got.Status != 200 || len(f.got()) != len(want) {
					t.Errorf("without the proxy: %+v, %v; the proxy was asked %v", got, err, f.got())
				}
			})
		}
	}
}

// The proxy's own address is exempt from the guard; the target's is judged before the proxy hears of it.
func TestProxyTargetIsJudged(t *testing.T) {
	t.Parallel()
	r := raw(t, func(conn net.Conn, _ string) { io.WriteString(conn, ok) })
	_, port, _ := net.SplitHostPort(parse(t, r.url).Host)
	known := map[string][]net.IP{
		"private.example.": {net.IPv4(10, 0, 0, 1).To4()}, "metadata.example.": {net.IPv4(169, 254, 169, 254).To4()},
		"two.example.": {net.IPv4(8, 8, 8, 8).To4(), net.IPv4(10, 0, 0, 1).To4()}, "mapped.example.": {net.ParseIP("::ffff:10.0.0.1").To16()},
		"nat.example.": {net.ParseIP("64:ff9b::a9fe:a9fe")}, "public.example.": {net.IPv4(8, 8, 8, 8).To4(), net.ParseIP("2606:4700:4700::1111")},
	}
	for host, kind := range map[string]egress.Kind{
		"10.0.0.1": egress.Blocked, "127.0.0.1": egress.Blocked, "[::1]": egress.Blocked, "169.254.169.254": egress.Blocked, "localhost": egress.Blocked,
		"0x7f.1": egress.Blocked, "metadata.google.internal": egress.Blocked, "[::ffff:127.0.0.1]": egress.Blocked,
		"private.example.": egress.Blocked, "metadata.example.": egress.Blocked, "two.example.": egress.Blocked, "mapped.example.": egress.Blocked, "nat.example.": egress.Blocked,
		"public.example.": "", "unknown.example.": "", "8.8.8.8": "",
	} {
		for _, scheme := range []string{"http", "https"} {
			t.Run(scheme+" "+host, func(t *testing.T) {
				t.Parallel()
				f := proxy(t, nil, map[string]string{
					"public.example": "127.0.0.1", "public.example.": "127.0.0.1", "unknown.example": "127.0.0.1", "unknown.example.": "127.0.0.1", "8.8.8.8": "127.0.0.1",
				})
				c := client(t, by(t, f.URL), func(cfg *egress.Config) { cfg.Allow = nil })
				c.SetResolver(nameserverOf(t, func(name string) []net.IP { return known[name] }))
				got, err := c.Do(t.Context(), post(t, scheme+"://"+host+":"+port))
				if kind != "" && (kindOf(err) != kind || len(f.got()) != 0) {
					t.Errorf("%+v, %v; the proxy was asked %v", got, err, f.got())
				}
				if kind == "" && len(f.got()) != 1 {
					t.Errorf("%+v, %v; the proxy was asked %v", got, err, f.got())
				}
				if kind == "" && scheme == "http" && (err != nil || got.Status != 200) {
					t.Errorf("%+v, %v", got, err)
				}
			})
		}
	}
}

// What goes wrong at the proxy is not the receiver's doing, and says so.
func TestProxyTrouble(t *testing.T) {
	t.Parallel()
	says := func(text string) func(t *testing.T) string {
		return func(t *testing.T) string {
			return raw(t, func(conn net.Conn, _ string) {
				io.WriteString(conn, text)
				conn.Close()
			}).url
		}
	}
	refused := func(t *testing.T) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return "http://" + l.Addr().String()
	}
	for name, tt := range map[string]struct {
		proxy func(*testing.T) string
		kind  egress.Kind
		text  string
	}{
		"refused":        {refused, egress.Refused, "refused: proxy: connection refused"},
		"407":            {says("HTTP/1.1 407 Secret\r\nContent-Length: 0\r\n\r\n"), egress.Refused, "refused: proxy: answered 407 Proxy Authentication Required"},
		"502":            {says("HTTP/1.0 502 Bad\r\n\r\n<html>"), egress.Refused, "refused: proxy: answered 502 Bad Gateway"},
		"403":            {says("HTTP/1.1 403 No\r\n\r\n"), egress.Refused, "refused: proxy: answered 403 Forbidden"},
		"504":            {says("HTTP/1.1 504 No\r\n\r\n"), egress.Timeout, "timeout: proxy: answered 504 Gateway Timeout"},
		"redirect":       {says("HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/\r\n\r\n"), egress.Refused, "refused: proxy: answered 302 Found"},
		"closes":         {says(""), egress.Refused, "refused: proxy: connection closed before the end of the response"},
		"no proxy":       {says("SSH-2.0-OpenSSH_9.6\r\n"), egress.Refused, "refused: proxy: malformed response"},
		"speaks first":   {says("HTTP/1.1 200 OK\r\n\r\nhello"), egress.Refused, "refused: proxy: malformed response"},
		"endless":        {says("HTTP/1.1 200 OK\r\n" + strings.Repeat("a: b\r\n", 20_000)), egress.Refused, "refused: proxy: response header over the limit"},
		"does not exist": {func(*testing.T) string { return "http://proxy.invalid:3128" }, egress.Refused, ""},
		"no TLS": {func(t *testing.T) string {
			return strings.Replace(says("HTTP/1.0 400\r\n\r\n")(t), "http:", "https:", 1)
		}, egress.Refused, ""},
		"hangs": {func(t *testing.T) string {
			return raw(t, func(conn net.Conn, _ string) { hang(conn) }).url
		}, egress.Timeout, "timeout: exchange not ended in time"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := client(t, by(t, withUser(tt.proxy(t))))
			req := post(t, "https://127.0.0.1:1/hook?token=secret")
			req.Timeout = 500 * time.Millisecond
			if tt.kind != egress.Timeout {
				req.Timeout = patience
			}
			got, err := c.Do(t.Context(), req)
			if kindOf(err) != tt.kind || tt.text != "" && err.Error() != tt.text || !strings.Contains(err.Error(), "proxy") && name != "hangs" {
				t.Errorf("%+v, %v", got, err)
			}
			if err != nil && (strings.Contains(err.Error(), "er:") || strings.Contains(err.Error(), "secret")) {
				t.Errorf("the error has a secret: %v", err)
			}
		})
	}
	t.Run("407 of a plain request", func(t *testing.T) {
		t.Parallel()
		f := proxy(t, nil, nil)
		f.deny = http.StatusProxyAuthRequired
		got, err := client(t, by(t, f.URL)).Do(t.Context(), post(t, "http://127.0.0.1:1/"))
		if kindOf(err) != egress.Refused || got != nil || !strings.Contains(err.Error(), "407") {
			t.Errorf("%+v, %v", got, err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		t.Parallel()
		asked := make(chan struct{})
		r := raw(t, func(conn net.Conn, _ string) { close(asked); hang(conn) })
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-asked; cancel() }()
		if _, err := client(t, by(t, r.url)).Do(ctx, post(t, "https://127.0.0.1:1")); !errors.Is(err, context.Canceled) || kindOf(err) != egress.Stopped {
			t.Error(err)
		}
	})
}

func TestParseProxy(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"http://proxy.example:3128": "http://proxy.example:3128", "https://user:pass@proxy.example/": "https://proxy.example:443",
		"http://10.0.0.1": "http://10.0.0.1:80", "http://[::1]:8080": "http://[::1]:8080", "http://user@proxy.example": "http://proxy.example:80",
		"proxy.example:3128": "", "socks5://a:1": "", "http://": "", "http:proxy": "", "http://a:0": "", "http://a:": "", "http://a:99999": "", "http://a/path": "",
		"http://a?b": "", "http://a?": "", "http://a#b": "", "": "", "http://a:secret@b:c": "",
	} {
		p, err := egress.ParseProxy(secret.New(text))
		if want == "" {
			if err == nil {
				t.Errorf("%q is taken as %s", text, p)
			} else if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error repeats it: %v", err)
			}
			continue
		}
		if err != nil || p.String() != want || strings.Contains(fmt.Sprintf("%v %+v %#v", p, *p, *p), "pass") {
			t.Errorf("%q: %v, %v", text, p, err)
		}
	}
}

// egress.source is where requests come from, by a proxy too.
func TestSource(t *testing.T) {
	t.Parallel()
	from := make(chan string, 4)
	r := raw(t, func(conn net.Conn, _ string) {
		from <- conn.RemoteAddr().(*net.TCPAddr).IP.String()
		io.WriteString(conn, ok)
	})
	seen := make(chan string, 1)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		seen <- host
	}))
	defer front.Close()
	source := func(cfg *egress.Config) { cfg.Source = cidrs(t, "127.0.0.42/32")[0].Addr() }
	if _, err := client(t, source).Do(t.Context(), post(t, r.url)); err != nil || <-from != "127.0.0.42" {
		t.Error(err)
	}
	if _, err := client(t, source, by(t, front.URL)).Do(t.Context(), post(t, r.url)); err != nil || <-seen != "127.0.0.42" {
		t.Error(err)
	}
	missing := func(cfg *egress.Config) { cfg.Source = cidrs(t, "192.0.2.1/32")[0].Addr() }
	if _, err := client(t, missing).Do(t.Context(), post(t, r.url)); kindOf(err) != egress.Refused {
		t.Errorf("from an address that this machine does not have: %v", err)
	}
}

func TestFrom(t *testing.T) {
	t.Parallel()
	source := client(t, func(cfg *egress.Config) { cfg.Source = cidrs(t, "127.0.0.42/32")[0].Addr() })
	if got := fmt.Sprint(source.From(t.Context())); got != "[127.0.0.42]" {
		t.Error(got)
	}
	local, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range client(t).From(t.Context()) {
		if !slices.ContainsFunc(local, func(a net.Addr) bool { return strings.HasPrefix(a.String(), addr.String()+"/") }) {
			t.Errorf("%s is none of this machine's %v", addr, local)
		}
	}
}

// FuzzConnect: whatever a proxy answers, the exchange ends with an error or a tunnel.
func FuzzConnect(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\n\r\n"))
	f.Add([]byte("HTTP/1.0 407 No\r\nProxy-Authenticate: Basic\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 100 Continue\r\n\r\n"))
	f.Fuzz(func(t *testing.T, says []byte) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		var talking sync.WaitGroup
		talking.Go(func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				conn.Write(says)
			}
		})
		req := post(t, "https://127.0.0.1:1")
		req.Timeout = time.Second
		if got, err := client(t, by(t, "http://"+l.Addr().String())).Do(t.Context(), req); err == nil {
			t.Fatalf("%q: %+v", says, got)
		}
		talking.Wait()
	})
}
