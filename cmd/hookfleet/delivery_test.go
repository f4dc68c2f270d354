package main

import (
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const retrying = `{"id":"1z-acme","subscription":"acme","tenant":"default","state":"retrying","reason":"server_error",
"event":{"sequence":71,"id":"e1","source":"/shop","type":"order.status","subject":"order-1"},"attemptcount":2,
"createdat":"2026-01-01T00:00:00.000Z","nextat":"2026-01-01T00:00:20.000Z","attempts":[
{"number":1,"at":"2026-01-01T00:00:00.010Z","durationms":3.25,"outcome":"retry","reason":"refused","url":"https://a.example/"},
{"number":2,"at":"2026-01-01T00:00:05.010Z","durationms":12,"outcome":"retry","reason":"server_error","status":500,"url":"https://a.example/","response":{"body":"oh\nno"}}]}`

func TestDeliveryGet(t *testing.T) {
	t.Parallel()
	f := newBackend(t)
	f.on("GET /v1/deliveries/1z-acme", 200, retrying)
	f.cli(t, "", "delivery", "get", "1z-acme").expect(t, exitOK, `delivery:      1z-acme
subscription:  acme
tenant:        default
state:         retrying
reason:        server_error
event:         71 e1
source:        /shop
type:          order.status
subject:       order-1
created:       2026-01-01T00:00:00.000Z
next:          2026-01-01T00:00:20.000Z

ATTEMPT  AT                        MS    OUTCOME  REASON        STATUS  URL                 ANSWER
1        2026-01-01T00:00:00.010Z  3.2   retry    refused       -       https://a.example/  -
2        2026-01-01T00:00:05.010Z  12.0  retry    server_error  500     https://a.example/  oh\nno
`, "")
	f.cli(t, "", "delivery", "get", "1z-acme", "--output", "json").expect(t, exitOK, retrying+"\n", "")
}

func TestDeliveryList(t *testing.T) {
	t.Parallel()
	f := newBackend(t)
	f.on("GET /v1/deliveries", 200, `{"items":[`+retrying+`]}`)
	f.cli(t, "", "delivery", "list", "--state", "retrying", "--event", "71", "--until", "2026-01-01T00:00:00Z").expect(t, exitOK, ""+
		"ID       SUBSCRIPTION  STATE     REASON        ATTEMPTS  TYPE          SUBJECT  CREATED                   NEXT\n"+
		"1z-acme  acme          retrying  server_error  2         order.status  order-1  2026-01-01T00:00:00.000Z  2026-01-01T00:00:20.000Z\n", "")
	if diff := cmp.Diff([]string{"GET /v1/deliveries?event=71&limit=100&state=retrying&until=2026-01-01T00%3A00%3A00Z"}, f.lines()); diff != "" {
		t.Error(diff)
	}
}

func TestSinceAgo(t *testing.T) {
	t.Parallel()
	f := newBackend(t)
	f.on("GET /v1/dead-letters", 200, `{"items":[]}`)
	if r := f.cli(t, "", "deadletter", "list", "--since", "2d"); r.code != exitOK {
		t.Fatal(r)
	}
	u, err := url.Parse(strings.TrimPrefix(f.lines()[0], "GET "))
	if err != nil {
		t.Fatal(err)
	}
	since := u.Query().Get("since")
	at, err := time.Parse(time.RFC3339Nano, since)
	if ago := time.Since(at) - 48*time.Hour; err != nil || ago < 0 || ago > time.Minute || !regexp.MustCompile(`\.\d{3}Z$`).MatchString(since) {
		t.Error(since, err)
	}
	r := f.cli(t, "", "deadletter", "list", "--since", "yesterday")
	r.expect(t, exitUsage, "", "hookfleet: --since: \"yesterday\" is neither a time such as 2026-01-31T08:00:00Z nor a duration such as 15m or 2d\n")
}

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	f := newBackend(t)
	const letter = `{"id":"1z-acme","subscription":"acme","tenant":"default","reason":"exhausted","attemptcount":12,"lastattempt":{"number":12,"at":"2026-01-01T00:00:00Z","durationms":1,"outcome":"dead","reason":"server_error","status":503,"url":"https://a.example/"},"event":{"specversion":"1.0","type":"order.status","subject":"order-1","data":{"n":1.0}},"deadat":"2026-01-01T00:00:00.000Z"}`
	f.on("GET /v1/dead-letters", 200, `{"items":[`+letter+`,{"id":"20","reason":"invalid_event","event":"not an event","deadat":"2026-01-01T00:00:00.000Z"}]}`)
	f.on("GET /v1/dead-letters/1z-acme", 200, letter)
	f.cli(t, "", "deadletter", "list").expect(t, exitOK, ""+
		"ID       SUBSCRIPTION  REASON         ATTEMPTS  STATUS  TYPE          SUBJECT  DEAD\n"+
		"1z-acme  acme          exhausted      12        503     order.status  order-1  2026-01-01T00:00:00.000Z\n"+
		"20       -             invalid_event  -         -       -             -        2026-01-01T00:00:00.000Z\n", "")
	if r := f.cli(t, "", "deadletter", "get", "1z-acme"); !strings.Contains(r.stdout, "event:\n  specversion: \"1.0\"\n  type: order.status\n") {
		t.Error(r)
	}
}
