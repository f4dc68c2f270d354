package worker_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

// orderSink notes what came for each subject, and that no two requests of one are under way.
type orderSink struct {
	tb     testing.TB
	answer func(subject string, n int) int // the status; 0 = 200

	mu    sync.Mutex
	open  map[string]bool
	got   map[string][]int // that were answered with 200
	asked map[string]int
	mixed []string
}

func newOrderSink(tb testing.TB, answer func(string, int) int) (*orderSink, string) {
	s := &orderSink{tb: tb, answer: answer, open: map[string]bool{}, got: map[string][]int{}, asked: map[string]int{}}
	return s, sink(tb, s.serve)
}

func (s *orderSink) serve(w http.ResponseWriter, r *http.Request) {
	var e struct {
		ID      string `json:"id"`
		Subject string `json:"subject"`
	}
	if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
		s.tb.Errorf("not an event: %v", err)
	}
	n, _ := strconv.Atoi(e.ID)
	s.mu.Lock()
	if s.open[e.Subject] {
		s.mixed = append(s.mixed, e.Subject)
	}
	s.open[e.Subject] = true
	s.asked[e.ID]++
	s.mu.Unlock()
	status := http.StatusOK
	if s.answer != nil {
		if other := s.answer(e.Subject, n); other != 0 {
			status = other
		}
	}
	s.mu.Lock()
	s.open[e.Subject] = false
	if status == http.StatusOK {
		s.got[e.Subject] = append(s.got[e.Subject], n)
	}
	s.mu.Unlock()
	w.WriteHeader(status)
}

func (s *orderSink) count() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, list := range s.got {
		n += len(list)
	}
	return n
}

func (s *orderSink) of(subject string) []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]int(nil), s.got[subject]...)
}

// check reports what came twice, out of order, or at the same time as another of its subject.
func (s *orderSink) check() {
	s.tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for subject, list := range s.got {
		for i := 1; i < len(list); i++ {
			if list[i] <= list[i-1] {
				s.tb.Errorf("%s: %d after %d", subject, list[i], list[i-1])
			}
		}
	}
	if len(s.mixed) > 0 {
		s.tb.Errorf("two requests at a time for %v", s.mixed)
	}
}

// subscribeLane registers a subscription whose config is JSON.
func (b *bundle) subscribeLane(id, sink, config string) {
	b.tb.Helper()
	text := fmt.Sprintf(`{"id":%q,"types":["order.*"],"sink":%q,"config":%s}`, id, sink, config)
	s := must[*events.Subscription](b.tb)(events.DecodeSubscription([]byte(text), events.DefaultTenant, events.SinkPolicy{PlainHTTP: true}))
	if _, _, err := b.registry.Put(b.tb.Context(), s, 0); err != nil {
		b.tb.Fatal(err)
	}
}

func (b *bundle) publishOrder(n int, subject, status string) uint64 {
	b.tb.Helper()
	text := fmt.Sprintf(`{"specversion":"1.0","id":"%d","source":"/orders","type":"order.status","subject":%q,"data":{"status":%q}}`, n, subject, status)
	msg := &nats.Msg{
		Subject: "hookfleet.events.default.order.status",
		Header:  nats.Header{"Content-Type": {"application/cloudevents+json"}, nats.MsgIdHdr: {fmt.Sprint(n)}}, Data: []byte(text),
	}
	return must[stream.Ack](b.tb)(b.events.Write(b.tb.Context(), msg, stream.Events)).Sequence
}

// flaky answers every nth first request of an event with 503.
func flaky(nth int) func(string, int) int {
	var mu sync.Mutex
	failed := map[int]bool{}
	return func(_ string, n int) int {
		mu.Lock()
		defer mu.Unlock()
		if n%nth == 0 && !failed[n] {
			failed[n] = true
			return http.StatusInternalServerError
		}
		return 0
	}
}

const laneRetries = `"retry":{"policy":"fixed","initial":"20ms","jitter":0},"breaker":{"failures":0}`

// TestLaneOrder: keys go in parallel, each in order, one at a time, also when some attempts fail.
func TestLaneOrder(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s, url := newOrderSink(t, flaky(7))
	b.subscribeLane("ordered", url, `{"ordering":{"key":"subject"},`+laneRetries+`}`)
	b.work()
	const all = 1000
	for n := range all {
		b.publishOrder(n, "o-"+strconv.Itoa(n%20), "x")
	}
	eventually(t, "all arrive", func() bool { return s.count() >= all })
	s.check()
	if n := s.count(); n != all {
		t.Errorf("%d arrived", n)
	}
	b.nothingWaits("ordered")
	b.ownerIsKnownToLive("ordered")
}

// ownerIsKnownToLive checks that an owner leaves what tells the next one until when it was alive.
func (b *bundle) ownerIsKnownToLive(lane string) {
	b.tb.Helper()
	lanes := stream.NewLanes(b.js)
	lease := must[stream.LaneLease](b.tb)(lanes.Lease(b.tb.Context(), lane))
	eventually(b.tb, "its owner says that it is alive", func() bool {
		at, err := lanes.LastAlive(b.tb.Context(), lease.Owner)
		return err == nil && !at.IsZero() && lease.Owner != "" && !lease.Written.IsZero()
	})
	if at, err := lanes.LastAlive(b.tb.Context(), "nobody"); err != nil || !at.IsZero() {
		b.tb.Errorf("a worker that never was: %v, %v", at, err)
	}
}

// TestLaneFailingKey: a key that fails holds only itself, for longer than its followers may wait in a worker, and what
// waited for it comes in order.
func TestLaneFailingKey(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var mu sync.Mutex
	broken := true
	s, url := newOrderSink(t, func(subject string, _ int) int {
		mu.Lock()
		defer mu.Unlock()
		if broken && subject == "bad" {
			return http.StatusInternalServerError
		}
		return 0
	})
	b.subscribeLane("ordered", url, `{"ordering":{"key":"subject"},"retry":{"policy":"fixed","initial":"300ms","jitter":0,"maxattempts":1000},"breaker":{"failures":0}}`)
	b.work()
	n := 0
	for range 50 {
		for _, subject := range []string{"bad", "good", "better"} {
			b.publishOrder(n, subject, "x")
			n++
		}
	}
	eventually(t, "the others arrive", func() bool { return len(s.of("good")) == 50 && len(s.of("better")) == 50 })
	if len(s.of("bad")) != 0 {
		t.Errorf("%v came", s.of("bad"))
	}
	eventually(t, "its followers are held", func() bool {
		c, err := b.waitlist.Count(t.Context(), "ordered")
		return err == nil && c.Held >= 49
	})
	mu.Lock()
	broken = false
	mu.Unlock()
	eventually(t, "all arrive", func() bool { return len(s.of("bad")) == 50 })
	s.check()
	b.nothingWaits("ordered")
	eventually(t, "nothing is marked as held", func() bool { return !b.registry.Health("ordered").Backlog })
}

// TestLaneMoves: several workers, one of which stops while it is at work: order holds, nothing comes twice.
func TestLaneMoves(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s, url := newOrderSink(t, flaky(11))
	lanes := []string{"a", "b", "c", "d", "e", "f"}
	for _, id := range lanes {
		b.subscribeLane(id, url+"?"+id, `{"ordering":{"key":"subject"},`+laneRetries+`}`)
	}
	// Each lane's requests are told apart by their subjects.
	stop := b.work()
	b.work()
	const all = 600
	for n := range all {
		if n == all/2 {
			b.work()
			stop()
		}
		b.publishOrder(n, "o-"+strconv.Itoa(n%10), "x")
	}
	eventually(t, "all arrive", func() bool { return s.count() >= all*len(lanes) })
	for _, id := range lanes {
		b.nothingWaits(id)
	}
	if n := s.count(); n != all*len(lanes) {
		t.Errorf("%d arrived, want %d", n, all*len(lanes))
	}
}

// TestLanePaused: what comes while the subscription is paused waits, and goes in order when it is resumed.
func TestLanePaused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s, url := newOrderSink(t, nil)
	b.subscribeLane("ordered", url, `{"ordering":{"key":"subject"},`+laneRetries+`}`)
	b.work()
	b.publishOrder(0, "o", "x")
	eventually(t, "one arrives", func() bool { return s.count() == 1 })
	if _, err := b.registry.SetPaused(t.Context(), "ordered", true); err != nil {
		t.Fatal(err)
	}
	for n := 1; n < 200; n++ {
		b.publishOrder(n, "o", "x")
	}
	if _, err := b.registry.SetPaused(t.Context(), "ordered", false); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all arrive", func() bool { return s.count() == 200 })
	s.check()
}

// TestLaneBegins: a subscription that becomes ordered, and stops to be, gets every event once.
func TestLaneBegins(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s, url := newOrderSink(t, nil)
	ordered := `{"ordering":{"key":"subject"},` + laneRetries + `}`
	b.subscribeLane("changing", url, `{}`)
	b.work()
	for n := range 300 {
		switch n {
		case 100:
			b.subscribeLane("changing", url, ordered)
		case 200:
			b.subscribeLane("changing", url, `{}`)
		}
		b.publishOrder(n, fmt.Sprint("o-", n), "x")
	}
	eventually(t, "all arrive", func() bool { return s.count() >= 300 })
	s.mu.Lock()
	asked := maps.Clone(s.asked)
	s.mu.Unlock()
	for id, times := range asked {
		if times != 1 {
			t.Errorf("event %s came %d times", id, times)
		}
	}
	eventually(t, "the lane is gone", func() bool {
		return len(b.laneConsumers()) == 0 && !b.registry.Laned("changing")
	})
}

// TestLaneDeleted: what waits for a deleted subscription is cancelled, and its lane goes.
func TestLaneDeleted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, url := newOrderSink(t, nil)
	b.subscribeLane("gone", url, `{"ordering":{"key":"subject"},`+laneRetries+`}`)
	if _, err := b.registry.SetPaused(t.Context(), "gone", true); err != nil {
		t.Fatal(err)
	}
	var sequences []uint64
	for n := range 20 {
		sequences = append(sequences, b.publishOrder(n, "o", "x"))
	}
	b.work()
	if err := b.registry.Delete(t.Context(), "gone", 0); err != nil {
		t.Fatal(err)
	}
	b.awaitState("gone", sequences, events.StateCancelled)
	eventually(t, "the lane is gone", func() bool { return !b.registry.Laned("gone") })
}

// TestLaneTicks: first attempts go at ticks, what fails goes by the retry policy.
func TestLaneTicks(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var mu sync.Mutex
	var times []time.Time
	_, url := newOrderSink(t, func(string, int) int {
		mu.Lock()
		defer mu.Unlock()
		times = append(times, time.Now())
		return 0
	})
	const every, batch = 2 * time.Second, 5
	tick := time.Now().Truncate(every).Add(every)
	b.subscribeLane("ticked", url, `{"schedule":{"every":"2s","batch":5},`+laneRetries+`}`)
	for n := range 2 * batch {
		b.publishOrder(n, "o", "x")
	}
	b.work() // a tick that comes while they are published would take fewer
	eventually(t, "all arrive", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(times) == 2*batch
	})
	for i, at := range times { // however late they are
		if from := tick.Add(time.Duration(i/batch) * every); at.Before(from) {
			t.Errorf("request %d came %v before the tick", i, from.Sub(at))
		}
	}
}

func (b *bundle) laneConsumers() (names []string) {
	b.tb.Helper()
	s, err := b.js.Stream(b.tb.Context(), stream.Events)
	if err != nil {
		b.tb.Fatal(err)
	}
	for name := range s.ConsumerNames(b.tb.Context()).Name() {
		if strings.HasPrefix(name, "lane-") {
			names = append(names, name)
		}
	}
	return names
}

// TestLaneOfATest: a test of a sink that was held while the subscription is paused goes when it is resumed, whatever order
// and status its subscription asks for.
func TestLaneOfATest(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var got atomic.Int64
	url := sink(t, func(http.ResponseWriter, *http.Request) { got.Add(1) })
	b.subscribeLane("tested", url, `{"lifecycle":{},"schedule":{"every":"1h"}}`)
	if _, err := b.registry.SetPaused(t.Context(), "tested", true); err != nil {
		t.Fatal(err)
	}
	b.work()
	text := fmt.Sprintf(`{"specversion":"1.0","id":"t","source":"/hookfleet","type":%q}`, events.TypeTest)
	e := must[*events.Event](t)(events.ParseStructured([]byte(text)))
	now := time.Now()
	w := stream.Waiting{Event: e, Delivery: events.Delivery{
		ID: "1R1-tested", Subscription: "tested", Tenant: events.DefaultTenant, Event: events.EventRef{Sequence: 1}, CreatedAt: now, NextAt: now,
	}}
	if _, err := b.events.Write(t.Context(), must[*nats.Msg](t)(w.TimerMessage()), stream.Retries); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is held", func() bool {
		c, err := b.waitlist.Count(t.Context(), "tested")
		return err == nil && c.Held == 1
	})
	if _, err := b.registry.SetPaused(t.Context(), "tested", false); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is sent", func() bool { return got.Load() == 1 })
}
