package events

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// natsHeader is what an event in binary mode has, with more pairs of names and values.
func natsHeader(more ...string) map[string][]string {
	h := map[string][]string{"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-source": {"/s"}, "ce-type": {"t"}}
	for i := 0; i < len(more); i += 2 {
		h[more[i]] = append(h[more[i]], more[i+1])
	}
	return h
}

func TestNATSModes(t *testing.T) {
	t.Parallel()
	text := minimal(`,"data":[1.0]`)
	for _, tt := range []struct {
		name       string
		header     map[string][]string
		payload    string
		structured bool
		kind       DataKind
	}{
		{"NB-1 structured", map[string][]string{"Content-Type": {"application/cloudevents+json"}}, text, true, DataJSON},
		{"NB-1 structured, value in any case", map[string][]string{"Content-Type": {"Application/CLOUDEVENTS+json; charset=utf-8"}}, text, true, DataJSON},
		{"NB-3 content-type in any case", map[string][]string{"content-TYPE": {"application/cloudevents+json"}}, text, true, DataJSON},
		{"NB-2 binary", natsHeader("ce-datacontenttype", "text/plain"), "x", false, DataText},
		{"NB-3 attributes in any case", map[string][]string{"Ce-Specversion": {"1.0"}, "CE-ID": {"1"}, "cE-source": {"/s"}, "ce-Type": {"t"}}, "[]", false, DataJSON},
		{"NB-3 plain Content-Type is the data's", natsHeader("content-type", "image/png"), "x", false, DataBinary},
		{"NB-3 ce-datacontenttype comes first", natsHeader("Content-Type", "image/png", "ce-datacontenttype", "text/plain"), "x", false, DataText},
		{"NB-4 without headers, as the Go SDK sends it", nil, " \n" + text, true, DataJSON},
		{"NB-4 with headers of NATS", map[string][]string{"Nats-Msg-Id": {"x"}}, text, true, DataJSON},
		{"NB-5 structured beside copies", natsHeader("Content-Type", "application/cloudevents+json"), text, true, DataJSON},
		{"no data", natsHeader(), "", false, DataNone},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e, err := ParseNATS(tt.header, []byte(tt.payload))
			if err != nil {
				t.Fatal(err)
			}
			if _, kind := e.Data(); e.ID() != "1" || e.IsStructured() != tt.structured || kind != tt.kind {
				t.Errorf("id %q, structured %t, kind %d", e.ID(), e.IsStructured(), kind)
			}
			roundTrip(t, e)
		})
	}
}

func TestNATSRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		header   map[string][]string
		payload  string
		status   int
		pointers string
	}{
		{"NB-1 no batch mode", map[string][]string{"Content-Type": {"application/cloudevents-batch+json"}}, "[]", 415, "content-type"},
		{"NB-1 other format", map[string][]string{"Content-Type": {"application/cloudevents+avro"}}, "{}", 415, "content-type"},
		{"NB-1 structured that is no JSON", map[string][]string{"Content-Type": {"application/cloudevents+json"}}, "x", 400, ""},
		{"NB-2 no JSON under a JSON type", natsHeader("ce-datacontenttype", "application/json"), "x", 422, "/data"},
		{"NB-2 content type", natsHeader("ce-datacontenttype", "x"), "x", 422, "ce-datacontenttype"},
		{"NB-3 twice in different case", natsHeader("Ce-Id", "1"), "x", 422, "ce-id"},
		{"NB-3 twice", natsHeader("ce-type", "1"), "x", 422, "ce-type"},
		{"NB-3 two content types", natsHeader("Content-Type", "a/b", "content-type", "a/b"), "x", 400, "content-type"},
		{"NB-4 no event", nil, "x", 415, "content-type"},
		{"NB-4 empty", nil, "", 415, "content-type"},
		{"NB-4 object that is no event", nil, "{}", 422, "/id /source /specversion /type"},
		{"NB-5 contradiction", natsHeader("Content-Type", "application/cloudevents+json", "ce-x", "y"), minimal(""), 400, "ce-x"},
		{"NB-6 control character", natsHeader("ce-x", "%0a"), "", 422, "ce-x"},
		{"length of attributes", map[string][]string{headerLong: {"9"}}, "{}", 400, headerLong},
		{"length of attributes that is none", map[string][]string{headerLong: {"-1"}}, "{}", 400, headerLong},
		{"length of attributes, cut", map[string][]string{headerLong: {"1"}}, "{}", 400, ""},
		{"attributes with data", map[string][]string{headerLong: {"67"}}, minimal(`,"data":"12"`), 422, "/data"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := ParseNATS(tt.header, []byte(tt.payload))
			if bad := invalidOf(t, err); bad.Status != tt.status || pointers(bad) != tt.pointers {
				t.Errorf("got %d %v, want %d at %s", bad.Status, bad, tt.status, tt.pointers)
			}
		})
	}
}

func TestNATSStorage(t *testing.T) {
	t.Parallel()
	t.Run("NB-4 NB-5 structured", func(t *testing.T) {
		t.Parallel()
		text := " " + minimal(`,"data":1.0`)
		h, payload := mustParse(t, text).Message()
		if diff := cmp.Diff(map[string][]string{"Content-Type": {"application/cloudevents+json"}}, h); diff != "" || string(payload) != text {
			t.Errorf("payload %q; headers:\n%s", payload, diff)
		}
	})
	t.Run("NB-2 NB-3 NB-6 binary", func(t *testing.T) {
		t.Parallel()
		e, err := ParseNATS(natsHeader("CE-X", `"é %22"`, "content-type", "text/plain; a=b"), []byte("\n"))
		if err != nil {
			t.Fatal(err)
		}
		h, payload := e.Message()
		want := natsHeader("ce-x", `%C3%A9%20%22`, "ce-datacontenttype", "text/plain;%20a=b")
		if diff := cmp.Diff(want, h); diff != "" || string(payload) != "\n" {
			t.Errorf("payload %q; headers:\n%s", payload, diff)
		}
	})
	t.Run("NB-7 long attributes", func(t *testing.T) {
		t.Parallel()
		e, err := ParseNATS(natsHeader("ce-x", strings.Repeat("é", 40<<10)), []byte("\n1 "))
		if err != nil {
			t.Fatal(err)
		}
		h, _ := e.Message()
		if names := slices.Collect(maps.Keys(h)); !slices.Equal(names, []string{headerLong}) {
			t.Errorf("headers %q", names)
		}
		roundTrip(t, e)
	})
}

// TestMessageIsTheCallers shows that the caller may add headers of its own.
func TestMessageIsTheCallers(t *testing.T) {
	t.Parallel()
	e := mustParse(t, minimal(""))
	h, _ := e.Message()
	h["Nats-Msg-Id"] = []string{e.MsgID()}
	if again, _ := e.Message(); len(again) != 1 {
		t.Error("headers are shared")
	}
}
