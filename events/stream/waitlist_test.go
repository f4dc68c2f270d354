package stream

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/test/natstest"
)

const patience = time.Minute

func TestWaitlistFind(t *testing.T) {
	t.Parallel()
	f := setup(t)
	w := NewWaitlist(f.read)
	e := f.event("acme", "e")
	at := time.Now().UTC().Truncate(time.Millisecond)
	timer, due, held := f.delivery(e, 1, "sub", at), f.delivery(e, 2, "sub", at), f.delivery(e, 3, "sub", at)
	timer.Attempts, due.Attempts, held.Attempts = 1, 2, 3
	f.timer(e, timer, at.Add(later))
	f.timer(e, due, at)
	f.hold(e, held)
	natstest.Eventually(t, patience, func() bool {
		p, ok, err := w.Find(t.Context(), "sub", due.ID)
		return err == nil && ok && p.Place == PlaceDue
	})
	for _, c := range []struct {
		d     events.Delivery
		place Place
		state events.State
	}{{timer, PlaceTimer, events.StateRetrying}, {due, PlaceDue, events.StateRetrying}, {held, PlaceHeld, events.StateHeld}} {
		p, ok, err := w.Find(t.Context(), "sub", c.d.ID)
		if err != nil || !ok {
			t.Fatal(c.place, ok, err)
		}
		if p.Place != c.place || p.State() != c.state || p.Sequence == 0 || p.Since.IsZero() {
			t.Errorf("%s: found %s, %s, %d, %s", c.place, p.Place, p.State(), p.Sequence, p.Since)
		}
		p.Delivery.NextAt = time.Time{}
		if diff := cmp.Diff(c.d, p.Delivery); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.place, diff)
		}
		if got, want := p.Event.AppendStructured(nil), e.AppendStructured(nil); string(got) != string(want) {
			t.Errorf("%s: event is %s", c.place, got)
		}
	}
	for _, id := range []string{"", "*", ">", "1-*", events.DeliveryID(9, "sub", 0)} {
		if p, ok, err := w.Find(t.Context(), "sub", id); ok || err != nil {
			t.Errorf("Find(%q) = %+v, %v, %v", id, p, ok, err)
		}
	}
}

// A look-up of what is held waited behind all that was asked of the broker's API before it, for seconds where many
// consumers were made.
func TestHeldIsFoundWhileTheAPIIsBusy(t *testing.T) {
	t.Parallel()
	const asked, rounds = 1000, 10
	f := setup(t)
	w := NewWaitlist(f.read)
	e := f.event("acme", "e")
	d := f.delivery(e, 1, "sub", time.Now())
	f.hold(e, d)
	for range rounds { // one in which this goroutine was not held up itself is enough
		answers := make(chan *nats.Msg, asked)
		sub, err := f.nc.ChanSubscribe(f.nc.NewInbox(), answers)
		if err != nil {
			t.Fatal(err)
		}
		for range asked {
			err := f.nc.PublishRequest("$JS.API.CONSUMER.CREATE."+Events, sub.Subject,
				[]byte(`{"stream_name":"EVENTS","config":{"ack_policy":"none","mem_storage":true,"inactive_threshold":1000000000}}`))
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := f.nc.Flush(); err != nil {
			t.Fatal(err)
		}
		if _, ok, err := w.Held(t.Context(), "sub", d.ID); err != nil || !ok {
			t.Fatalf("%v, %v", ok, err)
		}
		before := len(answers)
		natstest.Eventually(t, patience, func() bool { return len(answers) == asked })
		if err := sub.Unsubscribe(); err != nil {
			t.Fatal(err)
		}
		if before < asked/2 {
			return
		}
	}
	t.Error("it is answered after what was asked before it")
}

func TestWaitlistCancel(t *testing.T) {
	t.Parallel()
	f := setup(t)
	w := NewWaitlist(f.read)
	e := f.event("acme", "e")
	a, b := f.delivery(e, 1, "sub", time.Now()), f.delivery(e, 2, "sub", time.Now())
	f.timer(e, a, time.Now().Add(later))
	f.timer(e, b, time.Now().Add(later))
	f.hold(e, a)
	for _, want := range []uint64{2, 0} {
		if n, err := w.Cancel(t.Context(), "sub", a.ID); n != want || err != nil {
			t.Errorf("Cancel = %d, %v, want %d", n, err, want)
		}
	}
	if n, err := w.Cancel(t.Context(), "sub", "*"); n != 0 || err != nil {
		t.Errorf("Cancel(*) = %d, %v", n, err)
	}
	if c, err := w.Count(t.Context(), "sub"); c != (Counts{Timers: 1}) || err != nil {
		t.Errorf("Count = %+v, %v", c, err)
	}
	p, _, err := w.Find(t.Context(), "sub", b.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{true, false} {
		if there, err := w.Remove(t.Context(), p); there != want || err != nil {
			t.Errorf("Remove = %v, %v, want %v", there, err, want)
		}
	}
}

// fill sets timers and holds deliveries of subscriptions, without waiting for each answer.
func (f *fixture) fill(timers, held int, subscription string) (ids []string) {
	f.Helper()
	e := f.event("acme", "e")
	for i := range timers + held {
		d := f.delivery(e, uint64(i+1), subscription, time.Now())
		w := Waiting{Delivery: d, Event: e}
		w.Delivery.NextAt = time.Now().Add(later)
		msg, err := w.TimerMessage()
		if i >= timers {
			msg, err = w.HeldMessage()
		}
		if err != nil {
			f.Fatal(err)
		}
		if _, err := f.js.PublishMsgAsync(msg, jetstream.WithStallWait(patience)); err != nil {
			f.Fatal(err)
		}
		ids = append(ids, d.ID)
	}
	<-f.js.PublishAsyncComplete()
	return ids
}

func TestWaitlistAllAndCount(t *testing.T) {
	t.Parallel()
	f := setup(t)
	w := NewWaitlist(f.read)
	for _, c := range []struct {
		subscription string
		timers, held int
	}{{"none", 0, 0}, {"few", 30, 20}, {"many", fewNames + 100, 3}, {"man", 1, 1}} {
		want := f.fill(c.timers, c.held, c.subscription)
		var got []string
		for p, err := range w.All(t.Context(), c.subscription) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, p.Delivery.ID)
		}
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%.1000s", c.subscription, diff)
		}
		counts, err := w.Count(t.Context(), c.subscription)
		if want := (Counts{uint64(c.timers), uint64(c.held)}); counts != want || err != nil {
			t.Errorf("%s: Count = %+v, %v, want %+v", c.subscription, counts, err, want)
		}
	}
	total, err := w.Total(t.Context())
	if want := (Counts{fewNames + 131, 24}); total != want || err != nil {
		t.Errorf("Total = %+v, %v, want %+v", total, err, want)
	}
}

func TestCancelSubscription(t *testing.T) {
	t.Parallel()
	f := setup(t)
	w := NewWaitlist(f.read)
	f.fill(5, 5, "other")
	for _, n := range []int{20, cancelPage + 1, fewNames + 10} {
		want := f.fill(n, 7, "sub")
		var got []string
		err := w.CancelSubscription(t.Context(), "sub", func(_ context.Context, page []*Parked) error {
			if len(page) == 0 || len(page) > cancelPage {
				t.Errorf("a page of %d", len(page))
			}
			for _, p := range page {
				got = append(got, p.Delivery.ID)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("of %d (-want +got):\n%.1000s", n, diff)
		}
		if c, err := w.Count(t.Context(), "sub"); c != (Counts{}) || err != nil {
			t.Errorf("left: %+v, %v", c, err)
		}
	}
	f.fill(20, 20, "sub")
	if err := w.CancelSubscription(t.Context(), "sub", nil); err != nil {
		t.Fatal(err)
	}
	if c, err := w.Count(t.Context(), "sub"); c != (Counts{}) || err != nil {
		t.Errorf("left: %+v, %v", c, err)
	}
	if c, err := w.Count(t.Context(), "other"); c != (Counts{5, 5}) || err != nil {
		t.Errorf("of the other one: %+v, %v", c, err)
	}
}

func TestWalk(t *testing.T) {
	t.Parallel()
	f := setup(t)
	w := NewWaitlist(f.read)
	f.fill(200, 0, "a")
	f.fill(100, 0, "b")
	if _, err := w.Cancel(t.Context(), "a", events.DeliveryID(17, "a", 0)); err != nil {
		t.Fatal(err)
	}
	var n, pages int
	for at := uint64(1); at != 0; pages++ {
		var err error
		at, err = w.Walk(t.Context(), Retries, at, 100, func(g Glimpse) error {
			n++
			if due, ok := g.Due(); !ok || time.Until(due) < later/2 || g.Place() != PlaceTimer || time.Since(g.Since()) > later {
				t.Errorf("at %d: due %v, %v, %s", g.Sequence(), due, ok, g.Place())
			}
			p, err := g.Parked()
			if err != nil || p.Delivery.Subscription != g.Subscription() {
				t.Errorf("at %d: %+v, %v", g.Sequence(), p, err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if n != 299 || pages < 3 {
		t.Errorf("%d in %d pages", n, pages)
	}
}

func TestDeadList(t *testing.T) {
	t.Parallel()
	f := setup(t)
	l := NewDeadList(f.read)
	start := time.Now()
	reasons := []events.Reason{events.ReasonExhausted, events.ReasonGone, events.ReasonRejected}
	type entry struct {
		id, subscription, tenant string
		reason                   events.Reason
	}
	var all []entry
	for i := range 300 {
		tenant, subscription := "acme", fmt.Sprintf("sub%d", i%3)
		if subscription == "sub2" {
			tenant = "zeta"
		}
		e := f.event(tenant, fmt.Sprint(i))
		d := f.delivery(e, uint64(i+1), subscription, time.Now())
		f.bury(e, d, reasons[i/5%3])
		all = append(all, entry{d.ID, subscription, tenant, reasons[i/5%3]})
	}
	for _, c := range []struct {
		name  string
		q     DeadQuery
		takes func(entry) bool
	}{
		{"all", DeadQuery{}, func(entry) bool { return true }},
		{"subscription", DeadQuery{Subscription: "sub1", Limit: 7}, func(e entry) bool { return e.subscription == "sub1" }},
		{"tenant", DeadQuery{Tenant: "zeta"}, func(e entry) bool { return e.tenant == "zeta" }},
		{"another tenant's", DeadQuery{Tenant: "zeta", Subscription: "sub1"}, func(entry) bool { return false }},
		{"reason", DeadQuery{Reason: events.ReasonGone, Limit: 9}, func(e entry) bool { return e.reason == events.ReasonGone }},
		{"since", DeadQuery{Since: start}, func(entry) bool { return true }},
		{"since later", DeadQuery{Since: time.Now().Add(time.Minute)}, func(entry) bool { return false }},
		{"wildcards", DeadQuery{Subscription: "*"}, func(entry) bool { return false }},
	} {
		var want, got []string
		for _, e := range slices.Backward(all) {
			if c.takes(e) {
				want = append(want, e.id)
			}
		}
		for next := "start"; next != ""; c.q.Cursor = next {
			var page []*Letter
			var err error
			if page, next, err = l.List(t.Context(), c.q); err != nil {
				t.Fatal(c.name, err)
			}
			for _, letter := range page {
				got = append(got, letter.ID)
				if letter.Payload == nil || letter.Payload.ID() != letter.Event.ID {
					t.Errorf("%s: %s has payload %+v", c.name, letter.ID, letter.Payload)
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%.1000s", c.name, diff)
		}
	}
	if _, _, err := l.List(t.Context(), DeadQuery{Cursor: "r5"}); err == nil {
		t.Error("a cursor of another list is taken")
	}
}

func TestDeadListFindAndDelete(t *testing.T) {
	t.Parallel()
	f := setup(t)
	l := NewDeadList(f.read)
	e := f.event("acme", "e")
	d := f.delivery(e, 7, "sub", time.Now().UTC())
	f.bury(e, d, events.ReasonGone)
	f.bury(e, f.delivery(e, 8, "sub", time.Now()), events.ReasonGone)
	letter, ok, err := l.Find(t.Context(), d.ID)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if letter.Reason != events.ReasonGone || letter.Tenant != "acme" || letter.Event.ID != "e" || letter.DeadAt.IsZero() {
		t.Errorf("found %+v", letter.DeadLetter)
	}
	for _, want := range []bool{true, false} {
		if ok, err := l.Delete(t.Context(), d.ID); ok != want || err != nil {
			t.Errorf("Delete = %v, %v, want %v", ok, err, want)
		}
	}
	for _, id := range []string{d.ID, "", "*", "8-*", "nonsense"} {
		if _, ok, err := l.Find(t.Context(), id); ok || err != nil {
			t.Errorf("Find(%q) = %v, %v", id, ok, err)
		}
	}
}

func TestDeadLettersOfOddEvents(t *testing.T) {
	t.Parallel()
	f := setup(t)
	l := NewDeadList(f.read)
	invalid := events.Delivery{
		ID: events.DeliveryID(5, string(events.ReasonInvalidEvent), 0), Tenant: "acme", Event: events.EventRef{Sequence: 5},
		Reason: events.ReasonInvalidEvent,
	}
	msg, err := DeadMessage(&events.DeadLetter{Delivery: invalid, DeadAt: time.Now()}, nil, []byte("not an event"))
	if err != nil {
		t.Fatal(err)
	}
	f.publish(msg)
	letter, ok, err := l.Find(t.Context(), invalid.ID)
	if err != nil || !ok || string(letter.Raw) != "not an event" || letter.Payload != nil {
		t.Errorf("invalid event: %+v, %v, %v", letter, ok, err)
	}
	long, err := events.ParseNATS(map[string][]string{ // in binary mode, and too long for the headers of a message
		"ce-specversion": {"1.0"}, "ce-id": {strings.Repeat("x", 40_000)}, "ce-source": {"/s"}, "ce-type": {"t"}, "ce-tenant": {"acme"},
	}, []byte("data"))
	if err != nil {
		t.Fatal(err)
	}
	f.bury(long, f.delivery(long, 6, "sub", time.Now()), events.ReasonGone)
	letter, ok, err = l.Find(t.Context(), events.DeliveryID(6, "sub", 0))
	if err != nil || !ok || letter.Payload == nil || letter.Payload.ID() != long.ID() {
		t.Errorf("event with long attributes: %v, %v", ok, err)
	}
}
