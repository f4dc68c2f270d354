package worker

import (
	"strings"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/events"
)

// BenchmarkPlanRender is the making of a whole request for an event of 1 KiB, signed and unsigned.
func BenchmarkPlanRender(b *testing.B) {
	text := `{"specversion":"1.0","id":"1","source":"/orders","type":"order.status","subject":"order-1","data":{"pad":"` + strings.Repeat("x", 920) + `"}}`
	e, err := events.ParseStructured([]byte(text))
	if err != nil {
		b.Fatal(err)
	}
	for name, settings := range map[string]string{
		"unsigned": ``, "signed": `"signing":{"secret":"whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}`,
	} {
		b.Run(name, func(b *testing.B) {
			p := testPlan(b, "http://sink.example/hook", settings)
			d := &delivery{Delivery: events.Delivery{ID: "1-s", Subscription: "s"}, event: e, entry: p.entry}
			now := time.Now()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.render(d, now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
