package e2e

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/hookfleet/hookfleet/test/fleettest"
)

// testDuplicates: the same id again is answered with the first's sequence and delivered once; another event under the
// same id is refused, and the first is kept.
func testDuplicates(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, "")
	id := unique("twice")
	text := event(id, f.name, `{"n":1}`)
	first := f.client.Publish(t, text)
	if first.Duplicate || first.ID != id || first.Source != "/e2e" || first.Tenant != "default" || first.Sequence == 0 {
		t.Errorf("receipt %+v", first)
	}
	second := f.client.Publish(t, text)
	if !second.Duplicate || second.Sequence != first.Sequence {
		t.Errorf("receipt of the same again %+v, want a duplicate of %+v", second, first)
	}
	structured := http.Header{"Content-Type": {fleettest.Structured}}
	for _, other := range []string{
		event(id, f.name, `{"n":2}`),  // other data
		event(id, f.name, `{"n": 1}`), // the same value in other bytes
		event(id, f.name+".other", `{"n":1}`),
	} {
		f.client.Send(t, http.MethodPost, "/v1/events", structured, other).Refused(t, http.StatusConflict, "id_reuse")
	}
	// The id is a source's and a tenant's own.
	for i, other := range []string{
		fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/other","type":%q}`, id, f.name),
		fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/e2e","type":%q,"tenant":"acme"}`, id, f.name),
	} {
		if r := f.client.Publish(t, other); r.Duplicate || r.Sequence == first.Sequence {
			t.Errorf("event %d of another source or tenant is %+v", i, r)
		}
	}
	f.await(f.publish(), "delivered")
	f.await(first, "delivered")
	f.sink.Wait(f.path, 3) // the first, the other source's, and the last; tenant acme is not ours
	f.once(3)
}

// testDuplicatesInBatch: a batch may repeat what is known, and itself; it is stored whole or not at all.
func testDuplicatesInBatch(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, "")
	ids := []string{unique("batch"), unique("batch"), unique("batch")}
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = event(id, f.name, `{}`)
	}
	known := f.client.Publish(t, texts[1])
	got := f.client.PublishBatch(t, fmt.Sprintf("[%s,%s,%s,%s]", texts[0], texts[1], texts[2], texts[0]))
	if len(got) != 4 || got[0].Duplicate || !got[1].Duplicate || got[2].Duplicate || !got[3].Duplicate {
		t.Fatalf("receipts %+v", got)
	}
	if got[1].Sequence != known.Sequence || got[3].Sequence != got[0].Sequence || got[2].Sequence == got[0].Sequence {
		t.Errorf("sequences %+v, known %d", got, known.Sequence)
	}
	for i, id := range []string{ids[0], ids[1], ids[2], ids[0]} {
		if got[i].ID != id {
			t.Errorf("receipt %d is of %s, want %s", i, got[i].ID, id)
		}
	}
	// One bad event, or one reused id, and nothing of the batch is stored.
	batch := http.Header{"Content-Type": {fleettest.Batch}}
	fresh := event(unique("batch"), f.name, `{}`)
	p := f.client.Send(t, http.MethodPost, "/v1/events", batch, "["+fresh+","+event(ids[0], f.name, `{"other":1}`)+"]").
		Refused(t, http.StatusConflict, "id_reuse")
	if len(p.Errors) != 1 || p.Errors[0].Pointer != "/1/id" {
		t.Errorf("a reused id is named as %v", p.Errors)
	}
	f.client.Send(t, http.MethodPost, "/v1/events", batch, "["+fresh+`,{"specversion":"1.0"}]`).
		Refused(t, http.StatusUnprocessableEntity, "invalid_event")
	f.client.Send(t, http.MethodPost, "/v1/events", batch, "["+event(unique("same"), f.name, `1`)+","+event("same-"+fmt.Sprint(counter.n), f.name, `2`)+"]").
		Refused(t, http.StatusConflict, "id_reuse")
	if r := f.client.Publish(t, fresh); r.Duplicate {
		t.Error("an event of a refused batch was stored")
	}
	if got := f.client.PublishBatch(t, "[]"); len(got) != 0 {
		t.Errorf("an empty batch has receipts %+v", got)
	}
	f.sink.Wait(f.path, 4)
	f.await(f.publish(), "delivered")
	f.once(5)
}

// testIngestRefusals: what is refused, with which status, and all faults at once.
func testIngestRefusals(t *testing.T, s *fleettest.Server) {
	c := s.Client()
	send := func(contentType, body string) *fleettest.Response {
		return c.Send(t, http.MethodPost, "/v1/events", http.Header{"Content-Type": {contentType}}, body)
	}
	send(fleettest.Structured, `{"specversion":"1.0",`).Refused(t, http.StatusBadRequest, "invalid_json")
	send(fleettest.Structured, `{} x`).Refused(t, http.StatusBadRequest, "invalid_json")
	p := send(fleettest.Structured, `{"specversion":"1.0","id":"","source":"/x","type":"t","Bad":"x","tenant":"NO"}`).
		Refused(t, http.StatusUnprocessableEntity, "invalid_event")
	if len(p.Errors) < 3 {
		t.Errorf("faults %+v, want id, Bad and tenant", p.Errors)
	}
	send("application/cloudevents+xml", `<event/>`).Refused(t, http.StatusUnsupportedMediaType, "unsupported_media_type")
	send("application/json", `{}`).Refused(t, http.StatusUnsupportedMediaType, "unsupported_media_type")
	c.Send(t, http.MethodPost, "/v1/events", http.Header{"Content-Type": {"application/json"}, "Ce-Specversion": {"1.0"}}, `{}`).
		Refused(t, http.StatusUnprocessableEntity, "invalid_event")
	var many []byte
	for range 1001 {
		many = append(many, (event(unique("many"), "many", `1`) + ",")...)
	}
	send(fleettest.Batch, "["+string(many[:len(many)-1])+"]").Refused(t, http.StatusRequestEntityTooLarge, "too_large")
	none := fleettest.NewClient(s.API, "")
	none.Send(t, http.MethodPost, "/v1/events", http.Header{"Content-Type": {fleettest.Structured}}, event("x", "x", "1")).
		Refused(t, http.StatusUnauthorized, "unauthorized")
	if r := c.Do(t, http.MethodPut, "/v1/events", nil); r.Status != http.StatusMethodNotAllowed || r.Header.Get("Allow") == "" {
		t.Errorf("PUT is answered %d, Allow %q", r.Status, r.Header.Get("Allow"))
	}
}
