package egress_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/auth/egress"
)

// hang waits for the client to go away.
func hang(conn net.Conn) { io.Copy(io.Discard, conn) }

// drip writes text a byte at a time for as long as the client listens.
func drip(conn net.Conn, text string) {
	every := time.NewTicker(5 * time.Millisecond)
	defer every.Stop()
	for i := 0; ; i++ {
		<-every.C
		if _, err := conn.Write([]byte{text[i%len(text)]}); err != nil {
			return
		}
	}
}

// flood writes text for as long as the client listens, and returns how much it took.
func flood(conn net.Conn, text string) (n int) {
	block := []byte(strings.Repeat(text, max(1, 16<<10/len(text))))
	for {
		w, err := conn.Write(block)
		if n += w; err != nil {
			return n
		}
	}
}

// hostile is a receiver for each way to misbehave, and what the sender is to make of it. A status means success.
var hostile = []struct {
	name   string
	answer func(conn net.Conn)
	kind   egress.Kind
	status int // with a kind: the header had come
}{
	{"says nothing", hang, egress.Timeout, 0},
	{"status a byte at a time", func(c net.Conn) { drip(c, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("y", 1e6)) }, egress.Timeout, 0},
	{"header never ends", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 OK\r\n"); hang(c) }, egress.Timeout, 0},
	{"body a byte at a time", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n"); drip(c, "x") }, egress.Timeout, 200},
	{"body never comes", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"); hang(c) }, egress.Timeout, 200},
	{"chunks never end", func(c net.Conn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
		hang(c)
	}, egress.Timeout, 200},
	{"body until close that never comes", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\nx"); hang(c) }, egress.Timeout, 200},

	{"closes before the answer", func(c net.Conn) { c.Close() }, egress.Reset, 0},
	{"resets before the answer", abort, egress.Reset, 0},
	{"closes in the status", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 20"); c.Close() }, egress.Reset, 0},
	{"closes in the header", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Le"); c.Close() }, egress.Reset, 0},
	{"closes after 100", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n"); c.Close() }, egress.Reset, 0},
	{"closes in the body", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab"); c.Close() }, egress.Reset, 200},
	{"closes in a chunk", func(c net.Conn) {
		io.WriteString(c, "HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\na\r\nab")
		c.Close()
	}, egress.Reset, 503},
	{"closes before the last chunk", func(c net.Conn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+chunked("hello"))
		c.Close()
	}, egress.Reset, 200},
	{"resets after a whole answer", func(c net.Conn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		c.Close()
	}, "", 200},

	{"body without end", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n"); flood(c, "x") }, "", 200},
	{"chunks without end", func(c net.Conn) {
		io.WriteString(c, "HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n")
		flood(c, chunked("hello"))
	}, "", 500},
	{"50 MB", func(c net.Conn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 52428800\r\n\r\n")
		flood(c, "x")
	}, "", 200},
	{"length of 2^63-1", func(c net.Conn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\n")
		flood(c, "x")
	}, "", 200},
	{"gzip bomb", func(c net.Conn) { c.Write(bomb()) }, "", 200},
	{"chunk extensions without end", func(c net.Conn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;a=")
		flood(c, "x")
	}, egress.Protocol, 200},
	{"trailers without end", func(c net.Conn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
		flood(c, "a: b\r\n")
	}, "", 200},
	{"a million headers", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 OK\r\n"); flood(c, "a: b\r\n") }, egress.Protocol, 0},
	{"one header without end", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 OK\r\na: "); flood(c, "b") }, egress.Protocol, 0},
	{"status without end", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 "); flood(c, "b") }, egress.Protocol, 0},
	{"header over 64 KiB", func(c net.Conn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nA: "+strings.Repeat("b", 66<<10)+"\r\nContent-Length: 0\r\n\r\n")
		hang(c)
	}, egress.Protocol, 0},
	{"100 without end", func(c net.Conn) { flood(c, "HTTP/1.1 100 Continue\r\n\r\n") }, egress.Protocol, 0},
	{"103 without end", func(c net.Conn) { flood(c, "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n") }, egress.Protocol, 0},
	{"some 1xx, then 200", func(c net.Conn) {
		io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 P\r\n\r\n"+ok)
	}, "", 200},
	{"101", func(c net.Conn) {
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
		hang(c)
	}, egress.Protocol, 0},

	{"status 99", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 99 Odd\r\nContent-Length: 0\r\n\r\n"); hang(c) }, egress.Protocol, 0},
	{"status 099", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n"); hang(c) }, egress.Protocol, 0},
	{"status 1000", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 1000 Odd\r\nContent-Length: 0\r\n\r\n"); hang(c) }, egress.Protocol, 0},
	{"status -20", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 -20 Odd\r\nContent-Length: 0\r\n\r\n"); hang(c) }, egress.Protocol, 0},
	{"no protocol", func(c net.Conn) { io.WriteString(c, "200 OK\r\n\r\n"); hang(c) }, egress.Protocol, 0},
	{"HTTP/0.9", func(c net.Conn) { io.WriteString(c, "<html>hello</html>\n"); c.Close() }, egress.Protocol, 0},
	{"HTTP/2 preface", func(c net.Conn) {
		c.Write([]byte("\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80\r\n"))
		hang(c)
	}, egress.Protocol, 0},
	{"zeros", func(c net.Conn) { flood(c, "\x00") }, egress.Protocol, 0},
	{"SSH", func(c net.Conn) { io.WriteString(c, "SSH-2.0-OpenSSH_9.6\r\n"); hang(c) }, egress.Protocol, 0},
	{"no colon", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n"); hang(c) }, egress.Protocol, 0},
	{"two lengths", func(c net.Conn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")
		hang(c)
	}, egress.Protocol, 0},
	{"length -1", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"); hang(c) }, egress.Protocol, 0},
	{"length words", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n"); hang(c) }, egress.Protocol, 0},
	{"unknown coding", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: brotli\r\n\r\n"); hang(c) }, egress.Protocol, 0},
	{"bad chunk", func(c net.Conn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n")
		hang(c)
	}, egress.Protocol, 200},
	{"chunk of 2^64", func(c net.Conn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n")
		hang(c)
	}, egress.Protocol, 200},
}

// bomb is a response whose 20 KB decompress to 20 MB.
func bomb() []byte {
	var body bytes.Buffer
	z := gzip.NewWriter(&body)
	z.Write(make([]byte, 20<<20))
	z.Close()
	return append(fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n", body.Len()), body.Bytes()...)
}

func TestHostileReceivers(t *testing.T) {
	t.Parallel()
	for _, tt := range hostile {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := raw(t, func(conn net.Conn, _ string) { tt.answer(conn) })
			req := post(t, r.url+"/?token=canary")
			if tt.kind == egress.Timeout {
				req.Timeout = 100 * time.Millisecond
			}
			start := time.Now()
			got, err := client(t).Do(t.Context(), req)
			if took := time.Since(start); took > patience/2 {
				t.Errorf("took %v", took)
			}
			switch {
			case tt.kind == "" && err != nil:
				t.Fatalf("%v, want status %d", err, tt.status)
			case tt.kind != "" && kindOf(err) != tt.kind:
				t.Fatalf("%+v, %v, want %s", got, err, tt.kind)
			case (got != nil) != (tt.status != 0), got != nil && got.Status != tt.status:
				t.Fatalf("%+v beside %v, want status %d", got, err, tt.status)
			case got != nil && len(got.Body) > 4<<10:
				t.Errorf("keeps %d bytes", len(got.Body))
			case err != nil && (strings.Contains(err.Error(), "canary") || len(err.Error()) > 200):
				t.Errorf("error says too much: %v", err)
			}
			if n := r.requests.Load(); n != 1 {
				t.Errorf("receiver saw %d requests, want 1", n)
			}
		})
	}
}

func TestReadAtMost(t *testing.T) {
	t.Parallel()
	took := make(chan int, 1)
	r := raw(t, func(conn net.Conn, _ string) {
		io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
		took <- flood(conn, "x")
	})
	if _, err := client(t).Do(t.Context(), post(t, r.url)); err != nil {
		t.Fatal(err)
	}
	// What the sockets of both sides hold comes on top of the 64 KiB; it does not grow with the response.
	if n := <-took; n > 16<<20 {
		t.Errorf("%d bytes went into the connection before it was closed", n)
	}
}

// A receiver that closes an idle connection at the very moment the next request comes must see that request at most once, whatever its headers say.
func TestNothingIsSentTwice(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"POST", "PUT", "PATCH", "GET"} {
		for _, size := range []int{0, 10, 100_000} {
			if method == "GET" && size > 0 {
				continue
			}
			t.Run(fmt.Sprint(method, size), func(t *testing.T) {
				t.Parallel()
				var mu sync.Mutex
				perConn := map[net.Conn]int{}
				r := raw(t, func(conn net.Conn, _ string) {
					mu.Lock()
					perConn[conn]++
					n := perConn[conn]
					mu.Unlock()
					if n == 1 {
						io.WriteString(conn, ok)
					} else {
						conn.Close()
					}
				})
				c := client(t)
				var good, bad int
				for range 20 {
					req := post(t, r.url)
					req.Method, req.Body = method, make([]byte, size)
					req.Header.Set("Idempotency-Key", "1")
					if _, err := c.Do(t.Context(), req); err == nil {
						good++
					} else if kindOf(err) == egress.Reset {
						bad++
					} else {
						t.Fatal(err)
					}
				}
				if n := r.requests.Load(); n != 20 || good != 10 || bad != 10 {
					t.Errorf("receiver saw %d requests for 20 attempts, %d answered, %d reset; want 20, 10, 10", n, good, bad)
				}
			})
		}
	}
}

// A receiver that closes idle connections at once must not cost attempts when the close had time to arrive.
func TestClosedIdleConnectionIsNotUsed(t *testing.T) {
	t.Parallel()
	closed := make(chan struct{}, 1)
	r := raw(t, func(conn net.Conn, _ string) {
		io.WriteString(conn, ok)
		conn.Close()
		closed <- struct{}{}
	})
	c := client(t)
	fails := 0
	for range 50 {
		if _, err := c.Do(t.Context(), post(t, r.url)); err != nil {
			fails++
		} else {
			<-closed
		}
	}
	if fails > 5 {
		t.Errorf("%d of 50 attempts met a connection that was closed before them", fails)
	}
}

// A receiver may answer before it has read the request, and never read it.
func TestAnswerBeforeTheBody(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
			t.Cleanup(func() { conn.Close() })
		}
	}()
	for _, size := range []int{1 << 10, 60 << 10, 1_000_000, 64 << 20} {
		req := post(t, "http://"+l.Addr().String())
		req.Body = bytes.Repeat([]byte("x"), size)
		got, err := client(t).Do(t.Context(), req)
		if err != nil || got.Status != 413 || string(got.Body) != "big" {
			t.Errorf("%d bytes: %+v, %v", size, got, err)
		}
		clear(req.Body) // the caller's again: the race detector sees who still reads
	}
}

func TestMemoryAndGoroutinesComeBack(t *testing.T) { // alone: it counts what the process has
	base := runtime.NumGoroutine()
	func() {
		cfg := egress.DefaultConfig()
		cfg.Allow, cfg.PlainHTTP = cidrs(t, "127.0.0.0/8"), true
		c, err := egress.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		t.Run("receivers", func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			for _, answer := range []func(net.Conn){
				func(conn net.Conn) { io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n"); flood(conn, "x") },
				func(conn net.Conn) { io.WriteString(conn, "HTTP/1.1 200 OK\r\n"); flood(conn, "a: b\r\n") },
				func(conn net.Conn) { flood(conn, "HTTP/1.1 100 Continue\r\n\r\n") },
				func(conn net.Conn) { io.WriteString(conn, ok) },
			} {
				r := raw(t, func(conn net.Conn, _ string) { answer(conn) })
				var wg sync.WaitGroup
				for range 200 {
					wg.Go(func() { c.Do(t.Context(), post(t, r.url)) })
				}
				wg.Wait()
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 16<<20 {
				t.Errorf("heap has grown by %d KiB over 800 exchanges", grown>>10)
			}
		})
	}()
	eventually(t, func() bool { return runtime.NumGoroutine() <= base })
}

// eventually waits for a state that comes by itself.
func eventually(t *testing.T, done func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-deadline:
			t.Fatal("does not happen")
		case <-tick.C:
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	if _, err := client(t).Do(t.Context(), post(t, "http://"+addr)); kindOf(err) != egress.Refused {
		t.Errorf("%v, want refused", err)
	}
}

// Connecting counts into the deadline, and does not go on after it.
func TestConnectingEndsAtTheDeadline(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never does its part of the handshake
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ended := make(chan struct{})
	go func() {
		conn, err := l.Accept()
		if err == nil {
			hang(conn)
			close(ended)
		}
	}()
	req := post(t, "https://"+l.Addr().String())
	req.Timeout = 50 * time.Millisecond
	if _, err := client(t).Do(t.Context(), req); kindOf(err) != egress.Timeout {
		t.Errorf("%v, want timeout", err)
	}
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("the connection is still open")
	}
}
