package embedded

import (
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// How our own connections come over a time in which the server takes nothing.
const (
	// quiet is how long nothing comes when all that was asked is answered: that takes a millisecond, or a sync of the disk.
	quiet     = 20 * time.Millisecond
	mostQuiet = 300 * time.Millisecond
	// backTimeout is how long one may take to be there again, which takes a millisecond. What it had to send is lost then, as at a restart.
	backTimeout = 2 * time.Second
	backLook    = time.Millisecond
	// mostHeld bounds what waits to be sent of one connection, in bytes; who sends more waits.
	mostHeld = 32 << 20
)

// inner are our own connections to the server.
type inner struct {
	mu      sync.Mutex
	clients []*innerClient
}

// innerClient makes the connections of one client, one after the other.
type innerClient struct {
	b       *Broker
	nc      *nats.Conn
	current atomic.Pointer[innerConn]
}

// InProcessConn implements nats.InProcessConnProvider over whichever server runs now.
func (c *innerClient) InProcessConn() (net.Conn, error) {
	s := c.b.current.Load()
	if s == nil {
		return nil, errors.New("the embedded broker is not running")
	}
	conn, err := s.InProcessConn()
	if err != nil {
		return nil, err
	}
	own := &innerConn{Conn: conn, over: make(chan struct{})}
	own.read.Store(time.Now().UnixNano())
	c.current.Store(own)
	return own, nil
}

// innerConn is a client's end of a connection. What the client writes at once are whole operations.
type innerConn struct {
	net.Conn

	read atomic.Int64 // when something came last, in ns

	once sync.Once
	over chan struct{} // closed: it is, or what it held is given away

	mu    sync.Mutex
	holds bool
	held  []byte // what was written while it holds
}

// Read implements net.Conn.
func (c *innerConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read.Store(time.Now().UnixNano())
	return n, err
}

// Write implements net.Conn.
func (c *innerConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	if c.holds && len(c.held) > mostHeld {
		c.mu.Unlock()
		<-c.over
		c.mu.Lock()
	}
	defer c.mu.Unlock()
	if c.holds && len(c.held) <= mostHeld {
		c.held = append(c.held, b...)
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// Close implements net.Conn. Who waits to write has the client's lock, and goes on.
func (c *innerConn) Close() error {
	c.end()
	return c.Conn.Close()
}

func (c *innerConn) end() { c.once.Do(func() { close(c.over) }) }

// hold keeps what is written from here on.
func (c *innerConn) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holds = true
}

// give returns what was kept. What is written from here on goes to a connection that is closed.
func (c *innerConn) give() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	held := c.held
	c.holds, c.held = false, nil
	c.end()
	return held
}

// settle returns when nothing has come for a while.
func (c *innerConn) settle(until time.Time) {
	for rest := quiet; rest > 0 && time.Now().Before(until); {
		rest = quiet - time.Since(time.Unix(0, c.read.Load()))
		<-time.After(rest)
	}
}

// keep keeps a client, and forgets those that were closed.
func (i *inner) keep(c *innerClient) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.clients = append(slices.DeleteFunc(i.clients, func(c *innerClient) bool { return c.nc.IsClosed() }), c)
}

// hold has all clients wait, and returns when what they have asked before is answered. They go on by new connections when release is called, which
// returns when they have.
func (i *inner) hold() (release func()) {
	i.mu.Lock()
	clients := slices.Clone(i.clients)
	i.mu.Unlock()
	var flushing sync.WaitGroup
	for _, c := range clients { // what waits in a client when its connection breaks off is lost
		flushing.Go(func() { _ = c.nc.FlushTimeout(mostQuiet) }) // else it is as it is
	}
	flushing.Wait()
	held := make(map[*innerClient]*innerConn, len(clients))
	for _, c := range clients {
		if conn := c.current.Load(); c.nc.IsConnected() {
			conn.hold()
			held[c] = conn
		}
	}
	until := time.Now().Add(mostQuiet)
	for _, conn := range held {
		conn.settle(until)
	}
	return func() {
		var back sync.WaitGroup
		for c, conn := range held {
			back.Go(func() { c.renew(conn) })
		}
		back.Wait()
	}
}

// renew has a client connect again, and sends what it had to send meanwhile. A client that finds its connection broken keeps its requests; told
// while it waits to try again, it tries at once.
func (c *innerClient) renew(old *innerConn) {
	_ = old.Close() // a pipe
	until := time.Now().Add(backTimeout)
	for !c.nc.IsReconnecting() && c.current.Load() == old && time.Now().Before(until) && !c.nc.IsClosed() {
		<-time.After(backLook)
	}
	held := old.give()
	if c.nc.IsReconnecting() {
		_ = c.nc.ForceReconnect() // else it is closed
	}
	for (!c.nc.IsConnected() || c.current.Load() == old) && time.Now().Before(until) && !c.nc.IsClosed() {
		<-time.After(backLook)
	}
	if conn := c.current.Load(); conn != old && len(held) > 0 {
		_, _ = conn.Write(held) // else it has broken off again
	}
}
