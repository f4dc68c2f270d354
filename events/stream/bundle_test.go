package stream

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events"
)

// TestBundles: messages of one subject are put together in their order, within bounds; what has headers never is.
func TestBundles(t *testing.T) {
	t.Parallel()
	var writes []*write
	for i := range 100 {
		m := &nats.Msg{Subject: []string{"a", "b"}[i%2], Data: fmt.Appendf(nil, `{"id":"%d"}`, i)}
		switch i {
		case 50:
			m.Header = nats.Header{"A": {"b"}}
		case 51:
			m.Data = make([]byte, maxBundleBytes)
		}
		writes = append(writes, &write{msg: m})
	}
	seen := map[string][]string{}
	for _, b := range bundles(writes) {
		m := b.message()
		if len(b.lines) > maxBundle || len(b.lines) > 1 && len(m.Data) > maxBundleBytes {
			t.Errorf("%d lines, %d bytes", len(b.lines), len(m.Data))
		}
		if b.lines[0].Header != nil && m.Header == nil {
			t.Error("a message lost its header")
		}
		for line := range recordsOf(m.Data) {
			seen[m.Subject] = append(seen[m.Subject], recordID(line))
		}
	}
	for subject, odd := range map[string]int{"a": 0, "b": 1} {
		if len(seen[subject]) != 50 {
			t.Fatalf("%s: %d lines", subject, len(seen[subject]))
		}
		for i, id := range seen[subject] {
			if want := fmt.Sprint(2*i + odd); id != want && want != "51" {
				t.Errorf("%s: line %d is %q, want %s", subject, i, id, want)
			}
		}
	}
}

// TestFindInBundles: a delivery is found by its id, whatever shares the message of its record, and by the record's sequence.
func TestFindInBundles(t *testing.T) {
	t.Parallel()
	f := setup(t)
	w := f.writer()
	h := NewHistory(f.read, nil)
	e := f.event("acme", "order-1")
	const n = 300
	var writing sync.WaitGroup
	for i := range n {
		writing.Go(func() {
			d := f.delivery(e, uint64(i+1), []string{"one", "two", "three"}[i%3], time.Now())
			d.Attempts = 1
			r := &events.Record{Delivery: d, State: events.StateDelivered, First: true, Attempt: &events.Attempt{Number: 1, URL: "https://a/"}}
			if err := w.Append(t.Context(), RecordMessage(r)); err != nil {
				t.Errorf("Append: %v", err)
			}
		})
	}
	writing.Wait()
	s, err := f.js.Stream(t.Context(), Attempts)
	if err != nil {
		t.Fatal(err)
	}
	if messages := s.CachedInfo().State.Msgs; messages >= n/2 {
		t.Errorf("%d records in %d messages", n, messages)
	}
	sequences := map[string]uint64{}
	if _, err := h.SettledFrom(t.Context(), 1, Settled{Record: func(id string, _ events.State, _ int, at uint64) { sequences[id] = at }}); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < n; i += 7 {
		id := events.DeliveryID(uint64(i+1), []string{"one", "two", "three"}[i%3], 0)
		found, ok, err := h.Find(t.Context(), id)
		if err != nil || !ok || found.Record.ID != id || len(found.Attempts) != 1 {
			t.Errorf("%s: %+v, %v, %v", id, found, ok, err)
		}
		r, err := h.Record(t.Context(), sequences[id], id)
		if err != nil || r == nil || r.ID != id {
			t.Errorf("%s at %d: %+v, %v", id, sequences[id], r, err)
		}
	}
}

// TestBacklogOfBundles: what is recorded is not pending, whatever shares its message.
func TestBacklogOfBundles(t *testing.T) {
	t.Parallel()
	f := setup(t)
	b := NewBacklog(NewHistory(f.read, func(context.Context, *events.Event, uint64) ([]string, error) { return []string{"s"}, nil }))
	e := f.event("acme", "0")
	var writes []*write
	for i := range 5 {
		seq, at := f.accept(f.event("acme", fmt.Sprint(i+1)))
		if i == 1 || i == 3 {
			r := &events.Record{Delivery: f.delivery(e, seq, "s", at), State: events.StateDelivered, First: true}
			writes = append(writes, &write{msg: RecordMessage(r)})
		}
	}
	f.take(4)
	together := bundles(writes)
	if len(together) != 1 {
		t.Fatalf("%d messages", len(together))
	}
	f.publish(together[0].message())
	if counts, _, err := b.Pending(t.Context(), "", ""); err != nil || counts["s"] != 3 {
		t.Errorf("pending %v, %v", counts, err)
	}
}
