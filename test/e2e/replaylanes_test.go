package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

// testReplayOrdered: replays of an ordered subscription come in order for each key and one at a time, also beside live
// events of the same keys, which are in order too.
func testReplayOrdered(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, `"ordering":{"key":"subject"},"concurrency":200,"retry":{"policy":"fixed","initial":"10ms"},"breaker":{"failures":0},"pause":{"after":1000}`)
	keys := []string{"order-1", "order-2"}
	old := f.keyed(200, keys...)
	f.awaitAll(old, "delivered")
	f.oneAtATime(failsSometimes)
	seen := len(f.sink.Got(f.path))
	r := f.client.Replay(t, fmt.Sprintf(`{"subscription":%q,"from":"events","rate":{"permit":10000,"per":"1s","burst":1000}}`, f.name))
	var live []fleettest.Receipt
	for range 5 {
		live = append(live, f.keyed(4, keys...)...)
	}
	n := len(old)
	if got := countsOf(f.client.AwaitReplay(t, r.ID, "done")); got != (replayCounts{matched: n, sent: n, delivered: n}) {
		t.Errorf("replay %+v", got)
	}
	f.awaitAll(live, "delivered")
	f.delivered("replayed", seen, old)
	f.delivered("live", seen, live)
}

// delivered checks that the sink took each of these events once since it had seen so many requests, those of a key in order.
func (f *flow) delivered(what string, seen int, accepted []fleettest.Receipt) {
	f.t.Helper()
	place := map[string]int{}
	for i, r := range accepted {
		place[r.ID] = i + 1
	}
	taken, last := 0, map[string]int{}
	for _, r := range f.sink.Got(f.path)[seen:] {
		at, key := place[eventID(r.Body)], subjectOf(r)
		if at == 0 || r.Status/100 != 2 {
			continue
		}
		if at <= last[key] {
			f.t.Errorf("%s: of %s event %d was taken after event %d", what, key, at, last[key])
		}
		last[key] = at
		taken++
	}
	if taken != len(accepted) {
		f.t.Errorf("%s: %d events taken, want %d", what, taken, len(accepted))
	}
}

// testReplayLifecycle: what was told once is not told again by a replay, and a subscription that comes later is told what
// is told once, in order.
func testReplayLifecycle(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, lifecycle)
	var all []fleettest.Receipt
	for _, it := range []told{
		{"order-1", "Booked"}, {"order-2", "Booked"}, {"order-1", "Booked"}, {"order-2", "Ended"}, {"order-1", "Sent"}, {"order-2", "Booked"}, {"order-1", ""},
	} {
		all = append(all, f.tell(it.key, it.status, ""))
	}
	for i, state := range []string{"delivered", "delivered", "skipped", "delivered", "delivered", "skipped", "skipped"} {
		f.await(all[i], state)
	}
	f.replayed(fmt.Sprintf(`{"subscription":%q,"from":"events"}`, f.name), replayCounts{matched: 7, sent: 7, skipped: 7})
	f.wantSent("order-1", "Booked", "Sent")
	f.wantSent("order-2", "Booked", "Ended")

	later := unique("later")
	path := "/" + later
	f.client.Subscribe(t, later, fmt.Sprintf(`{"types":[%q],"sink":%q,"config":{%s}}`, f.name, f.sink.URL(path), lifecycle))
	f.replayed(fmt.Sprintf(`{"subscription":%q,"from":"events"}`, later), replayCounts{matched: 7, sent: 7, delivered: 4, skipped: 3})
	got := map[string][]string{}
	for _, r := range f.sink.Got(path) {
		it := readTold(t, r)
		got[it.key] = append(got[it.key], it.status)
	}
	if !slices.Equal(got["order-1"], []string{"Booked", "Sent"}) || !slices.Equal(got["order-2"], []string{"Booked", "Ended"}) {
		t.Errorf("the later subscription was told %v", got)
	}
	// What it was not told is told live, and what it was told is not.
	f.tell("order-1", "Sent", "")
	f.tell("order-1", "Ended", "")
	requests := f.sink.WaitAnswered(path, 5)
	if it := readTold(t, requests[4]); it != (told{"order-1", "Ended"}) {
		t.Errorf("told %v after the replay", it)
	}
}

// testReplayScheduled: replays go at ticks, with the live events and within the batch: each eight of them a tick later than the
// eight before, however late a tick is.
func testReplayScheduled(t *testing.T, s *fleettest.Server) {
	const every, batch = time.Second, 8
	f := newFlow(t, s, fmt.Sprintf(`"schedule":{"every":%q,"batch":%d}`, every, batch))
	f.awaitAll(f.publishMany(12), "delivered")
	seen := len(f.sink.Got(f.path))
	tick := time.Now().Truncate(every) // one that is open goes on
	r := f.client.Replay(t, fmt.Sprintf(`{"subscription":%q,"from":"events","rate":1000}`, f.name))
	live := f.publishMany(12)
	if got := countsOf(f.client.AwaitReplay(t, r.ID, "done")); got != (replayCounts{matched: 12, sent: 12, delivered: 12}) {
		t.Errorf("replay %+v", got)
	}
	f.awaitAll(live, "delivered")
	requests := f.sink.WaitAnswered(f.path, seen+24)[seen:]
	slices.SortFunc(requests, func(a, b *sinktest.Request) int { return a.At.Compare(b.At) })
	for i, r := range requests {
		if at := tick.Add(time.Duration(i/batch) * every); r.At.Before(at) {
			t.Errorf("request %d came at %v, before the tick at %v", i, r.At, at)
		}
	}
}
