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

// TestKeepWarm: the statuses are warmed at the start, then for nobody for some time only, and again when somebody asks.
func TestKeepWarm(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.cfg.Warm, f.cfg.WarmFor = time.Millisecond, 1
	for _, subject := range []string{"hookfleet.statuses.a.b.c", "hookfleet.statuses.a.b.d"} { // one ask a pass
		_, err := f.js.Publish(t.Context(), subject, nil)
		must(t, err)
	}
	asks := asksOf(t, f.js.Conn())
	stop := f.indexing()
	natstest.Eventually(t, patience, func() bool { return asks.Load() == 1 })
	var questions atomic.Int64
	_, err := f.js.Conn().Subscribe(stream.SubjectIndexed, func(*nats.Msg) { questions.Add(1) })
	must(t, err)
	must(t, f.js.Conn().Flush())
	for range 3 {
		before := asks.Load()
		f.says("nobody", "", "")
		natstest.Eventually(t, patience, func() bool { return asks.Load() > before })
	}
	stop()
	natstest.Eventually(t, patience, func() bool { return asks.Load() <= 1+questions.Load() })
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
