package producer

import (
	"encoding/json"
	"math"
	"testing"
)

// FuzzReceipts: receipts are answered as encoding/json has them, whatever their strings are.
func FuzzReceipts(f *testing.F) {
	for _, s := range []string{"", "order-4711", "/orders?a=1&b=<2>", "ключ", "\u2028", `"\`, "\x00\x7f", "\xff"} {
		f.Add(s, s+"x", uint64(7), false)
	}
	f.Add("a", "b", uint64(math.MaxUint64), true)
	f.Fuzz(func(t *testing.T, id, source string, sequence uint64, duplicate bool) {
		receipts := []Receipt{{id, source, "default", sequence, duplicate}, {source, id, "acme", 1, false}}
		for n := range len(receipts) + 1 {
			want, err := json.Marshal(map[string][]Receipt{"items": receipts[:n]})
			if err != nil {
				t.Fatal(err)
			}
			if got := receiptsText(receipts[:n]); string(got) != string(want) {
				t.Fatalf("%s\nwant %s", got, want)
			}
		}
	})
}
