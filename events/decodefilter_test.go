package events

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// wrongFilter takes every expression but those that say no.
func wrongFilter(l Language, text string) string {
	if strings.HasPrefix(text, "no") {
		return "is no valid " + string(l)
	}
	return ""
}

// long is an expression of n bytes that is taken if it is not too long.
func long(n int) string { return strings.Repeat("<", n) }

func TestDecodeExpressions(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]Fault{
		`[{"sql":"a"},{"cel":"b"},{"match":"c"}]`:                             nil,
		`[{"all":[{"sql":"a"},{"any":[{"not":{"cel":"b"}},{"match":"c"}]}]}]`: nil,
		`[{"sql":"no"},{"cel":"no"},{"match":"no"}]`: {
			{"/filters/0/sql", "is no valid sql"}, {"/filters/1/cel", "is no valid cel"}, {"/filters/2/match", "is no valid match"},
		},
		`[{"all":[{"exact":{"a":""}},{"any":[{"not":{"cel":"no"}}]},{"sql":"no"}]}]`: {
			{"/filters/0/all/0/exact/a", "must not be empty"},
			{"/filters/0/all/1/any/0/not/cel", "is no valid cel"}, {"/filters/0/all/2/sql", "is no valid sql"},
		},
		`[{"sql":""},{"cel":5},{"match":["a"]},{"sql":null}]`: {
			{"/filters/0/sql", "must not be empty"}, {"/filters/1/cel", "must be a string"}, {"/filters/2/match", "must be a string"},
			{"/filters/3", "must have exactly one of exact, prefix, suffix, all, any, not, sql, cel, match"},
		},
		`[{"sql":"a","cel":"b"}]`:                               {{"/filters/0", "must have exactly one of exact, prefix, suffix, all, any, not, sql, cel, match"}},
		`[{"cel":"` + long(4096-len(`{"cel":""}`)) + `"}]`:      nil,
		`[{"cel":"` + long(4097-len(`{"cel":""}`)) + `"}]`:      {{"/filters/0", "is larger than 4096 bytes"}},
		`[{"any":[{"cel":"no"},{"cel":"` + long(4096) + `"}]}]`: {{"/filters/0", "is larger than 4096 bytes"}}, // nothing of it is compiled
		`[` + strings.Repeat(`{"not":`, 8) + `{"cel":"no"}` + strings.Repeat(`}`, 8) + `]`: {
			{"/filters/0" + strings.Repeat("/not", 8), "lies deeper than 8 levels"},
		},
	} {
		_, err := DecodeSubscription([]byte(`{"sink":"https://a.example","filters":`+text+`}`), "", SinkPolicy{WrongFilter: wrongFilter})
		var got []Fault
		if err != nil {
			got = faultsOf(t, err).Faults
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%.100s: %s", text, diff)
		}
	}
}

// Who cannot check an expression does not take it.
func TestDecodeExpressionsUnchecked(t *testing.T) {
	t.Parallel()
	_, err := DecodeSubscription([]byte(`{"sink":"https://a.example","filters":[{"cel":"true"}]}`), "", SinkPolicy{})
	want := []Fault{{"/filters/0/cel", "is not supported here"}}
	if diff := cmp.Diff(want, faultsOf(t, err).Faults); diff != "" {
		t.Error(diff)
	}
}

// What is stored is read as it was.
func TestSealExpressions(t *testing.T) {
	t.Parallel()
	text := `{"id":"a","sink":"https://a.example","filters":[{"sql":"a < '\\u00e9'"},{"not":{"cel":"b && \"c\""}},{"any":[{"match":"d=1;e=<&>"}]}]}`
	s, err := DecodeSubscription([]byte(text), "", SinkPolicy{WrongFilter: wrongFilter})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := Seal(s, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var o Opener
	back, _, err := o.Open(sealed)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s.Filters, back.Filters); diff != "" {
		t.Error(diff)
	}
	for _, wrong := range []string{`{"sql":""}`, `{"cel":5}`, `{"later":"x"}`} {
		if _, _, err := o.Open([]byte(strings.Replace(string(sealed), `{"sql":`, wrong+`,{"sql":`, 1))); err == nil {
			t.Errorf("%s is read", wrong)
		}
	}
}
