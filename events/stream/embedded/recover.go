package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// recoverPatience is how long a new connection of ours waits for the store to be read anew before it is refused: the client tries again
// after its own wait, and holds locks meanwhile.
const recoverPatience = 250 * time.Millisecond

// errRecovering refuses our own connections while the store is read anew.
var errRecovering = errors.New("the embedded broker reads its store")

// What a connection of ours is waited for that is to end: the answers to what it has asked come within a millisecond, or a sync.
const (
	quiet     = 20 * time.Millisecond
	mostQuiet = 300 * time.Millisecond
)

// inner are our own connections to the server.
type inner struct {
	mu    sync.Mutex
	conns []*nats.Conn
	shut  chan struct{} // none is let in until it is closed; nil = all are
}

// innerConn is our end of one.
type innerConn struct {
	net.Conn

	of   *inner
	read atomic.Int64 // when something came last, in ns
}

// Read implements net.Conn.
func (c *innerConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read.Store(time.Now().UnixNano())
	return n, err
}

// Close implements net.Conn. While the store is to be read anew, it lets what was asked be answered first.
func (c *innerConn) Close() error {
	if c.of.closed() {
		for end := time.Now().Add(mostQuiet); time.Now().Before(end); {
			rest := quiet - time.Since(time.Unix(0, c.read.Load()))
			if rest <= 0 {
				break
			}
			<-time.After(rest)
		}
	}
	return c.Conn.Close()
}

// keep keeps a connection, and forgets those that were closed.
func (i *inner) keep(nc *nats.Conn) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.conns = append(slices.DeleteFunc(i.conns, (*nats.Conn).IsClosed), nc)
}

func (i *inner) closed() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.shut != nil
}

// wait returns when connections are let in, or false when that takes long.
func (i *inner) wait() bool {
	patience := time.NewTimer(recoverPatience)
	defer patience.Stop()
	for {
		i.mu.Lock()
		shut := i.shut
		i.mu.Unlock()
		if shut == nil {
			return true
		}
		select {
		case <-shut:
		case <-patience.C:
			return false
		}
	}
}

// keepOut ends all connections, and lets none in until open is called. What is published on them meanwhile waits in the clients.
func (i *inner) keepOut() (open func()) {
	shut := make(chan struct{})
	i.mu.Lock()
	i.shut = shut
	conns := slices.Clone(i.conns)
	i.mu.Unlock()
	var ending sync.WaitGroup
	for _, nc := range conns {
		ending.Go(func() { _ = nc.ForceReconnect() }) // else it is closed
	}
	ending.Wait()
	return func() {
		i.mu.Lock()
		i.shut = nil
		i.mu.Unlock()
		close(shut)
	}
}

// Recover has the server read its store anew, which it does else at its start only, as for the ids of what is stored within the window of
// duplicates: 20 ms, and a microsecond for each of these. Clients from outside stay connected, also one that waits to be let in, which
// keeps a server from ending; our own connections break, and come back, as at a restart. What the server is asked meanwhile it refuses.
func (b *Broker) Recover(ctx context.Context) error {
	if !b.swap.lock(ctx) {
		return fmt.Errorf("read the store anew: %w", context.Cause(ctx))
	}
	defer b.swap.unlock()
	s := b.current.Load()
	if s == nil || b.over {
		return errEnded
	}
	if b.failed.Load() {
		return fmt.Errorf("read the store anew: %w", errNoRoom)
	}
	open := b.inner.keepOut()
	defer open()
	account := s.GlobalAccount()
	if err := account.DisableJetStream(); err != nil {
		return fmt.Errorf("close the store: %w", err)
	}
	if err := account.EnableJetStream(nil, nil); err != nil {
		b.failed.Store(true) // and so it is started anew
		return fmt.Errorf("read the store anew: %w", err)
	}
	return nil
}

// swap is what only one may do with the server at a time: to read its store anew, or to end it.
type swap chan struct{}

func (s swap) lock(ctx context.Context) bool {
	select {
	case s <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s swap) unlock() { <-s }
