package producer_test

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/hookfleet/hookfleet/producer"
)

// TestReceiptsAreJSON: receipts are what encoding/json makes of them, whatever is in them.
func TestReceiptsAreJSON(t *testing.T) {
	t.Parallel()
	var receipts []producer.Receipt
	for _, s := range []string{"", "a", "order-1 ~!", `"`, `\`, "<&>", "\x00\x1f\x7f", "ä\u2028\U0001F600", "\xff\xc3", "/a?b=c#d"} {
		r := producer.Receipt{ID: s, Source: s + "x", Tenant: "x" + s, Sequence: math.MaxUint64, Duplicate: s == ""}
		receipts = append(receipts, r)
		if want, _ := json.Marshal(r); string(producer.EncodeReceipts([]producer.Receipt{r}, false)) != string(want) {
			t.Errorf("%s, want %s", producer.EncodeReceipts([]producer.Receipt{r}, false), want)
		}
	}
	for n := range len(receipts) + 1 {
		want, _ := json.Marshal(map[string]any{"items": append([]producer.Receipt{}, receipts[:n]...)})
		if got := producer.EncodeReceipts(receipts[:n], true); string(got) != string(want) {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func BenchmarkReceipt(b *testing.B) {
	r := []producer.Receipt{{ID: "5b4c6d1e-4f9a-4b5e-9d1c-0a1b2c3d4e5f", Source: "https://orders.example", Tenant: "acme", Sequence: 123456}}
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			producer.EncodeReceipts(r, false)
		}
	})
	b.Run("encoding/json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = json.Marshal(r[0])
		}
	})
}
