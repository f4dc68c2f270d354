package api_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/api"
	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

// indexed answers as a scheduler does whose index has all there is.
func (b *bench) indexed() {
	b.t.Helper()
	sub, err := b.nc.Subscribe(stream.SubjectIndexed, func(m *nats.Msg) { _ = m.Respond(nil) })
	must(b.t, err)
	b.t.Cleanup(func() { _ = sub.Unsubscribe() })
}

// status puts a status into the index, as the scheduler does.
func (b *bench) status(sequence uint64, tenant, typ, subject, more string) {
	b.t.Helper()
	e, err := events.ParseStructured(fmt.Appendf(nil,
		`{"specversion":"1.0","id":"%d","source":"/s","type":%q,"tenant":%q,"subject":%q%s}`, sequence, typ, tenant, subject, more))
	must(b.t, err)
	s := &stream.Status{Mark: stream.Mark{Sequence: sequence, At: e.Time()}, Event: e}
	msg, err := s.Message()
	must(b.t, err)
	_, err = b.js.PublishMsg(b.t.Context(), msg)
	must(b.t, err)
}

func TestStatus(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.indexed()
	const data = `,"time":"2026-01-01T00:00:%02dZ","data":{"status":%q}`
	b.status(7, "default", "order.status", "o1", fmt.Sprintf(data, 5, "Shipped"))
	b.status(9, "default", "invoice.status", "o1", fmt.Sprintf(data, 2, "Sent"))
	b.status(8, "acme", "order.status", "o1", fmt.Sprintf(data, 9, "Theirs"))
	r := b.get("/v1/statuses/o1").want(http.StatusOK)
	for path, want := range map[string]string{
		"subject": "o1", "type": "order.status", "tenant": "default", "sequence": "7", "status": "Shipped",
		"time": "2026-01-01T00:00:05.000Z", "completed": "false",
	} {
		if got := r.at(path); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	if !strings.Contains(string(r.body), `"event":{"specversion":"1.0","id":"7",`) {
		t.Errorf("the event is not in its own bytes: %s", r.body)
	}
	for path, want := range map[string]string{
		"/v1/statuses?subject=o1":                   "Shipped",
		"/v1/statuses/o1?type=invoice.status":       "Sent",
		"/v1/statuses?subject=o1&type=order.status": "Shipped",
		"/v1/statuses/o1?tenant=acme":               "Theirs",
	} {
		if got := b.get(path).want(http.StatusOK).at("status"); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	for _, path := range []string{
		"/v1/statuses/o2", "/v1/statuses/o1?type=none", "/v1/statuses?subject=o1&tenant=other", "/v1/statuses/O1", "/v1/statuses/",
	} {
		b.get(path).problem(http.StatusNotFound, api.CodeNotFound)
	}
	b.get("/v1/statuses").problem(http.StatusBadRequest, api.CodeInvalidParameter)
	b.get("/v1/statuses?subject=").problem(http.StatusBadRequest, api.CodeInvalidParameter)
	b.get("/v1/statuses/o1?subject=o1").problem(http.StatusBadRequest, api.CodeInvalidParameter)
	b.do(request{method: "DELETE", path: "/v1/statuses/o1"}).problem(http.StatusMethodNotAllowed, api.CodeMethodNotAllowed)
}

// TestStatusSubjects: a subject may have any text, escaped in the path or as a parameter.
func TestStatusSubjects(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.indexed()
	for i, subject := range []string{
		"a/b", "/a/", "//", "a//b", "..", "a/../b", ".", "%2F", "a b+c&d=e?f#g", "é😀", "*", ">", "a.b", strings.Repeat("x", 3000), `"quoted"`, "statuses",
	} {
		want := fmt.Sprint("S", i)
		b.status(uint64(i+1), "default", "t", subject, `,"data":{"status":"`+want+`"}`)
		for _, path := range []string{"/v1/statuses/" + url.PathEscape(subject), "/v1/statuses?subject=" + url.QueryEscape(subject)} {
			if path == "/v1/statuses/.." || path == "/v1/statuses/." { // clients take these for parents
				path = strings.ReplaceAll(path, ".", "%2E")
			}
			r := b.get(path)
			if r.status != http.StatusOK || r.at("status") != want || r.at("subject") != subject {
				t.Errorf("%q by %s: %d %.200s", subject, path, r.status, r.body)
			}
		}
	}
	if got := b.get("/v1/statuses/a/b").want(http.StatusOK).at("status"); got != "S0" {
		t.Errorf("a slash as it is: %s", got)
	}
}

// TestStatusTenants: a partner sees its own statuses, and nothing of others.
func TestStatusTenants(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.indexed()
	b.status(1, "acme", "t", "s", `,"data":{"status":"Acme"}`)
	b.status(2, "default", "t", "d", `,"data":{"status":"Default"}`)
	acme, other := b.partnerKey("acme"), b.partnerKey("other")
	for _, path := range []string{"/v1/statuses/s", "/v1/statuses?subject=s", "/v1/statuses/s?tenant=acme"} {
		if r := b.do(request{method: "GET", path: path, key: acme}); r.status != http.StatusOK || r.at("status") != "Acme" {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
		b.do(request{method: "GET", path: path, key: other}).problem(http.StatusNotFound, api.CodeNotFound)
	}
	b.do(request{method: "GET", path: "/v1/statuses/d", key: acme}).problem(http.StatusNotFound, api.CodeNotFound)
	b.get("/v1/statuses/s").problem(http.StatusNotFound, api.CodeNotFound)
}

// TestStatusBehind: while nobody keeps the index, what it has is answered, and what it has not is not said to be nowhere.
func TestStatusBehind(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.status(1, "default", "t", "s", `,"data":{"status":"Known"}`)
	began := time.Now()
	if got := b.get("/v1/statuses/s").want(http.StatusOK).at("status"); got != "Known" {
		t.Errorf("status %s", got)
	}
	if took := time.Since(began); took < 900*time.Millisecond {
		t.Errorf("it waited %s for the index", took)
	}
	r := b.get("/v1/statuses/u")
	r.problem(http.StatusServiceUnavailable, api.CodeUnavailable)
	if r.header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
}

// TestStatusCompleted: by the source that emitted it, or a lifecycle that takes it, of its own tenant.
func TestStatusCompleted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.indexed()
	for id, tenant := range map[string]string{"orders": "default", "theirs": "acme"} {
		b.put("/v1/sources/"+id, `{"tenant":"`+tenant+`","url":"https://a.example/${key}","type":"t","terminal":["Cancelled","Delivered"]}`).want(http.StatusCreated)
	}
	for id, more := range map[string]string{
		"life":   `"types":["life.*"],"config":{"lifecycle":{"key":"subject","status":"data.status","terminal":["Ended"]}}`,
		"other":  `"types":["life.*"],"config":{"lifecycle":{"key":"subject","status":"data.state","terminal":["Over"]}}`,
		"theirs": `"tenant":"acme","config":{"lifecycle":{"key":"subject","status":"data.status","terminal":["Theirs"]}}`,
	} {
		b.put("/v1/subscriptions/"+id, `{"sink":"https://a.example/",`+more+`}`).want(http.StatusCreated)
	}
	for i, c := range []struct {
		source, typ, data, want string
	}{
		{"/sources/orders", "t", `{"status":"Delivered"}`, "true"},
		{"/sources/orders", "t", `{"status":"Shipped"}`, "false"},
		{"/sources/others", "t", `{"status":"Delivered"}`, "false"},
		{"/sources/theirs", "t", `{"status":"Delivered"}`, "false"},
		{"/elsewhere", "t", `{"status":"Delivered"}`, "false"},
		{"/elsewhere", "life.t", `{"status":"Ended"}`, "true"},
		{"/elsewhere", "t", `{"status":"Ended"}`, "false"},
		{"/elsewhere", "life.t", `{"status":"Theirs"}`, "false"},
		{"/elsewhere", "life.t", `{"status":"Over"}`, "false"},
		{"/elsewhere", "life.t", `{"status":"x","state":"Over"}`, "true"},
	} {
		subject := fmt.Sprint("s", i)
		e, err := events.ParseStructured(fmt.Appendf(nil, `{"specversion":"1.0","id":"1","source":%q,"type":%q,"subject":%q,"data":%s}`,
			c.source, c.typ, subject, c.data))
		must(t, err)
		msg, err := (&stream.Status{Mark: stream.Mark{Sequence: 1, At: time.Now()}, Event: e}).Message()
		must(t, err)
		_, err = b.js.PublishMsg(t.Context(), msg)
		must(t, err)
		if got := b.get("/v1/statuses/" + subject).want(http.StatusOK).at("completed"); got != c.want {
			t.Errorf("%+v: completed is %s", c, got)
		}
	}
}
