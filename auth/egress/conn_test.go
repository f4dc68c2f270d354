package egress

import (
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"testing"
	"time"
)

// TestEndOfItsContextJustBeforeARequest: a caller whose context ended after it had asked, and before the deadline of the exchange was
// set on the connection, waited for the receiver until that deadline, as the end had been heeded by then and was written over.
func TestEndOfItsContextJustBeforeARequest(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	tcp, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	to := host{scheme: "http", authority: l.Addr().String()}
	conn, err := newConn(tcp, tcp.(*net.TCPConn), to)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	c, err := New(DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 2 { // then it is heeded on
		if !conn.heed(ctx) || !conn.rest() {
			t.Fatal("a living context is not heeded")
		}
	}
	c.idle.put(conn, time.Minute)
	stop()
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) { // once it was heeded
		t.Fatal(err)
	}
	r := &Request{URL: &url.URL{Scheme: "http", Host: l.Addr().String()}}
	taken, err := c.connect(ctx, r, time.Now(), time.Now().Add(time.Minute))
	if err != nil || taken != conn {
		t.Fatalf("%v, %v", taken, err)
	}
	if taken.heed(ctx) {
		t.Error("a request begins on a connection that heeds nothing any more")
	}
	taken.drop()
}
