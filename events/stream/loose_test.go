package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events"
)

// writer runs a writer for the test's time.
func (f *fixture) writer() *Writer {
	f.Helper()
	w := NewWriter(f.nc, nil)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.Run(ctx); err != nil {
			f.Error(err)
		}
	})
	f.Cleanup(func() { cancel(); running.Wait() })
	return w
}

// Loose and other records of one group are all stored, once, and only those whose sequence is asked for have one.
func TestAppendBesideWrite(t *testing.T) {
	t.Parallel()
	f := setup(t)
	w := f.writer()
	e := f.event("acme", "order-1")
	const n = 500
	var writing sync.WaitGroup
	for i := range n {
		writing.Go(func() {
			d := f.delivery(e, uint64(i+1), "sub", time.Now())
			msg := RecordMessage(&events.Record{Delivery: d, State: events.StateDelivered, First: true})
			if i%3 == 0 {
				if ack, err := w.Write(t.Context(), msg, ""); err != nil || ack.Sequence == 0 {
					t.Errorf("Write = %+v, %v", ack, err)
				}
				return
			}
			if err := w.Append(t.Context(), msg); err != nil {
				t.Errorf("Append: %v", err)
			}
		})
	}
	writing.Wait()
	seen := map[string]int{}
	_, err := NewHistory(f.read, nil).SettledFrom(t.Context(), 1, Settled{Record: func(id string, state events.State, _ int, _ uint64) {
		seen[id]++
		if state != events.StateDelivered {
			t.Errorf("%s is %s", id, state)
		}
	}})
	if err != nil || len(seen) != n {
		t.Fatalf("%d deliveries are recorded, %v", len(seen), err)
	}
	for id, times := range seen {
		if times != 1 {
			t.Errorf("%s is recorded %d times", id, times)
		}
	}
}

// What the broker refuses of a group is nobody's success: not of those that came after it in the same fast batch.
func TestAppendThatIsRefused(t *testing.T) {
	t.Parallel()
	f := setup(t)
	w := f.writer()
	stream, err := f.js.Stream(t.Context(), Attempts)
	if err != nil {
		t.Fatal(err)
	}
	cfg := stream.CachedInfo().Config
	cfg.MaxMsgSize = 1000
	if _, err := f.js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	const n = 300
	failed, stored := make(chan int, n), make(chan int, n)
	var writing sync.WaitGroup
	for i := range n {
		writing.Go(func() {
			size := 10
			if i%20 == 7 {
				size = 5000
			}
			msg := &nats.Msg{Subject: HistorySubject("sub", uint64(i)), Data: fmt.Appendf(nil, `{"id":"%d-sub","pad":"%*d"}`, i, size, 0)}
			if err := w.Append(t.Context(), msg); err != nil {
				failed <- i
			} else {
				stored <- i
			}
		})
	}
	writing.Wait()
	close(failed)
	close(stored)
	there := map[string]bool{}
	if _, err := NewHistory(f.read, nil).SettledFrom(t.Context(), 1, Settled{Record: func(id string, _ events.State, _ int, _ uint64) { there[id] = true }}); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for i := range failed {
		if i%20 == 7 {
			refused++
		}
	}
	if refused != n/20 {
		t.Errorf("%d of %d that are too large were refused", refused, n/20)
	}
	for i := range stored {
		if !there[fmt.Sprintf("%d-sub", i)] {
			t.Errorf("%d is not there", i)
		}
	}
}

// A writer whose broker stores nothing of a stream says so.
func TestAppendToNoStream(t *testing.T) {
	t.Parallel()
	f := setup(t)
	w := f.writer()
	var writing sync.WaitGroup
	for range 10 {
		writing.Go(func() {
			if err := w.Append(t.Context(), &nats.Msg{Subject: "nobody.listens"}); !errors.Is(err, ErrUnknown) {
				t.Errorf("Append = %v", err)
			}
		})
	}
	writing.Wait()
}
