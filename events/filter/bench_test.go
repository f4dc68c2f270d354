package filter

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/events"
)

// kilobyte is an event of 1 KiB.
func kilobyte(t testing.TB) *events.Event {
	t.Helper()
	var lines []string
	for i := range 12 {
		lines = append(lines, fmt.Sprintf(`{"Code":"A%d","Price":%d,"Text":"an article"}`, i, 1000*i))
	}
	return event(t, `"id":"4711","source":"https://orders.example","type":"order.status","subject":"order-4711","time":"2026-03-01T10:00:00Z",
		"priority":5,"data":{"amount":150.25,"orderId":"4711","status":"booked","Order":{"Type":"SALE","Lines":[`+
		strings.Join(lines, ",")+`]},"note":"`+strings.Repeat("x", 150)+`"}`)
}

// expressions are those that are measured. Those that loop are evaluated with cost and time limits.
var expressions = map[string]string{
	"exact":        `{"exact":{"subject":"order-4711"}}`,
	"prefix":       `{"prefix":{"type":"order."}}`,
	"match":        `{"match":"Order.Lines(Code=A10).Price=10000;Order.Type=SALE"}`,
	"sql":          `{"sql":"EXISTS priority AND INT(priority) > 3"}`,
	"sql like":     `{"sql":"type LIKE 'order.%' AND (source = 'https://orders.example' OR EXISTS urgent)"}`,
	"cel":          `{"cel":"data.amount > 100 && type.startsWith('order.')"}`,
	"cel attrs":    `{"cel":"attributes.priority > 3 && subject == 'order-4711' && time > timestamp('2026-01-01T00:00:00Z')"}`,
	"cel deep":     `{"cel":"data.Order.Lines[10].Price >= 10000 && data.status in ['booked', 'sent'] && has(data.Order.Type)"}`,
	"cel regex":    `{"cel":"data.orderId.matches('^47[0-9]+$')"}`,
	"cel loop":     `{"cel":"data.Order.Lines.exists(l, l.Code == 'A10' && l.Price == 10000)"}`,
	"cel three":    `{"cel":"data.amount > 100 && type.startsWith('order.') && data.Order.Type == 'SALE'"}`,
	"cel failing":  `{"cel":"data.absent > 5"}`,
	"cel no match": `{"cel":"data.amount > 1000"}`,
}

// What evaluating a filter costs for an event of 1 KiB whose data is read already.
func BenchmarkFilter(b *testing.B) {
	e := kilobyte(b)
	b.Logf("event of %d bytes", len(e.Structured()))
	for name, text := range expressions {
		b.Run(name, func(b *testing.B) {
			var f events.Filter
			if err := json.Unmarshal([]byte(text), &f); err != nil {
				b.Fatal(err)
			}
			c := NewCache()
			set := c.Set([]events.Filter{f})
			b.ReportAllocs()
			begin := cpu(b)
			for b.Loop() {
				if set == nil {
					f.Judge(e, nil)
				} else {
					set.Judge(NewEvaluation(e))
				}
			}
			b.ReportMetric(float64((cpu(b)-begin).Nanoseconds())/float64(b.N)/1000, "cpu-µs/op")
		})
	}
}

// cpu is what this process has used: on a machine that others use too it says more than the time that went by.
func cpu(t testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// What the first filter costs that looks into an event's data, which is read for it. The event itself is read before.
func BenchmarkFilterFirst(b *testing.B) {
	text := kilobyte(b).Structured()
	set := NewCache().Set([]events.Filter{{CEL: `data.amount > 100 && type.startsWith('order.') && data.Order.Type == 'SALE'`}})
	fresh := make([]*events.Event, 0, 1000)
	b.ReportAllocs()
	for b.Loop() {
		if len(fresh) == 0 {
			b.StopTimer()
			for range cap(fresh) {
				e, err := events.ParseStructured(text)
				if err != nil {
					b.Fatal(err)
				}
				fresh = append(fresh, e)
			}
			b.StartTimer()
		}
		last := len(fresh) - 1
		if set.Judge(NewEvaluation(fresh[last])) != events.True {
			b.Fatal("it does not hold")
		}
		fresh = fresh[:last]
	}
}

// What a filter costs that a subscription shares with one before it.
func BenchmarkFilterAgain(b *testing.B) {
	e := kilobyte(b)
	set := NewCache().Set([]events.Filter{{CEL: `data.amount > 100`}})
	ev := NewEvaluation(e)
	b.ReportAllocs()
	for b.Loop() {
		set.Judge(ev)
	}
}

func BenchmarkCompile(b *testing.B) {
	for _, l := range []events.Language{events.LanguageSQL, events.LanguageCEL, events.LanguageMatch} {
		text := map[events.Language]string{
			events.LanguageSQL: `EXISTS priority AND INT(priority) > 3`, events.LanguageCEL: `data.amount > 100 && type.startsWith('order.')`,
			events.LanguageMatch: `Order.Lines(Code=A10).Price=10000;Order.Type=SALE`,
		}[l]
		b.Run(string(l), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := compile(l, text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
