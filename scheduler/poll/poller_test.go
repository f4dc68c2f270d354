package poll

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/test/natstest"
)

// TestPoll follows items from the initial status to a terminal one.
func TestPoll(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, key := range []string{"one", "t w&o/ü", "lost"} {
		b.desk.set(key, "Booked")
	}
	b.source(300*time.Millisecond, 4, "one", "t w&o/ü", "lost", "unknown")
	start(t, b.poller(b.connect(), DefaultConfig()).Run)
	p := b.awaitTick(time.Time{})
	if p.Asked != 4 || p.Failed != 1 || p.Changed != 0 || !strings.Contains(p.Error, "404") {
		t.Errorf("first poll %+v", p)
	}
	if item := b.item(events.ItemOpen, "unknown"); item == nil || !strings.Contains(item.Error, "404") || item.FailingSince.IsZero() {
		t.Errorf("an item that fails: %+v", item)
	}
	if got := b.published(); got != nil {
		t.Fatalf("published at the initial status: %v", got)
	}
	b.desk.set("one", "Shipped")
	b.desk.set("unknown", "Booked")
	p = b.awaitTick(b.awaitTick(p.At).At) // of which the second began after the change
	if item := b.item(events.ItemOpen, "unknown"); item == nil || item.Error != "" {
		t.Errorf("an item that failed: %+v", item)
	}
	b.desk.set("t w&o/ü", "Ended")
	b.desk.set("one", "Booked") // back again is a change too
	p = b.awaitTick(b.awaitTick(p.At).At)
	got := b.published()
	slices.Sort(got[1:])
	if want := "one Shipped|one Booked|t w&o/ü Ended"; strings.Join(got, "|") != want {
		t.Errorf("published %v, want %s", got, want)
	}
	if item := b.item(events.ItemCompleted, "t w&o/ü"); item == nil || item.Status != "Ended" || b.item(events.ItemOpen, "t w&o/ü") != nil {
		t.Errorf("completed: %+v", item)
	}
	before := b.desk.counts()["t w&o/ü"]
	p = b.awaitTick(p.At)
	if after := b.desk.counts()["t w&o/ü"]; after != before || p.Asked != 3 {
		t.Errorf("a completed item is asked for: %d, then %d; %+v", before, after, p)
	}
	added, err := b.items.Add(t.Context(), "orders", []string{"t w&o/ü", "one"}, "Booked")
	if err != nil || added[0].State() != events.ItemCompleted || added[1].Changes != 2 {
		t.Errorf("added once more: %+v, %v", added, err)
	}
}

// TestTicks: the poll's end is told, with everything that it found; what is through is not polled again.
func TestTicks(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.desk.set("one", "Shipped")
	b.source(time.Hour, 4, "one")
	ticks := stream.NewSourceTicks(b.js, zerolog.Nop())
	start(t, ticks.Run)
	watch, cancel := ticks.Watch("orders")
	defer cancel()
	// As if the process had been away for a day: one tick is made up for.
	e, _ := b.registry.Source("orders")
	missed := stream.Poll{Of: e.CreatedAt, At: time.Now().Add(-24 * time.Hour), Done: true}
	_, err := b.polls.Put(t.Context(), "orders", &missed, 0)
	must(t, err)
	start(t, b.poller(b.connect(), DefaultConfig()).Run)
	tick := <-watch
	if at := e.Source.Tick(time.Now()); !tick.At.Equal(at) || tick.Until != 1 {
		t.Errorf("tick %+v, want %s with event 1", tick, at)
	}
	natstest.Eventually(t, patience, func() bool { p, _, _ := b.polls.Get(t.Context(), "orders"); return p.Done })
	stop := start(t, b.poller(b.connect(), DefaultConfig()).Run) // one that starts later has nothing to do
	natstest.Eventually(t, patience, func() bool { return len(b.published()) == 1 })
	stop()
	if n := b.desk.counts()["one"]; n != 1 {
		t.Errorf("asked %d times at one tick", n)
	}
}

// TestSecondPublishing: a crash between publishing and noting it publishes under the same id.
func TestSecondPublishing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.desk.set("one", "Shipped")
	s := b.source(200*time.Millisecond, 4, "one")
	item := b.item(events.ItemOpen, "one")
	e, err := s.Change(&item.Item, events.TextValue("Shipped"), time.Now())
	must(t, err)
	p := b.poller(b.connect(), DefaultConfig())
	must(t, p.deps.Publish(t.Context(), e))
	start(t, p.Run)
	b.awaitTick(time.Time{})
	if got := b.published(); len(got) != 1 {
		t.Errorf("published %v", got)
	}
	if item := b.item(events.ItemOpen, "one"); item.Status != "Shipped" {
		t.Errorf("item %+v", item)
	}
}

func keys(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("order-%d", i))
	}
	return all
}

// TestShared: two processes share the work of a tick, and none is asked for twice.
func TestShared(t *testing.T) {
	t.Parallel()
	b := setup(t)
	all := keys(600)
	for _, key := range all {
		b.desk.set(key, "Shipped")
	}
	gate := make(chan struct{})
	b.desk.handle = func(http.ResponseWriter, *http.Request) bool { <-gate; return false }
	one, two := b.poller(b.connect(), DefaultConfig()), b.poller(b.connect(), DefaultConfig())
	start(t, one.Run, two.Run)
	natstest.Eventually(t, patience, func() bool { return one.fleet.share(2) == 1 && two.fleet.share(2) == 1 })
	b.source(time.Hour, 8, all...)
	b.miss(one, two)
	// Both have as many in flight as they may, and no more.
	natstest.Eventually(t, patience, func() bool { return len(b.desk.counts()) == 8 })
	p, _, err := b.polls.Get(t.Context(), "orders")
	if err != nil || len(p.Busy) != 2 {
		t.Errorf("%+v, %v", p, err)
	}
	close(gate)
	p = b.awaitTick(time.Now().Add(-90 * time.Minute))
	if p.Asked != len(all) || p.Changed != len(all) || p.Failed != 0 {
		t.Errorf("poll %+v", p)
	}
	if got := len(b.published()); got != len(all) {
		t.Errorf("%d published", got)
	}
	if stats(one) == 0 || stats(two) == 0 {
		t.Errorf("one asked for %v, the other for %v", stats(one), stats(two))
	}
	b.miss(one, two)
	p = b.awaitTick(time.Now().Add(-90 * time.Minute))
	if p.Asked != len(all) || p.Changed != 0 {
		t.Errorf("second poll %+v", p)
	}
}

// miss makes it that the last tick of orders, whose ticks are an hour apart, was missed.
func (b *bench) miss(pollers ...*Poller) {
	b.Helper()
	e, _ := b.registry.Source("orders")
	_, revision, err := b.polls.Get(b.Context(), "orders")
	must(b, err)
	_, err = b.polls.Put(b.Context(), "orders", &stream.Poll{Of: e.CreatedAt, At: time.Now().Add(-2 * time.Hour), Done: true}, revision)
	must(b, err)
	for _, p := range pollers { // which know of no tick before the next hour
		natstest.Eventually(b, patience, func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			st := p.state["orders"]
			if st == nil || st.running {
				return false
			}
			st.next = time.Time{}
			return true
		})
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

// stats is for how many items a process asked.
func stats(p *Poller) (n float64) {
	families, err := p.deps.Metrics.(*prometheus.Registry).Gather()
	if err != nil {
		return -1
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "hookfleet_source_requests_total" {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

// TestKilled: when a process dies in the middle of a tick, what it had taken waits for the next one, and nothing is asked
// for twice.
func TestKilled(t *testing.T) {
	t.Parallel()
	b := setup(t)
	all := keys(400)
	for _, key := range all {
		b.desk.set(key, "Shipped")
	}
	gate := make(chan struct{})
	b.desk.handle = func(http.ResponseWriter, *http.Request) bool { <-gate; return false }
	cfg := DefaultConfig()
	cfg.TTL, cfg.Heartbeat = 3*time.Second, time.Second
	dying := b.connect()
	one, two := b.poller(dying, cfg), b.poller(b.connect(), cfg)
	start(t, one.Run, two.Run)
	natstest.Eventually(t, patience, func() bool { return one.fleet.share(2) == 1 && two.fleet.share(2) == 1 })
	b.source(time.Hour, 8, all...)
	b.miss(one, two)
	natstest.Eventually(t, patience, func() bool { return len(b.desk.counts()) == 8 })
	dying.Close()
	close(gate)
	p := b.awaitTick(time.Now().Add(-90 * time.Minute))
	asked := b.desk.counts()
	for key, n := range asked {
		if n != 1 {
			t.Errorf("%s was asked for %d times at one tick", key, n)
		}
	}
	// It had four in flight, and had claimed eight.
	if lost := len(all) - len(asked); lost > 8 || p.Asked > len(asked) {
		t.Errorf("%d were not asked for; poll %+v", lost, p)
	}
}
