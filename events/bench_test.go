package events

import (
	"encoding/json"
	"strings"
	"testing"
)

// kibibyte is an event of 1 KiB with ten attributes and data as an order service sends it.
func kibibyte() []byte {
	head := `{"specversion":"1.0","id":"4f1c2b9e-6f0a-4c0e-9f60-1c2b9e6f0a4c","source":"https://orders.example/eu","type":"order.status.changed",` +
		`"subject":"order-1842","time":"2026-03-01T12:00:00.125Z","tenant":"acme","datacontenttype":"application/json","priority":3,` +
		`"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","data":{"orderId":"order-1842","status":"Shipped","lines":[`
	const line = `{"sku":"A1-0042","quantity":2,"price":10.50,"currency":"EUR"},`
	const tail = `],"note":"`
	for len(head)+len(line)+len(tail)+40 < 1024 {
		head += line
	}
	head = strings.TrimSuffix(head, ",") + tail
	return []byte(head + strings.Repeat("n", 1024-len(head)-3) + `"}}`)
}

func BenchmarkParseStructured(b *testing.B) {
	text := kibibyte()
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := ParseStructured(text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseStructuredText(b *testing.B) {
	text := []byte(padded(1024, `,"datacontenttype":"text/plain","data":"`, `"}`))
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := ParseStructured(text); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkJSONValid is what encoding/json takes only to say that the text is JSON.
func BenchmarkJSONValid(b *testing.B) {
	text := kibibyte()
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		json.Valid(text)
	}
}

func BenchmarkParseNATSStructured(b *testing.B) {
	h, payload := mustParse(b, string(kibibyte())).Message()
	h["Nats-Msg-Id"] = []string{"x"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseNATS(h, payload); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseNATSBinary(b *testing.B) {
	h := natsHeader("ce-datacontenttype", "application/json", "ce-subject", "order-1842", "ce-time", "2026-03-01T12:00:00.125Z", "ce-tenant", "acme")
	payload := []byte(`{"orderId":"order-1842","note":"` + strings.Repeat("n", 960) + `"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseNATS(h, payload); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseBatch(b *testing.B) {
	text := []byte("[" + strings.Repeat(string(kibibyte())+",", 99) + string(kibibyte()) + "]")
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := ParseBatch(text, DefaultBatchLimits()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMessage(b *testing.B) {
	e := mustParse(b, string(kibibyte()))
	b.ReportAllocs()
	for b.Loop() {
		e.Message()
	}
}

func BenchmarkMsgID(b *testing.B) {
	e := mustParse(b, string(kibibyte()))
	b.ReportAllocs()
	for b.Loop() {
		e.MsgID()
	}
}

func BenchmarkWebhookID(b *testing.B) {
	e := mustParse(b, string(kibibyte()))
	b.ReportAllocs()
	for b.Loop() {
		e.WebhookID("orders")
	}
}
