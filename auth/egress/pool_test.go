package egress

import (
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// idleConn is one that tells whether it is closed.
func idleConn(t *testing.T, h host) *conn {
	ours, theirs := net.Pipe()
	t.Cleanup(func() { theirs.Close() })
	return &conn{Conn: ours, socket: ours, host: h}
}

func closed(c *conn) bool { return c.SetDeadline(time.Time{}) != nil }

func TestPoolTakesTheYoungest(t *testing.T) {
	t.Parallel()
	p, h := newPool(DefaultConfig()), host{tenant: "a", scheme: "http", authority: "x"}
	defer p.close()
	first, second := idleConn(t, h), idleConn(t, h)
	p.put(first, time.Minute)
	p.put(second, time.Minute)
	for _, change := range []func(*host){
		func(h *host) { h.tenant = "b" }, func(h *host) { h.scheme = "https" }, func(h *host) { h.tls = "1" }, func(h *host) { h.proxied = true },
	} {
		other := h
		if change(&other); p.take(other, time.Now()) != nil {
			t.Errorf("another's connection for %+v", other)
		}
	}
	if p.take(h, time.Now()) != second || p.take(h, time.Now()) != first || p.take(h, time.Now()) != nil {
		t.Error("not the one that was used last")
	}
}

func TestPoolIsBounded(t *testing.T) {
	t.Parallel()
	cfg := DefaultConfig()
	cfg.MaxIdlePerHost, cfg.MaxIdle = 2, 3
	p := newPool(cfg)
	x, y := host{tenant: "a", scheme: "http", authority: "x"}, host{tenant: "a", scheme: "http", authority: "y"}
	conns := []*conn{idleConn(t, x), idleConn(t, x), idleConn(t, x), idleConn(t, y), idleConn(t, y)}
	for _, c := range conns {
		p.put(c, time.Minute)
	}
	for i, want := range []bool{true, false, true, false, false} { // the third was one too many to x, the first the oldest of four
		if closed(conns[i]) != want {
			t.Errorf("connection %d: closed %v, want %v", i, !want, want)
		}
	}
	p.close()
	late := idleConn(t, x)
	p.put(late, time.Minute)
	for _, c := range append(conns, late) {
		if !closed(c) {
			t.Error("open after close")
		}
	}
}

func TestPoolForgets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, h, g := newPool(DefaultConfig()), host{tenant: "a", scheme: "http", authority: "x"}, host{tenant: "a", scheme: "http", authority: "y"}
		brief, long, never := idleConn(t, h), idleConn(t, h), idleConn(t, g)
		p.put(long, time.Hour) // longer than ours
		p.put(brief, 4*time.Second)
		p.put(never, 0)
		if !closed(never) {
			t.Error("kept what the receiver does not keep")
		}
		time.Sleep(5 * time.Second) //nolint:forbidigo // fake time
		if got := p.take(h, time.Now()); got != long || !closed(brief) {
			t.Errorf("took %p, want %p: the other is past what the receiver said", got, long)
		}
		p.put(long, time.Hour)
		time.Sleep(idleTimeout + sweepEvery) //nolint:forbidigo // fake time
		synctest.Wait()
		if !closed(long) || p.count != 0 || len(p.hosts) != 0 || p.timer != nil {
			t.Errorf("idle for long: closed %v, %d connections, %d hosts, timer %v", closed(long), p.count, len(p.hosts), p.timer)
		}
	})
}
