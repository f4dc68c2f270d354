package e2e

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

// tell publishes the status of a key; at is the event's time, "" = it has none, and key and status may be absent as well.
func (f *flow) tell(key, status, at string) fleettest.Receipt {
	f.t.Helper()
	e := map[string]any{"specversion": "1.0", "id": unique("event"), "source": "/e2e", "type": f.name, "data": map[string]any{}}
	if key != "" {
		e["subject"] = key
	}
	if status != "" {
		e["data"] = map[string]any{"status": status}
	}
	if at != "" {
		e["time"] = at
	}
	text, err := json.Marshal(e)
	if err != nil {
		f.t.Fatal(err)
	}
	return f.client.Publish(f.t, string(text))
}

// told is what a request tells.
type told struct{ key, status string }

func readTold(t *testing.T, r *sinktest.Request) told {
	t.Helper()
	var e struct {
		Subject string
		Data    struct{ Status string }
	}
	if err := json.Unmarshal(r.Body, &e); err != nil {
		t.Fatalf("%v: %s", err, r.Body)
	}
	return told{e.Subject, e.Data.Status}
}

// sent are the statuses of a key that the sink has answered with success, in order.
func (f *flow) sent(key string) (statuses []string) {
	f.t.Helper()
	for _, r := range f.sink.Got(f.path) {
		if it := readTold(f.t, r); it.key == key && r.Status/100 == 2 {
			statuses = append(statuses, it.status)
		}
	}
	return statuses
}

// skipped waits for the delivery of an event to be skipped for a reason.
func (f *flow) skipped(r fleettest.Receipt, reason string) {
	f.t.Helper()
	d := f.await(r, "skipped")
	if d.Reason != reason || d.AttemptCount != 0 || d.EndedAt.IsZero() {
		f.t.Errorf("event %d: %+v, want reason %s", r.Sequence, d, reason)
	}
}

func (f *flow) wantSent(key string, statuses ...string) {
	f.t.Helper()
	if got := f.sent(key); !slices.Equal(got, statuses) {
		f.t.Errorf("of %s the sink was told %v, want %v", key, got, statuses)
	}
}

const lifecycle = `"lifecycle":{"terminal":["Cancelled","Ended"]}`

// testDedupe: a status is sent once for each key, whatever comes between; what was not delivered is no duplicate.
func testDedupe(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, lifecycle)
	f.await(f.tell("order-1", "Booked", ""), "delivered")
	f.skipped(f.tell("order-1", "Booked", ""), "duplicate_status")
	f.await(f.tell("order-1", "Sent", ""), "delivered")
	f.skipped(f.tell("order-1", "Booked", ""), "duplicate_status")
	f.await(f.tell("order-2", "Booked", ""), "delivered")
	f.skipped(f.tell("order-1", "", ""), "no_status")
	f.skipped(f.tell("", "", ""), "no_status")
	for range 2 { // nothing is known of what has no key
		f.await(f.tell("", "Booked", ""), "delivered")
	}
	f.wantSent("order-1", "Booked", "Sent")
	f.wantSent("order-2", "Booked")

	f.sink.On(f.path, sinktest.Answer{Status: http.StatusBadRequest}, sinktest.Answer{})
	f.await(f.tell("order-1", "Lost", ""), "dead")
	f.await(f.tell("order-1", "Lost", ""), "delivered")
	f.skipped(f.tell("order-1", "Lost", ""), "duplicate_status")

	skips := fleettest.List[fleettest.Delivery](t, f.client, "/v1/deliveries?limit=1000&state=skipped&subscription="+f.name)
	if len(skips) != 5 {
		t.Errorf("%d skips are listed, want 5: %+v", len(skips), skips)
	}
}

// testCancelledIsNoDuplicate: nor is what was cancelled before it was delivered; a replayed dead letter is one.
func testCancelledIsNoDuplicate(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, lifecycle+`,"retry":{"policy":"fixed","initial":"1h"}`, fails, sinktest.Answer{})
	d := f.await(f.tell("order-1", "Booked", ""), "retrying")
	f.cancel(d)
	f.await(f.tell("order-1", "Booked", ""), "delivered")
	f.skipped(f.tell("order-1", "Booked", ""), "duplicate_status")

	f.sink.On(f.path, sinktest.Answer{Status: http.StatusBadRequest}, sinktest.Answer{})
	dead := f.await(f.tell("order-1", "Sent", ""), "dead")
	var again fleettest.Delivery
	f.client.Must(t, http.StatusCreated, http.MethodPost, "/v1/dead-letters/"+dead.ID+"/replay", nil, &again)
	fleettest.Eventually(t, "the replay is delivered", func() (bool, any) {
		d := f.client.Delivery(t, again.ID)
		return d.State == "delivered", d
	})
	f.skipped(f.tell("order-1", "Sent", ""), "duplicate_status")
	f.wantSent("order-1", "Booked", "Sent")
}

// testTerminal: after a terminal status nothing is sent for the key. One that was not delivered does not count.
func testTerminal(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, lifecycle, sinktest.Answer{}, sinktest.Answer{Status: http.StatusBadRequest}, sinktest.Answer{})
	f.await(f.tell("order-1", "Booked", ""), "delivered")
	f.await(f.tell("order-1", "Cancelled", ""), "dead")
	f.await(f.tell("order-1", "Sent", ""), "delivered")
	f.await(f.tell("order-1", "Ended", ""), "delivered")
	f.skipped(f.tell("order-1", "Cancelled", ""), "completed")
	f.skipped(f.tell("order-1", "Booked", ""), "completed") // the first reason that applies
	f.await(f.tell("order-2", "Booked", ""), "delivered")
	f.wantSent("order-1", "Booked", "Sent", "Ended")
}

// testLatestOnly: what is older than what was delivered is superseded, and of several that wait all but the newest.
func testLatestOnly(t *testing.T, s *fleettest.Server) {
	at := func(minute int) string { return fmt.Sprintf("2026-03-01T10:%02d:00Z", minute) }
	f := newFlow(t, s, `"lifecycle":{"latestonly":true,"dedupe":false}`)
	f.await(f.tell("order-1", "B", at(5)), "delivered")
	f.skipped(f.tell("order-1", "A", at(4)), "superseded")
	f.await(f.tell("order-1", "B", at(5)), "delivered") // as new, and no duplicates are asked for
	f.pause()
	var old []fleettest.Receipt
	for _, minute := range []int{6, 7, 9, 8} {
		old = append(old, f.tell("order-1", at(minute), at(minute)))
	}
	other := f.tell("order-2", "A", at(1))
	newest := f.tell("order-1", "now", "") // without a time: that of its acceptance
	last := f.tell("order-1", "older", at(10))
	f.resume()
	f.await(newest, "delivered")
	f.await(other, "delivered")
	for _, r := range append(old, last) {
		f.skipped(r, "superseded")
	}
	f.wantSent("order-1", "B", "B", "now")
}

// testSkipsInOrder: of several reasons the first of the list is told.
func testSkipsInOrder(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, "")
	f.client.Subscribe(t, f.name, fmt.Sprintf(`{"types":[%q],"sinkoverride":"webhookurl","config":{%s}}`, f.name, lifecycle))
	f.skipped(f.tell("order-1", "", ""), "no_sink")
	f.skipped(f.tell("order-1", "Booked", ""), "no_sink")
}

// testStatusPaths: key and status are where the subscription says, and numbers and booleans are statuses too.
func testStatusPaths(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, `"lifecycle":{"key":"data.order.id","status":"state","terminal":["9"]}`)
	say := func(order, state string) fleettest.Receipt {
		return f.client.Publish(t, event(unique("event"), f.name, fmt.Sprintf(`{"order":{"id":%s},"state":%s}`, order, state)))
	}
	f.await(say("7", "1"), "delivered")
	f.skipped(say("7", `"1"`), "duplicate_status")
	f.await(say("8", "true"), "delivered")
	f.skipped(say("8", "null"), "no_status")
	f.skipped(say("8", `{"a":1}`), "no_status")
	f.await(say("7", "9"), "delivered")
	f.skipped(say(`"7"`, "2"), "completed")
}

// testLifecycleEnds: what was delivered to a subscription that is deleted does not count for a new one of its id.
func testLifecycleEnds(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, lifecycle)
	f.await(f.tell("order-1", "Ended", ""), "delivered")
	f.do(http.StatusNoContent, http.MethodDelete, "/v1/subscriptions/"+f.name)
	f.subscribe(lifecycle)
	f.await(f.tell("order-1", "Ended", ""), "delivered")
	f.skipped(f.tell("order-1", "Ended", ""), "completed")
}

// TestLifecycleOutlivesRestarts: what is known of keys survives a SIGKILL at any moment, and an orderly end.
func TestLifecycleOutlivesRestarts(t *testing.T) {
	t.Parallel()
	const keys = 20
	s := fleettest.Start(t, fleettest.Options{})
	f := newFlow(t, s, lifecycle+`,"retry":{"policy":"fixed","initial":"200ms","jitter":0}`)
	key := func(i int) string { return fmt.Sprintf("order-%d", i) }
	var told []fleettest.Receipt
	tellAll := func(status string) {
		for i := range keys {
			told = append(told, f.tell(key(i), status, ""))
		}
	}
	tellAll("Booked")
	f.sink.WaitAnswered(f.path, keys/2)
	s.Kill() // while they are sent and noted
	s.Start(t)
	tellAll("Booked")
	tellAll("Sent")
	f.sink.WaitAnswered(f.path, keys+keys/2)
	s.Restart(t)
	tellAll("Booked")
	tellAll("Ended")
	f.sink.WaitAnswered(f.path, 2*keys+keys/2)
	s.Kill()
	s.Start(t)
	tellAll("Sent")
	tellAll("Cancelled")
	counts := map[string]int{}
	fleettest.Eventually(t, "all deliveries have ended", func() (bool, any) {
		clear(counts)
		for _, d := range fleettest.List[fleettest.Delivery](t, f.client, "/v1/deliveries?limit=1000&subscription="+f.name) {
			counts[strings.TrimSpace(d.State+" "+d.Reason)]++
		}
		return counts["delivered"]+counts["skipped completed"]+counts["skipped duplicate_status"] == len(told), counts
	})
	// Of what was under way when it was killed the partner may have been told, and we not have heard.
	for i := range keys {
		webhooks := map[string]string{} // webhook-id by status
		var order []string
		for _, r := range f.sink.Got(f.path) {
			it := readTold(t, r)
			if it.key != key(i) {
				continue
			}
			if id, again := webhooks[it.status]; again && id != r.ID() {
				t.Errorf("%s was told %s by two events", it.key, it.status)
			} else if !again {
				order = append(order, it.status)
			}
			webhooks[it.status] = r.ID()
		}
		if want := []string{"Booked", "Sent", "Ended"}; !slices.Equal(order, want) {
			t.Errorf("of %s the sink was told %v, want %v", key(i), order, want)
		}
	}
	if n := counts["skipped duplicate_status"]; n < 2*keys {
		t.Errorf("%d duplicates were skipped, want %d at least: %v", n, 2*keys, counts)
	}
	if counts["skipped completed"] != 2*keys {
		t.Errorf("%d were skipped after the end, want %d: %v", counts["skipped completed"], 2*keys, counts)
	}
}

// byTime orders requests by when they came.
func byTime(a, b *sinktest.Request) int { return cmp.Or(a.At.Compare(b.At), a.Number-b.Number) }

// soonAfter is a moment that is far enough away for a loaded machine to publish something before.
func soonAfter() time.Time { return time.Now().Add(12 * time.Second) }

// TestLifecycleOfSeveralWorkers: each owner of a lane knows what those before it have delivered.
func TestLifecycleOfSeveralWorkers(t *testing.T) {
	t.Parallel()
	split := startSplit(t, 2)
	_, js := connect(t, split.api.BrokerURL(operatorKey))
	split.awaitWorkers(t, js, 2)
	f := newFlow(t, split.api, lifecycle)
	var told []string
	for i := range 6 {
		status := fmt.Sprintf("status %d", i)
		f.await(f.tell("order-1", status, ""), "delivered")
		told = append(told, status)
		w := split.workers[i%2]
		if i < 2 {
			w.Kill()
		} else {
			w.MustStop(t)
		}
		for _, old := range told {
			f.skipped(f.tell("order-1", old, ""), "duplicate_status")
		}
		w.Start(t)
		split.awaitWorkers(t, js, 2)
	}
	f.wantSent("order-1", told...)
	split.stop(t)
}
