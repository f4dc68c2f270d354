package render_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/hookfleet/hookfleet/events"
)

// kibibyte is an event of 1 KiB with ten attributes and data as an order service sends it.
func kibibyte(tb testing.TB) *events.Event {
	tb.Helper()
	head := `{"specversion":"1.0","id":"4f1c2b9e-6f0a-4c0e-9f60-1c2b9e6f0a4c","source":"https://orders.example/eu","type":"order.status.changed",` +
		`"subject":"order-1842","time":"2026-03-01T12:00:00.125Z","tenant":"acme","datacontenttype":"application/json","priority":3,` +
		`"webhookurl":"https://other.example/hook","data":{"orderId":"order-1842","status":"Shipped","lines":[`
	const line = `{"sku":"A1-0042","quantity":2,"price":10.50,"currency":"EUR"},`
	head = strings.TrimSuffix(head+strings.Repeat(line, 6), ",") + `],"note":"`
	return parse(tb, head+strings.Repeat("n", 1024-len(head)-3)+`"}}`)
}

// BenchmarkRender is what each mode costs for an event of 1 KiB, without webhook-id and signature.
func BenchmarkRender(b *testing.B) {
	const body = `"body":{"id":"${orderId}","status":"${data.status}","text":"${type}: ${subject?}","line":"${data.lines[1].sku}","at":"${now}"}`
	e := kibibyte(b)
	for _, test := range []struct{ name, members string }{
		{"structured", `"paused":false`},
		{"omit", `"protocolsettings":{"omit":["tenant","webhookurl"]}`},
		{"binary", `"protocolsettings":{"contentmode":"binary"}`},
		{"data", `"protocolsettings":{"contentmode":"data"}`},
		{"template", `"protocolsettings":{"contentmode":"template",` + body + `}`},
		{"template_string", `"protocolsettings":{"contentmode":"template","body":"{\"id\":\"${orderId}\",\"status\":\"${data.status}\"}"}`},
		{"headers", `"protocolsettings":{"headers":{"x-type":"${type}","x-order":"${data.orderId}"}}`},
		{"url", `"sink":"https://partner.example/orders/${subject}?ref=${data.orderId}","protocolsettings":{"method":"GET"}`},
		{"everything", `"sink":"https://partner.example/orders/${subject}?ref=${data.orderId}","protocolsettings":{"contentmode":"template",` + body +
			`,"headers":{"x-type":"${type}","x-order":"${data.orderId}"}}`},
	} {
		b.Run(test.name, func(b *testing.B) {
			p := newPlan(b, subscription(b, test.members))
			in := inputOf(e)
			b.ReportAllocs()
			for b.Loop() {
				h := make(http.Header, 3+p.Fields(e))
				if _, _, err := p.Render(in, nil, h); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/1000/float64(b.N), "µs/op")
		})
	}
}

// BenchmarkOverride is what it costs to look for an event's own sink.
func BenchmarkOverride(b *testing.B) {
	e := kibibyte(b)
	for _, ref := range []string{"webhookurl", "data.hook"} {
		b.Run(ref, func(b *testing.B) {
			p := newPlan(b, subscription(b, `"sink":"https://partner.example/","sinkoverride":"`+ref+`"`))
			b.ReportAllocs()
			for b.Loop() {
				p.Override(e)
			}
		})
	}
}
