package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

var seeds = []string{
	`{"specversion":"1.0","id":"1","source":"/s","type":"t"}`,
	` {"specversion":"1.0","id":"a\u0031","source":"HTTP://Ex.com/%7efoo","type":"t","data": { "a" : [1.0,-0e5,"\ud83d\ude00é"] },"n":5,"b":true,"x":null} `,
	`{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"text/plain","data":"a\n\"\u00e9"}`,
	`{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":"\u002B\/8=","tenant":"acme","time":"2026-01-02T03:04:05.1Z"}`,
	`{"id":"","ID":1,"id":2,"a":{},"data":1,"data_base64":5}`,
	`{"id":"\ud800"}`, `[1,2`, "{\"id\":\"\xff\"}",
}

func FuzzParseStructured(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		before := bytes.Clone(text)
		e, err := ParseStructured(text)
		checkInvalid(t, err)
		if bad, ok := errors.AsType[*Invalid](err); ok && bad.Status == 400 && json.Valid(text) && !isStricter(bad) {
			t.Fatalf("encoding/json takes it: %v", bad)
		}
		if err != nil {
			if bad := invalidOf(t, err); bad.Status == 422 && !json.Valid(text) {
				t.Fatalf("not JSON, but only %v", bad)
			}
			return
		}
		checkEvent(t, e, text)
		if !bytes.Equal(before, text) {
			t.Fatal("the text was changed")
		}
	})
}

// isStricter reports whether the text is refused for what encoding/json takes: invalid UTF-8, unpaired surrogates and
// depth.
func isStricter(bad *Invalid) bool {
	detail := bad.Faults[0].Detail
	return strings.HasPrefix(detail, "invalid UTF-8") || strings.HasPrefix(detail, "unpaired") || strings.HasPrefix(detail, "nests")
}

func checkInvalid(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	bad := invalidOf(t, err)
	if len(bad.Faults) == 0 || bad.Code == "" || bad.Status < 400 {
		t.Fatalf("error without faults: %#v", bad)
	}
}

// checkEvent compares a structured event with what encoding/json reads, and with what comes back from storage.
func checkEvent(t *testing.T, e *Event, text []byte) {
	t.Helper()
	if !json.Valid(text) {
		t.Fatalf("not JSON: %q", text)
	}
	if got := e.AppendStructured(nil); !bytes.Equal(got, text) {
		t.Fatalf("structured text is %q, want %q", got, text)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatal(err)
	}
	data, kind := e.Data()
	switch raw, text := members["data"], ""; kind {
	case DataNone:
	case DataJSON:
		if !bytes.Equal(data, raw) {
			t.Fatalf("data is %q, want %q", data, raw)
		}
	case DataText:
		if err := json.Unmarshal(raw, &text); err != nil || text != string(data) {
			t.Fatalf("data is %q, want %q, %v", data, text, err)
		}
	case DataBinary:
		var want []byte
		if err := json.Unmarshal(members["data_base64"], &want); err != nil || !bytes.Equal(want, data) {
			t.Fatalf("data is %q, want %q, %v", data, want, err)
		}
	}
	delete(members, "data")
	delete(members, "data_base64")
	for a := range e.Attributes() {
		checkAttribute(t, a, members[a.Name])
		delete(members, a.Name)
	}
	for name, raw := range members {
		if string(raw) != "null" {
			t.Fatalf("attribute %s is missing", name)
		}
	}
	roundTrip(t, e)
}

func checkAttribute(t *testing.T, a Attribute, raw json.RawMessage) {
	t.Helper()
	var s string
	switch {
	case a.Kind != KindString:
		s = string(raw)
	case json.Unmarshal(raw, &s) != nil:
		t.Fatalf("attribute %s is no string but %q", a.Name, raw)
	}
	if s != a.Value {
		t.Fatalf("attribute %s is %q, want %q", a.Name, a.Value, raw)
	}
}

func FuzzParseBatch(f *testing.F) {
	f.Add([]byte("[]"))
	f.Add([]byte(" [ " + seeds[0] + " ,\n" + seeds[1] + "] "))
	f.Add([]byte("[" + strings.Join(seeds, ",") + "]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := ParseBatch(text, BatchLimits{MaxEvents: 10, MaxBytes: 1 << 20})
		checkInvalid(t, err)
		if err != nil {
			return
		}
		var raw []json.RawMessage
		if err := json.Unmarshal(text, &raw); err != nil || len(raw) != len(all) {
			t.Fatalf("%d events, encoding/json has %d, %v", len(all), len(raw), err)
		}
		for i, e := range all {
			checkEvent(t, e, raw[i])
		}
	})
}

func FuzzParseHTTP(f *testing.F) {
	f.Add("text/plain", "1", "/s", "x", "%C3%A9 \"", []byte("data"))
	f.Add("application/json; charset=\"utf-8\"", "1", "/s", "x", `"a\"b"`, []byte(" {\"a\":1.0}\n"))
	f.Add("", "%41", "a:b", "tenant", "acme", []byte("\x00"))
	f.Add("application/cloudevents+json", "1", "/s", "n", "5", []byte(seeds[1]))
	f.Add("application/cloudevents-batch+json", "", "", "X_", "%", []byte("["+seeds[0]+"]"))
	f.Fuzz(func(t *testing.T, contentType, id, source, name, value string, body []byte) {
		h := http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {id}, "Ce-Source": {source}, "Ce-Type": {"t"}, "Ce-" + name: {value}}
		if contentType != "" {
			h["Content-Type"] = []string{contentType}
		}
		evts, batch, err := ParseHTTP(h, body)
		checkInvalid(t, err)
		if err == nil && !batch && len(evts) != 1 {
			t.Fatalf("%d events", len(evts))
		}
		for _, e := range evts {
			roundTrip(t, e)
			if e.IsStructured() {
				continue
			}
			if data, _ := e.Data(); !bytes.Equal(data, body) || e.DataContentType() != contentType {
				t.Fatalf("data or content type changed: %q, %q", data, e.DataContentType())
			}
			rendered(t, e)
		}
	})
}

func FuzzParseNATS(f *testing.F) {
	f.Add("ce-datacontenttype", "text/plain", "Ce-X", "%41", []byte("data"), true)
	f.Add("content-type", "application/cloudevents+json", "ce-id", "1", []byte(seeds[0]), false)
	f.Add("Hookfleet-Attributes", "55", "", "", []byte(seeds[0]+"data"), false)
	f.Add("", "", "", "", []byte(seeds[2]), false)
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2 string, payload []byte, binary bool) {
		h := map[string][]string{}
		if binary {
			h = natsHeader()
		}
		h[name1] = append(h[name1], value1)
		h[name2] = append(h[name2], value2)
		e, err := ParseNATS(h, payload)
		checkInvalid(t, err)
		if err != nil {
			return
		}
		roundTrip(t, e)
		if e.IsStructured() {
			checkEvent(t, e, payload)
			return
		}
		if data, _ := e.Data(); !bytes.HasSuffix(payload, data) {
			t.Fatalf("data changed: %q", data)
		}
		rendered(t, e)
	})
}

func FuzzTime(f *testing.F) {
	f.Add("2026-01-02T03:04:05.1+05:30")
	f.Add("2016-12-31t23:59:60z")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parseTime(s)
		if err != nil || strings.ContainsAny(s, "tz") || strings.Contains(s, ":60") {
			return
		}
		if want, err := time.Parse(time.RFC3339Nano, s); err != nil || !got.Equal(want) { // which takes more, but this too
			t.Fatalf("parseTime(%q) = %v; the standard library says %v, %v", s, got, want, err)
		}
	})
}
