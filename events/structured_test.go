package events

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// minimal is an event with members more, which begin with a comma.
func minimal(more string) string {
	return `{"specversion":"1.0","id":"1","source":"/s","type":"t"` + more + `}`
}

// invalidOf is the *Invalid that err must be.
func invalidOf(t testing.TB, err error) *Invalid {
	t.Helper()
	bad, ok := errors.AsType[*Invalid](err)
	if !ok {
		t.Fatalf("error is %v, want *Invalid", err)
	}
	return bad
}

// pointers are what an error's faults point to.
func pointers(bad *Invalid) string {
	var out []string
	for _, f := range bad.Faults {
		out = append(out, f.Pointer)
	}
	return strings.Join(out, " ")
}

func mustParse(t testing.TB, text string) *Event {
	t.Helper()
	e, err := ParseStructured([]byte(text))
	if err != nil {
		t.Fatalf("ParseStructured(%.200s): %v", text, err)
	}
	return e
}

func TestStructuredAccepts(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"CE-1 the four required attributes":        minimal(""),
		"CE-1 white space around everything":       "\r\n\t {\t\"specversion\" : \"1.0\",\"id\": \"1\",\n\"source\":\"/s\" ,\"type\":\"t\" } \n",
		"CE-3 source absolute":                     `{"specversion":"1.0","id":"1","source":"HTTP://Ex.com/%7efoo?a=b#c","type":"t"}`,
		"CE-3 source urn":                          `{"specversion":"1.0","id":"1","source":"urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66","type":"t"}`,
		"CE-3 source mailto":                       `{"specversion":"1.0","id":"1","source":"mailto:a@b.example","type":"t"}`,
		"CE-3 dataschema absolute":                 minimal(`,"dataschema":"https://s.example/a#/b"`),
		"CE-3 time":                                minimal(`,"time":"2026-01-02T03:04:05.120+02:00"`),
		"CE-3 time in lower case":                  minimal(`,"time":"2026-01-02t03:04:05z"`),
		"CE-3 time of a leap second":               minimal(`,"time":"2016-12-31T23:59:60Z"`),
		"CE-3 datacontenttype with parameters":     minimal(`,"datacontenttype":"Application/JSON; charset=\"utf-8\"","data":1`),
		"CE-4 digits first and long names":         minimal(`,"1abc":"x","` + strings.Repeat("a", 100) + `":"x"`),
		"CE-4 name spelled with an escape":         minimal(`,"\u0061b":"x"`),
		"CE-5 int32 bounds":                        minimal(`,"a":2147483647,"b":-2147483648,"c":0`),
		"CE-5 boolean":                             minimal(`,"a":true,"b":false`),
		"CE-6 characters beyond ASCII":             minimal(`,"a":"Euro € 😀\u00a0\ud83d\ude00\ufffd"`),
		"CE-6 empty extension":                     minimal(`,"a":""`),
		"CE-11 unknown extensions":                 minimal(`,"comexampleextension1":"value","comexampleothervalue":5`),
		"JF-2 null is an absent attribute":         minimal(`,"datacontenttype":null,"subject":null,"time":null,"x":null,"tenant":null`),
		"JF-4 data_base64":                         minimal(`,"data_base64":"AAEC"`),
		"JF-4 data_base64 null is absent":          minimal(`,"data_base64":null,"data":1`),
		"JF-6 text as a string":                    minimal(`,"datacontenttype":"text/plain","data":"<x>"`),
		"JF-6 text before the content type":        minimal(`,"data":"<x>","datacontenttype":"text/xml"`),
		"JF-7 data without content type":           minimal(`,"data":{"":1,"a":[1e400,-0.0E+5,"\ud83d\ude00"]}`),
		"JF-8 data null":                           minimal(`,"data":null`),
		"JF-9 base64 with JSON escapes":            minimal(`,"data_base64":"\u002B\/8="`),
		"JF-10 depth 64":                           minimal(`,"data":` + strings.Repeat("[", 63) + strings.Repeat("]", 63)),
		"JF-10 members of data are the producer's": minimal(`,"data":{"":1,"a":1,"a":2,"A_b":3}`),
		"tenant": minimal(`,"tenant":"a_b-1"`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := mustParse(t, text)
			if got := string(e.AppendStructured([]byte("x"))); got != "x"+text {
				t.Errorf("AppendStructured = %q, want the text itself", got)
			}
			roundTrip(t, e)
		})
	}
}

func TestStructuredRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, text string
		status     int
		pointers   string
	}{
		{"CE-1 all missing at once", `{}`, 422, "/id /source /specversion /type"},
		{"CE-1 empty", `{"specversion":"","id":"","source":"","type":""}`, 422, "/specversion /id /source /type"},
		{"CE-1 null is absent", `{"specversion":"1.0","id":null,"source":"/s","type":"t"}`, 422, "/id"},
		{"CE-1 not strings", `{"specversion":1.0,"id":1,"source":true,"type":{}}`, 422, "/specversion /id /source /type"},
		{"CE-1 specversion 0.3", `{"specversion":"0.3","id":"1","source":"/s","type":"t"}`, 422, "/specversion"},
		{"CE-3 source no URI-reference", `{"specversion":"1.0","id":"1","source":"a b","type":"t"}`, 422, "/source"},
		{"CE-3 source bad escape", `{"specversion":"1.0","id":"1","source":"/%zz","type":"t"}`, 422, "/source"},
		{"CE-3 dataschema relative", minimal(`,"dataschema":"/a"`), 422, "/dataschema"},
		{"CE-3 subject empty", minimal(`,"subject":""`), 422, "/subject"},
		{"CE-3 time", minimal(`,"time":"2026-02-30T00:00:00Z"`), 422, "/time"},
		{"CE-3 datacontenttype", minimal(`,"datacontenttype":"json"`), 422, "/datacontenttype"},
		{"CE-3 datacontenttype empty", minimal(`,"datacontenttype":""`), 422, "/datacontenttype"},
		{"CE-4 upper case", minimal(`,"myExt":"x"`), 422, "/myExt"},
		{"CE-4 underscore", minimal(`,"my_ext":"x"`), 422, "/my_ext"},
		{"CE-4 pointer is escaped", minimal(`,"a/b~c":"x"`), 422, "/a~1b~0c"},
		{"CE-5 fraction", minimal(`,"a":1.0`), 422, "/a"},
		{"CE-5 exponent", minimal(`,"a":1e3`), 422, "/a"},
		{"CE-5 beyond int32", minimal(`,"a":2147483648,"b":-2147483649,"c":1`), 422, "/a /b"},
		{"CE-5 array and object", minimal(`,"a":[],"b":{}`), 422, "/a /b"},
		{"CE-6 control characters", minimal(`,"a":"\u0000","b":"\r\n","c":"` + "\x7f" + `","d":"\u009f"`), 422, "/a /b /c /d"},
		{"CE-6 control character in id", `{"specversion":"1.0","id":"1\n","source":"/s","type":"t"}`, 422, "/id"},
		{"CE-6 noncharacters", minimal(`,"a":"\ufdd0","b":"` + "\uffff" + `","c":"\ud83f\udffe"`), 422, "/a /b /c"},
		{"CE-6 unpaired surrogate", minimal(`,"a":"\ud800"`), 400, ""},
		{"CE-6 unpaired low surrogate", minimal(`,"a":"\udc00\ud800"`), 400, ""},
		{"CE-6 pair in the wrong order", minimal(`,"data":"\ud800\ud800"`), 400, ""},
		{"CE-6 invalid UTF-8", minimal(`,"a":"` + "\xc0\xa0" + `"`), 400, ""},
		{"CE-6 raw control character", minimal(`,"a":"` + "\x1f" + `"`), 400, ""},
		{"JF-4 both data members", minimal(`,"data":1,"data_base64":"AA=="`), 422, "/data_base64"},
		{"JF-6 text that is no string", minimal(`,"datacontenttype":"text/plain","data":{}`), 422, "/data"},
		{"JF-6 text that is null", minimal(`,"datacontenttype":"text/plain","data":null`), 422, "/data"},
		{"JF-9 wrong type", minimal(`,"data_base64":5`), 422, "/data_base64"},
		{"JF-9 wrong alphabet", minimal(`,"data_base64":"-_8="`), 422, "/data_base64"},
		{"JF-9 no padding", minimal(`,"data_base64":"AA"`), 422, "/data_base64"},
		{"JF-9 loose bits", minimal(`,"data_base64":"AB=="`), 422, "/data_base64"},
		{"JF-9 line breaks", minimal(`,"data_base64":"AA\r\n=="`), 422, "/data_base64"},
		{"JF-10 duplicate", minimal(`,"id":"1"`), 422, "/id"},
		{"JF-10 duplicate by escape", minimal(`,"\u0069d":"2"`), 422, "/id"},
		{"JF-10 duplicate null", minimal(`,"a":null,"a":1`), 422, "/a"},
		{"JF-10 duplicate data", minimal(`,"data":1,"data":1`), 422, "/data"},
		{"JF-10 duplicate data_base64", minimal(`,"data_base64":null,"data_base64":"AA=="`), 422, "/data_base64"},
		{"JF-10 duplicate of many", minimal(manyAttributes(100) + `,"a7":1`), 422, "/a7"},
		{"JF-10 empty name", minimal(`,"":1`), 422, "/"},
		{"JF-10 trailing bytes", minimal("") + " x", 400, ""},
		{"JF-10 second value", minimal("") + "{}", 400, ""},
		{"JF-10 depth 65", minimal(`,"data":` + strings.Repeat("[", 64) + strings.Repeat("]", 64)), 400, ""},
		{"JF-10 depth of attributes", minimal(`,"a":` + strings.Repeat(`{"a":`, 64) + "1" + strings.Repeat("}", 64)), 400, ""},
		{"JSON empty", ``, 400, ""},
		{"JSON byte order mark", "\ufeff" + minimal(""), 400, ""},
		{"JSON array", `[]`, 422, ""},
		{"JSON cut", minimal("")[:30], 400, ""},
		{"JSON trailing comma", minimal(","), 400, ""},
		{"JSON trailing comma in data", minimal(`,"data":[1,]`), 400, ""},
		{"JSON number", minimal(`,"data":01`), 400, ""},
		{"JSON comment", minimal(`/**/`), 400, ""},
		{"JSON literal", minimal(`,"data":nul`), 400, ""},
		{"JSON bad hides other faults", `{"id":"","x":}`, 400, ""},
		{"tenant", minimal(`,"tenant":"A.b"`), 422, "/tenant"},
		{"tenant no string", minimal(`,"tenant":5`), 422, "/tenant"},
		{"too large", minimal(`,"data":"` + strings.Repeat("x", MaxEventBytes) + `"`), 413, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := ParseStructured([]byte(tt.text))
			bad := invalidOf(t, err)
			code := map[int]string{400: "invalid_json", 413: "too_large", 422: "invalid_event"}[tt.status]
			if bad.Status != tt.status || bad.Code != code || pointers(bad) != tt.pointers {
				t.Errorf("got %d %v, want %d at %s", bad.Status, bad, tt.status, tt.pointers)
			}
			for _, f := range bad.Faults {
				if f.Detail == "" {
					t.Errorf("fault at %q has no detail", f.Pointer)
				}
			}
		})
	}
}

// manyAttributes are n members that begin with a comma.
func manyAttributes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"a%d":%d`, i, i)
	}
	return b.String()
}

func TestStructuredErrorSaysWhere(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"id" 1}`:                "expected ':' at byte 6",
		`{"id":"1",`:              "ends where a member name was expected, at byte 10",
		minimal(`,"a":"b` + "\t"): "control character in a string at byte 61",
		"{\"id\":\"aé\xff\"}":     "invalid UTF-8 at byte 10",
		minimal("") + "\n]":       "more follows the value at byte 56",
	} {
		_, err := ParseStructured([]byte(text))
		if got := invalidOf(t, err).Faults[0].Detail; got != want {
			t.Errorf("ParseStructured(%q) says %q, want %q", text, got, want)
		}
	}
}

func TestStructuredFaultsAreBounded(t *testing.T) {
	t.Parallel()
	_, err := ParseStructured([]byte(minimal(strings.Repeat(`,"`+strings.Repeat("A", 200)+`":1`, 2000))))
	bad := invalidOf(t, err)
	if len(bad.Faults) != maxFaults || len(bad.Faults[0].Pointer) > maxPointer+8 {
		t.Errorf("%d faults, first pointer of %d bytes", len(bad.Faults), len(bad.Faults[0].Pointer))
	}
}

func TestStructuredData(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, more, want string
		kind             DataKind
	}{
		{"JF-8 absent", ``, "", DataNone},
		{"JF-8 null", `,"data":null`, "null", DataJSON},
		{"JF-5 raw bytes stay", `,"data": { "b" : 1.0, "a":1e2,"b":"\u003c<" } `, `{ "b" : 1.0, "a":1e2,"b":"\u003c<" }`, DataJSON},
		{"JF-5 a string stays a string", `,"datacontenttype":"application/json","data":"{\"a\":1}"`, `"{\"a\":1}"`, DataJSON},
		{"JF-5 foo/json", `,"datacontenttype":"foo/json","data":{}`, `{}`, DataJSON},
		{"JF-5 +json and CE-8 case", `,"datacontenttype":"Application/VND.x+JSON ; Charset=UTF-8","data":[1]`, `[1]`, DataJSON},
		{"JF-6 text", `,"datacontenttype":"text/plain","data":"a\n\"\u00e9\ud83d\ude00\/"`, "a\n\"é😀/", DataText},
		{"JF-6 text without escapes", `,"datacontenttype":"text/plain","data":"é<"`, "é<", DataText},
		{"JF-6 empty text", `,"datacontenttype":"text/plain","data":""`, "", DataText},
		{"JF-4 binary", `,"data_base64":"AAH/"`, "\x00\x01\xff", DataBinary},
		{"JF-4 empty binary", `,"data_base64":""`, "", DataBinary},
		{"JF-4 binary with JSON type", `,"datacontenttype":"application/json","data_base64":"e30="`, "{}", DataBinary},
		{"JF-9 escapes before base64", `,"data_base64":"\u002B\/8="`, "\xfb\xff", DataBinary},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			data, kind := mustParse(t, minimal(tt.more)).Data()
			if string(data) != tt.want || kind != tt.kind {
				t.Errorf("Data() = %q, %d; want %q, %d", data, kind, tt.want, tt.kind)
			}
		})
	}
}

func TestStructuredAttributes(t *testing.T) {
	t.Parallel()
	e := mustParse(t, `{"type":"t","x":true,"id":"a\u0031","n":-0,"source":"HTTP://Ex.com/%7efoo","specversion":"1.0",`+
		`"time":"2026-01-02T10:00:00.120+02:00","null":null,"subject":"s","data":1,"tenant":"acme","datacontenttype":"A/Json"}`)
	want := []Attribute{
		{"type", "t", KindString}, {"x", "true", KindBoolean}, {"id", "a1", KindString}, {"n", "-0", KindInteger},
		{"source", "HTTP://Ex.com/%7efoo", KindString}, {"specversion", "1.0", KindString},
		{"time", "2026-01-02T10:00:00.120+02:00", KindString}, {"subject", "s", KindString}, {"tenant", "acme", KindString},
		{"datacontenttype", "A/Json", KindString},
	}
	if diff := cmp.Diff(want, attributesOf(e)); diff != "" {
		t.Error(diff)
	}
	got := []string{e.ID(), e.Source(), e.Type(), e.Subject(), e.Tenant(), e.DataContentType(), e.Time().UTC().String()}
	if diff := cmp.Diff([]string{"a1", "HTTP://Ex.com/%7efoo", "t", "s", "acme", "A/Json", "2026-01-02 08:00:00.12 +0000 UTC"}, got); diff != "" {
		t.Error(diff)
	}
	if v, ok := e.Attribute("null"); ok {
		t.Errorf("null attribute is there as %q", v)
	}
}

func TestStructuredSizes(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"CE-10 64 KiB of data":          padded(65536, `,"data":"`, `"}`),
		"CE-10 64 KiB in one attribute": padded(65536, `,"a":"`, `"}`),
		"CE-10 64 KiB of base64":        padded(65536, `,"data_base64":"`, `"}`),
		"CE-10 64 KiB of attributes":    minimal(manyAttributes(4600)),
		"the largest":                   padded(MaxEventBytes, `,"data":"`, `"}`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := mustParse(t, text)
			if !bytes.Equal(e.AppendStructured(nil), []byte(text)) {
				t.Error("bytes changed")
			}
			roundTrip(t, e)
		})
	}
}

// padded is an event of n bytes.
func padded(n int, open, end string) string {
	head := strings.TrimSuffix(minimal(""), "}") + open
	size := n - len(head) - len(end)
	if strings.Contains(open, "base64") {
		size -= size % 4
	}
	return head + strings.Repeat("A", size) + end
}

func attributesOf(e *Event) (out []Attribute) {
	for a := range e.Attributes() {
		out = append(out, a)
	}
	return out
}

// roundTrip checks that e comes back from storage as it was.
func roundTrip(t testing.TB, e *Event) {
	t.Helper()
	h, payload := e.Message()
	again, err := ParseNATS(h, payload)
	if err != nil {
		t.Fatalf("ParseNATS(Message()): %v", err)
	}
	sameEvent(t, e, again)
	if e.IsStructured() != again.IsStructured() || !bytes.Equal(e.AppendStructured(nil), again.AppendStructured(nil)) {
		t.Error("storing changes the structured text")
	}
}

// sameEvent checks that two events have the same attributes and data.
func sameEvent(t testing.TB, want, got *Event) {
	t.Helper()
	if diff := cmp.Diff(attributesOf(want), attributesOf(got)); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
	wantData, wantKind := want.Data()
	gotData, gotKind := got.Data()
	if !bytes.Equal(wantData, gotData) || wantKind != gotKind {
		t.Errorf("data %d %.200q, want %d %.200q", gotKind, gotData, wantKind, wantData)
	}
	if !want.Same(got) || want.MsgID() != got.MsgID() || want.WebhookID("s") != got.WebhookID("s") {
		t.Error("identity changes")
	}
}
