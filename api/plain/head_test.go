package plain_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/hookfleet/hookfleet/api/plain"
)

const (
	path    = "/v1/events"
	line    = "POST /v1/events HTTP/1.1\r\n"
	maxBody = 1000
)

func TestPlainHeads(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"least":              line + "Host: x\r\nContent-Length: 0\r\n\r\n",
		"usual":              line + "Host: 127.0.0.1:8080\r\nUser-Agent: x/1.0 (y; z)\r\nContent-Length: 2\r\nAuthorization: Bearer hf_x\r\nContent-Type: application/cloudevents+json; charset=utf-8\r\nAccept-Encoding: gzip\r\n\r\n",
		"binary":             line + "Host: [::1]:80\r\nce-id: 1\r\nCE-Source: /a%20b\r\ncOnTeNt-lEnGtH:2\r\nConnection: Keep-Alive\r\n\r\n",
		"twice":              line + "Host: x\r\nContent-Length: 0\r\nX-A: 1\r\nX-B: 2\r\nx-a:\r\nX-A:  3  \r\n\r\n",
		"longest body":       line + "Host: x\r\nContent-Length: 1000\r\n\r\n",
		"as many as allowed": line + "Host: x\r\nContent-Length: 1\r\n" + strings.Repeat("X-A: 1\r\n", 62) + "\r\n",
	} {
		for _, behind := range []string{"", "{}", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"} {
			if !agrees(t, []byte(text+behind)) {
				t.Errorf("%s is not plain", name)
			}
		}
		p := plain.NewParser(path, maxBody)
		for n := range len(text) {
			if _, whole, more := p.Take([]byte(text[:n])); whole || !more {
				t.Errorf("%s, its first %d bytes: whole %v, more %v", name, n, whole, more)
			}
		}
	}
}

func TestOddHeads(t *testing.T) {
	t.Parallel()
	with := func(fields string) string { return line + "Host: x\r\nContent-Length: 1\r\n" + fields + "\r\n" }
	for _, text := range []string{
		"GET /v1/events HTTP/1.1\r\n", "POST /v1/events HTTP/1.0\r\n", "POST /v1/events HTTP/1.1\n", "post /v1/events HTTP/1.1\r\n", "POST  /v1/events HTTP/1.1\r\n",
		"POST /v1/events? HTTP/1.1\r\n", "POST /v1/events/ HTTP/1.1\r\n", "POST http://x/v1/events HTTP/1.1\r\n", "\r\n" + line, "\x16\x03\x01", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		line + "\r\n", line + "Host: x\r\n\r\n", line + "Content-Length: 1\r\n\r\n",
		line + "Host: x\r\nContent-Length: 1001\r\n\r\n", line + "Host: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
		line + "Host: x\r\nContent-Length: +1\r\n\r\n", line + "Host: x\r\nContent-Length: -1\r\n\r\n", line + "Host: x\r\nContent-Length: 01\r\n\r\n", line + "Host: x\r\nContent-Length: 1, 1\r\n\r\n",
		line + "Host: x\r\nContent-Length: 0x1\r\n\r\n", line + "Host: x\r\nContent-Length: 1 1\r\n\r\n", line + "Host: x\r\nContent-Length: \r\n\r\n",
		line + "Host: \r\nContent-Length: 1\r\n\r\n", line + "Host: x/y\r\nContent-Length: 1\r\n\r\n", line + "Host: a@b\r\nContent-Length: 1\r\n\r\n", line + "Host: a, b\r\nContent-Length: 1\r\n\r\n",
		with("Content-Length: 1\r\n"), with("Content-Length: 2\r\n"), with("Host: x\r\n"), with("host: y\r\n"),
		with("Transfer-Encoding: chunked\r\n"), with("transfer-encoding: identity\r\n"), with("Transfer-Encoding:\r\n"), with("Expect: 100-continue\r\n"), with("Upgrade: h2c\r\n"), with("Trailer: X\r\n"),
		with("TE: trailers\r\n"), with("HTTP2-Settings: x\r\n"), with("Pragma: no-cache\r\n"), with("Proxy-Connection: close\r\n"), with("Keep-Alive: 1\r\n"),
		with("Connection: close\r\n"), with("Connection: keep-alive, upgrade\r\n"), with("Connection: keep-alive\r\nConnection: keep-alive\r\n"), with("Connection:\r\n"),
		with(" X: folded\r\n"), with("X: a\r\n folded\r\n"), with("X: a\r\n\tfolded\r\n"), with("X : a\r\n"), with("X\t: a\r\n"), with(": a\r\n"), with("X\r\n"), with("X y: a\r\n"), with("X: \ta\r\n"),
		with("X: a\x00b\r\n"), with("X: a\rb\r\n"), with("X: a\x7fb\r\n"), with("X: \xc3\xa4\r\n"), with("\xc3\xa4: a\r\n"), with("X: a\n"), with("X: a\r\r\n"), with("X(: a\r\n"),
		with("Transfer-Encoding : chunked\r\n"), with("X: a\r\nTransfer-Encoding\x00: chunked\r\n"),
		line + "Host: x\nContent-Length: 1\n\n", line + "\n",
		with("X: " + strings.Repeat("a", 8<<10) + "\r\n"), with(strings.Repeat("X: a\r\n", 63)), line + strings.Repeat("a", 9<<10),
	} {
		if _, whole, more := plain.NewParser(path, maxBody).Take([]byte(text)); whole || more {
			t.Errorf("%q: whole %v, more %v", text, whole, more)
		}
	}
}

// agrees reports whether b begins with a plain head, and checks that net/http reads the same then.
func agrees(t *testing.T, b []byte) bool {
	t.Helper()
	p := plain.NewParser(path, maxBody)
	h, whole, _ := p.Take(b)
	if !whole {
		return false
	}
	in := bufio.NewReader(bytes.NewReader(b))
	r, err := http.ReadRequest(in)
	if err != nil {
		t.Fatalf("net/http does not read %q: %v", b, err)
	}
	want := maps.Clone(r.Header)
	delete(want, "Host") // as the server does
	if r.Method != http.MethodPost || r.URL.String() != path || r.RequestURI != path || r.Proto != "HTTP/1.1" || r.Host != h.Host || r.ContentLength != h.Length || r.TransferEncoding != nil || r.Trailer != nil || r.Close {
		t.Errorf("net/http reads %q as %+v, we as %+v", b, r, h)
	}
	if !reflect.DeepEqual(want, h.Fields) {
		t.Errorf("net/http reads of %q %v, we %v", b, want, h.Fields)
	}
	body, _ := io.ReadAll(r.Body)
	if end := min(len(b), h.Size+int(h.Length)); !bytes.Equal(body, b[h.Size:end]) {
		t.Errorf("net/http ends the body of %q with %q, we with %q", b, body, b[h.Size:end])
	}
	again, whole, _ := p.Take(b)
	if first := fmt.Sprint(h); !whole || fmt.Sprint(again) != first {
		t.Errorf("the second time %q is %v, %v", b, again, whole)
	}
	return true
}

func FuzzHead(f *testing.F) {
	for _, fields := range []string{
		"Host: x\r\nContent-Length: 2\r\n\r\n{}", "Host: x\r\nContent-Length: 2\r\nX-A: 1\r\nx-a:2\r\n\r\n{}GET /", "Host: x:1\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n",
		"Host: x\nContent-Length: 2\n\n", "Host: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n", "Host: x\r\nContent-Length: 1\r\nX: a\r\n b\r\n\r\n", "Host: [::1%25]\r\nContent-Length: 1\r\n\r\n",
	} {
		f.Add([]byte(fields))
	}
	f.Fuzz(func(t *testing.T, fields []byte) {
		agrees(t, append([]byte(line), fields...))
		agrees(t, fields)
	})
}

// TestHeadAfterHead: nothing of one head is in the next.
func TestHeadAfterHead(t *testing.T) {
	t.Parallel()
	p := plain.NewParser(path, maxBody)
	first := line + "Host: a\r\nContent-Length: 3\r\nX-A: 1\r\nX-B: 2\r\n\r\n"
	for range 2 {
		if h, whole, _ := p.Take([]byte(first)); !whole || h.Host != "a" || h.Length != 3 || len(h.Fields) != 3 {
			t.Fatalf("%+v, %v", h, whole)
		}
		if h, whole, _ := p.Take([]byte(line + "Host: b\r\nContent-Length: 4\r\nX-A: 3\r\n\r\n")); !whole || h.Host != "b" || h.Length != 4 || len(h.Fields) != 2 || h.Fields.Get("X-A") != "3" {
			t.Fatalf("%+v, %v", h, whole)
		}
		if _, whole, _ := p.Take([]byte(line + "Host: b\r\nContent-Length: 4\r\nExpect: x\r\n\r\n")); whole {
			t.Fatal("an odd one behind a plain one is plain")
		}
	}
}
