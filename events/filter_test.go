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
func TestFilterJudge(t *testing.T) {
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
		if got := f.Judge(e, nil); got != truth(want) {
			t.Errorf("%s: %v", text, got)
		}
		if n := testing.AllocsPerRun(10, func() { f.Judge(e, nil) }); n > 0 {
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

// An expression that fails makes all false that its failure decides, also inside not.
func TestFilterJudgeOfExpressions(t *testing.T) {
	t.Parallel()
	e := event(t, "")
	judge := func(f *Filter) Truth {
		_, text := f.Expression()
		return map[string]Truth{"yes": True, "no": False}[text]
	}
	for text, want := range map[string]Truth{
		`{"cel":"yes"}`:                                    True,
		`{"sql":"no"}`:                                     False,
		`{"match":"fails"}`:                                Failed,
		`{"not":{"cel":"yes"}}`:                            False,
		`{"not":{"cel":"no"}}`:                             True,
		`{"not":{"cel":"fails"}}`:                          Failed,
		`{"not":{"not":{"cel":"fails"}}}`:                  Failed,
		`{"all":[{"cel":"fails"},{"cel":"yes"}]}`:          Failed,
		`{"all":[{"cel":"fails"},{"cel":"no"}]}`:           False,
		`{"not":{"all":[{"cel":"no"},{"cel":"fails"}]}}`:   True,
		`{"not":{"all":[{"cel":"fails"},{"cel":"yes"}]}}`:  Failed,
		`{"any":[{"cel":"fails"},{"exact":{"id":"1"}}]}`:   True,
		`{"any":[{"exact":{"id":"2"}},{"cel":"fails"}]}`:   Failed,
		`{"not":{"any":[{"cel":"fails"},{"sql":"no"}]}}`:   Failed,
		`{"not":{"any":[{"sql":"no"},{"match":"no"}]}}`:    True,
		`{"not":{"any":[{"cel":"fails"},{"sql":"yes"}]}}`:  False,
		`{"all":[{"not":{"sql":"no"}},{"match":"yes"}]}`:   True,
		`{"all":[{"exact":{"id":"2"}},{"match":"fails"}]}`: False,
	} {
		var f Filter
		if err := json.Unmarshal([]byte(text), &f); err != nil {
			t.Fatal(err)
		}
		if got := f.Judge(e, judge); got != want {
			t.Errorf("%s is %v, want %v", text, got, want)
		}
	}
	f := Filter{Not: &Filter{CEL: "yes"}}
	if got := f.Judge(e, nil); got != Failed {
		t.Errorf("without anybody to evaluate it, it is %v", got)
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
		s := decode(t, `{"sink":"https://a.example",`+text+`}`)
		if got := s.Takes(e) && JudgeAll(s.Filters, e, nil) == True; got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func BenchmarkFilterJudge(b *testing.B) {
	e := event(b, `,"subject":"order-1","priority":5`)
	f := Filter{All: []Filter{
		{Exact: Conditions{{"subject", "order-1"}}},
		{Any: []Filter{{Prefix: Conditions{{"type", "refund."}}}, {Not: &Filter{Suffix: Conditions{{"source", "x"}}}}}},
	}}
	b.ReportAllocs()
	for b.Loop() {
		f.Judge(e, nil)
	}
}
