// Package natstest runs a real JetStream broker inside a test.
//
// It promises a broker of its own for each caller, over an in-process connection and in a directory that the test
// removes. It does not make it durable: that is what the fault tests are for.
package natstest

import (
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// startup is how long a broker may take to be ready: generous, for a loaded machine under -race.
const startup = 30 * time.Second

// Start runs a broker until the test ends, and returns a connection to it.
func Start(t testing.TB) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	return Connect(t, Server(t, t.TempDir()))
}

// Server runs a broker over the store in dir until the test ends, or until it is shut down before.
func Server(t testing.TB, dir string) *server.Server {
	t.Helper()
	srv, err := server.NewServer(&server.Options{
		ServerName: t.Name(), JetStream: true, StoreDir: dir, DontListen: true, NoSigs: true, NoLog: true,
	})
	if err != nil {
		t.Fatalf("broker: %v", err)
	}
	srv.Start()
	if !srv.ReadyForConnections(startup) {
		t.Fatal("broker: not ready")
	}
	t.Cleanup(func() { Stop(srv) })
	return srv
}

// Stop shuts srv down and waits for it. LameDuckShutdown does nothing without a listener.
func Stop(srv *server.Server) {
	srv.Shutdown()
	srv.WaitForShutdown()
}

// Connect connects to srv within the process until the test ends.
func Connect(t testing.TB, srv *server.Server, opts ...nats.Option) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := nats.Connect("", append([]nats.Option{nats.InProcessServer(srv), nats.MaxReconnects(-1)}, opts...)...)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatalf("jetstream: %v", err)
	}
	return nc, js
}

// Successive is whichever broker runs now: connections to it outlive one that is replaced. The zero value has none.
type Successive struct{ now atomic.Pointer[server.Server] }

// Use makes srv the one that runs now; nil = there is none.
func (s *Successive) Use(srv *server.Server) { s.now.Store(srv) }

// InProcessConn implements nats.InProcessConnProvider.
func (s *Successive) InProcessConn() (net.Conn, error) {
	if srv := s.now.Load(); srv != nil {
		return srv.InProcessConn()
	}
	return nil, errors.New("no broker")
}

// Connect is Connect to whichever broker runs. It tries again at once.
func (s *Successive) Connect(t testing.TB) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	return Connect(t, nil, nats.InProcessServer(s), nats.ReconnectWait(time.Millisecond), nats.ReconnectJitter(0, 0))
}

// Eventually polls until holds is true, and fails the test when it is not within timeout.
func Eventually(t testing.TB, timeout time.Duration, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(timeout); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("did not come true within %v", timeout)
		}
		<-tick.C
	}
}
