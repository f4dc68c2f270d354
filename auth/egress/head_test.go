package egress

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// says is a connection on which a receiver has said text and closed.
type says struct {
	net.Conn
	io.Reader
}

func (s says) Read(p []byte) (int, error) { return s.Reader.Read(p) }

func answerTo(text []byte) (*exchange, *Response, error) {
	cfg := DefaultConfig()
	x := exchanges.New().(*exchange)
	x.src, x.again = says{Reader: bytes.NewReader(text)}, true
	answer, err := x.answer(&cfg)
	return x, answer, err
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	const length = "Content-Length: 2\r\n"
	for name, tt := range map[string]struct {
		text     string
		want     Response
		again    bool
		patience time.Duration
	}{
		"plain":              {"HTTP/1.1 200 OK\r\n" + length + "\r\nok", Response{200, http.Header{"Content-Length": {"2"}}, []byte("ok")}, true, idleTimeout},
		"no reason":          {"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", Response{200, http.Header{"Content-Length": {"0"}}, nil}, true, idleTimeout},
		"empty reason":       {"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", Response{200, http.Header{"Content-Length": {"0"}}, nil}, true, idleTimeout},
		"bare line feeds":    {"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", Response{200, http.Header{"Content-Length": {"2"}}, []byte("ok")}, true, idleTimeout},
		"no header":          {"HTTP/1.1 200 OK\r\n\r\nok", Response{200, http.Header{}, []byte("ok")}, false, idleTimeout},
		"1.0":                {"HTTP/1.0 200 OK\r\n" + length + "\r\nok", Response{200, http.Header{"Content-Length": {"2"}}, []byte("ok")}, false, idleTimeout},
		"1.0 that stays":     {"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n" + length + "\r\nok", Response{200, http.Header{"Content-Length": {"2"}, "Connection": {"Keep-Alive"}}, []byte("ok")}, true, idleTimeout},
		"close":              {"HTTP/1.1 200 OK\r\nConnection: foo , Close\r\n" + length + "\r\nok", Response{200, http.Header{"Content-Length": {"2"}, "Connection": {"foo , Close"}}, []byte("ok")}, false, idleTimeout},
		"keep-alive hint":    {"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5, max=100\r\n" + length + "\r\nok", Response{200, http.Header{"Content-Length": {"2"}, "Keep-Alive": {"timeout=5, max=100"}}, []byte("ok")}, true, 4 * time.Second},
		"more than the body": {"HTTP/1.1 200 OK\r\n" + length + "\r\nokHTTP/1.1 500 Late\r\n", Response{200, http.Header{"Content-Length": {"2"}}, []byte("ok")}, false, idleTimeout},
		"204 with a length":  {"HTTP/1.1 204 No Content\r\n" + length + "\r\n", Response{204, http.Header{"Content-Length": {"2"}}, nil}, true, idleTimeout},
		"same length twice":  {"HTTP/1.1 200 OK\r\n" + length + length + "\r\nok", Response{200, http.Header{"Content-Length": {"2", "2"}}, []byte("ok")}, true, idleTimeout},
		"chunks":             {"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n1;x=y\r\no\r\n01 \r\nk\r\n0\r\nTrailer: x\r\n\r\n", Response{200, http.Header{"Transfer-Encoding": {"Chunked"}}, []byte("ok")}, true, idleTimeout},
		"chunks and length":  {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + length + "\r\n2\r\nok\r\n0\r\n\r\n", Response{200, http.Header{"Transfer-Encoding": {"chunked"}, "Content-Length": {"2"}}, []byte("ok")}, false, idleTimeout},
		"after 1xx":          {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 E\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n" + length + "\r\nok", Response{200, http.Header{"Content-Length": {"2"}}, []byte("ok")}, true, idleTimeout},
		"folded, lower case, repeated": {"HTTP/1.1 200 OK\r\nx-a: 1\r\n  2\r\nX-A:\t3 \r\nx-b:\r\n" + length + "\r\nok",
			Response{200, http.Header{"X-A": {"1    2", "3"}, "X-B": {""}, "Content-Length": {"2"}}, []byte("ok")}, true, idleTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x, got, err := answerTo([]byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&tt.want, got); diff != "" {
				t.Error(diff)
			}
			if x.again != tt.again || x.patience != tt.patience {
				t.Errorf("again %v for %v, want %v for %v", x.again, x.patience, tt.again, tt.patience)
			}
		})
	}
}

func TestNoAnswer(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.1  200 OK\r\n\r\n", "HTTP/1.1 2000\r\n\r\n", "HTTP/1.1 20x OK\r\n\r\n", "HTTP/1.x 200 OK\r\n\r\n", "http/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\n: b\r\n\r\n", "HTTP/1.1 200 OK\r\na : b\r\n\r\n", "HTTP/1.1 200 OK\r\na: b\x00c\r\n\r\n", "HTTP/1.1 200 OK\r\na: b\rc\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nok", "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
		"HTTP/1.1 200 OK\r\n" + strings.Repeat("a: b\r\n", maxFields+1) + "\r\n",
	} {
		if _, got, err := answerTo([]byte(text)); err == nil || explain(t.Context(), err).Kind != Protocol {
			t.Errorf("%.80q: %+v, %v", text, got, err)
		}
	}
}

// Whatever comes, the answer is bounded, and what we take for a response net/http takes for the same one.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.0 404 Not Found\r\n\r\ngone", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nKeep-Alive: timeout=5\r\n\r\n", "HTTP/1.1 200 OK\nA: b\n c\n\nx",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		_, got, err := answerTo(text)
		if got != nil && (got.Status < 200 || got.Status > 999 || len(got.Body) > 4<<10) {
			t.Fatalf("%+v", got)
		}
		if err != nil {
			if e := explain(t.Context(), err); e.Kind != Protocol && e.Kind != Reset {
				t.Fatalf("%v of kind %s", err, e.Kind)
			}
			return
		}
		br := bufio.NewReader(bytes.NewReader(text))
		for {
			theirs, err := http.ReadResponse(br, nil)
			if err != nil {
				return // they refuse some that we take, such as a chunked answer of HTTP/1.0 with a length
			}
			if theirs.StatusCode < 200 {
				continue
			}
			body, err := io.ReadAll(io.LimitReader(theirs.Body, 4<<10))
			if theirs.StatusCode != got.Status {
				t.Fatalf("status %d, net/http %d", got.Status, theirs.StatusCode)
			}
			if err == nil && theirs.ProtoMinor > 0 && !bytes.Equal(body, got.Body) && got.Status != 204 && got.Status != 304 {
				t.Fatalf("body %q, net/http %q", got.Body, body)
			}
			return
		}
	})
}
