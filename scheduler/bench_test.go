package scheduler

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/test/natstest"
)

// cpu is the processor time of this process, the broker's included.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkLookAfterHeld is one look, once all that is held is known, and what it costs to get to know one.
func BenchmarkLookAfterHeld(b *testing.B) {
	f := setup(b)
	f.subscribe("paused", true)
	const many = 100_000
	for i := range many {
		w := f.waiting(uint64(i+1), "paused", 700)
		w.Delivery.CreatedAt = time.Now().Add(-time.Duration(i) * time.Millisecond)
		msg, err := w.HeldMessage()
		must(b, err)
		_, err = f.js.PublishMsgAsync(msg)
		must(b, err)
		if i%1000 == 999 {
			<-f.js.PublishAsyncComplete()
		}
	}
	must(b, f.markBacklog(b.Context(), "paused"))
	f.auditor.audited = time.Now()
	began := cpu(b)
	for f.auditor.tail < many {
		must(b, f.expireHeld(b.Context()))
	}
	learnt := cpu(b) - began
	began = cpu(b)
	n := 0
	for b.Loop() {
		must(b, f.expireHeld(b.Context()))
		n++
	}
	b.ReportMetric(float64(learnt)/many, "cpu-ns/learnt")
	b.ReportMetric(float64(cpu(b)-began)/float64(n), "cpu-ns/look")
}

// BenchmarkExpire ends held deliveries.
func BenchmarkExpire(b *testing.B) {
	f := setup(b)
	f.subscribe("paused", true)
	must(b, f.markBacklog(b.Context(), "paused"))
	f.auditor.audited = time.Now()
	const many = 5000
	for i := range many {
		w := f.waiting(uint64(i+1), "paused", 700)
		w.Delivery.CreatedAt = time.Now().Add(-2 * time.Hour)
		w.Delivery.Record = f.publish(stream.RecordMessage(&events.Record{
			Delivery: w.Delivery, State: events.StateHeld, First: true, Attempt: &events.Attempt{Number: 1, Outcome: events.Held},
		}), nil)
		msg, err := w.HeldMessage()
		must(b, err)
		f.publish(msg, nil)
	}
	began, start := cpu(b), time.Now()
	for range b.N {
		must(b, f.expireHeld(b.Context()))
	}
	b.ReportMetric(float64(cpu(b)-began)/many, "cpu-ns/expired")
	b.ReportMetric(float64(time.Since(start))/many, "ns/expired")
}

// BenchmarkIndex reads events into the index: those that have no status, and those that have, of a million subjects.
func BenchmarkIndex(b *testing.B) {
	for _, c := range []struct{ name, data string }{
		{"plain", `{"state":"Booked","lines":["%0700d"]}`},
		{"status", `{"status":"Booked","lines":["%0700d"]}`},
	} {
		b.Run(c.name, func(b *testing.B) {
			f := setup(b)
			const many = 100_000
			for i := range many {
				e, err := events.ParseStructured(fmt.Appendf(nil,
					`{"specversion":"1.0","id":"%d","source":"/s","type":"t","tenant":"acme","subject":"s%d","data":%s}`, i, i, fmt.Sprintf(c.data, i)))
				must(b, err)
				_, err = f.js.PublishMsgAsync(stored(e))
				must(b, err)
				if i%1000 == 999 {
					<-f.js.PublishAsyncComplete()
				}
			}
			began, start := cpu(b), time.Now()
			for range b.N {
				stop := f.indexing()
				f.newest("s1", "")
				stop()
			}
			b.ReportMetric(float64(cpu(b)-began)/float64(b.N)/many, "cpu-ns/event")
			b.ReportMetric(float64(time.Since(start))/float64(b.N)/many, "ns/event")
		})
	}
}

// BenchmarkTap offers events with a status to the index, of ten thousand subjects and of new ones each, and ends when all is
// stored: what the index costs where this process stores the events. At a rate of 10,000 events/s the first would have them
// stored every ten seconds.
func BenchmarkTap(b *testing.B) {
	const many, batch = 100_000, 100
	for name, subjects := range map[string]int{"coalesced": 10_000, "new": many} {
		b.Run(name, func(b *testing.B) {
			f := setup(b)
			f.Tap = &Tap{}
			evts := make([]*events.Event, many)
			var spent, offering time.Duration
			for n := range b.N {
				for i := range evts {
					e, err := events.ParseStructured(fmt.Appendf(nil, `{"specversion":"1.0","id":"%d","source":"/s","type":"order.status","tenant":"acme",`+
						`"subject":"s%d-%d","time":%q,"data":{"orderId":"order-4711","status":"Booked","note":"%0800d"}}`,
						i, i%subjects, n*(subjects/many), time.Unix(int64(n*many+i), 0).UTC().Format(time.RFC3339), i))
					must(b, err)
					evts[i] = e
				}
				began := cpu(b)
				stop := f.indexing()
				natstest.Eventually(b, patience, func() bool { return f.Tap.to.Load() != nil })
				offered := time.Now()
				for i := 0; i < many; i += batch {
					first := uint64(n*many + i + 1)
					f.Tap.Offer(first, evts[i:i+batch])
					for f.index.intake.next() < first+batch { // there was no room: the bench has nobody that reads it
						f.index.relieve(b.Context(), time.Now().Add(time.Hour))
						f.Tap.Offer(first, evts[i:i+batch])
					}
				}
				offering += time.Since(offered)
				must(b, f.statuses.Caught(b.Context())) // the end has not the time for all of it
				stop()
				spent += cpu(b) - began
			}
			b.ReportMetric(float64(spent)/float64(b.N)/many, "cpu-ns/event")
			b.ReportMetric(float64(offering)/float64(b.N)/many, "offer-ns/event")
		})
	}
}
