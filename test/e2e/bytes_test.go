package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

// oddEvents are events whose bytes a careless JSON library would change. %s is the id, then the type.
var oddEvents = []string{
	"{ \"specversion\" : \"1.0\",\n\t\"id\":%q ,\"source\":\"/e2e\",   \"type\":%q,\r\n\"data\" : { \"a\" : 1.0 , \"b\":1e2,\"c\":-0.0 } } ",
	`{"data":{"z":1,"a":2,"z2":12345678901234567890123456789,"f":0.1000},"specversion":"1.0","id":%q,"type":%q,"source":"/e2e"}`,
	`{"specversion":"1.0","id":%q,"source":"/e2e","type":%q,"data":"\u0041\/\u00e9é\ud83d\ude00😀\"\\\b\f\n\r\t<>&"}`,
	`{"specversion":"1.0","id":%q,"source":"\/e2e","type":%q,"datacontenttype":"text/plain","data":"plain"}`,
	`{"specversion":"1.0","id":%q,"source":"/e2e","type":%q,"datacontenttype":"application/octet-stream","data_base64":"AAEC/w=="}`,
	`{"specversion":"1.0","id":%q,"source":"/e2e","type":%q,"time":"2026-01-31T08:00:00.10+01:00","subject":"ü/1","dataschema":"https://x.example/s#1","myext":true,"num":5,"data":[]}`,
	`{"specversion":"1.0","id":%q,"source":"/e2e","type":%q}`,
	`{"specversion":"1.0","id":%q,"source":"/e2e","type":%q,"data":null}`,
}

// testBytes: what comes in goes out, byte for byte.
func testBytes(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, "")
	want := map[string]bool{}
	for _, format := range oddEvents {
		text := fmt.Sprintf(format, unique("odd"), f.name)
		f.client.Publish(t, text)
		want[text] = true
	}
	var batch []string
	for _, format := range oddEvents {
		text := strings.TrimSpace(fmt.Sprintf(format, unique("odd"), f.name))
		batch = append(batch, text)
		want[text] = true
	}
	if got := f.client.PublishBatch(t, " [\n"+strings.Join(batch, " ,\n")+" ] "); len(got) != len(batch) {
		t.Fatalf("%d receipts for a batch of %d", len(got), len(batch))
	}
	for _, r := range f.sink.Wait(f.path, len(want)) {
		if !want[string(r.Body)] {
			t.Errorf("this was not published, or came twice: %s", r.Body)
		}
		delete(want, string(r.Body))
	}
	for text := range want {
		t.Errorf("this did not come: %s", text)
	}
	testBinaryBytes(t, s)
}

// testBinaryBytes: binary in, structured out keeps the bytes of data and the spelling of attributes.
func testBinaryBytes(t *testing.T, s *fleettest.Server) {
	t.Helper()
	for _, in := range []struct{ contentType, body, member string }{
		{"application/json", ` { "n" : 1.0, "big":123456789012345678901234567890 } `, `"data":` + ` { "n" : 1.0, "big":123456789012345678901234567890 } `},
		{"application/vnd.acme+json; charset=utf-8", `[1 ,2]`, `"data":[1 ,2]`},
		{"application/octet-stream", "\x00\x01\xff", `"data_base64":"AAH/"`},
	} {
		f := newFlow(t, s, "")
		h := binary(unique("binary"), f.name, in.contentType)
		h.Set("Ce-Subject", "%C3%BC%201")
		h.Set("Ce-Myext", "a%20b%22")
		h.Set("Ce-Time", "2026-01-31T08:00:00.10+01:00")
		f.client.Send(t, http.MethodPost, "/v1/events", h, in.body).Must(t, http.StatusAccepted, nil)
		got := f.sink.Wait(f.path, 1)[0]
		if !strings.Contains(string(got.Body), strings.TrimSpace(in.member)) {
			t.Errorf("%s became %s, want %s in it", in.contentType, got.Body, in.member)
		}
		var e map[string]any
		if err := json.Unmarshal(got.Body, &e); err != nil {
			t.Fatal(err)
		}
		delete(e, "data")
		delete(e, "data_base64")
		want := map[string]any{
			"specversion": "1.0", "id": h.Get("Ce-Id"), "source": "/e2e", "type": f.name, "datacontenttype": in.contentType,
			"subject": "ü 1", "myext": `a b"`, "time": "2026-01-31T08:00:00.10+01:00",
		}
		if diff := cmp.Diff(want, e); diff != "" {
			t.Errorf("attributes of a binary event (-want +got):\n%s", diff)
		}
	}
}

// testHeaders: the request is exactly what API.md 3.4 says, and its signature holds.
func testHeaders(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, "")
	body := fmt.Sprintf(`{"types":[%q],"sink":%q,"protocolsettings":{"signing":{"scheme":"standardwebhooks","secret":%q}}}`,
		f.name, f.sink.URL(f.path)+"?a=1&b=%2F", testSecret)
	if got := f.client.Subscribe(t, f.name, body).ProtocolSettings.Signing.Secret; got == testSecret {
		t.Errorf("a secret of the client's is shown: %s", got)
	}
	text := event(unique("signed"), f.name, `{"x":1.0}`)
	before := time.Now()
	f.client.Publish(t, text)
	got := f.sink.Wait(f.path, 1)[0]
	checkRequest(t, got, text)
	signed, err := standardwebhooks.NewWebhook(testSecret)
	if err != nil {
		t.Fatal(err)
	}
	if err := signed.Verify(got.Body, got.Header); err != nil {
		t.Errorf("signature: %v", err)
	}
	unix, err := strconv.ParseInt(got.Header.Get("Webhook-Timestamp"), 10, 64)
	if at := time.Unix(unix, 0); err != nil || at.Before(before.Add(-time.Second)) || at.After(time.Now().Add(time.Second)) {
		t.Errorf("timestamp %s is not now", got.Header.Get("Webhook-Timestamp"))
	}
	if got.Query != "a=1&b=%2F" {
		t.Errorf("query %q is not the sink's", got.Query)
	}
	unsigned := newFlow(t, s, "")
	unsigned.publish()
	if h := unsigned.sink.Wait(unsigned.path, 1)[0].Header; h["Webhook-Signature"] != nil {
		t.Errorf("an unsigned subscription's request is signed: %v", h)
	}
}

// checkRequest checks all of a signed request but the values of what changes.
func checkRequest(t *testing.T, got *sinktest.Request, body string) {
	t.Helper()
	names := slices.Sorted(func(yield func(string) bool) {
		for name := range got.Header {
			if !yield(name) {
				return
			}
		}
	})
	want := []string{"Content-Length", "Content-Type", "User-Agent", "Webhook-Id", "Webhook-Signature", "Webhook-Timestamp"}
	if diff := cmp.Diff(want, slices.DeleteFunc(names, func(n string) bool { return n == "Accept-Encoding" })); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
	if got.Header.Get("Content-Type") != "application/cloudevents+json" || !strings.HasPrefix(got.Header.Get("User-Agent"), "hookfleet/") {
		t.Errorf("header %v", got.Header)
	}
	if got.Method != http.MethodPost || got.ContentLength != int64(len(body)) || len(got.TransferEncoding) != 0 || string(got.Body) != body {
		t.Errorf("request %+v", got)
	}
	if id := got.ID(); !strings.HasPrefix(id, "msg_") || strings.Contains(id, ".") {
		t.Errorf("webhook-id %q", id)
	}
}

// testSizes: 64 KiB always passes end to end, and so does the largest event; one byte more is refused.
func testSizes(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, "")
	sized := func(size int) string {
		frame := event(unique("sized"), f.name, `""`)
		return strings.TrimSuffix(frame, `"}`) + strings.Repeat("x", size-len(frame)) + `"}`
	}
	for i, size := range []int{65_536, 1_000_000} {
		text := sized(size)
		if len(text) != size {
			t.Fatalf("the event has %d bytes", len(text))
		}
		f.client.Publish(t, text)
		if got := f.sink.Wait(f.path, i+1)[i]; string(got.Body) != text {
			t.Errorf("an event of %d bytes came with %d, or changed", size, len(got.Body))
		}
	}
	structured := http.Header{"Content-Type": {fleettest.Structured}}
	f.client.Send(t, http.MethodPost, "/v1/events", structured, sized(1_000_001)).Refused(t, http.StatusRequestEntityTooLarge, "too_large")
	h := binary(unique("sized"), f.name, "application/octet-stream")
	body := strings.Repeat("\x00", 65_536)
	f.client.Send(t, http.MethodPost, "/v1/events", h, body).Must(t, http.StatusAccepted, nil)
	f.sink.Wait(f.path, 3)
	batch := "[" + strings.Repeat(sized(900_000)+",", 9) + sized(900_000) + "]"
	f.client.Send(t, http.MethodPost, "/v1/events", http.Header{"Content-Type": {fleettest.Batch}}, batch).
		Refused(t, http.StatusRequestEntityTooLarge, "too_large")
}
