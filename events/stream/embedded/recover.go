package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// recoverPatience is how long a new connection of ours waits for the store to be read anew before it is refused: the client tries again
// after its own wait, and holds locks meanwhile.
const recoverPatience = 250 * time.Millisecond

// errRecovering refuses our own connections while the store is read anew.
var errRecovering = errors.New("the embedded broker reads its store")

// inner are our own connections to the server.
type inner struct {
	mu    sync.Mutex
	conns map[*innerConn]struct{}
	shut  chan struct{} // none is let in until it is closed; nil = all are
}

// innerConn is one, of which we know when it ends.
type innerConn struct {
	net.Conn

	of *inner
}

// Close implements net.Conn.
func (c *innerConn) Close() error {
	c.of.mu.Lock()
	delete(c.of.conns, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// add makes a connection with dial and keeps it. It waits a little while none is let in.
func (i *inner) add(dial func() (net.Conn, error)) (net.Conn, error) {
	patience := time.NewTimer(recoverPatience)
	defer patience.Stop()
	for {
		i.mu.Lock()
		shut := i.shut
		if shut == nil {
			break
		}
		i.mu.Unlock()
		select {
		case <-shut:
		case <-patience.C:
			return nil, errRecovering
		}
	}
	defer i.mu.Unlock()
	conn, err := dial()
	if err != nil {
		return nil, err
	}
	c := &innerConn{conn, i}
	if i.conns == nil {
		i.conns = map[*innerConn]struct{}{}
	}
	i.conns[c] = struct{}{}
	return c, nil
}

// keepOut closes all connections, and lets none in until open is called.
func (i *inner) keepOut() (open func()) {
	shut := make(chan struct{})
	i.mu.Lock()
	i.shut = shut
	conns := i.conns
	i.conns = nil
	i.mu.Unlock()
	for c := range conns {
		_ = c.Conn.Close() // a pipe: what was written was read
	}
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
