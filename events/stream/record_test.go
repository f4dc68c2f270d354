package stream

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookfleet/hookfleet/events"
)

func TestAppendRecordIsWhatJSONWouldBe(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 678900000, time.UTC)
	full := events.Record{
		Delivery: events.Delivery{
			ID: "1-a", Subscription: "a", Tenant: "t", CreatedAt: now, Attempts: 2, Uncounted: 1, Reason: "gone", NextAt: now, ReplayOf: "1-a", Replay: "job-1", Record: 7, Batch: &events.BatchRef{ID: "msg_x", List: 6},
			Event: events.EventRef{Sequence: 1, ID: "é\"\\\n<&>", Source: "/s", Type: "t", Subject: "s\u2028"},
		},
		State: events.StateDead, EndedAt: now, First: true,
		Attempt: &events.Attempt{
			Number: 2, At: now, DurationMS: 1.25, Outcome: events.Dead, Reason: "gone", Status: 410, URL: "https://x/?a=b&c", NextAt: now, WebhookID: "msg_x",
			Response: &events.Response{Headers: map[string]string{"A": "b"}, Body: "gone\x00"},
		},
	}
	for name, r := range map[string]events.Record{"full": full, "empty": {}, "no headers": {Attempt: &events.Attempt{Response: &events.Response{Body: "x"}}}} {
		want, err := json.Marshal(&r)
		if err != nil {
			t.Fatal(err)
		}
		got := AppendRecord(nil, &r)
		if diff := cmp.Diff(decode(t, want), decode(t, got)); diff != "" {
			t.Errorf("%s: %s\n%s\n%s", name, diff, want, got)
		}
		back, err := ParseRecord(got)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(&r, back); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func decode(t *testing.T, b []byte) (v any) {
	t.Helper()
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return v
}

// TestWaitingWithHugeAttributes: all headers of a message together are at most 65,535 bytes.
func TestWaitingWithHugeAttributes(t *testing.T) {
	t.Parallel()
	e, err := events.ParseStructured([]byte(`{"specversion":"1.0","id":"` + strings.Repeat("i", 100_000) + `","source":"/s","type":"t","data":{}}`))
	if err != nil {
		t.Fatal(err)
	}
	w := Waiting{Delivery: events.Delivery{ID: "1-a", Subscription: "a", Tenant: "default", Event: events.Ref(e, 1), CreatedAt: time.Unix(1, 0).UTC()}, Event: e}
	msg, err := w.TimerMessage()
	if err != nil {
		t.Fatal(err)
	}
	size := 0
	for k, v := range msg.Header {
		size += len(k) + len(v[0]) + 4
	}
	if size > 1000 {
		t.Errorf("headers have %d bytes", size)
	}
	back, err := ParseWaiting(msg.Header, msg.Data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(w.Delivery, back.Delivery); diff != "" {
		t.Error(diff)
	}
}

func TestEncodeType(t *testing.T) {
	t.Parallel()
	for typ, want := range map[string]string{
		"order.status": "order.status", "a..b": "a.=.b", "": "=", ".": "=.=", "a b": "a=20b", "a*": "a=2A", ">": "=3E", "é": "=C3=A9", "a=b": "a=3Db",
	} {
		if got := EncodeType(typ); got != want {
			t.Errorf("%q: %q, want %q", typ, got, want)
		}
		if back, ok := DecodeType(want); !ok || back != typ {
			t.Errorf("%q back: %q %t", want, back, ok)
		}
	}
	for _, bad := range []string{"a b", "a=2", "a=2a", "=41", "a..b", "a.", "=ZZ", "a==b"} {
		if typ, ok := DecodeType(bad); ok {
			t.Errorf("%q was read as %q", bad, typ)
		}
	}
}

func FuzzEncodeType(f *testing.F) {
	f.Add("order.status")
	f.Add("a..=é *")
	f.Fuzz(func(t *testing.T, typ string) {
		if back, ok := DecodeType(EncodeType(typ)); !ok || back != typ {
			t.Errorf("%q: %q %t", typ, back, ok)
		}
	})
}
