package worker_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

// subscribeBatch registers a subscription that takes batches, with these bounds and this config, as JSON.
func (b *bundle) subscribeBatch(id, sink, batch, config string) {
	b.tb.Helper()
	text := fmt.Sprintf(`{"id":%q,"types":["order.status"],"sink":%q,"config":%s,"protocolsettings":{"contentmode":"batch","batch":%s,
		"signing":{"scheme":"standardwebhooks","secret":"whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}}}`, id, sink, config, batch)
	s := must[*events.Subscription](b.tb)(events.DecodeSubscription([]byte(text), events.DefaultTenant, events.SinkPolicy{PlainHTTP: true}))
	if _, _, err := b.registry.Put(b.tb.Context(), s, 0); err != nil {
		b.tb.Fatal(err)
	}
}

// publishAll publishes events of these numbers at once.
func (b *bundle) publishAll(from, to int) (sequences []uint64) {
	b.tb.Helper()
	var msgs []*nats.Msg
	for n := from; n < to; n++ {
		msgs = append(msgs, orderEvent(n))
	}
	first := must[uint64](b.tb)(b.batches.Write(b.tb.Context(), stream.Events, msgs))
	for i := range msgs {
		sequences = append(sequences, first+uint64(i))
	}
	return sequences
}

// awaitState waits for deliveries to be in a state, and returns them.
func (b *bundle) awaitState(subscription string, sequences []uint64, state events.State) (found []*stream.Found) {
	b.tb.Helper()
	for _, sequence := range sequences {
		id := events.DeliveryID(sequence, subscription, 0)
		var f *stream.Found
		eventually(b.tb, fmt.Sprintf("%s is %s", id, state), func() bool {
			var ok bool
			var err error
			f, ok, err = b.history.Find(b.tb.Context(), id)
			return err == nil && ok && f.Record.State == state
		})
		found = append(found, f)
	}
	return found
}

// nothingWaits checks that a subscription's deliveries have all ended.
func (b *bundle) nothingWaits(subscription string) {
	b.tb.Helper()
	eventually(b.tb, "nothing waits", func() bool {
		left := must[stream.Counts](b.tb)(b.waitlist.Count(b.tb.Context(), subscription))
		return left == stream.Counts{}
	})
}

// onceEach checks that requests carried each of n events exactly once.
func onceEach(tb testing.TB, got []request, n int) {
	tb.Helper()
	seen := map[string]int{}
	for _, r := range got {
		for _, id := range r.events {
			seen[id]++
		}
	}
	for id, times := range seen {
		if times != 1 {
			tb.Errorf("event %s came %d times", id, times)
		}
	}
	if len(seen) != n {
		tb.Errorf("%d events came, want %d", len(seen), n)
	}
}

func TestBatchByCount(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := newBatchSink(t, nil)
	b.subscribeBatch("count", s.url, `{"maxevents":10,"linger":"5m"}`, `{}`)
	b.work()
	sequences := b.publishAll(0, 50)
	got := s.wait(t, 5)
	onceEach(t, got, 50)
	for _, r := range got {
		if len(r.events) != 10 || !strings.HasPrefix(r.id, "msg_") || strings.Contains(r.id, ".") {
			t.Errorf("batch %s of %d", r.id, len(r.events))
		}
	}
	// Each delivery has its own record of the one request.
	for _, f := range b.awaitState("count", sequences, events.StateDelivered) {
		if len(f.Attempts) != 1 || f.Attempts[0].Status != 200 || !slices.ContainsFunc(got, func(r request) bool { return r.id == f.Attempts[0].WebhookID }) {
			t.Errorf("%+v", f.Attempts)
		}
	}
	b.nothingWaits("count")
}

func TestBatchByBytes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := newBatchSink(t, nil)
	size := len(orderEvent(10).Data) // of two digits, all are as long
	limit := 3*size + len("[,,]")
	b.subscribeBatch("bytes", s.url, fmt.Sprintf(`{"maxbytes":%d,"linger":"5m"}`, limit), `{}`)
	b.work()
	b.publishAll(10, 40)
	got := s.wait(t, 10)
	onceEach(t, got, 30)
	for _, r := range got {
		if len(r.body) != limit || len(r.events) != 3 {
			t.Errorf("%d bytes with %d events", len(r.body), len(r.events))
		}
	}
}

// TestBatchOfOneLargeEvent: what is larger than a batch may be goes alone, at once.
func TestBatchOfOneLargeEvent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := newBatchSink(t, nil)
	b.subscribeBatch("large", s.url, `{"maxbytes":100,"linger":"5m"}`, `{}`)
	b.work()
	b.publishAll(0, 5)
	got := s.wait(t, 5)
	onceEach(t, got, 5)
	for _, r := range got {
		if want := "[" + string(orderEvent(int(r.events[0][0]-'0')).Data) + "]"; r.body != want {
			t.Errorf("body %s", r.body)
		}
	}
}

func TestBatchByLinger(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := newBatchSink(t, nil)
	b.subscribeBatch("linger", s.url, `{"linger":"700ms"}`, `{}`)
	b.work()
	start := time.Now()
	b.publishAll(0, 7)
	got := s.wait(t, 1)
	if took := got[0].at.Sub(start); len(got[0].events) != 7 || took < 700*time.Millisecond {
		t.Errorf("%d events after %v", len(got[0].events), took)
	}
}

// TestBatchRetriedAsItWas: the same deliveries in the same order under the same id, also by another worker.
func TestBatchRetriedAsItWas(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := newBatchSink(t, status(http.StatusInternalServerError))
	b.subscribeBatch("again", s.url, `{"maxevents":20,"linger":"5m"}`, `{"retry":{"policy":"fixed","initial":"1s","jitter":0.1}}`)
	stop := b.work()
	sequences := b.publishAll(0, 40)
	s.wait(t, 4)
	stop()
	b.work()
	b.work()
	before := len(s.requests())
	s.wait(t, before+2)
	s.on(nil)
	found := b.awaitState("again", sequences, events.StateDelivered)
	b.nothingWaits("again")
	bodies := map[string]string{}
	for _, r := range s.requests() {
		if body, ok := bodies[r.id]; ok && body != r.body {
			t.Errorf("batch %s came again as another:\n%s\n%s", r.id, body, r.body)
		}
		bodies[r.id] = r.body
	}
	if len(bodies) != 2 {
		t.Errorf("%d batches, want 2", len(bodies))
	}
	for _, f := range found {
		for i, a := range f.Attempts {
			if a.Number != i+1 || a.WebhookID != f.Attempts[0].WebhookID || len(f.Attempts) < 3 {
				t.Errorf("%s: attempt %d of %d is %+v", f.Record.ID, i+1, len(f.Attempts), a)
			}
		}
	}
}

// TestBatchEnds: what ends a delivery ends each of a batch.
func TestBatchEnds(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status   int
		config   string
		reason   events.Reason
		attempts int
	}{
		"gone":      {http.StatusGone, `{}`, events.ReasonGone, 1},
		"rejected":  {http.StatusUnprocessableEntity, `{}`, events.ReasonRejected, 1},
		"exhausted": {http.StatusBadGateway, `{"retry":{"policy":"fixed","initial":"100ms","maxattempts":3}}`, events.ReasonExhausted, 3},
		"rule":      {http.StatusConflict, `{"responses":[{"status":409,"action":"deadletter"}]}`, events.ReasonClientError, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			s := newBatchSink(t, status(tc.status))
			b.subscribeBatch("ends", s.url, `{"maxevents":10,"linger":"5m"}`, tc.config)
			b.work()
			sequences := b.publishAll(0, 10)
			for _, f := range b.awaitState("ends", sequences, events.StateDead) {
				if f.Record.Reason != tc.reason || len(f.Attempts) != tc.attempts {
					t.Errorf("%s after %d attempts", f.Record.Reason, len(f.Attempts))
				}
			}
			eventually(t, "10 dead letters", func() bool { // each follows its record
				letters, _, err := b.dead.List(t.Context(), stream.DeadQuery{Subscription: "ends"})
				return err == nil && len(letters) == 10
			})
			b.nothingWaits("ends")
			if n := len(s.requests()); n != tc.attempts {
				t.Errorf("%d requests", n)
			}
		})
	}
}

// TestBatchHeld: 429 holds the sink; the batch that was sent comes again as it was, what was not sent yet in new ones.
func TestBatchHeld(t *testing.T) {
	t.Parallel()
	b := setup(t)
	throttled := make(chan struct{})
	var once sync.Once
	s := newBatchSink(t, func(w http.ResponseWriter, _ *http.Request) {
		once.Do(func() {
			w.Header().Set("Retry-After", "8") // what is held is seen before that is over
			w.WriteHeader(http.StatusTooManyRequests)
			close(throttled)
		})
	})
	b.subscribeBatch("held", s.url, `{"maxevents":10,"linger":"200ms"}`, `{"concurrency":1,"retry":{"policy":"fixed","initial":"1s"}}`)
	b.work()
	sequences := b.publishAll(0, 10)
	<-throttled
	b.awaitState("held", sequences[:1], events.StateRetrying)
	later := b.publishAll(10, 45)
	b.awaitState("held", later[:1], events.StateHeld)
	b.awaitState("held", append(sequences, later...), events.StateDelivered)
	b.nothingWaits("held")
	got := s.requests()
	first := got[0]
	onceEach(t, got[1:], 45)
	for _, r := range got[1:] {
		if r.at.Sub(first.at) < 8*time.Second {
			t.Errorf("a request %v after the 429", r.at.Sub(first.at))
		}
		if (r.id == first.id) != (r.body == first.body) {
			t.Errorf("batch %s: %s", r.id, r.body)
		}
	}
	if !slices.ContainsFunc(got[1:], func(r request) bool { return r.id == first.id }) {
		t.Error("the batch did not come again")
	}
}

// TestBatchLeaderGone: a batch whose first delivery is cancelled meanwhile comes again without it.
func TestBatchLeaderGone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := newBatchSink(t, status(http.StatusInternalServerError))
	b.subscribeBatch("gone", s.url, `{"maxevents":5,"linger":"5m"}`, `{"timeout":"10s","retry":{"policy":"fixed","initial":"8s"}}`)
	b.work()
	sequences := b.publishAll(0, 5)
	first := s.wait(t, 1)[0]
	s.on(nil)
	b.awaitState("gone", sequences, events.StateRetrying)
	leader := events.DeliveryID(sequences[slices.Index([]string{"0", "1", "2", "3", "4"}, first.events[0])], "gone", 0)
	eventually(t, "the leader waits", func() bool {
		_, ok, err := b.waitlist.Find(t.Context(), "gone", leader)
		return ok && err == nil
	})
	p, _, err := b.waitlist.Find(t.Context(), "gone", leader)
	if err != nil || !must[bool](t)(b.waitlist.Remove(t.Context(), p)) {
		t.Fatalf("not removed: %v", err)
	}
	r := &events.Record{Delivery: p.Delivery, State: events.StateCancelled, EndedAt: time.Now()}
	must[stream.Ack](t)(b.events.Write(t.Context(), stream.RecordMessage(r), stream.Attempts))
	got := s.wait(t, 2)
	if r := got[1]; r.id != first.id || !slices.Equal(r.events, first.events[1:]) {
		t.Errorf("came again as %s %v, was %s %v", r.id, r.events, first.id, first.events)
	}
	b.nothingWaits("gone")
}

// TestBatchHastened: who wants one delivery of a batch now gets all of it now.
func TestBatchHastened(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := newBatchSink(t, status(http.StatusInternalServerError))
	b.subscribeBatch("now", s.url, `{"maxevents":5,"linger":"5m"}`, `{"retry":{"policy":"fixed","initial":"1h"}}`)
	b.work()
	sequences := b.publishAll(0, 5)
	first := s.wait(t, 1)[0]
	s.on(nil)
	b.awaitState("now", sequences, events.StateRetrying)
	eventually(t, "all wait", func() bool {
		return must[stream.Counts](t)(b.waitlist.Count(t.Context(), "now")) == stream.Counts{Timers: 5}
	})
	last := sequences[slices.Index([]string{"0", "1", "2", "3", "4"}, first.events[4])]
	p, _, err := b.waitlist.Find(t.Context(), "now", events.DeliveryID(last, "now", 0))
	if err != nil {
		t.Fatal(err)
	}
	p.Delivery.NextAt = time.Now()
	msg := must[*nats.Msg](t)(p.TimerMessage())
	must[stream.Ack](t)(b.events.Write(t.Context(), msg, stream.Retries))
	if r := s.wait(t, 2)[1]; r.id != first.id || r.body != first.body {
		t.Errorf("came again as %+v", r)
	}
	b.awaitState("now", sequences, events.StateDelivered)
	b.nothingWaits("now")
}

// TestBatchStop: what lingers when a worker stops is handed back and goes out with the next one, once.
func TestBatchStop(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := newBatchSink(t, nil)
	b.subscribeBatch("stop", s.url, `{"maxevents":10,"linger":"5m"}`, `{}`)
	stop := b.work()
	sequences := b.publishAll(0, 6)
	b.awaitTaken(6)
	stop()
	if n := len(s.requests()); n != 0 {
		t.Errorf("%d requests of a worker that was to stop", n)
	}
	b.work()
	sequences = append(sequences, b.publishAll(6, 10)...)
	onceEach(t, s.wait(t, 1), 10)
	for _, f := range b.awaitState("stop", sequences, events.StateDelivered) {
		if len(f.Attempts) != 1 {
			t.Errorf("%d attempts", len(f.Attempts))
		}
	}
}

// awaitTaken waits until workers have taken n events that they have not acknowledged.
func (b *bundle) awaitTaken(n int) {
	b.tb.Helper()
	eventually(b.tb, "the events are taken", func() bool {
		c, err := b.js.Consumer(b.tb.Context(), stream.Events, stream.ConsumerDispatch)
		return err == nil && c.CachedInfo().NumAckPending == n
	})
}

// TestBatchCutShort: a batch whose first attempt did not end with the worker comes again as it was, whatever else there
// is to send by then.
func TestBatchCutShort(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hang := make(chan struct{})
	s := newBatchSink(t, func(http.ResponseWriter, *http.Request) { <-hang })
	t.Cleanup(func() { close(hang) })
	b.subscribeBatch("cut", s.url, `{"maxevents":10,"linger":"5m"}`, `{"timeout":"1m"}`)
	stop := b.workWith(50 * time.Millisecond)
	sequences := b.publishAll(0, 10)
	first := s.wait(t, 1)[0]
	s.on(nil)
	stop()
	b.publishAll(10, 15)
	b.work()
	b.work()
	found := b.awaitState("cut", sequences, events.StateDelivered)
	if r := s.requests()[1]; r.id != first.id || r.body != first.body {
		t.Errorf("came again as %s %v, was %s %v", r.id, r.events, first.id, first.events)
	}
	for _, f := range found {
		if len(f.Attempts) != 1 || f.Attempts[0].Number != 1 {
			t.Errorf("%+v", f.Attempts)
		}
	}
	b.nothingWaits("cut")
}

// TestBatchRecordedInPart: a kill after the answer and in the middle of the records does not send the batch again: the
// records that there are tell what was answered.
func TestBatchRecordedInPart(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := newBatchSink(t, nil)
	b.subscribeBatch("part", s.url, `{"maxevents":4,"linger":"100ms"}`, `{}`)
	sequences := b.publishAll(0, 4)
	// What the history looks like then: the list, and the record of one of the four.
	list := &stream.BatchList{ID: "msg_part", Subscription: "part"}
	for _, sequence := range sequences {
		list.Members = append(list.Members, events.DeliveryID(sequence, "part", 0))
	}
	msg := must[*nats.Msg](t)(list.Message())
	at := must[stream.Ack](t)(b.events.Write(t.Context(), msg, stream.Attempts)).Sequence
	r := &events.Record{
		Delivery: events.Delivery{
			ID: list.Members[2], Subscription: "part", Tenant: "default", CreatedAt: time.Now(), Attempts: 1,
			Event: events.EventRef{Sequence: sequences[2], ID: "2", Source: "/orders", Type: "order.status"},
			Batch: &events.BatchRef{ID: list.ID, List: at},
		},
		State: events.StateDelivered, First: true, EndedAt: time.Now(),
		Attempt: &events.Attempt{Number: 1, At: time.Now(), Outcome: events.Delivered, Status: 299, URL: s.url, WebhookID: list.ID},
	}
	must[stream.Ack](t)(b.events.Write(t.Context(), stream.RecordMessage(r), stream.Attempts))
	b.work()
	for _, f := range b.awaitState("part", sequences, events.StateDelivered) {
		if len(f.Attempts) != 1 || f.Attempts[0].Status != 299 || f.Attempts[0].WebhookID != list.ID {
			t.Errorf("%+v", f.Attempts)
		}
	}
	if n := len(s.requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
	info := must[jetstream.Consumer](t)(b.js.Consumer(t.Context(), stream.Events, stream.ConsumerDispatch))
	eventually(t, "the events are acknowledged", func() bool {
		state, err := info.Info(t.Context())
		return err == nil && state.NumAckPending == 0
	})
}

// TestBatchReplayGoesAlone: the replay of one delivery is a batch of one, at once.
func TestBatchReplayGoesAlone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := newBatchSink(t, nil)
	b.subscribeBatch("replay", s.url, `{"linger":"5m"}`, `{}`)
	b.work()
	e := must[*events.Event](t)(events.ParseNATS(orderEvent(1).Header, orderEvent(1).Data))
	w := &stream.Waiting{Event: e, Delivery: events.Delivery{
		ID: events.DeliveryID(7, "replay", 1), Subscription: "replay", Tenant: "default", Event: events.Ref(e, 7),
		CreatedAt: time.Now(), NextAt: time.Now(), ReplayOf: events.DeliveryID(7, "replay", 0),
	}}
	must[stream.Ack](t)(b.events.Write(t.Context(), must[*nats.Msg](t)(w.TimerMessage()), stream.Retries))
	if r := s.wait(t, 1)[0]; r.id != e.WebhookID("replay") || r.body != "["+string(orderEvent(1).Data)+"]" {
		t.Errorf("%+v", r)
	}
	b.nothingWaits("replay")
}

// TestBatchModeChanged: deliveries go by the subscription as it is when they are sent, out of a batch and into one.
func TestBatchModeChanged(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := newBatchSink(t, status(http.StatusInternalServerError))
	const config = `{"timeout":"1s","retry":{"policy":"fixed","initial":"2s","maxattempts":50}}`
	b.subscribeBatch("mode", s.url, `{"maxevents":3,"linger":"5m"}`, config)
	b.work()
	sequences := b.publishAll(0, 3)
	s.wait(t, 1)
	b.awaitState("mode", sequences, events.StateRetrying)
	var mu sync.Mutex
	alone := map[string]bool{}
	single := sink(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if !alone[r.Header.Get("Webhook-Id")] {
			alone[r.Header.Get("Webhook-Id")] = true
			w.WriteHeader(http.StatusBadGateway)
		}
	})
	b.subscribe("mode", single, config)
	lingering := b.publishAll(3, 5)
	eventually(t, "all have come alone", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(alone) == 5
	})
	s.on(nil)
	b.subscribeBatch("mode", s.url, `{"maxevents":3,"linger":"5m"}`, config)
	b.awaitState("mode", append(sequences, lingering...), events.StateDelivered)
	b.nothingWaits("mode")
}

// TestBatchBesideOthers: an event for two subscriptions is not kept from one by the batch of the other.
func TestBatchBesideOthers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := newBatchSink(t, nil)
	b.subscribeBatch("slow", s.url, `{"maxevents":900,"maxbytes":1048576,"linger":"5m"}`, `{}`)
	var mu sync.Mutex
	got := 0
	b.subscribe("quick", sink(t, func(http.ResponseWriter, *http.Request) { mu.Lock(); got++; mu.Unlock() }), `{}`)
	b.work()
	// More than a worker's hands.
	for n := range 8 {
		b.publishAll(n*100, n*100+100)
	}
	eventually(t, "800 singles arrive", func() bool { mu.Lock(); defer mu.Unlock(); return got == 800 })
	if n := len(s.requests()); n != 0 {
		t.Errorf("%d batches", n)
	}
	b.publishAll(800, 900)
	onceEach(t, s.wait(t, 1), 900)
}

// BenchmarkDeliverBatch is BenchmarkDeliver in batches of 100; what is counted is events.
func BenchmarkDeliverBatch(b *testing.B) {
	f := setup(b)
	var got atomic.Int64
	f.subscribeBatch("bench", sink(b, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got.Add(int64(bytes.Count(body, []byte(`"specversion"`))))
		w.WriteHeader(http.StatusNoContent)
	}), `{}`, `{"concurrency":64}`)
	for n := 0; n < b.N; n += 500 {
		f.publishAll(n, min(n+500, b.N))
	}
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime(b)
	f.work()
	eventually(b, "all arrive", func() bool { return got.Load() >= int64(b.N) })
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
	b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
}
