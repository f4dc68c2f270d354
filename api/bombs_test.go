package api_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/api"
)

// TestBadInput is B1 to B23 of the bad-input list, where they are this package's; the others are the codec's.
func TestBadInput(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const subs, keys, evts = "/v1/subscriptions", "/v1/keys", "/v1/events"
	ce := map[string]string{"Content-Type": "application/cloudevents+json"}
	batch := map[string]string{"Content-Type": "application/cloudevents-batch+json"}
	plain := func(contentType string) map[string]string { return map[string]string{"Content-Type": contentType} }
	many := strings.Repeat(eventText("b", "acme", "t")+",", 1000) + eventText("b", "acme", "t")
	for _, c := range []struct {
		name, method, path, body string
		header                   map[string]string
		status                   int
		code                     api.Code
		pointer                  string // of the first fault
	}{
		{"B1 empty", "POST", keys, " ", nil, 400, api.CodeInvalidJSON, ""},
		{"B1 empty subscription", "POST", subs, "\n", nil, 400, api.CodeInvalidJSON, ""},
		{"B2 truncated", "POST", keys, `{"role":"producer"`, nil, 400, api.CodeInvalidJSON, ""},
		{"B2 truncated subscription", "POST", subs, `{"sink":"https://a.example"`, nil, 400, api.CodeInvalidJSON, ""},
		{"B2 truncated event", "POST", evts, `{"id":"1"`, ce, 400, api.CodeInvalidJSON, ""},
		{"B3 trailing", "POST", keys, `{"role":"producer"} x`, nil, 400, api.CodeInvalidJSON, ""},
		{"B3 two values", "POST", keys, `{"role":"producer"}{}`, nil, 400, api.CodeInvalidJSON, ""},
		{"B3 trailing event", "POST", evts, eventText("1", "acme", "t") + "{}", ce, 400, api.CodeInvalidJSON, ""},
		{"B4 twice", "POST", keys, `{"role":"producer","role":"operator"}`, nil, 400, api.CodeInvalidJSON, "/role"},
		{"B4 twice in a subscription", "POST", subs, `{"sink":"https://a.example","sink":"https://b.example"}`, nil, 400, api.CodeInvalidJSON, "/sink"},
		{"B5 other case", "POST", keys, `{"Role":"producer"}`, nil, 422, api.CodeInvalidKey, "/Role"},
		{"B5 other case in a subscription", "POST", subs, `{"Sink":"https://a.example"}`, nil, 422, api.CodeInvalidSubscription, "/Sink"},
		{"B6 deep", "POST", keys, `{"role":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}`, nil, 400, api.CodeInvalidJSON, ""},
		{"B6 deep subscription", "POST", subs, `{"filters":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`, nil, 400, api.CodeInvalidJSON, ""},
		{"B7 UTF-8", "POST", keys, "{\"role\":\"producer\",\"description\":\"\xff\"}", nil, 400, api.CodeInvalidJSON, ""},
		{"B10 too large", "POST", keys, `{"description":"` + strings.Repeat("x", 100_000) + `"}`, nil, 413, api.CodeTooLarge, ""},
		{"B10 too large subscription", "POST", subs, `{"description":"` + strings.Repeat("x", 600_000) + `"}`, nil, 413, api.CodeTooLarge, ""},
		{"B14 compressed", "POST", keys, "{}", map[string]string{"Content-Encoding": "gzip"}, 415, api.CodeMediaType, "content-encoding"},
		{"B14 compressed event", "POST", evts, "{}", map[string]string{"Content-Encoding": "gzip", "Content-Type": "application/cloudevents+json"}, 415, api.CodeMediaType, "content-encoding"},
		{"B15 other media type", "POST", subs, "{}", plain("text/xml"), 415, api.CodeMediaType, "content-type"},
		{"B15 a form", "POST", subs, "{}", plain("application/x-www-form-urlencoded"), 415, api.CodeMediaType, "content-type"},
		{"B15 an event of no kind", "POST", evts, "{}", plain("text/xml"), 415, api.CodeMediaType, "content-type"},
		{"B16 charset", "POST", subs, "{}", plain("application/json; charset=utf-16"), 415, api.CodeMediaType, "content-type"},
		{"B17 unknown member", "POST", keys, `{"role":"producer","tenant":"acme"}`, nil, 422, api.CodeInvalidKey, "/tenant"},
		{"B17 unknown member of a subscription", "POST", subs, `{"sink":"https://a.example","url":"x"}`, nil, 422, api.CodeInvalidSubscription, "/url"},
		{"B18 wrong type", "POST", keys, `{"role":5}`, nil, 422, api.CodeInvalidKey, "/role"},
		{"B18 out of range", "POST", subs, `{"sink":"https://a.example","config":{"concurrency":1000000000}}`, nil, 422, api.CodeInvalidSubscription, "/config/concurrency"},
		{"B21 limit 0", "GET", subs + "?limit=0", "", nil, 400, api.CodeBadLimit, "limit"},
		{"B21 limit -1", "GET", "/v1/deliveries?limit=-1", "", nil, 400, api.CodeBadLimit, "limit"},
		{"B21 limit 1e9", "GET", "/v1/dead-letters?limit=1000000000", "", nil, 400, api.CodeBadLimit, "limit"},
		{"B21 limit text", "GET", keys + "?limit=ten", "", nil, 400, api.CodeBadLimit, "limit"},
		{"B21 cursor", "GET", subs + "?cursor=garbage", "", nil, 400, api.CodeBadCursor, "cursor"},
		{"B21 cursor of events", "GET", evts + "?cursor=AAAA", "", nil, 400, api.CodeBadCursor, "cursor"},
		{"B21 cursor of deliveries", "GET", "/v1/deliveries?cursor=%00", "", nil, 400, api.CodeBadCursor, "cursor"},
		{"B21 cursor of dead letters", "GET", "/v1/dead-letters?cursor=AQAAAAAAAA", "", nil, 400, api.CodeBadCursor, "cursor"},
		{"B21 cursor of keys", "GET", keys + "?cursor=====", "", nil, 400, api.CodeBadCursor, "cursor"},
		{"B23 long batch", "POST", evts, "[" + many + "]", batch, 413, api.CodeTooLarge, ""},
		{"B23 one bad item", "POST", evts, "[" + eventText("1", "acme", "t") + `,{"id":""}]`, batch, 422, api.CodeInvalidEvent, "/1/id"},
		{"unknown parameter", "GET", subs + "?tenants=acme", "", nil, 400, api.CodeInvalidParameter, "tenants"},
		{"unknown parameter of publishing", "POST", evts + "?dryrun=1", eventText("1", "acme", "t"), ce, 400, api.CodeInvalidParameter, "dryrun"},
		{"parameter twice", "GET", subs + "?tenant=a&tenant=b", "", nil, 400, api.CodeInvalidParameter, "tenant"},
		{"empty parameter", "GET", evts + "?type=", "", nil, 400, api.CodeInvalidParameter, "type"},
		{"bad time", "GET", evts + "?since=yesterday", "", nil, 400, api.CodeInvalidParameter, "since"},
		{"bad state", "GET", "/v1/deliveries?state=lost", "", nil, 400, api.CodeInvalidParameter, "state"},
		{"bad sequence", "GET", "/v1/deliveries?event=0", "", nil, 400, api.CodeInvalidParameter, "event"},
		{"bad tenant", "GET", "/v1/deliveries?tenant=A%20B", "", nil, 400, api.CodeInvalidParameter, "tenant"},
		{"bad encoding", "GET", evts + "?type=%zz", "", nil, 400, api.CodeInvalidParameter, ""},
		{"body where none is", "POST", subs + "/x/pause", `{"a":1}`, nil, 400, api.CodeInvalidBody, ""},
		{"large body where none is", "DELETE", keys + "/x", strings.Repeat("x", 1000), nil, 413, api.CodeTooLarge, ""},
		{"bad If-Match", "PUT", subs + "/x", `{"sink":"https://a.example"}`, map[string]string{"If-Match": "7"}, 400, api.CodeInvalidHeader, "if-match"},
		{"a partner of two", "POST", keys, `{"role":"partner","tenants":["acme","b"]}`, nil, 422, api.CodeInvalidKey, "/tenants"},
		{"a key of no role", "POST", keys, `{}`, nil, 422, api.CodeInvalidKey, "/role"},
		{"not an object", "POST", keys, `[]`, nil, 422, api.CodeInvalidKey, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := b.do(request{method: c.method, path: c.path, body: c.body, header: c.header})
			r.t = t
			pointers := r.problem(c.status, c.code)
			if c.pointer != "" && (len(pointers) == 0 || pointers[0] != c.pointer) {
				t.Errorf("faults at %q, want %q", pointers, c.pointer)
			}
		})
	}
	if ids := b.pages(subs); len(ids) != 0 {
		t.Errorf("something was made of it: %v", ids)
	}
	if ids := b.pages(evts); len(ids) != 0 {
		t.Errorf("something was stored of it: %v", ids)
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	got := b.post("/v1/keys", `{"role":"x","tenants":["A","ok",""],"types":["a b"]}`).problem(422, api.CodeInvalidKey)
	if want := "[/role /tenants/0 /tenants/2 /types/0]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
	got = b.get("/v1/deliveries?limit=0&state=x&nonsense=1&since=2").problem(400, api.CodeInvalidParameter)
	if want := "[limit nonsense since state]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
}

// raw sends bytes as they are and returns the first answer; "" when the connection was closed without one.
func (b *bench) raw(text string, patience time.Duration) (status int, closed bool) {
	b.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	must(b.t, err)
	defer conn.Close()
	must(b.t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(conn, text)
	must(b.t, err)
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return 0, errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	_, err = in.ReadByte()
	return resp.StatusCode, errors.Is(err, io.EOF)
}

// TestHostileConnections is B11 to B13: what no client library sends.
func TestHostileConnections(t *testing.T) {
	t.Parallel()
	b := setup(t)
	auth := "Host: x\r\nAuthorization: Bearer " + b.operator + "\r\n"
	for _, c := range []struct {
		name, text string
		status     int
		closed     bool
	}{
		{"B11 announced 10 GB", "POST /v1/subscriptions HTTP/1.1\r\n" + auth + "Content-Type: application/json\r\nContent-Length: 10000000000\r\n\r\n", 413, true},
		{"B13 bad chunk", "POST /v1/subscriptions HTTP/1.1\r\n" + auth + "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, true},
		{"B13 two lengths", "POST /v1/subscriptions HTTP/1.1\r\n" + auth + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400, true},
		{"B13 unknown coding", "POST /v1/subscriptions HTTP/1.1\r\n" + auth + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, true},
		{"header over 32 KiB", "GET /v1/keys HTTP/1.1\r\n" + auth + "X-Long: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", 431, true},
		{"two keys", "GET /v1/keys HTTP/1.1\r\n" + auth + "Authorization: Bearer other\r\nConnection: close\r\n\r\n", 401, true},
		{"no host", "GET /v1/keys HTTP/1.1\r\n\r\n", 400, true},
	} {
		status, closed := b.raw(c.text, soon)
		if status != c.status || closed != c.closed {
			t.Errorf("%s: %d, closed %v, want %d", c.name, status, closed, c.status)
		}
	}
}

// TestSlowHeader is B12: who does not send its header is cut off, and nobody else notices.
func TestSlowHeader(t *testing.T) {
	t.Parallel()
	b := setup(t)
	start := time.Now()
	_, closed := b.raw("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ", soon)
	if took := time.Since(start); !closed || took > 25*time.Second { // a request that is read has 30 s
		t.Errorf("closed %v after %v", closed, took)
	}
	b.get("/healthz").want(http.StatusOK)
}
