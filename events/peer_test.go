package events

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/binding"
	sdk "github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/google/go-cmp/cmp"
)

// TestPeerReads has the CloudEvents SDK read what is rendered of events in binary mode, in the points where the SDK
// (v2.16.2) follows the specification.
func TestPeerReads(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, contentType, body string }{
		{"JF-5 JSON", "application/json", ` {"a":[1.0,"<é>"]} `},
		{"JF-5 a JSON string", "application/json", `"a"`},
		{"JF-6 text", "text/plain", "a\"b\n\x00é😀"},
		{"JF-4 binary", "image/png", "\x89PNG\r\n\x00\xff"},
		{"JF-4 no content type", "", "\x00\x01"},
		{"JF-7 JSON without content type", "", `{"a":1}`},
		{"no data", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := binaryHeader("ce-subject", "Euro%20%E2%82%AC%20%F0%9F%98%80%20%22", "ce-time", "2026-01-02T03:04:05Z", "ce-x", "%5Cy")
			if tt.contentType != "" {
				h.Set("Content-Type", tt.contentType)
			}
			evts, _, err := ParseHTTP(h, []byte(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			var peer sdk.Event
			if err := json.Unmarshal(evts[0].AppendStructured(nil), &peer); err != nil {
				t.Fatal(err)
			}
			samePeer(t, evts[0], peer)
			if got, want := strings.Trim(string(peer.Data()), " "), strings.Trim(tt.body, " "); got != want {
				t.Errorf("the peer has data %q, want %q", got, want)
			}
		})
	}
}

// samePeer compares the attributes that the SDK read with e's.
func samePeer(t *testing.T, e *Event, peer sdk.Event) {
	t.Helper()
	if err := peer.Validate(); err != nil {
		t.Error(err)
	}
	x, _ := e.Attribute("x")
	want := []any{e.ID(), e.Source(), e.Type(), e.Subject(), e.DataContentType(), e.Time().UTC(), x}
	got := []any{peer.ID(), peer.Source(), peer.Type(), peer.Subject(), peer.DataContentType(), peer.Time().UTC(), peer.Extensions()["x"]}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the peer reads it differently:\n%s", diff)
	}
}

// peerEvent is an event of the SDK with ASCII attributes, which it does not percent-encode.
func peerEvent(t *testing.T, contentType string, data any) sdk.Event {
	t.Helper()
	e := sdk.New()
	e.SetID("id-1")
	e.SetSource("https://example.com/x?a=b")
	e.SetType("com.example.t")
	e.SetSubject("s")
	e.SetExtension("x", "y")
	e.SetExtension("n", 5)
	if err := e.SetData(contentType, data); err != nil {
		t.Fatal(err)
	}
	return e
}

// TestPeerSends reads what the CloudEvents SDK sends, in all modes.
func TestPeerSends(t *testing.T) {
	t.Parallel()
	object := map[string]any{"a": 1, "b": "<é>"}
	for _, tt := range []struct {
		name, contentType string
		data              any
	}{
		{"JSON", "application/json", object}, {"text", "text/plain", "a é"}, {"binary", "image/png", []byte("\x00\xff")},
	} {
		peer := peerEvent(t, tt.contentType, tt.data)
		for mode, ctx := range map[string]func(*http.Request) error{
			"HB-3 binary": func(r *http.Request) error {
				return cehttp.WriteRequest(binding.WithForceBinary(t.Context()), (*binding.EventMessage)(&peer), r)
			},
			"HB-6 structured": func(r *http.Request) error {
				return cehttp.WriteRequest(binding.WithForceStructured(t.Context()), (*binding.EventMessage)(&peer), r)
			},
		} {
			t.Run(mode+" "+tt.name, func(t *testing.T) {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost", nil)
				if err != nil {
					t.Fatal(err)
				}
				if err := ctx(r); err != nil {
					t.Fatal(err)
				}
				var body bytes.Buffer
				if _, err := body.ReadFrom(r.Body); err != nil {
					t.Fatal(err)
				}
				evts, _, err := ParseHTTP(r.Header, body.Bytes())
				if err != nil {
					t.Fatal(err)
				}
				samePeer(t, evts[0], peer)
				if data, _ := evts[0].Data(); !bytes.Equal(data, peer.Data()) {
					t.Errorf("data %q, want %q", data, peer.Data())
				}
				// NB-4: over NATS the SDK sends the structured text without any header.
				if strings.HasPrefix(mode, "HB-6") {
					again, err := ParseNATS(nil, body.Bytes())
					if err != nil {
						t.Fatal(err)
					}
					sameEvent(t, evts[0], again)
				}
			})
		}
	}
}

// TestPeerBatch reads a batch of the SDK, and has the SDK read ours.
func TestPeerBatch(t *testing.T) {
	t.Parallel()
	peers := []sdk.Event{peerEvent(t, "application/json", 1), peerEvent(t, "text/plain", "x")}
	r, err := cehttp.NewHTTPRequestFromEvents(t.Context(), "http://localhost", peers)
	if err != nil {
		t.Fatal(err)
	}
	var body bytes.Buffer
	if _, err := body.ReadFrom(r.Body); err != nil {
		t.Fatal(err)
	}
	evts, batch, err := ParseHTTP(r.Header, body.Bytes())
	if err != nil || !batch || len(evts) != 2 {
		t.Fatalf("%d events, %t, %v", len(evts), batch, err)
	}
	for i, e := range evts {
		samePeer(t, e, peers[i])
	}
	text := slices.Concat([]byte("["), evts[0].AppendStructured(nil), []byte(","), evts[1].AppendStructured(nil), []byte("]"))
	var again []sdk.Event
	if err := json.Unmarshal(text, &again); err != nil || len(again) != 2 {
		t.Fatalf("the peer reads %d events, %v", len(again), err)
	}
}
