package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

// newRendered subscribes a sink of its own with these members; %s in them is the URL of the flow's path.
func newRendered(t *testing.T, s *fleettest.Server, members string, answers ...sinktest.Answer) *flow {
	t.Helper()
	f := &flow{t: t, server: s, client: s.Client(), sink: sinktest.New(t), name: unique("render")}
	f.path = "/" + f.name
	if len(answers) > 0 {
		f.sink.On(f.path, answers...)
	}
	f.client.Subscribe(t, f.name, fmt.Sprintf(`{"types":[%q],%s}`, f.name, strings.ReplaceAll(members, "%s", f.sink.URL(f.path))))
	return f
}

// oddData are bytes that a careless JSON library would change.
const oddData = `{ "z" : 1.0 , "a":[ 1e2,-0.0 ],"big":12345678901234567890123456789,"s":"\u0041\/<&>é" }`

// testRoundTrip: binary in, structured out and structured in, binary out, and both in every other mode; the bytes of data
// and the spelling of attributes are the same (HB-3, HB-4, CE-9).
func testRoundTrip(t *testing.T, s *fleettest.Server) {
	for _, mode := range []string{"structured", "binary", "data"} {
		f := newRendered(t, s, `"sink":"%s","protocolsettings":{"contentmode":"`+mode+`"}`)
		f.client.Publish(t, fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/e2e","type":%q,"subject":"ü \"1\" 5%%","time":"2026-01-31t08:00:00.10+01:00",`+
			`"num":5,"data":%s}`, unique("event"), f.name, oddData))
		h := binary(unique("event"), f.name, "application/json")
		h.Set("Ce-Subject", "%C3%BC%20%221%22%205%25")
		h.Set("Ce-Time", "2026-01-31t08:00:00.10+01:00")
		h.Set("Ce-Num", "5")
		f.client.Send(t, http.MethodPost, "/v1/events", h, oddData).Must(t, http.StatusAccepted, nil)
		for _, r := range f.sink.Wait(f.path, 2) {
			checkRoundTrip(t, mode, r)
		}
	}
}

func checkRoundTrip(t *testing.T, mode string, r *sinktest.Request) {
	t.Helper()
	want := map[string]string{"Content-Type": "application/json"}
	switch mode {
	case "structured":
		want["Content-Type"] = fleettest.Structured
		if !strings.Contains(string(r.Body), `"data":`+oddData) || !strings.Contains(string(r.Body), `"2026-01-31t08:00:00.10+01:00"`) {
			t.Errorf("structured out: %s", r.Body)
		}
	case "binary":
		want["Ce-Subject"], want["Ce-Time"], want["Ce-Num"], want["Ce-Specversion"] = "%C3%BC%20%221%22%205%25", "2026-01-31t08:00:00.10+01:00", "5", "1.0"
		fallthrough
	default:
		if string(r.Body) != oddData {
			t.Errorf("%s out: %s", mode, r.Body)
		}
	}
	for name, value := range want {
		if r.Header.Get(name) != value {
			t.Errorf("%s out: %s is %q, want %q", mode, name, r.Header.Get(name), value)
		}
	}
	if mode != "binary" {
		for name := range r.Header {
			if strings.HasPrefix(name, "Ce-") {
				t.Errorf("%s out: header %s", mode, name)
			}
		}
	}
}

// testFallback: what WH-3 forbids in binary mode goes in structured mode, in the bytes it came in.
func testFallback(t *testing.T, s *fleettest.Server) {
	f := newRendered(t, s, `"sink":"%s","protocolsettings":{"contentmode":"binary"}`)
	for i, data := range []string{``, `,"data_base64":"AAEC"`, `,"datacontenttype":"text/plain","data":""`} {
		text := fmt.Sprintf(`{"specversion":"1.0","id":%q ,"source":"/e2e","type":%q%s}`, unique("event"), f.name, data)
		f.client.Publish(t, text)
		r := f.sink.Wait(f.path, i+1)[i]
		if string(r.Body) != text || r.Header.Get("Content-Type") != fleettest.Structured || r.Header.Get("Ce-Id") != "" {
			t.Errorf("%s became %s %v", text, r.Body, r.Header)
		}
	}
}

// testOmit: what omit names is taken out of the bytes, and nothing else (C1).
func testOmit(t *testing.T, s *fleettest.Server) {
	f := newRendered(t, s, `"sink":"%s","protocolsettings":{"omit":["tenant","webhookurl"]}`)
	const format = "{ \"id\":%q,%s \"source\" : \"/e2e\",\n\t\"type\":%q, \"specversion\":\"1.0\",\"data\":{\"tenant\":1.0}%s }"
	id := unique("event")
	f.client.Publish(t, fmt.Sprintf(format, id, ` "tenant" : "default",`, f.name, ` , "webhookurl":"https://x.example"`))
	if got, want := string(f.sink.Wait(f.path, 1)[0].Body), fmt.Sprintf(format, id, "", f.name, ""); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// testTemplate: body, headers and URL take values from the event; what an event lacks ends it without a request.
func testTemplate(t *testing.T, s *fleettest.Server) {
	f := newRendered(t, s, `"sink":"%s?ref=${data.ref}&token=${data.ref}","protocolsettings":{"method":"PUT","contentmode":"template","headers":{"X-Raas-Event":"${type}","x-ref":"<${data.ref?}>"},
		"body":{"id":"${orderId}","status":"${data.status}","user":"${data.user?}","amount":"${amount}","attempt":"${attempt}","webhook":"${webhookid}"}},"config":{"retry":{"initial":"10ms"}}`,
		fails, sinktest.Answer{})
	r := f.client.Publish(t, event(unique("event"), f.name, `{"orderId":"A \"1\"","status":"ü","amount":10.50,"ref":"a/b &é"}`))
	d := f.await(r, "delivered")
	got := f.sink.Wait(f.path, 2)
	want := `{"id":"A \"1\"","status":"ü","amount":10.50,"attempt":%d,"webhook":"` + got[0].ID() + `"}`
	for i, r := range got {
		if string(r.Body) != fmt.Sprintf(want, i+1) || r.Method != "PUT" || r.Header.Get("X-Raas-Event") != f.name ||
			r.Header.Get("X-Ref") != "<a/b%20&%C3%A9>" || r.Header.Get("Content-Type") != "application/json" || r.Query != "ref=a%2Fb%20%26%C3%A9&token=a%2Fb%20%26%C3%A9" {
			t.Errorf("attempt %d: %s %s?%s %v %s", i+1, r.Method, r.Path, r.Query, r.Header, r.Body)
		}
	}
	if want := f.sink.URL(f.path) + "?ref=a%2Fb%20%26%C3%A9&token=****"; d.Attempts[0].URL != want {
		t.Errorf("recorded URL %s, want %s", d.Attempts[0].URL, want)
	}
	for _, data := range []string{`{"status":"a","amount":1,"ref":"r"}`, `{"orderId":"1","status":"a","amount":1}`, `{"orderId":"1","status":"a","amount":1,"ref":"a\u0000b"}`} {
		d := f.await(f.client.Publish(t, event(unique("event"), f.name, data)), "dead")
		if d.Reason != "template" || d.AttemptCount != 0 || len(d.Attempts) != 0 {
			t.Errorf("%s: %+v", data, d)
		}
	}
	if n := len(f.sink.Got(f.path)); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
	letters := f.client.DeadLetters(t, f.name)
	if len(letters) != 3 || letters[0].Reason != "template" || letters[0].LastAttempt != nil {
		t.Errorf("dead letters %+v", letters)
	}
}

// testGet: a GET has no body, and says in its URL what it has to say (X1, X2).
func testGet(t *testing.T, s *fleettest.Server) {
	f := newRendered(t, s, `"sink":"%s/x${orderId}y?update=true","protocolsettings":{"method":"GET","signing":{}}`)
	f.client.Publish(t, event(unique("event"), f.name, `{"orderId":"A/1?é"}`))
	r := f.sink.Wait(f.path+"/xA/1?éy", 1)[0]
	if r.Method != "GET" || len(r.Body) != 0 || r.Header["Content-Length"] != nil || r.Header["Content-Type"] != nil || r.Query != "update=true" ||
		r.Header.Get("Webhook-Signature") == "" {
		t.Errorf("%+v", r)
	}
	f.await(f.client.Publish(t, event(unique("event"), f.name, `{"orderId":"x/../y"}`)), "delivered")
	g := newRendered(t, s, `"sink":"%s/${orderId}/y","protocolsettings":{"method":"GET"}`)
	if d := g.await(g.client.Publish(t, event(unique("event"), g.name, `{"orderId":".."}`)), "dead"); d.Reason != "template" {
		t.Errorf("%+v", d)
	}
	for sink, where := range map[string]string{
		"https://h.example/?data={orderId}": "byte 24", "https://h.example/?data=${order id}": "byte 24",
		"https://h.example/": "no placeholder", "https://${x}/": "before its path at byte 8",
	} {
		for _, method := range []string{"GET", "POST"} {
			if strings.HasPrefix(where, "no ") && method == "POST" {
				continue
			}
			p := f.client.Do(t, http.MethodPost, "/v1/subscriptions", fmt.Sprintf(`{"sink":%q,"protocolsettings":{"method":%q}}`, sink, method)).
				Refused(t, http.StatusUnprocessableEntity, "invalid_subscription")
			if p.Errors[0].Pointer != "/sink" || !strings.Contains(p.Errors[0].Detail, where) {
				t.Errorf("%s %s: %+v", method, sink, p.Errors)
			}
		}
	}
}

// testTestOfTemplate: the test of a subscription sends what would be sent, in every mode.
func testTestOfTemplate(t *testing.T, s *fleettest.Server) {
	for mode, body := range map[string]string{
		"structured": ``, "binary": ``, "data": ``, "template": `,"body":{"id":"${data.lines[1].id}","subject":"${subject}","x":"${attributes.x}"}`,
	} {
		f := newRendered(t, s, `"sink":"%s?o=${orderId}","protocolsettings":{"contentmode":"`+mode+`","headers":{"x-s":"${data.a.b}"}`+body+`}`)
		f.do(http.StatusAccepted, http.MethodPost, "/v1/subscriptions/"+f.name+"/test")
		r := f.sink.Wait(f.path, 1)[0]
		if r.Query != "o=test" || r.Header.Get("X-S") != "test" || len(r.Body) == 0 {
			t.Errorf("%s: %+v", mode, r)
		}
		if want := `{"id":"test","subject":"test","x":"test"}`; mode == "template" && string(r.Body) != want {
			t.Errorf("template: %s", r.Body)
		}
	}
}

// testShownSettings: what a subscription says about its requests is shown as it was said, and takes itself back.
func testShownSettings(t *testing.T, s *fleettest.Server) {
	f := newRendered(t, s, `"sink":"%s","sinkoverride":"data.url","protocolsettings":{"method":"PATCH","contentmode":"template","headers":{"x-a":"<${id}>"},"omit":["tenant"],
		"body":{"z":"<&>","a":[1.0]},"contenttype":"text/json"}`)
	var shown struct {
		SinkOverride     string
		ProtocolSettings map[string]any
	}
	got := f.client.Must(t, http.StatusOK, http.MethodGet, "/v1/subscriptions/"+f.name, nil, &shown)
	want := map[string]any{
		"method": "PATCH", "contentmode": "template", "headers": map[string]any{"x-a": "<${id}>"}, "omit": []any{"tenant"},
		"body": map[string]any{"z": "<&>", "a": []any{1.0}}, "contenttype": "text/json",
	}
	if diff := cmp.Diff(want, shown.ProtocolSettings); diff != "" || shown.SinkOverride != "data.url" {
		t.Errorf("%s %s", diff, shown.SinkOverride)
	}
	f.client.Must(t, http.StatusOK, http.MethodPut, "/v1/subscriptions/"+f.name, got.Body, nil)
}
