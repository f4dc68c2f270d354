package stream

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/test/natstest"
)

// heap is what the process, broker included, holds in memory.
func heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// BenchmarkStatuses looks up random ones of many statuses (HOOKFLEET_BENCH_SUBJECTS, 50,000 unless told) in the broker, by type
// and without, each on one that was just started, so that at first every block of the store is cold. This is what a look-up
// takes that is not answered from the copy: docs/decisions/0025 has the figures of a million of both.
func BenchmarkStatuses(b *testing.B) {
	subjects, err := strconv.Atoi(os.Getenv("HOOKFLEET_BENCH_SUBJECTS"))
	if err != nil {
		subjects = 50_000
	}
	dir := b.TempDir()
	fillStatuses(b, dir, subjects)
	for name, typ := range map[string]string{"type": "order.status", "any": ""} {
		b.Run(name, func(b *testing.B) { lookUpStatuses(b, dir, subjects, typ) })
	}
}

func lookUpStatuses(b *testing.B, dir string, subjects int, typ string) {
	before := heap()
	srv := natstest.Server(b, dir)
	defer natstest.Stop(srv)
	_, js := natstest.Connect(b, srv)
	statuses := NewStatuses(js)
	look := func() time.Duration {
		start := time.Now()
		s, err := statuses.Newest(b.Context(), "acme", fmt.Sprint("order-", rand.IntN(subjects)), typ)
		if err != nil || s == nil || s.Value() != "Shipped" {
			b.Fatal(s, err)
		}
		return time.Since(start)
	}
	idle := heap() - before
	var took []time.Duration
	for b.Loop() {
		took = append(took, look())
	}
	for len(took) < 20_000 {
		took = append(took, look())
	}
	first, warm := slices.Clone(took[:1000]), make([]time.Duration, 20_000)
	for i := range warm {
		warm[i] = look()
	}
	slices.Sort(first)
	slices.Sort(took)
	slices.Sort(warm)
	b.ReportMetric(idle/float64(subjects), "B/subject")
	b.ReportMetric((heap()-before)/float64(subjects), "B/subject-busy")
	b.ReportMetric(float64(first[990].Microseconds()), "p99-µs-first-1000")
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
	b.ReportMetric(float64(warm[len(warm)*99/100].Microseconds()), "p99-µs-next-20000")
}

func fillStatuses(b *testing.B, dir string, subjects int) {
	b.Helper()
	srv := natstest.Server(b, dir)
	defer natstest.Stop(srv)
	_, js := natstest.Connect(b, srv)
	topology, err := NewTopology(js, DefaultConfig(), zerolog.Nop())
	if err != nil {
		b.Fatal(err)
	}
	if err := topology.Ensure(b.Context()); err != nil {
		b.Fatal(err)
	}
	for i := range subjects {
		e, err := events.ParseStructured(fmt.Appendf(nil, `{"specversion":"1.0","id":"%d","source":"https://orders.example","type":"order.status","tenant":"acme",`+
			`"subject":"order-%d","time":"2026-01-01T00:00:00Z","data":{"status":"Shipped","carrier":"%0300d"}}`, i, i, i))
		if err != nil {
			b.Fatal(err)
		}
		msg, err := (&Status{Mark{time.Now(), uint64(i + 1)}, e}).Message()
		if err != nil {
			b.Fatal(err)
		}
		if _, err := js.PublishMsgAsync(msg, jetstream.WithRetryAttempts(5)); err != nil {
			b.Fatal(err)
		}
		if i%2000 == 1999 {
			<-js.PublishAsyncComplete()
		}
	}
	<-js.PublishAsyncComplete()
}
