package registry

import (
	"encoding/json"
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/auth/vault"
	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/test/natstest"
)

const many = 100_000

// partners are many subscriptions of one tenant and one type, told apart by what text says (%d is the number).
func partners(t testing.TB, text string) (all []*item) {
	t.Helper()
	var o events.Opener
	for i := range many {
		it, err := readRecord(&o, fmt.Sprintf("partner-%d", i), partnerRecord(t, i, text, nil), uint64(i+1))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, it)
	}
	return all
}

func partnerRecord(t testing.TB, i int, text string, sealer events.Sealer) []byte {
	t.Helper()
	s := subscription(t, fmt.Sprintf(`{"id":"partner-%d","sink":"https://partner-%d.example/hooks/orders",
		"description":"Order status for partner %d","protocolsettings":{"signing":{"secret":"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}}`, i, i, i)+
		fmt.Sprintf(text, i)+"}")
	rec := record{s, nil, note{CreatedAt: time.Now().UTC(), UpdatedAt: time.Now().UTC()}}
	b, err := rec.text(sealer)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// byCEL is the same expression for all.
const byCEL = `,"types":["order.status"],"filters":[{"exact":{"subject":"customer-%d"}},{"cel":"data.amount > 100 && type.startsWith('order.')"}]`

// ownCEL is another one for each.
const ownCEL = `,"types":["order.status"],"filters":[{"cel":"data.customer == 'customer-%d' && data.amount > 100"}]`

const bySubject = `,"types":["order.status"],"filters":[{"exact":{"subject":"customer-%d"}}]`

// What 100,000 subscriptions cost, as they are read from their bucket, each with one encrypted secret: time until the
// registry is loaded.
func BenchmarkLoad(b *testing.B) {
	for name, text := range map[string]string{"subject": bySubject, "one cel": byCEL, "own cel": ownCEL} {
		b.Run(name, func(b *testing.B) { benchmarkLoad(b, text) })
	}
}

func benchmarkLoad(b *testing.B, text string) {
	js, keys := fleet(b), keysOf(b, vault.NewKey())
	for i := range many {
		m := &nats.Msg{
			Subject: fmt.Sprintf("$KV.%s.partner-%d", stream.BucketSubscriptions, i), Data: partnerRecord(b, i, text, keys),
		}
		if _, err := js.PublishMsgAsync(m, jetstream.WithStallWait(patience)); err != nil {
			b.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	before := cpu(b)
	for b.Loop() {
		r, stop := runWith(b, js, keys)
		if len(r.items) != many || len(r.locked)+len(r.stale) != 0 {
			b.Fatal(len(r.items))
		}
		stop()
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/load")
	b.ReportMetric((cpu(b)-before).Seconds()/float64(b.N), "cpu-s/load")
}

// What it takes to store the secrets of 10,000 subscriptions with another key, into a store that is not synced.
func BenchmarkReseal(b *testing.B) {
	const n = 10_000
	js, older, newer := fleet(b), vault.NewKey(), vault.NewKey()
	bucketFleet(b, js)
	for i := range n {
		m := &nats.Msg{
			Subject: fmt.Sprintf("$KV.%s.partner-%d", stream.BucketSubscriptions, i), Data: partnerRecord(b, i, bySubject, keysOf(b, older)),
		}
		if _, err := js.PublishMsgAsync(m, jetstream.WithStallWait(patience)); err != nil {
			b.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	for b.Loop() {
		older, newer = newer, older
		r, stop := runWith(b, js, keysOf(b, older, newer))
		if got, err := r.Reseal(b.Context(), n); err != nil || got.Done != 0 && got.Done != n || got.Left != 0 {
			b.Fatal(got, err)
		}
		stop()
	}
}

// cpu is what this process has used, the broker included.
func cpu(t testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// The heap that a subscription takes beyond its own text: the strings that it was registered with.
func BenchmarkHeap(b *testing.B) {
	for name, text := range map[string]string{"subject": bySubject, "one cel": byCEL, "own cel": ownCEL} {
		b.Run(name, func(b *testing.B) { benchmarkHeap(b, text) })
	}
}

func benchmarkHeap(b *testing.B, of string) {
	r, err := New(deadJetStream(b), DefaultConfig(), zerolog.Nop())
	if err != nil {
		b.Fatal(err)
	}
	records := make([][]byte, many)
	for i := range records {
		records[i] = partnerRecord(b, i, of, nil)
	}
	var o events.Opener
	subscriptionTable{r}.sweep(nil, 0)
	own, before := 0, liveHeap()
	for i, text := range records {
		it, err := readRecord(&o, fmt.Sprintf("partner-%d", i), text, uint64(i+1))
		if err != nil {
			b.Fatal(err)
		}
		own += ownText(it.Subscription)
		subscriptionTable{r}.replace(it.id, it)
	}
	each := float64(liveHeap()-before) / many
	for b.Loop() {
		runtime.KeepAlive(r)
	}
	runtime.KeepAlive(records)
	b.ReportMetric(each, "B/subscription")
	b.ReportMetric(each-float64(own)/many, "B/beyond-text")
}

func deadJetStream(b *testing.B) jetstream.JetStream {
	_, js := natstest.Start(b)
	return js
}

func liveHeap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func ownText(s *events.Subscription) int {
	n := len(s.ID) + len(s.Description) + len(s.Source) + len(s.Sink)
	for _, typ := range s.Types {
		n += len(typ)
	}
	if sg := s.ProtocolSettings.Signing; sg != nil {
		n += len(sg.Secret.Reveal())
	}
	filters, _ := json.Marshal(s.Filters)
	return n + len(filters)
}

// One of 100,000 subscriptions matches.
func BenchmarkMatch(b *testing.B) {
	const head = `{"specversion":"1.0","id":"4711","source":"https://orders.example/4711","time":"2026-01-01T00:00:00Z"`
	for name, of := range map[string]struct{ text, event string }{
		"type":      {`,"types":["order.t%d"]`, `,"type":"order.t4711"`},
		"wildcard":  {`,"types":["order.t%d.*"]`, `,"type":"order.t4711.status"`},
		"source":    {`,"source":"https://orders.example/%d"`, `,"type":"order.status"`},
		"tenant":    {`,"tenant":"t%d"`, `,"type":"order.status","tenant":"t4711"`},
		"exact":     {bySubject, `,"type":"order.status","subject":"customer-4711"`},
		"extension": {`,"filters":[{"exact":{"customer":"c%d"}}]`, `,"type":"order.status","subject":"x","customer":"c4711"`},
		"two":       {`,"filters":[{"exact":{"region":"eu"}},{"all":[{"exact":{"customer":"c%d"}}]}]`, `,"type":"order.status","region":"eu","customer":"c4711"`},
		"prefix":    {`,"filters":[{"prefix":{"subject":"c%d/"}}]`, `,"type":"order.status","subject":"c4711/order-1"`},
		"suffix":    {`,"filters":[{"suffix":{"subject":"/c%d"}}]`, `,"type":"order.status","subject":"order-1/c4711"`},
		"any":       {`,"filters":[{"any":[{"exact":{"subject":"x"}},{"exact":{"subject":"c%d"}}]}]`, `,"type":"order.status","subject":"c4711"`},
		"cel":       {byCEL, `,"type":"order.status","subject":"customer-4711","data":{"amount":150}`},
		"own cel":   {`,"types":["order.status"],"filters":[{"cel":"data.customer == 4711"},{"exact":{"subject":"customer-%d"}}]`, `,"type":"order.status","subject":"customer-4711","data":{"customer":4711}`},
		"match":     {`,"filters":[{"match":"amount=150"},{"exact":{"subject":"customer-%d"}}]`, `,"type":"order.status","subject":"customer-4711","data":{"amount":150}`},
		"sql":       {`,"filters":[{"sql":"EXISTS subject"},{"exact":{"subject":"customer-%d"}}]`, `,"type":"order.status","subject":"customer-4711"`},
	} {
		b.Run(name, func(b *testing.B) {
			x := newIndex()
			for _, it := range partners(b, of.text) {
				x.add(it)
			}
			e, err := events.ParseStructured([]byte(head + of.event + "}"))
			if err != nil {
				b.Fatal(err)
			}
			var dst []Match
			b.ReportAllocs()
			for b.Loop() {
				dst = matching(&x, e, 5, dst[:0])
			}
			if len(dst) != 1 {
				b.Fatal(dst)
			}
		})
	}
}

// One event goes to 100 of 100,000.
func BenchmarkFanOut(b *testing.B) {
	x := newIndex()
	for i, it := range partners(b, bySubject) {
		it.Subscription.Filters[0].Exact[0].Value = fmt.Sprint("customer-", i%1000)
		x.add(it)
	}
	e, err := events.ParseStructured([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"order.status","subject":"customer-7"}`))
	if err != nil {
		b.Fatal(err)
	}
	var dst []Match
	b.ReportAllocs()
	for b.Loop() {
		dst = matching(&x, e, 5, dst[:0])
	}
	if len(dst) != 100 {
		b.Fatal(len(dst))
	}
}

// One subscription changes among 100,000 that all have the same key.
func BenchmarkReplace(b *testing.B) {
	x := newIndex()
	all := partners(b, `,"source":"/s","types":["a","a%d"]`)
	for _, it := range all {
		x.add(it)
	}
	i := 0
	for b.Loop() {
		x.remove(all[i])
		x.add(all[i])
		i = (i + 7919) % many
	}
}

func BenchmarkFresh(b *testing.B) {
	js := fleet(b)
	r := start(b, js)
	put(b, r, toType(b, "a", "order"))
	h := r.subscriptions.kv.Load()
	for name, direct := range map[string]bool{"direct": true, "leader": false} {
		b.Run(name, func(b *testing.B) {
			r.subscriptions.kv.Store(&handle{KeyValue: h.KeyValue, direct: direct})
			b.ReportAllocs()
			for b.Loop() {
				if err := r.Fresh(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("shared", func(b *testing.B) {
		r.subscriptions.kv.Store(h)
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := r.Fresh(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}

func BenchmarkPut(b *testing.B) {
	js := fleet(b)
	r := start(b, js)
	s := toType(b, "a", "order")
	for b.Loop() {
		put(b, r, s)
	}
}

func BenchmarkList(b *testing.B) {
	r, err := New(deadJetStream(b), DefaultConfig(), zerolog.Nop())
	if err != nil {
		b.Fatal(err)
	}
	subscriptionTable{r}.sweep(nil, 0)
	for _, it := range partners(b, bySubject) {
		subscriptionTable{r}.replace(it.id, it)
	}
	for b.Loop() {
		r.List("default", "", 100)
	}
}

func BenchmarkReadRecord(b *testing.B) {
	for name, sealer := range map[string]events.Sealer{"plain": nil, "encrypted": keysOf(b, vault.NewKey())} {
		b.Run(name, func(b *testing.B) {
			text := partnerRecord(b, 4711, bySubject, sealer)
			o := events.Opener{Sealer: sealer}
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if it, err := readRecord(&o, "partner-4711", text, 1); err != nil || it.Locked != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
