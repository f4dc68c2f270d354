package scheduler

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/test/natstest"
)

// asksOf counts what is asked of the stream of statuses to warm it.
func asksOf(t testing.TB, nc *nats.Conn) *atomic.Int64 {
	t.Helper()
	asks := &atomic.Int64{}
	_, err := nc.Subscribe("$JS.API.DIRECT.GET."+stream.StatusesName, func(m *nats.Msg) {
		if strings.Contains(string(m.Data), "next_by_subj") {
			asks.Add(1)
		}
	})
	must(t, err)
	must(t, nc.Flush())
	return asks
}

// TestKeepWarm: the statuses are warmed from the start on, then for nobody for some time only, and again when somebody asks.
func TestKeepWarm(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.cfg.Warm, f.cfg.WarmFor = 10*time.Millisecond, 50*time.Millisecond
	asks := asksOf(t, f.js.Conn())
	f.emit("order.status", "o1", `,"data":{"status":"Booked"}`)
	f.emit("order.status", "o2", `,"data":{"status":"Booked"}`)
	stop := f.indexing()
	f.says("o1", "", "Booked")
	natstest.Eventually(t, patience, func() bool { return asks.Load() > 2 })
	rests := func() bool {
		before := asks.Load()
		select {
		case <-time.After(10 * f.cfg.Warm):
		case <-t.Context().Done():
		}
		return asks.Load() == before
	}
	natstest.Eventually(t, patience, rests)
	before := asks.Load()
	f.says("o1", "", "Booked")
	natstest.Eventually(t, patience, func() bool { return asks.Load() > before })
	stop()
	if !rests() {
		t.Error("warmed although the index is kept no longer")
	}
}

func TestKeepWarmOverARestartOfTheBroker(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.cfg.Warm = 10 * time.Millisecond
	dir := t.TempDir()
	var broker natstest.Successive
	first := natstest.Server(t, dir)
	broker.Use(first)
	_, js := broker.Connect(t)
	topology, err := stream.NewTopology(js, stream.DefaultConfig(), zerolog.Nop())
	must(t, err)
	must(t, topology.Ensure(t.Context()))
	_, other := broker.Connect(t)
	asks := asksOf(t, other.Conn())
	for _, subject := range []string{"hookfleet.statuses.a.b.c", "hookfleet.statuses.a.b.d"} {
		_, err = js.Publish(t.Context(), subject, nil)
		must(t, err)
	}
	f.Replays = js
	f.index.asked = make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var running sync.WaitGroup
	running.Go(func() { f.index.keepWarm(ctx) })
	natstest.Eventually(t, patience, func() bool { return asks.Load() > 1 })
	natstest.Stop(first)
	broker.Use(natstest.Server(t, dir))
	before := asks.Load()
	natstest.Eventually(t, patience, func() bool { return asks.Load() > before+1 })
	cancel()
	running.Wait()
}
