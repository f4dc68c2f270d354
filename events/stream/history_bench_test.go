package stream

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events"
)

// benchRecords is how many records the history of a benchmark has: HOOKFLEET_BENCH_RECORDS, else 100,000.
func benchRecords(b *testing.B) int {
	if n, err := strconv.Atoi(os.Getenv("HOOKFLEET_BENCH_RECORDS")); err == nil {
		return n
	}
	return 100_000
}

// benchHistory makes n deliveries: half of them of one subscription, one in 10,000 of a rare one, the others of 10,000.
// One in 16 was delivered at the second attempt.
func benchHistory(b *testing.B, n int) (*fixture, *History) {
	f := setup(b)
	js, err := jetstream.New(f.nc, jetstream.WithPublishAsyncMaxPending(4000))
	if err != nil {
		b.Fatal(err)
	}
	e := f.event("acme", "order-1")
	header, data := e.Message()
	base := time.Now().UTC()
	record := func(d events.Delivery, state events.State, first bool, attempts int) {
		d.Attempts = attempts
		r := &events.Record{Delivery: d, State: state, First: first, Attempt: &events.Attempt{
			Number: attempts, At: base, DurationMS: 12.5, Outcome: events.Delivered, Status: 200, URL: "https://partner.example/hook/7",
			Response: &events.Response{Headers: map[string]string{"content-type": "text/plain", "date": "Sun, 22 Nov 2026 12:00:00 GMT"}, Body: "ok"},
		}}
		if _, err := js.PublishMsgAsync(RecordMessage(r), jetstream.WithStallWait(patience)); err != nil {
			b.Fatal(err)
		}
	}
	for i := range n {
		event := &nats.Msg{Subject: EventSubject("acme", "order.status"), Header: header, Data: data}
		if _, err := js.PublishMsgAsync(event, jetstream.WithStallWait(patience)); err != nil {
			b.Fatal(err)
		}
		subscription := "busy"
		switch {
		case i%10_000 == 5_000:
			subscription = "rare"
		case i%2 == 1:
			subscription = "sub" + strconv.Itoa(i*7919%10_000)
		}
		d := f.delivery(e, uint64(i+1), subscription, base)
		if i%16 == 0 {
			record(d, events.StateRetrying, true, 1)
			record(d, events.StateDelivered, false, 2)
		} else {
			record(d, events.StateDelivered, true, 1)
		}
	}
	<-js.PublishAsyncComplete()
	return f, NewHistory(f.read, nil)
}

func BenchmarkHistory(b *testing.B) {
	n := benchRecords(b)
	f, h := benchHistory(b, n)
	list := func(q Query) func(*testing.B) {
		return func(b *testing.B) {
			items := 0
			for b.Loop() {
				page, _, err := h.List(f.Context(), q)
				if err != nil {
					b.Fatal(err)
				}
				items = len(page)
			}
			b.ReportMetric(float64(items), "items")
		}
	}
	b.Run("list/any", list(Query{}))
	b.Run("list/busy", list(Query{Subscription: "busy"}))
	b.Run("list/one of 10000", list(Query{Subscription: "sub" + strconv.Itoa(7919%10_000)}))
	b.Run("list/rare", list(Query{Subscription: "rare"}))
	b.Run("list/unknown", list(Query{Subscription: "unknown"}))
	b.Run("list/busy, far down", list(Query{Subscription: "busy", Cursor: formatCursor(cursorRecords, uint64(n/3))}))
	b.Run("list/dead, none", list(Query{State: events.StateDead}))
	for _, at := range []int{n / 3 / 2 * 2, n - 100} {
		b.Run(fmt.Sprintf("find/at %d", at), func(b *testing.B) {
			for b.Loop() {
				if _, ok, err := h.Find(f.Context(), events.DeliveryID(uint64(at+1), "busy", 0)); !ok || err != nil {
					b.Fatal(ok, err)
				}
			}
		})
	}
	b.Run("find/unknown", func(b *testing.B) {
		for b.Loop() {
			if _, ok, err := h.Find(f.Context(), events.DeliveryID(uint64(n/2), "rare", 9)); ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	})
	b.Run("settled", func(b *testing.B) {
		read := 0
		for b.Loop() {
			if _, err := h.SettledFrom(f.Context(), 1, Settled{Record: func(string, events.State, int, uint64) { read++ }}); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(read)/b.Elapsed().Seconds(), "records/s")
	})
}

func BenchmarkWaitlist(b *testing.B) {
	n := benchRecords(b)
	f := setup(b)
	f.fill(n/2, 0, "busy")
	f.fill(n/2, 0, "other")
	f.fill(100, 100, "rare")
	w := NewWaitlist(f.read)
	for _, s := range []string{"busy", "rare", "none"} {
		b.Run("count/"+s, func(b *testing.B) {
			for b.Loop() {
				if _, err := w.Count(f.Context(), s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("all/rare", func(b *testing.B) {
		for b.Loop() {
			for _, err := range w.All(f.Context(), "rare") {
				if err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("find", func(b *testing.B) {
		for b.Loop() {
			if _, ok, err := w.Find(f.Context(), "busy", events.DeliveryID(uint64(n/4), "busy", 0)); !ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	})
	b.Run("walk", func(b *testing.B) {
		read, at := 0, uint64(1)
		for b.Loop() {
			next, err := w.Walk(f.Context(), Retries, at, 20_000, func(Glimpse) error { read++; return nil })
			if err != nil {
				b.Fatal(err)
			}
			at = next
		}
		b.ReportMetric(float64(read)/b.Elapsed().Seconds(), "timers/s")
	})
}
