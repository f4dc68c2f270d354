package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events"
)

// laned is a fixture with a subscription "lane" that takes the events of acme in a lane, and "plain" that takes all.
type laned struct {
	*fixture
	backlog  *Backlog
	versions []LaneVersion
	lane     jetstream.Consumer
}

func setupLane(t testing.TB) *laned {
	f := &laned{fixture: setup(t)}
	f.versions = []LaneVersion{{Subscription: "lane", Until: math.MaxUint64, Tenant: "acme", Types: []string{"order.status"}}}
	match := func(_ context.Context, e *events.Event, sequence uint64) ([]string, error) {
		ids := []string{"plain"}
		for _, v := range f.versions {
			if e.Tenant() == v.Tenant && v.holds(sequence) {
				ids = append(ids, v.Subscription)
			}
		}
		return ids, nil
	}
	f.backlog = NewBacklog(NewHistory(f.read, match).WithLanes(func(subscription string) (some []LaneVersion) {
		for _, v := range f.versions {
			if subscription == "" || subscription == v.Subscription {
				some = append(some, v)
			}
		}
		return some
	}))
	return f
}

// makeLane makes the lane's consumer.
func (f *laned) makeLane() {
	f.Helper()
	v := f.versions[0]
	lanes := NewLanes(f.js)
	err := lanes.Ensure(f.Context(), LaneConsumerConfig{
		Subscription: v.Subscription, From: v.From, Tenant: v.Tenant, Types: v.Types, AckWait: time.Hour, Window: 1000,
	})
	if err != nil {
		f.Fatal(err)
	}
	if f.lane, err = f.js.Consumer(f.Context(), Events, LaneConsumer(v.Subscription, v.From)); err != nil {
		f.Fatal(err)
	}
}

// run takes n events as the lane's owner does, and settles and acknowledges those of which settled says so.
func (f *laned) run(n int, settled func(i int) bool) {
	f.Helper()
	batch, err := f.lane.Fetch(n)
	if err != nil {
		f.Fatal(err)
	}
	i := 0
	for m := range batch.Messages() {
		meta, err := m.Metadata()
		if err != nil {
			f.Fatal(err)
		}
		if settled(i) {
			e, err := events.ParseNATS(m.Headers(), m.Data())
			if err != nil {
				f.Fatal(err)
			}
			d := f.delivery(e, meta.Sequence.Stream, "lane", meta.Timestamp)
			f.record(&d, events.StateDelivered, true)
			if err := m.DoubleAck(f.Context()); err != nil {
				f.Fatal(err)
			}
		}
		i++
	}
	if i != n {
		f.Fatalf("%d events, want %d: %v", i, n, batch.Error())
	}
}

// settleDispatch acknowledges what dispatch gets, as if everything of it were settled.
func (f *laned) settleDispatch(n int) {
	f.Helper()
	batch, err := f.dispatchConsumer().Fetch(n)
	if err != nil {
		f.Fatal(err)
	}
	for m := range batch.Messages() {
		if err := m.DoubleAck(f.Context()); err != nil {
			f.Fatal(err)
		}
	}
}

// want checks what is counted, listed and found as pending of the lane.
func (f *laned) want(what string, sequences []uint64) {
	f.Helper()
	for _, subscription := range []string{"", "lane"} {
		counts, _, err := f.backlog.Pending(f.Context(), "", subscription)
		if err != nil || counts["lane"] != uint64(len(sequences)) {
			f.Errorf("%s: %v pending (asked for %q), want %d; %v", what, counts, subscription, len(sequences), err)
		}
	}
	var want []string
	for _, s := range slices.Backward(sequences) {
		want = append(want, events.DeliveryID(s, "lane", 0))
	}
	for _, q := range []Query{{Subscription: "lane", State: events.StatePending}, {State: events.StatePending, Limit: 7}} {
		var got []string
		for {
			items, next, err := f.backlog.List(f.Context(), q)
			if err != nil {
				f.Fatal(err)
			}
			for _, r := range items {
				if r.Subscription == "lane" {
					got = append(got, r.ID)
				}
			}
			if q.Cursor = next; next == "" {
				break
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			f.Errorf("%s: listed by %+v (-want +got):\n%.1000s", what, q, diff)
		}
	}
	for _, id := range want {
		if found, ok, err := f.backlog.Find(f.Context(), id); err != nil || !ok || found.Record.State != events.StatePending {
			f.Fatalf("%s: %s: %+v, %v", what, id, found, err)
		}
	}
}

// TestLanePending: what a lane has before it is pending whatever dispatch has done, also when its consumer is not there yet,
// was taken back, or others' events lie between.
func TestLanePending(t *testing.T) {
	t.Parallel()
	f := setupLane(t)
	var own []uint64
	var first time.Time
	accept := func(n int) {
		for i := range n {
			tenant := "acme"
			if i%5 == 1 {
				tenant = "globex"
			}
			seq, at := f.accept(f.event(tenant, fmt.Sprint(len(own), "-", i)))
			if tenant == "acme" {
				own = append(own, seq)
			}
			if seq == 8 {
				first = at
			}
		}
	}
	accept(300)
	f.want("no worker was ever there", own)
	f.settleDispatch(300)
	f.want("no consumer yet", own)
	f.makeLane()
	f.want("nothing taken", own)
	f.run(20, func(i int) bool { return i < 6 || i%2 == 0 })
	taken, left := own[:20], own[20:]
	var open []uint64
	for i, s := range taken {
		if i >= 6 && i%2 == 1 {
			open = append(open, s)
		}
	}
	f.want("20 taken", slices.Concat(open, left))
	s, err := f.backlog.State(t.Context())
	if err != nil || s.Pending != uint64(len(open)+len(left)) || s.Oldest.Before(first) {
		t.Errorf("state %+v, %v", s, err)
	}
	lanes := NewLanes(f.js)
	lease := LaneLease{Fence: own[19]}
	if err := lanes.Write(t.Context(), "lane", &lease); err != nil {
		t.Fatal(err)
	}
	if err := lanes.Rewind(t.Context(), f.lane.CachedInfo().Name); err != nil {
		t.Fatal(err)
	}
	f.want("taken back", slices.Concat(open, left))
	accept(20)
	f.want("more events, dispatch behind", slices.Concat(open, own[20:]))
	cancelled := own[100]
	f.publish(LaneCancelMessage("lane", events.DeliveryID(cancelled, "lane", 0), false))
	f.want("one to be cancelled", slices.Concat(open, own[20:]))
	f.publish(LaneCancelMessage("lane", events.DeliveryID(cancelled, "lane", 0), true))
	rest := slices.DeleteFunc(slices.Concat(open, own[20:]), func(s uint64) bool { return s == cancelled })
	f.want("one cancelled", rest)
	marks, err := lanes.Cancelled(t.Context(), "lane")
	if err != nil || len(marks) != 1 || !marks[events.DeliveryID(cancelled, "lane", 0)] {
		t.Errorf("marks %v, %v", marks, err)
	}
	if err := lanes.Uncancel(t.Context(), "lane", events.DeliveryID(cancelled, "lane", 0)); err != nil {
		t.Fatal(err)
	}
	f.versions[0].Until = own[200]
	rest = slices.DeleteFunc(slices.Concat(open, own[20:]), func(s uint64) bool { return s > own[200] })
	f.want("an earlier version", rest)
}

// TestLanePendingLarge: the broker counts what is before a lane that takes all events of its types.
func TestLanePendingLarge(t *testing.T) {
	t.Parallel()
	f := setupLane(t)
	h, data := f.event("acme", "1").Message()
	const all = countAlways + 100
	for range all {
		if _, err := f.js.PublishMsgAsync(&nats.Msg{Subject: EventSubject("acme", "order.status"), Header: h, Data: data}, jetstream.WithStallWait(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	<-f.js.PublishAsyncComplete()
	f.makeLane()
	f.run(10, func(i int) bool { return i != 3 })
	for _, whole := range []bool{true, false} {
		f.versions[0].Whole = whole
		counts, looked, err := f.backlog.Pending(t.Context(), "", "lane")
		if err != nil || counts["lane"] != all-9 {
			t.Errorf("whole %t: %v, %v", whole, counts, err)
		}
		if whole && looked > 20000 || !whole && looked < countAlways {
			t.Errorf("whole %t: looked at %d", whole, looked)
		}
	}
	f.settleDispatch(1000)
	f.versions[0].Whole = true
	if counts, looked, err := f.backlog.Pending(t.Context(), "acme", ""); err != nil || counts["lane"] != all-9 {
		t.Errorf("%v of %d, %v", counts, looked, err)
	}
}

// TestLaneLease: what another wrote meanwhile is not overwritten.
func TestLaneLease(t *testing.T) {
	t.Parallel()
	f := setup(t)
	lanes := NewLanes(f.js)
	first := LaneLease{Owner: "a", Fence: 7}
	if err := lanes.Write(t.Context(), "s", &first); err != nil {
		t.Fatal(err)
	}
	read, err := lanes.Lease(t.Context(), "s")
	if err != nil || read.Owner != "a" || read.Fence != 7 {
		t.Fatalf("%+v, %v", read, err)
	}
	f.publish(LaneCancelMessage("s", "1-s", false))
	if again, err := lanes.Lease(t.Context(), "s"); err != nil || again.revision != read.revision {
		t.Errorf("a mark changed the lease: %+v, %v", again, err)
	}
	if err := lanes.Forget(t.Context(), "s"); err != nil {
		t.Fatal(err)
	}
	if marks, err := lanes.Cancelled(t.Context(), "s"); err != nil || len(marks) != 0 {
		t.Errorf("marks of a lane that is no more: %v, %v", marks, err)
	}
	if text, err := json.Marshal(LaneLease{}); err != nil || string(text) != "{}" {
		t.Errorf("%s, %v", text, err)
	}
}
