package soak

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/test/fleettest"
)

// endpoint is a partner's server at an address that stays, which can go down and come up again.
type endpoint struct {
	t       testing.TB
	addr    string
	handler http.Handler

	mu     sync.Mutex
	server *http.Server
	wait   sync.WaitGroup
}

func newEndpoint(t testing.TB, handler http.Handler) *endpoint {
	t.Helper()
	e := &endpoint{t: t, addr: fleettest.FreeAddress(t), handler: handler}
	e.up()
	t.Cleanup(e.down)
	return e
}

func (e *endpoint) url(path string) string { return "http://" + e.addr + path }

// up listens, unless it does already.
func (e *endpoint) up() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.server != nil {
		return
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", e.addr)
	if err != nil {
		e.t.Errorf("%s does not come up: %v", e.addr, err)
		return
	}
	server := &http.Server{Handler: e.handler, ReadHeaderTimeout: time.Minute}
	e.server = server
	e.wait.Go(func() { _ = server.Serve(l) }) // ends with an error always
}

// down refuses connections from now on, and lets those that are open end: what was taken is answered, so that nothing has
// a reason to come again.
func (e *endpoint) down() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := e.server.Shutdown(ctx); err != nil && !errors.Is(err, net.ErrClosed) {
		e.t.Errorf("%s does not go down: %v", e.addr, err)
	}
	e.wait.Wait()
	e.server = nil
}
