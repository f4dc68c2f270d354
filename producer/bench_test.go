package producer_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/events/stream/embedded"
	"github.com/hookfleet/hookfleet/producer"
)

// BenchmarkBatches is HTTP batches of 1 KiB events from eight clients, from the handler until they are durable on a real
// store. An operation is an event. Of what is measured, some 0.1 µs an event is the clients'.
func BenchmarkBatches(b *testing.B) {
	for _, size := range []int{100, 500, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			f, end, err := startFleet(b.TempDir(), func(name string, err error) { b.Errorf("%s: %v", name, err) })
			if end != nil {
				defer end()
			}
			if err != nil {
				b.Fatal(err)
			}
			handler := &producer.Handler{
				Ingest: producer.NewIngest(producer.IngestDeps{
					JS: f.js, Batches: stream.NewBatches(f.js.Conn(), f.broker.Sync).UpTo(embedded.MaxBatch), Metrics: prometheus.NewRegistry(),
				}),
				MayPublish: func(*http.Request, string, string) bool { return true },
				Fail:       func(_ http.ResponseWriter, _ *http.Request, err error) { b.Error(err) },
			}
			var sent atomic.Int64
			var clients sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			began := cpu(b)
			for range 8 {
				clients.Go(func() { sendBatches(b, handler, size, &sent) })
			}
			clients.Wait()
			b.StopTimer()
			b.ReportMetric(float64(cpu(b)-began)/float64(b.N), "cpu-ns/op")
		})
	}
}

// sendBatches sends until b.N events are sent.
func sendBatches(b *testing.B, h http.Handler, size int, sent *atomic.Int64) {
	b.Helper()
	const digits = 12
	mark := strings.Repeat("#", digits)
	one := fmt.Sprintf(`{"specversion":"1.0","id":"%s","source":"/orders","type":"order.status","subject":"order-4711","time":"2026-03-01T12:00:00Z",`+
		`"datacontenttype":"application/json","data":{"orderId":"order-4711","note":"%s"}}`, mark, strings.Repeat("n", 830))
	text := []byte("[" + strings.Repeat(one+",", size-1) + one + "]")
	at := 1 + strings.Index(one, mark)
	header := http.Header{"Content-Type": {"application/cloudevents-batch+json"}}
	for {
		last := sent.Add(int64(size))
		for i := range size {
			copy(text[at+i*(len(one)+1):], fmt.Sprintf("%0*d", digits, last-int64(i)))
		}
		h.ServeHTTP(nowhere{}, &http.Request{
			Method: http.MethodPost, Header: header, Body: io.NopCloser(bytes.NewReader(text)), ContentLength: int64(len(text)),
		})
		if last >= int64(b.N) {
			return
		}
	}
}

// nowhere is an answer that nobody reads.
type nowhere struct{}

func (nowhere) Header() http.Header         { return http.Header{} }
func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (nowhere) WriteHeader(int)             {}

// cpu is what this process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
