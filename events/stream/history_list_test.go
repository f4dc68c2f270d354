package stream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events"
)

// world is a history made at random, with what waits of it, and the model of what lists should say.
type world struct {
	*fixture
	rand *rand.Rand
	e    map[string]*events.Event // by tenant
	log  []*events.Record         // in the order of ATTEMPTS
	base time.Time
	open []*events.Delivery
	calm int // of so many deliveries, four do not go well at once

	group  []*write // records that share messages, not written yet
	of     map[*write]*events.Record
	stored uint64                  // messages
	states map[uint64]events.State // by message: of records with one of their own
}

// append writes a record without waiting for its answer. All records are ours, so their sequences are known.
func (w *world) append(d *events.Delivery, state events.State, attempted bool) {
	r := &events.Record{State: state, First: d.Record == 0}
	if attempted {
		d.Attempts++
		r.Attempt = &events.Attempt{Number: d.Attempts, URL: "https://partner.example/", Outcome: events.Retry}
	}
	r.Delivery = *d
	if state == events.StateDelivered || state == events.StateCancelled { // as the worker does
		one := &write{msg: RecordMessage(r)}
		w.group, w.of[one] = append(w.group, one), r
		return
	}
	w.flush()
	w.send(RecordMessage(r))
	w.log = append(w.log, r)
	d.Record, w.states[w.stored] = w.stored, state
}

func (w *world) send(m *nats.Msg) {
	if _, err := w.js.PublishMsgAsync(m, jetstream.WithStallWait(patience)); err != nil {
		w.Fatal(err)
	}
	w.stored++
}

// flush writes a group as a Writer does.
func (w *world) flush() {
	byMessage := map[*nats.Msg]*events.Record{}
	for _, one := range w.group {
		byMessage[one.msg] = w.of[one]
	}
	for _, b := range bundles(w.group) {
		w.send(b.message())
		for _, line := range b.lines {
			w.log = append(w.log, byMessage[line])
		}
	}
	w.group = nil
	clear(w.of)
}

// begin makes the first record of a new delivery.
func (w *world) begin(sequence uint64, subscription string) {
	tenant := "acme"
	if subscription == "rare" {
		tenant = "zeta"
	}
	d := w.delivery(w.e[tenant], sequence, subscription, w.base.Add(time.Duration(sequence)*time.Second))
	states := []events.State{events.StateHeld, events.StateRetrying, events.StateRetrying, events.StateDead}
	state := events.StateDelivered
	if i := w.rand.IntN(w.calm); i < len(states) {
		state = states[i]
	}
	w.append(&d, state, state != events.StateHeld)
	if !state.Ended() {
		w.open = append(w.open, &d)
	}
}

// advance makes the next record of some open delivery.
func (w *world) advance() {
	if len(w.open) == 0 {
		return
	}
	i := w.rand.IntN(len(w.open))
	states := []events.State{events.StateDelivered, events.StateRetrying, events.StateHeld, events.StateDead, events.StateCancelled}
	state := states[w.rand.IntN(len(states))]
	w.append(w.open[i], state, state != events.StateHeld && state != events.StateCancelled)
	if state.Ended() {
		w.open = slices.Delete(w.open, i, i+1)
	}
}

// newWorld makes n deliveries or more.
func newWorld(f *fixture, n int) *world {
	seed := uint64(time.Now().UnixNano())
	f.Logf("seed %d", seed)
	w := &world{
		fixture: f, rand: rand.New(rand.NewPCG(seed, 0)), base: time.Now().UTC().Add(-240 * time.Hour),
		e:    map[string]*events.Event{"acme": f.event("acme", "e"), "zeta": f.event("zeta", "e")},
		calm: 20, of: map[*write]*events.Record{}, states: map[uint64]events.State{},
	}
	for i := range n {
		if i%(n/5) == 0 {
			w.calm = []int{20, 400}[w.rand.IntN(2)]
		}
		sequence := uint64(i + 1)
		w.begin(sequence, []string{"busy", "other"}[w.rand.IntN(2)])
		if i%(n/7) == n/14 {
			w.begin(sequence, "rare")
		}
		if w.rand.IntN(w.calm/2) == 0 {
			w.advance()
		}
	}
	w.flush()
	<-f.js.PublishAsyncComplete()
	for _, d := range w.open {
		if w.states[d.Record] == events.StateHeld {
			f.hold(w.e[d.Tenant], *d)
		} else {
			f.timer(w.e[d.Tenant], *d, time.Now().Add(later))
		}
	}
	return w
}

// want is what all pages of a query should give together.
func (w *world) want(q Query) []string {
	newest := map[string]*events.Record{}
	for _, r := range w.log {
		newest[r.ID] = r
	}
	var ids []string
	for _, r := range slices.Backward(w.log) {
		if r.First && q.takes(newest[r.ID]) {
			ids = append(ids, r.ID+" "+string(newest[r.ID].State)+fmt.Sprint(newest[r.ID].Attempts))
		}
	}
	return ids
}

// all reads all pages.
func (w *world) all(h *History, q Query) (ids []string, pages int) {
	w.Helper()
	for {
		items, next, err := h.List(w.Context(), q)
		if err != nil {
			w.Fatalf("%+v: %v", q, err)
		}
		if limit := pageSize(q.Limit); len(items) > limit {
			w.Fatalf("%+v: %d items, limit %d", q, len(items), limit)
		}
		for _, r := range items {
			ids = append(ids, r.ID+" "+string(r.State)+fmt.Sprint(r.Attempts))
		}
		if pages++; next == "" {
			return ids, pages
		}
		q.Cursor = next
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	const n = 16_000 // enough that a rare subscription is searched for by single gets
	w := newWorld(setup(t), n)
	h := NewHistory(w.read, nil)
	at := func(i int) time.Time { return w.base.Add(time.Duration(i) * time.Second) }
	for _, c := range []struct {
		name string
		q    Query
	}{
		{"rare subscription", Query{Subscription: "rare"}},
		{"rare subscription, small pages", Query{Subscription: "rare", Limit: 2}},
		{"rare subscription, delivered", Query{Subscription: "rare", State: events.StateDelivered}},
		{"busy subscription, cancelled", Query{Subscription: "busy", State: events.StateCancelled}},
		{"dead", Query{State: events.StateDead, Limit: 1000}},
		{"tenant", Query{Tenant: "zeta"}},
		{"tenant and subscription of another", Query{Tenant: "zeta", Subscription: "busy"}},
		{"no such subscription", Query{Subscription: "nobody"}},
		{"no such tenant", Query{Tenant: "nobody"}},
		{"since", Query{Since: at(n - 200), Limit: 30}},
		{"until", Query{Until: at(100), Limit: 30}},
		{"since and until", Query{Since: at(n / 2), Until: at(n/2 + 100), Subscription: "busy"}},
		{"all", Query{Limit: 1000}},
	} {
		start := time.Now()
		got, pages := w.all(h, c.q)
		t.Logf("%-40s %6d in %3d pages, %v", c.name, len(got), pages, time.Since(start))
		if diff := cmp.Diff(sorted(w.want(c.q)), sorted(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%.2000s", c.name, diff)
		}
	}
}

func sorted(ids []string) []string {
	slices.Sort(ids)
	return ids
}

// TestListOrder: deliveries whose first records are in the order of creation are listed in that order over all pages.
func TestListOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(setup(t), 600)
	h := NewHistory(w.read, nil)
	for _, limit := range []int{1, 7, 100, 1000} {
		got, _ := w.all(h, Query{Subscription: "busy", Limit: limit})
		if diff := cmp.Diff(w.want(Query{Subscription: "busy"}), got); diff != "" {
			t.Errorf("limit %d (-want +got):\n%.2000s", limit, diff)
		}
	}
}

func TestListWaiting(t *testing.T) {
	t.Parallel()
	w := newWorld(setup(t), 2000)
	h := NewHistory(w.read, nil)
	for _, q := range []Query{
		{State: events.StateRetrying},
		{State: events.StateHeld, Limit: 3},
		{State: events.StateRetrying, Subscription: "busy", Limit: 5},
		{State: events.StateHeld, Tenant: "acme", Since: w.base.Add(1000 * time.Second)},
	} {
		got, _ := w.all(h, q)
		want := w.want(q)
		slices.SortStableFunc(want, func(a, b string) int { // by event
			var as, bs string
			_, _ = fmt.Sscan(a, &as)
			_, _ = fmt.Sscan(b, &bs)
			return newerFirst(as, bs)
		})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%+v (-want +got):\n%.2000s", q, diff)
		}
	}
}

func TestListPending(t *testing.T) {
	t.Parallel()
	f := setup(t)
	match := func(_ context.Context, e *events.Event, _ uint64) ([]string, error) {
		if e.Tenant() == "zeta" {
			return nil, nil
		}
		return []string{"b", "a"}, nil
	}
	h := NewHistory(f.read, match)
	f.dispatchConsumer()
	var want []string
	for i := range 300 {
		tenant := "acme"
		if i%3 == 0 {
			tenant = "zeta"
		}
		e := f.event(tenant, fmt.Sprint(i))
		seq, at := f.accept(e)
		if i == 150 {
			f.take(seq) // a worker has all so far and none is acked, so that the records tell
		}
		if tenant == "zeta" {
			continue
		}
		for _, s := range []string{"b", "a"} {
			d := f.delivery(e, seq, s, at)
			if i%5 == 0 {
				f.record(&d, events.StateDelivered, true)
				continue
			}
			want = append(want, d.ID+" pending0")
		}
	}
	w := &world{fixture: f}
	for _, limit := range []int{30, 1000} {
		got, _ := w.all(h, Query{State: events.StatePending, Limit: limit})
		if diff := cmp.Diff(sorted(slices.Clone(want)), sorted(slices.Clone(got))); diff != "" {
			t.Fatalf("limit %d (-want +got):\n%.2000s", limit, diff)
		}
	}
	all, _ := w.all(h, Query{Limit: 7})
	if want, got := len(want)+2*40, len(all); got != want {
		t.Errorf("%d deliveries in all, want %d", got, want)
	}
	slices.Sort(all)
	if n := len(slices.Compact(all)); n != len(all) {
		t.Errorf("%d of %d deliveries came once", n, len(all))
	}
}

func TestListOfEvent(t *testing.T) {
	t.Parallel()
	f := setup(t)
	e := f.event("acme", "e")
	seq, at := f.accept(e)
	h := NewHistory(f.read, func(context.Context, *events.Event, uint64) ([]string, error) { return []string{"a", "b", "c"}, nil })
	var want []string
	for i, s := range []string{"b", "c", "deleted-since"} {
		d := f.delivery(e, seq, s, at)
		f.record(&d, events.StateRetrying, true)
		if i == 0 {
			f.timer(e, d, time.Now().Add(later))
			want = append(want, d.ID+" retrying1")
			continue
		}
		f.record(&d, events.StateDelivered, true)
		want = append(want, d.ID+" delivered2")
	}
	replay := f.delivery(e, seq, "c", at)
	replay.ID = events.DeliveryID(seq, "c", 1)
	f.record(&replay, events.StateDelivered, true)
	want = append(want, replay.ID+" delivered1", events.DeliveryID(seq, "a", 0)+" pending0")
	neighbour := f.delivery(e, seq+1, "a", at)
	f.record(&neighbour, events.StateDelivered, true)
	w := &world{fixture: f}
	for _, limit := range []int{1, 2, 100} {
		got, _ := w.all(h, Query{Event: seq, Limit: limit})
		if diff := cmp.Diff(sorted(want), sorted(got)); diff != "" {
			t.Errorf("limit %d (-want +got):\n%s", limit, diff)
		}
	}
	got, _ := w.all(h, Query{Event: seq, Subscription: "c"})
	if len(got) != 2 {
		t.Errorf("of subscription c: %v", got)
	}
	got, _ = w.all(h, Query{Event: seq, State: events.StatePending})
	if len(got) != 1 {
		t.Errorf("pending: %v", got)
	}
}

// TestListUntilAfterOutage: the first records of a backlog come long after its events, and are found all the same.
func TestListUntilAfterOutage(t *testing.T) {
	t.Parallel()
	f := setup(t)
	e := f.event("acme", "e")
	now := time.Now().UTC()
	var want []string
	for i := range 20 {
		d := f.delivery(e, uint64(i+1), "sub", now.Add(-12*time.Hour+time.Duration(i)*time.Minute))
		f.record(&d, events.StateDelivered, true)
		if i < 10 {
			want = append(want, d.ID+" delivered1")
		}
	}
	w := &world{fixture: f}
	got, _ := w.all(NewHistory(f.read, nil), Query{Until: now.Add(-12*time.Hour + 10*time.Minute)})
	if diff := cmp.Diff(sorted(want), sorted(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestListCursors(t *testing.T) {
	t.Parallel()
	h := NewHistory(setup(t).read, nil)
	for _, q := range []Query{
		{Cursor: "x"}, {Cursor: "r"}, {Cursor: "r!"}, {Cursor: "d1"}, {Cursor: "w"}, {Cursor: "wnonsense"}, {Cursor: "pzzz!"},
		{Cursor: "r1", Event: 5}, {Cursor: "R1"}, {Cursor: "r01"},
	} {
		if _, _, err := h.List(t.Context(), q); !errors.Is(err, ErrCursor) {
			t.Errorf("cursor %q: %v", q.Cursor, err)
		}
	}
}
