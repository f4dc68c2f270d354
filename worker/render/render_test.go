package render_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/worker/render"
)

// subscription is one with these members beside its id; sink is https://partner.example/ if there is none.
func subscription(t testing.TB, members string) *events.Subscription {
	t.Helper()
	if !strings.Contains(members, `"sink`) {
		members = `"sink":"https://partner.example/",` + members
	}
	s, err := events.DecodeSubscription([]byte(`{"id":"s",`+strings.TrimSuffix(members, ",")+`}`), "", events.SinkPolicy{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newPlan(t testing.TB, s *events.Subscription) *render.Plan {
	t.Helper()
	p, err := render.New(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func withData(t testing.TB, data string) *events.Event {
	t.Helper()
	return parse(t, `{"specversion":"1.0","id":"1","source":"/s","type":"order.status","subject":"x","data":`+data+`}`)
}

func parse(t testing.TB, text string) *events.Event {
	t.Helper()
	e, err := events.ParseStructured([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func inputOf(e *events.Event) *render.Input {
	return &render.Input{Event: e, WebhookID: "msg_a", Subscription: "s", Attempt: 1, Now: time.Unix(1_772_366_400, 125e6)}
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// What an event lacks or has too much of is a fault that says where, and never a request.
func TestFaults(t *testing.T) {
	t.Parallel()
	sink := func(s string) string { return `"sink":` + quote("https://partner.example"+s) }
	header := func(s string) string { return `"protocolsettings":{"headers":{"x-a":` + quote(s) + `}}` }
	body := func(s string) string { return `"protocolsettings":{"contentmode":"template","body":` + s + `}` }
	large := quote(strings.Repeat("x", 100_000))
	tests := []struct{ members, data, want string }{
		{sink("/${orderId}"), `{}`, "sink: orderId is missing"},
		{sink("/${orderId}"), `{"orderId":null}`, "sink: orderId is missing"},
		{sink("/?a=${a.b[1]}"), `{"a":{"b":[1]}}`, "sink: a.b[1] is missing"},
		{sink("/${a}"), `{"a":".."}`, "sink: has a segment"},
		{sink("/${a}"), `{"a":"."}`, "sink: has a segment"},
		{sink("/x/${a}${b}/y"), `{"a":".","b":"."}`, "sink: has a segment"},
		{sink("/x/${a}.?q=1"), `{"a":"."}`, "sink: has a segment"},
		{sink("/x/%2E${a}/y"), `{"a":"."}`, "sink: has a segment"},
		{sink("/x/${a};v=1/y"), `{"a":".."}`, "sink: has a segment"},
		{sink("/${a}"), `{"a":` + large + `}`, "sink: would be larger than 8192 bytes"},
		{sink("/${a}"), `{"a":` + quote(strings.Repeat("é", 1500)) + `}`, "sink: would be larger than 8192 bytes"},
		{header("${a}"), `{}`, "header X-A: a is missing"},
		{header("${attributes.time}"), `{"time":"x"}`, "header X-A: attributes.time is missing"},
		{header("${a}"), `{"a":"b\r\nX-Evil: 1"}`, "header X-A: a has a control character"},
		{header("${a}"), `{"a":"b\u0085"}`, "header X-A: a has a control character"},
		{header("${a}"), `{"a":` + large + `}`, "header X-A: would be larger"},
		{body(`{"id":"${id2}"}`), `{}`, "body: id2 is missing"},
		{body(`{"id":"a ${id2}"}`), `{}`, "body: id2 is missing"},
		{body(`{"id":"a ${id2}"}`), `{"id2":null}`, "body: id2 is missing"},
		{body(`"${id2}"`), `{}`, "body: id2 is missing"},
		{body(`["` + strings.Repeat("${a}", 500) + `"]`), `{"a":` + large + `}`, "body: would be larger than 2097152 bytes"},
		{body(`[` + strings.Repeat(`"${a}",`, 500) + `1]`), `{"a":` + large + `}`, "body: would be larger than 2097152 bytes"},
		{body(`"` + strings.Repeat("${a}", 500) + `"`), `{"a":` + large + `}`, "body: would be larger than 2097152 bytes"},
	}
	for _, test := range tests {
		p := newPlan(t, subscription(t, test.members))
		h := http.Header{}
		u, b, err := p.Render(inputOf(withData(t, test.data)), nil, h)
		fault, ok := errors.AsType[*render.Error](err)
		if !ok || !strings.HasPrefix(fault.Error(), test.want) || u != nil || b != nil {
			t.Errorf("%.200s: %v, want %s", test.members, err, test.want)
		}
	}
}

// Dots within a segment, and dots that the subscription itself has, are no other path.
func TestDotsThatStay(t *testing.T) {
	t.Parallel()
	for sink, want := range map[string]string{
		"/${a}.json":   "/...json",
		"/v1.0/${a}x":  "/v1.0/..x",
		"/./x?y=${a}":  "/./x?y=..",
		"/x?a=../${a}": "/x?a=../..",
		"/...${a}":     "/.....",
		"/${b}/${b}":   "/..%2Fetc/..%2Fetc",
		"/${c}":        "/%252e%252e",
		"/${d}/x":      "/%5C..%5C%0D%0A/x",
		"/?x=${d}":     "/?x=%5C..%5C%0D%0A",
	} {
		p := newPlan(t, subscription(t, `"sink":`+quote("https://partner.example"+sink)))
		u, _, err := p.Render(inputOf(withData(t, `{"a":"..","b":"../etc","c":"%2e%2e","d":"\\..\\\r\n"}`)), nil, http.Header{})
		if err != nil {
			t.Errorf("%s: %v", sink, err)
		} else if got := strings.TrimPrefix(u.String(), "https://partner.example"); got != want {
			t.Errorf("%s: %s, want %s", sink, got, want)
		}
	}
}

func TestOverride(t *testing.T) {
	t.Parallel()
	tests := []struct{ ref, extra, data, want string }{
		{"webhookurl", `"webhookurl":"https://a.example"`, `{"webhookurl":"https://b.example"}`, "https://a.example"},
		{"webhookurl", `"a":1`, `{"webhookurl":"https://b.example"}`, "https://b.example"},
		{"attributes.webhookurl", `"a":1`, `{"webhookurl":"https://b.example"}`, ""},
		{"data.urls[1].to", `"a":1`, `{"urls":[0,{"to":"https://b.example"}]}`, "https://b.example"},
		{"webhookurl", `"a":1`, `{"webhookurl":null}`, ""},
		{"webhookurl", `"webhookurl":""`, `{}`, ""},
		{"webhookurl", `"a":1`, `{"webhookurl":5}`, "5"},
		{"now", `"a":1`, `{}`, ""},
		{"", `"webhookurl":"https://a.example"`, `{}`, ""},
	}
	for _, test := range tests {
		members := `"sink":"https://partner.example/",`
		if test.ref != "" {
			members += `"sinkoverride":` + quote(test.ref)
		}
		p := newPlan(t, subscription(t, members))
		e := parse(t, `{"specversion":"1.0","id":"1","source":"/s","type":"t",`+test.extra+`,"data":`+test.data+`}`)
		v, ok := p.Override(e)
		if ok != (test.want != "") || v.Text() != test.want && ok {
			t.Errorf("%s of %s %s: %q, %v", test.ref, test.extra, test.data, v.Text(), ok)
		}
	}
}

// The URL of the sink is the same pointer each time, so that nothing is made anew that depends on it.
func TestSinkIsKept(t *testing.T) {
	t.Parallel()
	p := newPlan(t, subscription(t, `"description":"x"`))
	u, _, err := p.Render(inputOf(withData(t, `1`)), nil, http.Header{})
	if err != nil || u != p.Sink() {
		t.Errorf("%v %v", u, err)
	}
	if p := newPlan(t, subscription(t, `"sink":"https://partner.example/${id}"`)); p.Sink() != nil {
		t.Error("a sink with a placeholder is kept")
	}
}

// A template bomb is refused before it is made: memory stays flat.
func TestTemplateBomb(t *testing.T) { //nolint:paralleltest // it measures memory
	items := strings.Repeat(`"${data}",`, 999) + `"${data}"`
	p := newPlan(t, subscription(t, `"protocolsettings":{"contentmode":"template","body":[`+items+`]}`))
	in := inputOf(withData(t, quote(strings.Repeat("\x01", 150_000))))
	const tries = 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range tries {
		if _, _, err := p.Render(in, nil, http.Header{}); err == nil {
			t.Fatal("a body of 900 MB was made")
		}
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / tries; each > 4<<20 {
		t.Errorf("%d bytes for a bomb", each)
	}
}

// Whatever an event has, scheme, host and port of the URL are the sink's, and it is one line of printable ASCII.
func FuzzURL(f *testing.F) {
	for _, s := range []string{"a", "..", "//evil.example", "@evil.example", ":99", "%2f", "\\", "#", "?", "é\x00", "x\r\ny", "[::1]"} {
		f.Add("/${a}", s)
		f.Add("/x/${a}${a}/?q=${a}&${a}=1", s)
		f.Add("?${a}", s)
	}
	f.Fuzz(func(t *testing.T, rest, value string) {
		const origin = "https://partner.example:8443"
		text := fmt.Sprintf(`{"id":"s","sink":%s}`, quote(origin+rest))
		s, err := events.DecodeSubscription([]byte(text), "", events.SinkPolicy{})
		if err != nil {
			return
		}
		p, err := render.New(s)
		if err != nil {
			t.Fatalf("%s was taken: %v", s.Sink, err)
		}
		e, err := events.ParseStructured([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"a":` + quote(value) + `}}`))
		if err != nil {
			return
		}
		u, _, err := p.Render(inputOf(e), nil, http.Header{})
		if err != nil {
			return
		}
		again, err := url.Parse(u.String())
		if err != nil || events.Origin(u.String()) != origin || events.Origin(again.String()) != origin || u.User != nil || u.Fragment != "" || u.Opaque != "" {
			t.Fatalf("%s with %q: %s", s.Sink, value, u)
		}
		// Nothing of a value adds a segment or a parameter.
		plain := strings.NewReplacer("${a}", "x").Replace(s.Sink)
		if !strings.Contains(plain, "${") && (strings.Count(u.EscapedPath(), "/") != strings.Count(mustURL(t, plain).EscapedPath(), "/") ||
			strings.Count(u.RawQuery, "&") != strings.Count(mustURL(t, plain).RawQuery, "&")) {
			t.Fatalf("%s with %q: %s", s.Sink, value, u)
		}
	})
}

func mustURL(t *testing.T, raw string) *url.URL {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// Whatever a template and an event have, a JSON body is JSON.
func FuzzJSONBody(f *testing.F) {
	f.Add(`{"a":"${x}","b":"${y?}","c":["${y?}","${x?}"],"d":"<${x}>"}`, `{"x":"\"\\\u0000é","y":null}`)
	f.Add(`["${data}","${a.b[0]:-\"}","${now}","${attempt}"]`, `{"a":{"b":[1]}}`)
	f.Add(`[["${x?}"],{"a":"${x?}","b":1},"${x:-}"]`, `[]`)
	f.Fuzz(func(t *testing.T, template, data string) {
		text := fmt.Sprintf(`{"id":"s","sink":"https://partner.example/","protocolsettings":{"contentmode":"template","body":%s}}`, template)
		s, err := events.DecodeSubscription([]byte(text), "", events.SinkPolicy{})
		if err != nil || s.ProtocolSettings.Body == nil || s.ProtocolSettings.Body[0] == '"' {
			return
		}
		p, err := render.New(s)
		if err != nil {
			t.Fatalf("%s was taken: %v", template, err)
		}
		e, err := events.ParseStructured([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","data":` + data + `}`))
		if err != nil {
			return
		}
		_, body, err := p.Render(inputOf(e), nil, http.Header{})
		if err == nil && !json.Valid(body) {
			t.Fatalf("%s with %s: %s", template, data, body)
		}
	})
}

// Whatever a value is, a header is one line of printable ASCII (HB-4).
func FuzzHeader(f *testing.F) {
	f.Add("${a}", "x\r\ny: z")
	f.Add("id=${a}; ${a:-é}", "é\"%")
	f.Fuzz(func(t *testing.T, template, value string) {
		text := fmt.Sprintf(`{"id":"s","sink":"https://partner.example/","protocolsettings":{"headers":{"x-a":%s}}}`, quote(template))
		s, err := events.DecodeSubscription([]byte(text), "", events.SinkPolicy{})
		if err != nil {
			return
		}
		e, err := events.ParseStructured([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"a":` + quote(value) + `}}`))
		if err != nil {
			return
		}
		h := http.Header{}
		if _, _, err := newPlan(t, s).Render(inputOf(e), nil, h); err != nil {
			return
		}
		for _, r := range h.Get("X-A") {
			if (r < ' ' || r > '~') && r != '\t' {
				t.Fatalf("%q with %q: %q", template, value, h)
			}
		}
	})
}
