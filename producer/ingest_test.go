package producer_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/producer"
)

func order(t *testing.T, id, status string) *events.Event {
	t.Helper()
	e, err := events.ParseStructured([]byte(text(id, status)))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func text(id, status string) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/orders","type":"order.status","data":{"status":%q}}`, id, status)
}

func TestAcceptOnce(t *testing.T) {
	t.Parallel()
	f := setup(t)
	accept := func(evts ...*events.Event) ([]producer.Receipt, error) { return f.ingest.Accept(t.Context(), evts) }
	first, err := accept(order(t, "1", "a"))
	want := []producer.Receipt{{ID: "1", Source: "/orders", Tenant: "default", Sequence: 1}}
	if err != nil || !cmp.Equal(first, want) {
		t.Fatalf("%+v, %v", first, err)
	}
	want[0].Duplicate = true
	if again, err := accept(order(t, "1", "a")); err != nil || !cmp.Equal(again, want) {
		t.Errorf("again: %+v, %v", again, err)
	}
	if _, err := accept(order(t, "1", "b")); !errors.Is(err, producer.ErrReuse) {
		t.Errorf("another event under the id: %v", err)
	}
	if n := f.stored(t); n != 1 {
		t.Errorf("%d events stored", n)
	}
}

// TestAcceptBatch: duplicates inside a batch and of what is stored, and all or nothing when an id is used again.
func TestAcceptBatch(t *testing.T) {
	t.Parallel()
	f := setup(t)
	accept := func(ids ...string) ([]producer.Receipt, error) {
		evts := make([]*events.Event, len(ids))
		for i, id := range ids {
			id, status, _ := strings.Cut(id, "=")
			evts[i] = order(t, id, status)
		}
		return f.ingest.Accept(t.Context(), evts)
	}
	for _, step := range []struct {
		ids    []string
		want   string // sequence of each, with d for a duplicate
		stored uint64
		err    error
	}{
		{[]string{"1", "2", "3"}, "1 2 3", 3, nil},
		{[]string{"4", "2", "5", "4"}, "4 2d 5 4d", 5, nil},
		{[]string{"1", "2", "3"}, "1d 2d 3d", 5, nil},
		{[]string{"6", "2=other", "7"}, "", 5, producer.ErrReuse},
		{[]string{"6", "7", "6=other"}, "", 5, producer.ErrReuse},
		{[]string{"6", "7"}, "6 7", 7, nil},
		{nil, "", 7, nil},
	} {
		receipts, err := accept(step.ids...)
		var got []string
		for _, r := range receipts {
			s := fmt.Sprint(r.Sequence)
			if r.Duplicate {
				s += "d"
			}
			got = append(got, s)
		}
		if !errors.Is(err, step.err) || strings.Join(got, " ") != step.want || f.stored(t) != step.stored {
			t.Errorf("%v: %v, %v, %d stored", step.ids, got, err, f.stored(t))
		}
	}
}

// TestReusedIDsOfABatchAreNotNamed: who sent a thousand events was told that one of them has a used id, not which.
func TestReusedIDsOfABatchAreNotNamed(t *testing.T) {
	t.Parallel()
	f := setup(t)
	if _, err := f.ingest.Accept(t.Context(), []*events.Event{order(t, "1", "a"), order(t, "2", "a")}); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		evts []*events.Event
		want []string
	}{
		{[]*events.Event{order(t, "1", "b")}, []string{"/id"}},
		{[]*events.Event{order(t, "3", "a"), order(t, "2", "b"), order(t, "1", "a"), order(t, "1", "a"), order(t, "4", "a")}, []string{"/1/id"}},
		{[]*events.Event{order(t, "2", "b"), order(t, "5", "a"), order(t, "1", "b")}, []string{"/0/id", "/2/id"}},
		{[]*events.Event{order(t, "6", "a"), order(t, "6", "b"), order(t, "7", "a"), order(t, "6", "c")}, []string{"/1/id", "/3/id"}},
	} {
		_, err := f.ingest.Accept(t.Context(), tc.evts)
		invalid, ok := errors.AsType[*events.Invalid](err)
		if !ok || !errors.Is(err, producer.ErrReuse) || invalid.Status != http.StatusConflict || invalid.Code != "id_reuse" {
			t.Errorf("want id_reuse of %v, got %v", tc.want, err)
			continue
		}
		var got []string
		for _, fault := range invalid.Faults {
			got = append(got, fault.Pointer)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("faults of %v, want %v", got, tc.want)
		}
	}
}

func TestHandler(t *testing.T) {
	t.Parallel()
	f := setup(t)
	h := &producer.Handler{
		Ingest:     f.ingest,
		MayPublish: func(_ *http.Request, tenant, _ string) bool { return tenant == "default" },
		Fail: func(w http.ResponseWriter, _ *http.Request, err error) {
			status := map[error]int{producer.ErrForbidden: 403, producer.ErrReuse: 409}
			for target, code := range status {
				if errors.Is(err, target) {
					w.WriteHeader(code)
					return
				}
			}
			if invalid, ok := errors.AsType[*events.Invalid](err); ok {
				w.WriteHeader(invalid.Status)
				return
			}
			w.WriteHeader(http.StatusServiceUnavailable)
		},
	}
	const structured, batch = "application/cloudevents+json", "application/cloudevents-batch+json"
	for name, tc := range map[string]struct {
		contentType, body string
		status            int
		items             int // of a batch's answer; -1 = not a batch
	}{
		"one":       {structured, text("1", "a"), 202, -1},
		"batch":     {batch, "[" + text("2", "a") + "," + text("3", "a") + "]", 202, 2},
		"empty":     {batch, "[]", 202, 0},
		"forbidden": {structured, strings.Replace(text("4", "a"), `"id"`, `"tenant":"other","id"`, 1), 403, -1},
		"no JSON":   {structured, "{", 400, -1},
		"invalid":   {structured, `{"specversion":"1.0"}`, 422, -1},
		"too large": {batch, "[" + strings.Repeat(" ", 8<<20) + "]", 413, -1},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/events", strings.NewReader(tc.body))
		r.Header.Set("Content-Type", tc.contentType)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		var answer struct {
			Items []producer.Receipt `json:"items"`
		}
		if w.Code == http.StatusAccepted {
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if w.Code != tc.status || tc.items >= 0 && (answer.Items == nil || len(answer.Items) != tc.items) {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

// TestResponder answers any NATS client as JetStream would.
func TestResponder(t *testing.T) {
	t.Parallel()
	f := setup(t)
	send := func(subject, body string) string {
		m := &nats.Msg{Subject: subject, Header: nats.Header{"Content-Type": {"application/cloudevents+json"}}, Data: []byte(body)}
		answer, err := f.nc.RequestMsgWithContext(t.Context(), m)
		if err != nil {
			t.Fatalf("%s: %v", subject, err)
		}
		return string(answer.Data)
	}
	for _, step := range []struct{ subject, body, want string }{
		{"hookfleet.publish.default.order.status", text("1", "a"), `{"stream":"EVENTS","seq":1}`},
		{"hookfleet.publish.default.order.status", text("1", "a"), `{"stream":"EVENTS","seq":1,"duplicate":true}`},
		{"hookfleet.publish.acme.order.status", text("1", "a"), `{"stream":"EVENTS","seq":2}`},
		{"hookfleet.publish.default.order.status", text("1", "b"), `"code":409`},
		{"hookfleet.publish.default.order", text("2", "a"), `"code":400`},
		{"hookfleet.publish.default.order.status", `{"specversion":"1.0"}`, `"code":400`},
		{"hookfleet.publish.BAD.order.status", text("2", "a"), `"code":400`},
	} {
		if got := send(step.subject, step.body); !strings.Contains(got, step.want) {
			t.Errorf("%s %s: %s", step.subject, step.body, got)
		}
	}
}

// TestStoredTellsOfEachOnce: of every event that was stored, by whatever way it came, and of no duplicate.
func TestStoredTellsOfEachOnce(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for _, ids := range [][]string{{"1"}, {"1"}, {"2", "3", "2"}, {"3", "4"}, {"5", "6"}} {
		var evts []*events.Event
		for _, id := range ids {
			evts = append(evts, order(t, id, "a"))
		}
		if _, err := f.ingest.Accept(t.Context(), evts); err != nil {
			t.Fatal(err)
		}
	}
	msg := nats.NewMsg("hookfleet.publish.default.order.status")
	msg.Data = []byte(text("7", "a"))
	for range 2 {
		if _, err := f.nc.RequestMsgWithContext(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if want := []string{"1@1", "2@2", "3@3", "4@4", "5@5", "6@6", "7@7"}; !cmp.Equal(f.told, want) {
		t.Errorf("told of %v", f.told)
	}
}

// TestDuplicateIsAnsweredWhenDurable: a batch of which all is known already is answered when that is durable, as who stored it
// may still be waiting for the disk.
func TestDuplicateIsAnsweredWhenDurable(t *testing.T) {
	t.Parallel()
	f := setup(t)
	failure := errors.New("no disk")
	var synced error
	ingest := producer.NewIngest(producer.IngestDeps{
		JS: f.js, Batches: stream.NewBatches(f.js.Conn(), func(...string) error { return synced }), Metrics: prometheus.NewRegistry(),
	})
	batch := []*events.Event{order(t, "1", "a"), order(t, "2", "a")}
	for _, step := range []struct{ sync, want error }{{failure, producer.ErrUnavailable}, {failure, producer.ErrUnavailable}, {nil, nil}} {
		synced = step.sync
		receipts, err := ingest.Accept(t.Context(), batch)
		if !errors.Is(err, step.want) {
			t.Fatalf("%+v, %v; want %v", receipts, err, step.want)
		}
		if err == nil && (!receipts[0].Duplicate || !receipts[1].Duplicate || receipts[1].Sequence != 2) {
			t.Errorf("%+v", receipts)
		}
	}
}
