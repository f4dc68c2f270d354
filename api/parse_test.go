package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/hookfleet/hookfleet/events"
)

func TestCursorRoundTrip(t *testing.T) {
	t.Parallel()
	q := query{route: "list", values: map[string]string{"type": "a", "limit": "5"}}
	q.values["cursor"] = q.cursor("acme", "text\x00", 0, 1, 1<<63)
	positions, text, ok, err := q.at("acme", 3)
	if err != nil || !ok || text != "text\x00" || !slices.Equal(positions, []uint64{0, 1, 1 << 63}) {
		t.Fatalf("%v %q %v %v", positions, text, ok, err)
	}
	cursor := q.values["cursor"]
	for name, other := range map[string]query{
		"other route":       {route: "other", values: map[string]string{"type": "a", "cursor": cursor}},
		"other parameter":   {route: "list", values: map[string]string{"type": "b", "cursor": cursor}},
		"parameter less":    {route: "list", values: map[string]string{"cursor": cursor}},
		"other positions":   {route: "list", values: map[string]string{"type": "a", "cursor": cursor[:10]}},
		"not base64":        {route: "list", values: map[string]string{"type": "a", "cursor": "!" + cursor}},
		"with padding":      {route: "list", values: map[string]string{"type": "a", "cursor": cursor + "=="}},
		"with a line break": {route: "list", values: map[string]string{"type": "a", "cursor": cursor + "\n"}},
	} {
		if _, _, _, err := other.at("acme", 3); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, _, _, err := q.at("globex", 3); err == nil {
		t.Error("another tenant's cursor is taken")
	}
	if _, _, _, err := q.at("acme", 2); err == nil {
		t.Error("a cursor of other positions is taken")
	}
	q.values["limit"] = "7"
	if _, _, ok, err := q.at("acme", 3); err != nil || !ok {
		t.Error("the limit may change between pages")
	}
}

func FuzzCursor(f *testing.F) {
	q := query{route: "list", values: map[string]string{}}
	f.Add(q.cursor("", "abc", 7, 1<<40))
	f.Add("AQ")
	f.Fuzz(func(t *testing.T, cursor string) {
		q := query{route: "list", values: map[string]string{"cursor": cursor}}
		positions, text, ok, err := q.at("", 2)
		if err != nil || !ok {
			return
		}
		again := query{route: "list", values: map[string]string{"cursor": q.cursor("", text, positions...)}}
		p, x, _, err := again.at("", 2)
		if err != nil || x != text || !slices.Equal(p, positions) {
			t.Errorf("%q reads as %v %q, and that as %v %q", cursor, positions, text, p, x)
		}
	})
}

// FuzzObject compares with encoding/json: what is taken is JSON of one object with known members, each there once.
func FuzzObject(f *testing.F) {
	for _, seed := range []string{`{}`, `{"a":"x","b":["y"]}`, `{"a":null}`, `{"a":1}`, `{"a":"x","a":"y"}`, `{"A":"x"}`, `[]`, `{} x`, `{"a":"\ud800"}`, "{\"a\":\"\xff\"}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var a string
		var b []string
		err := decodeObject([]byte(text), CodeInvalidKey, map[string]any{"a": &a, "b": &b})
		if err != nil {
			p, ok := errors.AsType[*Problem](err)
			if !ok || len(p.Errors) == 0 || (p.Status == 400) != (p.Code == CodeInvalidJSON) {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		var v struct {
			A *string
			B []string
		}
		dec := json.NewDecoder(strings.NewReader(text))
		dec.DisallowUnknownFields()
		if !utf8.ValidString(text) || dec.Decode(&v) != nil || !slices.Equal(v.B, b) || v.A != nil && *v.A != a {
			t.Errorf("%q is taken as %q %q", text, a, b)
		}
	})
}

func FuzzQuery(f *testing.F) {
	f.Add("limit=5&since=2026-01-01T00:00:00Z")
	f.Add("a=%zz")
	f.Add("event=18446744073709551616")
	r := &route{id: "x", query: append([]param{
		{name: "since", kind: kindTime}, {name: "event", kind: kindSequence}, {name: "tenant", kind: kindID},
		{name: "state", kind: kindEnum, values: []string{"a", "b"}}, {name: "type"},
	}, pageParams...)}
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := parseQuery(r, raw)
		if err != nil {
			if p, ok := errors.AsType[*Problem](err); !ok || p.Status != http.StatusBadRequest {
				t.Errorf("%q: %v", raw, err)
			}
			return
		}
		given, _ := url.ParseQuery(raw)
		if q.limit < 1 || q.limit > maxLimit || len(q.values) != len(given) || q.text("event") != "" && q.sequence("event") == 0 ||
			q.text("tenant") != "" && !events.IsID(q.text("tenant")) {
			t.Errorf("%q is taken as %+v", raw, q)
		}
	})
}

func TestParseIfMatch(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		m     ifMatch
		wrong bool
	}{
		`*`:           {ifMatch{any: true}, false},
		`"7"`:         {ifMatch{revisions: []uint64{7}}, false},
		` "7" , "8"`:  {ifMatch{revisions: []uint64{7, 8}}, false},
		`W/"7"`:       {ifMatch{}, false},
		`"other"`:     {ifMatch{}, false},
		`"7", W/"8"`:  {ifMatch{revisions: []uint64{7}}, false},
		`7`:           {ifMatch{}, true},
		`"7`:          {ifMatch{}, true},
		`"`:           {ifMatch{}, true},
		``:            {ifMatch{}, true},
		`"7",`:        {ifMatch{revisions: []uint64{7}}, true},
		`"-1", "1e3"`: {ifMatch{}, false},
	} {
		m, conditional, err := parseIfMatch(http.Header{"If-Match": {text}})
		if !conditional || (err != nil) != want.wrong || m.any != want.m.any || err == nil && !slices.Equal(m.revisions, want.m.revisions) {
			t.Errorf("%q: %+v %v %v", text, m, conditional, err)
		}
	}
	if _, conditional, err := parseIfMatch(http.Header{}); conditional || err != nil {
		t.Error("no header is no condition")
	}
}

func TestTimesAreMilliseconds(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 678_999_999, time.FixedZone("x", 3600))
	b, err := json.Marshal(struct {
		At   Time `json:"at"`
		Zero Time `json:"zero,omitzero"`
	}{At: Time(at)})
	if want := `{"at":"2026-01-02T02:04:05.678Z"}`; err != nil || string(b) != want {
		t.Errorf("%s %v, want %s", b, err, want)
	}
}

func TestWithEventWantsItLast(t *testing.T) {
	t.Parallel()
	e, err := events.ParseStructured([]byte(`{"specversion":"1.0", "id":"1","source":"/x","type":"t"}`))
	if err != nil {
		t.Fatal(err)
	}
	b, err := withEvent(eventView{Sequence: 7, Tenant: "<a>"}, e)
	if want := `{"sequence":7,"tenant":"<a>","acceptedat":"0001-01-01T00:00:00.000Z","event":{"specversion":"1.0", "id":"1","source":"/x","type":"t"}}`; err != nil || string(b) != want {
		t.Errorf("%s %v", b, err)
	}
	if _, err := withEvent(struct {
		Event *cloudEvent `json:"event"`
		Last  int         `json:"last"`
	}{}, e); err == nil {
		t.Error("a view that goes on after its event")
	}
}

func TestDeeperThan(t *testing.T) {
	t.Parallel()
	nest := func(n int) string { return strings.Repeat(`{"a":[`, n/2) + strings.Repeat(`]}`, n/2) }
	for text, want := range map[string]bool{
		nest(64): false, nest(66): true, `"` + strings.Repeat("[", 100) + `"`: false, `"\"` + strings.Repeat("[", 100) + `"`: false,
		`"\\"` + strings.Repeat("[", 100): true, "": false,
	} {
		if got := deeperThan([]byte(text), maxDepth); got != want {
			t.Errorf("%.40q: %v", text, got)
		}
	}
}
