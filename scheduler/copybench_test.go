package scheduler

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/events/stream"
)

// BenchmarkCopy puts statuses of many subjects (HOOKFLEET_BENCH_SUBJECTS, 50,000 unless told) into the copy, thirty-two at a time as
// the index does, puts newer ones in their place, and looks random ones up.
func BenchmarkCopy(b *testing.B) {
	subjects, err := strconv.Atoi(os.Getenv("HOOKFLEET_BENCH_SUBJECTS"))
	if err != nil {
		subjects = 50_000
	}
	name := func(i int) stream.StatusName {
		return stream.StatusName{Tenant: "acme", Subject: fmt.Sprint("order-", i), Type: "order.status"}
	}
	c := newStatusCopy(b.TempDir(), false)
	defer c.drop()
	c.complete = true
	for b.Loop() { // it is over at once, and would forget what was reported before it
		c.newest(name(0))
	}
	before, sequence := heapNow(), uint64(0)
	round := func() (spent time.Duration) {
		var part []*stream.StoredStatus
		for i := range subjects {
			sequence++
			part = append(part, storedStatus(b, name(i), sequence, time.Now(), stream.Mark{At: time.Now(), Sequence: sequence}, 400))
			if len(part) == storeAtOnce {
				began := cpu(b)
				must(b, c.put(0, part...))
				spent += cpu(b) - began
				part = part[:0]
			}
		}
		return spent
	}
	b.ReportMetric(float64(round())/float64(subjects), "cpu-ns/new")
	b.ReportMetric((heapNow()-before)/float64(subjects), "B/subject")
	b.ReportMetric(float64(round())/float64(subjects), "cpu-ns/replaced")
	began := time.Now()
	must(b, c.tidy(b.Context()))
	b.ReportMetric(float64(time.Since(began).Milliseconds()), "tidy-ms")
	for of, typ := range map[string]string{"": "order.status", "-any": ""} {
		took := make([]time.Duration, 20_000)
		for i := range took {
			n := name(rand.IntN(subjects / storeAtOnce * storeAtOnce))
			n.Type = typ
			start := time.Now()
			if c.newest(n) == nil {
				b.Fatal("not found", n)
			}
			took[i] = time.Since(start)
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "p50-ns"+of)
		b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns"+of)
	}
}

// heapNow is what the process holds in memory.
func heapNow() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}
