package stream_test

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/events/stream"
)

// cluster runs three servers that replicate, and returns a connection to the first.
func cluster(t *testing.T) *nats.Conn {
	t.Helper()
	var routes []*url.URL
	var ports []int
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := l.Addr().(*net.TCPAddr) //nolint:forcetypeassert // it listens on tcp
		ports = append(ports, addr.Port)
		routes = append(routes, &url.URL{Scheme: "nats", Host: addr.String()})
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var servers []*server.Server
	for n, port := range ports {
		s, err := server.NewServer(&server.Options{
			ServerName: fmt.Sprint("n", n), JetStream: true, StoreDir: t.TempDir(), Host: "127.0.0.1", Port: server.RANDOM_PORT,
			NoSigs: true, NoLog: true, SyncAlways: true, Routes: routes,
			Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: port},
		})
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		servers = append(servers, s)
	}
	for _, s := range servers {
		if !s.ReadyForConnections(30 * time.Second) {
			t.Fatal("server not ready")
		}
	}
	nc, err := nats.Connect(servers[0].ClientURL(), nats.CustomInboxPrefix(stream.InboxPrefix))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// TestClusterWriter: groups on a cluster are atomic batches, and a duplicate among them does not keep the others out.
func TestClusterWriter(t *testing.T) {
	if testing.Short() {
		t.Skip("three servers take some seconds to elect")
	}
	t.Parallel()
	nc := cluster(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	cfg := stream.DefaultConfig()
	cfg.Replicas = 3
	topology, err := stream.NewTopology(js, cfg, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	ready := time.Now().Add(time.Minute)
	for err = topology.Ensure(t.Context()); err != nil; err = topology.Ensure(t.Context()) {
		if time.Now().After(ready) {
			t.Fatalf("topology: %v", err)
		}
	}
	w := stream.NewClusterWriter(nc, stream.Events)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer running.Wait()
	defer cancel()
	sequences := make([]uint64, 200)
	for round := range 2 {
		var all sync.WaitGroup
		for n := range sequences {
			all.Go(func() {
				m := &nats.Msg{Subject: "hookfleet.events.default.t", Header: nats.Header{nats.MsgIdHdr: {fmt.Sprint(n % 190)}}, Data: []byte("{}")}
				ack, err := w.Write(t.Context(), m, stream.Events)
				if err != nil || round == 1 && (!ack.Duplicate || ack.Sequence != sequences[n]) {
					t.Errorf("round %d, %d: %+v, %v", round, n, ack, err)
				}
				sequences[n] = ack.Sequence
			})
		}
		all.Wait()
	}
	s, err := js.Stream(t.Context(), stream.Events)
	if err != nil {
		t.Fatal(err)
	}
	if n := s.CachedInfo().State.Msgs; n != 190 {
		t.Errorf("%d events stored, want 190", n)
	}
}
