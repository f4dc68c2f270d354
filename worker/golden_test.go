package worker

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookfleet/hookfleet/auth/egress"
	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
)

var update = flag.Bool("update", false, "write the golden files")

// captured is a sink that keeps the bytes that it receives, and answers 204.
type captured struct {
	address string
	got     chan []byte
}

func capture(t *testing.T) *captured {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &captured{address: l.Addr().String(), got: make(chan []byte, 1)}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.got <- readRequest(conn)
			_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
			_ = conn.Close()
		}
	})
	t.Cleanup(func() { _ = l.Close(); serving.Wait() })
	return c
}

// readRequest reads the bytes of one request: the head, and as much as it says that follows.
func readRequest(conn net.Conn) (raw []byte) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := conn.Read(buffer)
		raw = append(raw, buffer[:n]...)
		head, body, whole := bytes.Cut(raw, []byte("\r\n\r\n"))
		length := 0
		for line := range strings.Lines(string(head)) {
			if value, ok := strings.CutPrefix(line, "Content-Length: "); ok {
				length, _ = strconv.Atoi(strings.TrimSpace(value))
			}
		}
		if whole && len(body) >= length || err != nil {
			return raw
		}
	}
}

// Events in both modes.
const (
	orderEvent = `{ "specversion" : "1.0", "id":"1842","source":"https://orders.example/eu", "type":"order.status",` +
		`"subject":"Straße 1/2 & \"más\" 100%", "tenant":"acme", "webhookurl":"https://x.example/", "priority":3,"urgent":true, "time":"2026-03-01T12:00:00.10+01:00",` +
		` "datacontenttype":"application/json", "data":{ "orderId" : "A/1 ü", "status":"Shipped","amount": 10.50 ,"big":123456789012345678901234567890,` +
		`"lines":[{"sku":"a\"b"} , 2],"none":null,"yes":true,"empty":"" } }`
	bareEvent   = `{"specversion":"1.0","id":"1","source":"/s","type":"t"}`
	textEvent   = `{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"text/plain; charset=utf-8","data":"a \"b\"\n<c> é"}`
	base64Event = `{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"image/png","data_base64":"iVBORw0KGgo="}`
	rawEvent    = `{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":"iVBORw0KGgo="}`
	plainEvent  = `{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"a" : 1.0}}`
)

// binaryEvent is an event that came in binary mode.
func binaryEvent(t *testing.T) *events.Event {
	t.Helper()
	h := http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"1842"}, "Ce-Source": {"/s"}, "Ce-Type": {"order.status"}, "Ce-Subject": {"%C3%BC%201"},
		"Ce-Tenant": {"acme"}, "Content-Type": {"application/json; charset=utf-8"}}
	evts, _, err := events.ParseHTTP(h, []byte(` { "orderId" : "A1", "amount":1.0 } `))
	if err != nil {
		t.Fatal(err)
	}
	return evts[0]
}

// golden are requests, whole: file, settings of the subscription, path and query of the sink, and event.
var golden = []struct{ name, settings, target, event string }{
	{"structured", ``, "/hook?a=1", orderEvent},
	{"structured_binary_in_JF-7", ``, "/hook", "binary"},
	{"structured_omit", `"omit":["tenant","webhookurl","time"]`, "/hook", orderEvent},
	{"structured_omit_binary_in", `"omit":["tenant","subject"]`, "/hook", "binary"},
	{"structured_contenttype", `"contenttype":"application/json"`, "/hook", orderEvent},
	{"structured_put", `"method":"PUT"`, "/hook", orderEvent},
	{"structured_patch", `"method":"PATCH"`, "/hook", orderEvent},
	{"structured_signed", `"signing":{"secret":"whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}`, "/hook", plainEvent},
	{"get", `"method":"GET"`, "/orders/${orderId}.json?s=${subject}&n=${data.lines[0].sku}", orderEvent},
	{"get_binary", `"method":"GET","contentmode":"binary"`, "/${id}", orderEvent},

	{"binary_HB-3_HB-4", `"contentmode":"binary"`, "/hook", orderEvent},
	{"binary_binary_in", `"contentmode":"binary"`, "/hook", "binary"},
	{"binary_omit", `"contentmode":"binary","omit":["tenant","webhookurl","datacontenttype"]`, "/hook", orderEvent},
	{"binary_contenttype", `"contentmode":"binary","contenttype":"application/x-order"`, "/hook", orderEvent},
	{"binary_text", `"contentmode":"binary"`, "/hook", textEvent},
	{"binary_base64", `"contentmode":"binary"`, "/hook", base64Event},
	{"binary_implied_type_CE-9", `"contentmode":"binary"`, "/hook", plainEvent},
	{"binary_no_data_WH-3", `"contentmode":"binary","contenttype":"text/plain"`, "/hook", bareEvent},
	{"binary_untyped_WH-3", `"contentmode":"binary"`, "/hook", rawEvent},

	{"data", `"contentmode":"data"`, "/hook", orderEvent},
	{"data_binary_in", `"contentmode":"data"`, "/hook", "binary"},
	{"data_text", `"contentmode":"data"`, "/hook", textEvent},
	{"data_base64", `"contentmode":"data"`, "/hook", base64Event},
	{"data_untyped", `"contentmode":"data"`, "/hook", rawEvent},
	{"data_implied_type", `"contentmode":"data"`, "/hook", plainEvent},
	{"data_none", `"contentmode":"data"`, "/hook", bareEvent},
	{"data_contenttype", `"contentmode":"data","contenttype":"text/json"`, "/hook", orderEvent},

	{"template_json", `"contentmode":"template","body":{"id":"${orderId}","status":"${data.status}","text":"${type}: ${orderId} at $${x} ${amount}",
		"amount":"${amount}","big":"${big}","lines":"${lines}","sku":"${lines[0].sku}","yes":"${yes}","none":"${none}","empty":"${empty}",
		"priority":"${priority}","urgent":"${urgent}","subject":"${subject}","attribute":"${attributes.time}","fallback":"${nothing:-n/a}","nullfallback":"${none:-n/a}",
		"webhook":"${webhookid}","subscription":"${subscription}","attempt":"${attempt}","now":"${now}","unix":"${now:unix}","fixed":[1.0,true,null,"x\n",{}]}`,
		"/hook", orderEvent},
	{"template_optional", `"contentmode":"template","body":{"a":"${x?}","b":"${orderId?}","c":"${y?}","d":["${x?}","${status?}","${y?}",1,"${x?}"],"e":{"f":"${x?}"},"g":"<${x?}>","h":"${none?}","i":"${x?}"}`,
		"/hook", orderEvent},
	{"template_data", `"contentmode":"template","body":{"payload":"${data}","text":"${data}"}`, "/hook", plainEvent},
	{"template_string_json", `"contentmode":"template","body":"{\"id\":\"${orderId}\",\"sku\":\"${lines[0].sku}\",\"amount\":${amount}}"`, "/hook", orderEvent},
	{"template_form", `"contentmode":"template","contenttype":"application/x-www-form-urlencoded","body":"id=${orderId}&s=${subject}&x=${x?}"`, "/hook", orderEvent},
	{"template_text", `"contentmode":"template","contenttype":"text/plain","body":"${subject}\n${lines}"`, "/hook", orderEvent},
	{"template_empty", `"contentmode":"template"`, "/orders/${orderId}", orderEvent},
	{"template_empty_put", `"contentmode":"template","method":"PUT","contenttype":"text/plain"`, "/orders/${orderId}", orderEvent},
	{"template_headers_HB-4", `"contentmode":"template","body":{},"headers":{"x-raas-event":"${type}","X-Subject":"id=${subject}; \"q\"","x-none":"${x?}","x-some":"a${x?}b","x-default":"${x:-Straße 1}","user-agent":"partner/1"}`,
		"/hook", orderEvent},
	{"url_escapes", ``, "/a/${subject}/${x:-a/b?c#d}/${x?}/${empty}?q=${lines}&t=${now}&u=${now:unix}&a=${attempt}&w=${webhookid}&s=${subscription}&d=%2F", orderEvent},
}

// Each request, as a sink receives it, is the golden file's. What changes with the run is the sink's address.
func TestGoldenRequests(t *testing.T) {
	t.Parallel()
	sink := capture(t)
	client := testEgress(t)
	for _, test := range golden {
		e := parseGolden(t, test.event)
		p := testPlan(t, "http://"+sink.address+test.target, test.settings)
		d := &delivery{Delivery: events.Delivery{ID: "1-s", Subscription: "s", Attempts: 2}, event: e, entry: p.entry}
		r, err := p.render(d, time.Date(2026, 3, 1, 12, 0, 0, 125e6, time.UTC))
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if _, err := client.Do(t.Context(), r); err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		got := strings.ReplaceAll(string(<-sink.got), sink.address, "sink.example")
		compare(t, filepath.Join("testdata", "requests", test.name+".http"), got)
	}
}

func compare(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func parseGolden(t *testing.T, text string) *events.Event {
	t.Helper()
	if text == "binary" {
		return binaryEvent(t)
	}
	e, err := events.ParseStructured([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func testEgress(t testing.TB) *egress.Client {
	t.Helper()
	cfg := egress.DefaultConfig()
	cfg.PlainHTTP, cfg.Allow, cfg.UserAgent = true, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, "hookfleet/test"
	client, err := egress.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// testPlan is the plan of a subscription with these protocolsettings.
func testPlan(t testing.TB, sink, settings string) *plan {
	t.Helper()
	quoted, err := json.Marshal(sink)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`{"id":"s","sink":%s,"protocolsettings":{%s}}`, quoted, settings)
	s, err := events.DecodeSubscription([]byte(text), "", events.SinkPolicy{PlainHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPlan(&registry.Entry{Subscription: s})
	if err != nil {
		t.Fatal(err)
	}
	return p
}
