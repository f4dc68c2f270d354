package egress_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"sync/atomic"
	"testing"
)

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// receiver is a receiver that says byte for byte what a test wants.
type receiver struct {
	url      string
	conns    atomic.Int64
	requests atomic.Int64
}

// raw starts a receiver. After each whole request that came in it calls answer, which writes to the connection and may close it; the
// connection ends when answer closed it or the client has.
func raw(t testing.TB, answer func(conn net.Conn, request string)) *receiver {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, l, "http", answer)
}

func serve(t testing.TB, l net.Listener, scheme string, answer func(conn net.Conn, request string)) *receiver {
	r := &receiver{url: scheme + "://" + l.Addr().String()}
	var wg sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			r.conns.Add(1)
			mu.Lock()
			open[conn] = true
			mu.Unlock()
			wg.Go(func() {
				r.exchange(conn, answer)
				conn.Close()
				mu.Lock()
				delete(open, conn)
				mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for conn := range open {
			conn.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return r
}

func (r *receiver) exchange(conn net.Conn, answer func(net.Conn, string)) {
	var seen buffer
	br := bufio.NewReader(io.TeeReader(conn, &seen))
	for {
		seen.b = seen.b[:0]
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
		r.requests.Add(1)
		answer(conn, string(seen.b))
	}
}

type buffer struct{ b []byte }

func (b *buffer) Write(p []byte) (int, error) { b.b = append(b.b, p...); return len(p), nil }

// abort closes conn with a reset instead of an end.
func abort(conn net.Conn) {
	conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
}

// chunked returns text as chunks, without the last one.
func chunked(text string) string {
	var b buffer
	io.WriteString(httputil.NewChunkedWriter(&b), text)
	return string(b.b)
}
