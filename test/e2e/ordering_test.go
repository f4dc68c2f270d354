package e2e

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

// keyed publishes n events of each key in one batch, the keys by turns, and gives the receipts.
func (f *flow) keyed(n int, keys ...string) []fleettest.Receipt {
	f.t.Helper()
	var all []string
	for i := range n {
		for _, key := range keys {
			all = append(all, fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/e2e","type":%q,"subject":%q,"data":{"n":%d}}`,
				unique("event"), f.name, key, i))
		}
	}
	return f.client.PublishBatch(f.t, "["+strings.Join(all, ",")+"]")
}

func subjectOf(r *sinktest.Request) string {
	var e struct{ Subject string }
	if err := json.Unmarshal(r.Body, &e); err != nil {
		return ""
	}
	return e.Subject
}

// inOrder checks that the attempts of each key were in the order of acceptance. A delivery may have come again.
func (f *flow) inOrder(accepted []fleettest.Receipt) {
	f.t.Helper()
	place := map[string]int{}
	for i, r := range accepted {
		place[r.ID] = i
	}
	attempted, history := map[string]int{}, map[string]string{}
	for _, r := range f.sink.Got(f.path) {
		key, at := subjectOf(r), place[eventID(r.Body)]
		history[key] += fmt.Sprintf(" %d:%d@%s", at, r.Status, r.At.Format("05.000"))
		if at < attempted[key] {
			f.t.Errorf("of %s event %d was attempted after event %d:%s", key, at, attempted[key], history[key])
		}
		attempted[key] = at
	}
}

// oneAtATime makes the sink of f note when two requests of a key are open at a time, and answer as answer says.
func (f *flow) oneAtATime(answer func(*sinktest.Request) sinktest.Answer) {
	var mu sync.Mutex
	open := map[string]bool{}
	f.sink.OnFunc(f.path, func(r *sinktest.Request) sinktest.Answer {
		key := subjectOf(r)
		mu.Lock()
		if open[key] {
			f.t.Errorf("two requests of %s at a time", key)
		}
		open[key] = true
		mu.Unlock()
		a := answer(r)
		mu.Lock()
		open[key] = false
		mu.Unlock()
		return a
	})
}

// failsSometimes fails a fifth of the attempts, always the same ones.
func failsSometimes(r *sinktest.Request) sinktest.Answer {
	h := fnv.New32a()
	_, _ = fmt.Fprint(h, eventID(r.Body), r.Header.Get("Webhook-Timestamp"), r.Number)
	if h.Sum32()%5 == 0 {
		return fails
	}
	return sinktest.Answer{}
}

// testOrdering: each key's deliveries come in order, whatever fails.
func testOrdering(t *testing.T, s *fleettest.Server) {
	var keys []string
	for i := range 10 {
		keys = append(keys, fmt.Sprintf("order-%d", i))
	}
	f := newFlow(t, s, `"ordering":{"key":"subject"},"breaker":{"failures":0},"retry":{"policy":"fixed","initial":"50ms","jitter":0}`)
	f.oneAtATime(failsSometimes)
	var accepted []fleettest.Receipt
	for range 4 {
		accepted = append(accepted, f.keyed(10, keys...)...)
	}
	f.awaitAll(accepted, "delivered")
	f.inOrder(accepted)
}

// testFailingKey: a key that fails holds only itself, and goes on in order when it no longer does.
func testFailingKey(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, `"ordering":{"key":"subject"},"breaker":{"failures":0},"retry":{"policy":"fixed","initial":"1h"}`)
	var mu sync.Mutex
	broken := true
	f.oneAtATime(func(r *sinktest.Request) sinktest.Answer {
		mu.Lock()
		defer mu.Unlock()
		if broken && subjectOf(r) == "bad" {
			return fails
		}
		return sinktest.Answer{}
	})
	accepted := f.keyed(20, "bad", "good", "better")
	of := func(key string) (some []fleettest.Receipt) {
		i := slices.Index([]string{"bad", "good", "better"}, key)
		for ; i < len(accepted); i += 3 {
			some = append(some, accepted[i])
		}
		return some
	}
	f.awaitAll(append(of("good"), of("better")...), "delivered")
	head := f.await(of("bad")[0], "retrying")
	count := 0
	for _, r := range f.sink.Got(f.path) {
		if subjectOf(r) == "bad" {
			count++
		}
	}
	if count != 1 {
		t.Errorf("%d requests of the key that fails, want one", count)
	}
	mu.Lock()
	broken = false
	mu.Unlock()
	f.client.Must(t, http.StatusAccepted, http.MethodPost, "/v1/deliveries/"+head.ID+"/retry", nil, nil)
	f.awaitAll(accepted, "delivered")
	f.inOrder(accepted)
}

// testDeadFreesKey: a delivery that ends without success lets its key go on; so does one that is cancelled.
func testDeadFreesKey(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, `"ordering":{},"breaker":{"failures":0},"retry":{"policy":"fixed","initial":"1h"}`,
		sinktest.Answer{Status: http.StatusBadRequest}, fails, sinktest.Answer{})
	accepted := f.keyed(4, "a")
	f.await(accepted[0], "dead")
	d := f.await(accepted[1], "retrying")
	f.cancel(d)
	f.awaitAll(accepted[2:], "delivered")
	f.inOrder(accepted)
}

// testNoKey: events without a key wait for no other.
func testNoKey(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, `"ordering":{"key":"subject"},"breaker":{"failures":0},"retry":{"policy":"fixed","initial":"1h"}`, fails, sinktest.Answer{})
	first := f.publish()
	f.await(first, "retrying")
	f.awaitAll(f.publishMany(5), "delivered")
}

// testBecomesOrdered: a subscription that becomes ordered, and stops to be, loses nothing and sends nothing twice.
func testBecomesOrdered(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, "")
	var accepted []fleettest.Receipt
	for _, settings := range []string{"", `"ordering":{}`, "", `"ordering":{},"schedule":{"every":"500ms"}`, `"ordering":{"key":"data.n"}`, ""} {
		f.subscribe(settings)
		accepted = append(accepted, f.keyed(5, "a", "b", "c")...)
	}
	f.awaitAll(accepted, "delivered")
	f.subscribe(`"lifecycle":{}`)
	f.awaitAll(f.keyed(5, "a", "b", "c"), "skipped") // they have no status
	f.subscribe("")
	accepted = append(accepted, f.keyed(5, "a", "b", "c")...)
	f.awaitAll(accepted, "delivered")
	f.once(len(accepted))
}

// TestOrderOutlivesRestarts: order is kept over SIGKILL and SIGTERM of the one process.
func TestOrderOutlivesRestarts(t *testing.T) {
	t.Parallel()
	s := fleettest.Start(t, fleettest.Options{})
	f := newFlow(t, s, `"ordering":{},"breaker":{"failures":0},"retry":{"policy":"fixed","initial":"100ms","jitter":0}`)
	f.sink.OnFunc(f.path, failsSometimes)
	var keys []string
	for i := range 20 {
		keys = append(keys, fmt.Sprintf("order-%d", i))
	}
	var accepted []fleettest.Receipt
	for i := range 4 {
		accepted = append(accepted, f.keyed(10, keys...)...)
		f.sink.Wait(f.path, i*100+50)
		if i%2 == 0 {
			s.Kill()
			s.Start(t)
		} else {
			s.Restart(t)
		}
	}
	f.awaitAll(accepted, "delivered")
	f.inOrder(accepted)
}

// TestOrderOfSeveralWorkers: order is kept while the lane's owner changes.
func TestOrderOfSeveralWorkers(t *testing.T) {
	t.Parallel()
	split := startSplit(t, 2)
	_, js := connect(t, split.api.BrokerURL(operatorKey))
	split.awaitWorkers(t, js, 2)
	f := newFlow(t, split.api, `"ordering":{},"breaker":{"failures":0},"retry":{"policy":"fixed","initial":"100ms","jitter":0}`)
	f.sink.OnFunc(f.path, failsSometimes)
	var keys []string
	for i := range 20 {
		keys = append(keys, fmt.Sprintf("order-%d", i))
	}
	var accepted []fleettest.Receipt
	for i := range 4 {
		accepted = append(accepted, f.keyed(10, keys...)...)
		f.sink.Wait(f.path, i*100+50)
		w := split.workers[i%2]
		if i < 2 {
			w.Kill()
		} else {
			w.MustStop(t)
		}
		w.Start(t)
	}
	f.awaitAll(accepted, "delivered")
	f.inOrder(accepted)
	split.stop(t)
}
