package api

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hookfleet/hookfleet/api/plain"
)

// Bounds of the server (reliability S38). Bodies are bounded by each route.
const (
	readHeaderTimeout = 5 * time.Second  // slowloris: a header comes at once or not at all
	readTimeout       = 30 * time.Second // the largest batch (8 MiB) over 2.3 Mbit/s
	writeTimeout      = 60 * time.Second // the largest page (4 MiB) over 0.6 Mbit/s
	idleTimeout       = 60 * time.Second
	maxHeaderBytes    = 32 << 10
	maxPlainBody      = 8 << 20          // of /v1/events; what is longer is refused by the same handler
	drainTimeout      = 20 * time.Second // of the 30 s that a process has to stop
)

// Run listens and serves until ctx ends, then lets the requests in flight finish.
func (a *API) Run(ctx context.Context) error {
	l, err := listen(ctx, a.cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", a.cfg.Listen, err)
	}
	a.addr = l.Addr()
	close(a.listening)
	server := a.newServer()
	events := newPlain(newLimitListener(l, a.cfg.MaxConnections), server)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		events.Run()
		return nil
	})
	g.Go(func() error {
		if err := server.Serve(events); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve on %s: %w", a.addr, err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		return drain(ctx, server, events)
	})
	if !a.cfg.StatusOnly {
		g.Go(func() error { return a.sweep(ctx) })
	}
	return g.Wait()
}

func listen(ctx context.Context, address string) (*net.TCPListener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

// Listening is closed when the API listens; Addr is where. Until then Addr is nil.
func (a *API) Listening() <-chan struct{} { return a.listening }

// Addr is where the API listens, once Listening is closed.
func (a *API) Addr() net.Addr { return a.addr }

func (a *API) newServer() *http.Server {
	return &http.Server{
		Handler:           a.Handler(),
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          stdlog.New(a.log, "", 0),
	}
}

// newPlain makes what answers events that are published plainly, below the server that answers everything else (decision
// 0023).
func newPlain(l net.Listener, server *http.Server) *plain.Server {
	return plain.New(l, plain.Config{
		Path: "/v1/events", Handler: server.Handler, MaxBody: maxPlainBody,
		HeadTimeout: readHeaderTimeout, ReadTimeout: readTimeout, IdleTimeout: max(idleTimeout, writeTimeout), ErrorLog: server.ErrorLog,
	})
}

// drain stops taking requests and waits for those in flight.
func drain(ctx context.Context, server *http.Server, events *plain.Server) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err := errors.Join(server.Shutdown(ctx), events.Shutdown(ctx)); err != nil {
		return errors.Join(fmt.Errorf("requests in flight did not end: %w", err), server.Close())
	}
	return nil
}

// limitListener bounds the open connections: each has a goroutine and buffers. Beyond the bound callers wait in the
// kernel's queue.
type limitListener struct {
	*net.TCPListener
	slots chan struct{}
	done  chan struct{}
	once  sync.Once
}

func newLimitListener(l *net.TCPListener, n int) *limitListener {
	return &limitListener{TCPListener: l, slots: make(chan struct{}, n), done: make(chan struct{})}
}

// Accept implements net.Listener.
func (l *limitListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.done:
		return nil, net.ErrClosed
	}
	conn, err := l.AcceptTCP()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitConn{TCPConn: conn, release: sync.OnceFunc(func() { <-l.slots })}, nil
}

// Close implements net.Listener.
func (l *limitListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return l.TCPListener.Close()
}

type limitConn struct {
	*net.TCPConn
	release func()
}

// Close implements net.Conn.
func (c *limitConn) Close() error {
	err := c.TCPConn.Close()
	c.release()
	return err
}
