package events

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func event(t testing.TB, members string) *Event {
	t.Helper()
	e, err := ParseStructured([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"order.status"` + members + `}`))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// Not parallel: it counts allocations.
func TestFilterMatch(t *testing.T) {
	e := event(t, `,"subject":"order-1","priority":5,"urgent":true,"data":{"a":1},"nothing":null`)
	tests := map[string]bool{
		`{"exact":{"subject":"order-1"}}`:                                     true,
		`{"exact":{"subject":"Order-1"}}`:                                     false,
		`{"exact":{"subject":"order-1","priority":"5","urgent":"true"}}`:      true,
		`{"exact":{"subject":"order-1","priority":"6"}}`:                      false,
		`{"exact":{"priority":"05"}}`:                                         false,
		`{"exact":{"nothing":"x"}}`:                                           false,
		`{"exact":{"specversion":"1.0","id":"1","source":"/s"}}`:              true,
		`{"exact":{"data":"{\"a\":1}"}}`:                                      false,
		`{"exact":{"tenant":"default"}}`:                                      false,
		`{"prefix":{"subject":"order-","type":"order."}}`:                     true,
		`{"prefix":{"subject":"order-12"}}`:                                   false,
		`{"prefix":{"missing":"x"}}`:                                          false,
		`{"suffix":{"subject":"-1"}}`:                                         true,
		`{"suffix":{"subject":"-2"}}`:                                         false,
		`{"suffix":{"missing":"x"}}`:                                          false,
		`{"all":[{"exact":{"id":"1"}},{"prefix":{"type":"order"}}]}`:          true,
		`{"all":[{"exact":{"id":"1"}},{"prefix":{"type":"x"}}]}`:              false,
		`{"any":[{"exact":{"id":"2"}},{"prefix":{"type":"order"}}]}`:          true,
		`{"any":[{"exact":{"id":"2"}},{"prefix":{"type":"x"}}]}`:              false,
		`{"not":{"exact":{"missing":"x"}}}`:                                   true,
		`{"not":{"any":[{"exact":{"id":"2"}},{"not":{"exact":{"id":"1"}}}]}}`: true,
	}
	for text, want := range tests {
		var f Filter
		if err := json.Unmarshal([]byte(text), &f); err != nil {
			t.Fatal(err)
		}
		if got := f.Match(e); got != want {
			t.Errorf("%s: %v", text, got)
		}
		if n := testing.AllocsPerRun(10, func() { f.Match(e) }); n > 0 {
			t.Errorf("%s: %v allocations", text, n)
		}
		back, err := json.Marshal(&f)
		if err != nil {
			t.Fatal(err)
		}
		var g Filter
		if err := json.Unmarshal(back, &g); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(f, g); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

func TestTypeMatches(t *testing.T) {
	t.Parallel()
	tests := []struct {
		pattern, typ string
		want         bool
	}{
		{"order", "order", true},
		{"order", "order.status", false},
		{"order.*", "order", false},
		{"order.*", "order.status", true},
		{"order.*", "order.status.late", true},
		{"order.*", "order.", true}, // an empty token is a token, as in subjects
		{"order.*", "orders.status", false},
		{"order.*", "order.*", true},
		{"order.refund.*", "order.status", false},
		{"Order.*", "order.status", false},
	}
	for _, test := range tests {
		if got := TypeMatches(test.pattern, test.typ); got != test.want {
			t.Errorf("%q matches %q: %v", test.pattern, test.typ, got)
		}
	}
}

func TestSubscriptionMatch(t *testing.T) {
	t.Parallel()
	e := event(t, `,"tenant":"acme","subject":"order-1"`)
	tests := map[string]bool{
		`"tenant":"acme"`:                         true,
		`"tenant":"other"`:                        false,
		`"paused":false`:                          false, // of the default tenant
		`"tenant":"acme","source":"/s"`:           true,
		`"tenant":"acme","source":"/S"`:           false,
		`"tenant":"acme","types":["x","order.*"]`: true,
		`"tenant":"acme","types":["x","order"]`:   false,
		`"tenant":"acme","types":[]`:              true,
		`"tenant":"acme","filters":[{"exact":{"subject":"order-1"}},{"exact":{"id":"2"}}]`: false,
		`"tenant":"acme","filters":[{"exact":{"subject":"order-1"}},{"exact":{"id":"1"}}]`: true,
	}
	for text, want := range tests {
		if got := decode(t, `{"sink":"https://a.example",`+text+`}`).Match(e); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func BenchmarkFilterMatch(b *testing.B) {
	e := event(b, `,"subject":"order-1","priority":5`)
	f := Filter{All: []Filter{
		{Exact: Conditions{{"subject", "order-1"}}},
		{Any: []Filter{{Prefix: Conditions{{"type", "refund."}}}, {Not: &Filter{Suffix: Conditions{{"source", "x"}}}}}},
	}}
	b.ReportAllocs()
	for b.Loop() {
		f.Match(e)
	}
}
