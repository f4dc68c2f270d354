package events

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// binaryHeader is a header of an event in binary mode, with more pairs of names and values.
func binaryHeader(more ...string) http.Header {
	h := http.Header{}
	h.Set("ce-specversion", "1.0")
	h.Set("ce-id", "1")
	h.Set("ce-source", "/s")
	h.Set("ce-type", "t")
	for i := 0; i < len(more); i += 2 {
		h.Add(more[i], more[i+1])
	}
	return h
}

func contentType(s string) http.Header { return http.Header{"Content-Type": {s}} }

func TestHTTPModes(t *testing.T) {
	t.Parallel()
	event := minimal(`,"a":"€ 1"`)
	for _, tt := range []struct {
		name   string
		header http.Header
		body   string
		events int
		batch  bool
		status int
	}{
		{"HB-2 structured", contentType("application/cloudevents+json"), event, 1, false, 0},
		{"HB-2 structured in any case", contentType("Application/CloudEvents+JSON"), event, 1, false, 0},
		{"HB-6 charset", contentType("application/cloudevents+json; charset=UTF-8"), event, 1, false, 0},
		{"HB-6 quoted charset", contentType(`application/cloudevents+json;Charset="utf-8"; x=y`), event, 1, false, 0},
		{"HB-6 other charset", contentType("application/cloudevents+json; charset=iso-8859-1"), event, 0, false, 415},
		{"HB-2 batch", contentType("APPLICATION/cloudevents-batch+json;charset=utf-8"), "[" + event + "]", 1, true, 0},
		{"HB-2 empty batch", contentType("application/cloudevents-batch+json"), "[]", 0, true, 0},
		{"HB-2 other batch", contentType("application/cloudevents-batch+avro"), "[]", 0, true, 415},
		{"HB-2 avro", contentType("application/cloudevents+avro"), event, 0, false, 415},
		{"HB-2 no format", contentType("application/cloudevents"), event, 0, false, 415},
		{"HB-2 plain JSON", contentType("application/json"), event, 0, false, 415},
		{"HB-2 nothing", http.Header{}, event, 0, false, 415},
		{"HB-2 binary", binaryHeader("Content-Type", "application/json"), "{}", 1, false, 0},
		{"HB-2 structured wins over ce-*", binaryHeader("Content-Type", "application/cloudevents+json"), minimal(""), 1, false, 0},
		{"HB-6 copies in headers", http.Header{"Content-Type": {"application/cloudevents+json"}, "Ce-Id": {"1"}, "Ce-A": {"%E2%82%AC%201"}}, event, 1, false, 0},
		{"HB-6 copies that were not encoded", http.Header{"Content-Type": {"application/cloudevents+json"}, "Ce-A": {"€ 1"}}, event, 1, false, 0},
		{"HB-6 contradiction", http.Header{"Content-Type": {"application/cloudevents+json"}, "Ce-Id": {"2"}}, event, 0, false, 400},
		{"HB-6 copy of what is not there", http.Header{"Content-Type": {"application/cloudevents+json"}, "Ce-Tenant": {"x"}}, event, 0, false, 400},
		{"two content types", http.Header{"Content-Type": {"text/plain", "text/html"}, "Ce-Id": {"2"}}, "", 0, false, 400},
		{"JF-1 batch is no event", contentType("application/cloudevents+json"), "[" + event + "]", 0, false, 422},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			evts, batch, err := ParseHTTP(tt.header, []byte(tt.body))
			if len(evts) != tt.events || batch != tt.batch {
				t.Errorf("%d events, batch %t; want %d, %t; error %v", len(evts), batch, tt.events, tt.batch, err)
			}
			if tt.status == 0 && err != nil {
				t.Error(err)
			} else if tt.status > 0 && invalidOf(t, err).Status != tt.status {
				t.Errorf("got %v, want %d", err, tt.status)
			}
		})
	}
}

func TestHTTPUnsupportedNamesWhatIsTaken(t *testing.T) {
	t.Parallel()
	_, _, err := ParseHTTP(contentType("application/cloudevents+avro"), nil)
	bad := invalidOf(t, err)
	if bad.Code != "unsupported_media_type" || pointers(bad) != "content-type" || !strings.Contains(err.Error(), structuredType) ||
		!strings.Contains(err.Error(), batchType) || !strings.Contains(err.Error(), "ce-specversion") {
		t.Error(err)
	}
}

func TestHTTPBinaryValues(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, value, want string }{
		{"HB-4 encoded", "Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"},
		{"HB-5 lower-case digits", "%e2%82%ac", "€"},
		{"HB-5 needless escapes", "%41b%63", "Abc"},
		{"HB-5 exactly once", "%2541", "%41"},
		{"HB-5 quoted string", `"a b\"\\%20c"`, `a b"\ c`},
		{"HB-5 plain", "a b,c;d=\"e\"", `a b,c;d="e"`},
		{"not encoded, as most SDKs send it", "Euro € 😀", "Euro € 😀"},
		{"empty", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			evts, _, err := ParseHTTP(binaryHeader("ce-x", tt.value), nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, ok := evts[0].Attribute("x"); got != tt.want || !ok {
				t.Errorf("x = %q, want %q", got, tt.want)
			}
			roundTrip(t, evts[0])
		})
	}
}

func TestHTTPBinaryRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		header   http.Header
		body     string
		pointers string
	}{
		{"CE-1 all missing at once", http.Header{"Ce-Specversion": {"1.0"}}, "", "ce-id ce-source ce-type"},
		{"CE-1 without specversion", http.Header{"Ce-Id": {"1"}, "Ce-Type": {"t"}}, "", "ce-source ce-specversion"},
		{"CE-4 name", binaryHeader("ce-my_ext", "x"), "", "ce-my_ext"},
		{"CE-4 name data", binaryHeader("ce-data", "x"), "", "ce-data"},
		{"CE-4 empty name", binaryHeader("ce-", "x"), "", "ce-"},
		{"CE-6 control character", binaryHeader("ce-x", "a%0D%0Ab"), "", "ce-x"},
		{"CE-3 empty subject", binaryHeader("ce-subject", ""), "", "ce-subject"},
		{"CE-3 content type", binaryHeader("Content-Type", "json"), "{}", "content-type"},
		{"HB-3 ce-datacontenttype", binaryHeader("ce-datacontenttype", "text/plain", "ce-a", "%"), "{}", "ce-a ce-datacontenttype"},
		{"HB-5 invalid UTF-8", binaryHeader("ce-x", "%C0%A0"), "", "ce-x"},
		{"HB-5 invalid UTF-8 as it is", binaryHeader("ce-x", "\xe9"), "", "ce-x"},
		{"HB-5 cut escape", binaryHeader("ce-x", "50%"), "", "ce-x"},
		{"HB-5 bad escape", binaryHeader("ce-x", "%zz"), "", "ce-x"},
		{"HB-5 open quote", binaryHeader("ce-x", `"a`), "", "ce-x"},
		{"HB-5 more after the quote", binaryHeader("ce-x", `"a"b`), "", "ce-x"},
		{"repeated", binaryHeader("ce-id", "2"), "", "ce-id"},
		{"JF-5 data is not JSON", binaryHeader("Content-Type", "application/json"), "{", "/data"},
		{"JF-10 data too deep", binaryHeader("Content-Type", "application/json"), strings.Repeat("[", 64) + strings.Repeat("]", 64), "/data"},
		{"tenant", binaryHeader("ce-tenant", "A"), "", "ce-tenant"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, _, err := ParseHTTP(tt.header, []byte(tt.body))
			if bad := invalidOf(t, err); bad.Status != 422 || bad.Code != "invalid_event" || pointers(bad) != tt.pointers {
				t.Errorf("got %d %v, want faults at %s", bad.Status, bad, tt.pointers)
			}
		})
	}
}

func TestHTTPBinaryData(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, contentType, body string
		kind                    DataKind
		rendered                string // what is behind the attributes
	}{
		{"HB-3 JSON as it is", "application/json; charset=utf-8", "{ \"a\" : 1.0,\"<\":1e2 }\n", DataJSON, `,"data":{ "a" : 1.0,"<":1e2 }` + "\n}"},
		{"JF-5 +json", "application/vnd.x+json", `"a"`, DataJSON, `,"data":"a"}`},
		{"JF-6 text", "text/plain", "a\"b\\\n\r\t\x00\u2028é<", DataText, `,"data":"a\"b\\\n\r\t\u0000` + "\u2028" + `é<"}`},
		{"JF-6 xml", "application/xml", "<a/>", DataText, `,"data":"<a/>"}`},
		{"JF-6 form", "application/x-www-form-urlencoded", "a=b", DataText, `,"data":"a=b"}`},
		{"JF-4 text that is not UTF-8", "text/plain", "\xe9", DataBinary, `,"data_base64":"6Q=="}`},
		{"JF-4 other charset", "text/plain; charset=iso-8859-1", "e", DataBinary, `,"data_base64":"ZQ=="}`},
		{"JF-4 binary", "image/png", "\x89PNG", DataBinary, `,"data_base64":"iVBORw=="}`},
		{"JF-4 no content type, none invented", "", "\x00", DataBinary, `,"data_base64":"AA=="}`},
		{"JF-7 no content type, JSON", "", "[1]", DataJSON, `,"data":[1]}`},
		{"no data", "application/json", "", DataNone, "}"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := binaryHeader("ce-aa", "%22%E2%82%AC%5C%3C")
			want := `{"specversion":"1.0","id":"1","source":"/s","type":"t"`
			if tt.contentType != "" {
				h.Set("Content-Type", tt.contentType)
				want += `,"datacontenttype":"` + tt.contentType + `"`
			}
			evts, _, err := ParseHTTP(h, []byte(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			e := evts[0]
			if data, kind := e.Data(); string(data) != tt.body || kind != tt.kind {
				t.Errorf("Data() = %q, %d; want kind %d", data, kind, tt.kind)
			}
			want += `,"aa":"\"€\\<"` + tt.rendered
			if diff := cmp.Diff(want, string(e.AppendStructured(nil))); diff != "" {
				t.Error(diff)
			}
			roundTrip(t, e)
			rendered(t, e)
		})
	}
}

// rendered checks that the structured form of an event in binary mode is the same event.
func rendered(t testing.TB, e *Event) {
	t.Helper()
	again, err := ParseStructured(e.AppendStructured(nil))
	if err != nil {
		if invalidOf(t, err).Status == 413 { // escapes and base64 add to what was within the limit
			return
		}
		t.Fatalf("rendered event: %v\n%.300s", err, e.AppendStructured(nil))
	}
	if diff := cmp.Diff(attributesOf(e), attributesOf(again)); diff != "" {
		t.Error(diff)
	}
	data, kind := e.Data()
	got, gotKind := again.Data()
	if kind == DataJSON { // white space around a value is not part of it
		data = []byte(strings.Trim(string(data), " \t\r\n"))
	}
	if string(data) != string(got) || kind != gotKind {
		t.Errorf("data is %d %q, want %d %q", gotKind, got, kind, data)
	}
}

func TestHTTPBinarySizes(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]http.Header{
		"CE-10 64 KiB in one attribute":      binaryHeader("ce-x", strings.Repeat("x", 64<<10)),
		"CE-10 64 KiB of percent-encoding":   binaryHeader("ce-x", strings.Repeat("%E2%82%AC", 64<<10/9)),
		"CE-10 64 KiB that were not encoded": binaryHeader("ce-x", strings.Repeat("😀", 16<<10), "Content-Type", "text/plain"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			evts, _, err := ParseHTTP(h, []byte(" [1]\n"))
			if err != nil {
				t.Fatal(err)
			}
			roundTrip(t, evts[0])
			stored, _ := evts[0].Message()
			size := 0
			for name, values := range stored {
				size += len(name) + len(values[0]) + 4
			}
			if size > maxHeaderBytes {
				t.Errorf("stored with %d bytes of headers", size)
			}
		})
	}
	_, _, err := ParseHTTP(binaryHeader(), make([]byte, MaxEventBytes))
	if bad := invalidOf(t, err); bad.Status != 413 || bad.Code != "too_large" {
		t.Error(err)
	}
}

// TestHTTPOrder shows that what is rendered does not depend on the order of a map.
func TestHTTPOrder(t *testing.T) {
	t.Parallel()
	h := binaryHeader("ce-zz", "1", "ce-aa", "2", "ce-time", "2026-01-01T00:00:00Z", "ce-subject", "s", "ce-dataschema", "a:b")
	const want = `{"specversion":"1.0","id":"1","source":"/s","type":"t","subject":"s","time":"2026-01-01T00:00:00Z",` +
		`"datacontenttype":"text/plain","dataschema":"a:b","aa":"2","zz":"1","data":"x"}`
	h.Set("Content-Type", "text/plain")
	for range 20 {
		evts, _, err := ParseHTTP(h, []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(evts[0].AppendStructured(nil))); diff != "" {
			t.Fatal(diff)
		}
	}
}
