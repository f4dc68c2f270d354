package api_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestBothWaysAnswerTheSame: whether a request to publish is plain (package plain) or goes to net/http, its answer is the same.
func TestBothWaysAnswerTheSame(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.publish("1", "acme", "t")
	b.publish("2", "acme", "t")
	key := "Authorization: Bearer " + b.operator + "\r\n"
	const structured, batch = "Content-Type: application/cloudevents+json\r\n", "Content-Type: application/cloudevents-batch+json\r\n"
	for name, c := range map[string]struct {
		fields, body string
		status       int
	}{
		"duplicate":      {key + structured, eventText("1", "acme", "t"), 202},
		"batch":          {key + batch, "[" + eventText("1", "acme", "t") + "," + eventText("2", "acme", "t") + "]", 202},
		"binary":         {key + "Content-Type: application/json\r\nce-specversion: 1.0\r\nce-id: 1\r\nce-source: /x\r\nce-type:\r\n", "{}", 422},
		"no key":         {structured, eventText("1", "acme", "t"), 401},
		"bad key":        {"Authorization: Bearer no\r\n" + structured, strings.Repeat(" ", 100_000), 401},
		"bad key, large": {"Authorization: Bearer no\r\n" + structured, strings.Repeat(" ", 300_000), 401},
		"two keys":       {key + key + structured, "{}", 401},
		"no JSON":        {key + structured, "{", 400},
		"no body":        {key + structured, "", 400},
		"invalid":        {key + structured, `{"specversion":"1.0"}`, 422},
		"media type":     {key + "Content-Type: text/plain\r\n", "x", 415},
		"encoding":       {key + structured + "Content-Encoding: gzip\r\n", "x", 415},
		"too large":      {key + structured, `"` + strings.Repeat("x", 1_100_000) + `"`, 413},
	} {
		plain, other := b.rawPublish(c.fields, c.body), b.rawPublish("Keep-Alive: 1\r\n"+c.fields, c.body)
		if plain.status != c.status || other.status != plain.status || !reflect.DeepEqual(plain.header, other.header) || !bytes.Equal(plain.body, other.body) {
			t.Errorf("%s: plainly\n%d %v\n%s\nby net/http\n%d %v\n%s", name, plain.status, plain.header, plain.body, other.status, other.header, other.body)
		}
	}
}

// rawPublish publishes on a connection of its own, with these fields.
func (b *bench) rawPublish(fields, body string) *reply {
	b.t.Helper()
	c, err := net.Dial("tcp", b.api.Addr().String())
	must(b.t, err)
	defer c.Close()
	must(b.t, c.SetDeadline(time.Now().Add(soon)))
	_, err = fmt.Fprintf(c, "POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n%s", len(body), fields, body)
	must(b.t, err)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	must(b.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(b.t, err)
	resp.Header.Del("Date")
	return &reply{b.t, resp.StatusCode, resp.Header, text}
}
