package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/test/fleettest"
)

// connect connects to the broker of a server as any client would.
func connect(t *testing.T, url string, opts ...nats.Option) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := nats.Connect(url, append([]nats.Option{nats.Timeout(fleettest.Patience), nats.MaxReconnects(-1), nats.ReconnectWait(50 * time.Millisecond)}, opts...)...)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(fleettest.Patience))
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

// newKey makes an API key and gives its text.
func newKey(t *testing.T, c *fleettest.Client, body string) string {
	t.Helper()
	var k struct{ ID, Key string }
	c.Must(t, http.StatusCreated, http.MethodPost, "/v1/keys", body, &k)
	t.Cleanup(func() {
		if _, err := c.Call(context.WithoutCancel(t.Context()), http.MethodDelete, "/v1/keys/"+k.ID, nil, nil); err != nil {
			t.Errorf("delete key: %v", err)
		}
	})
	return k.Key
}

// testNATS: any client's js.Publish, or a request, is answered as JetStream answers.
func testNATS(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, "")
	key := newKey(t, f.client, `{"role":"producer","tenants":["default"]}`)
	subject := "hookfleet.publish.default." + f.name
	text := event(unique("nats"), f.name, `{ "n" : 1.0 }`)
	structured := nats.Header{"Content-Type": {fleettest.Structured}}

	nc, js := connect(t, "nats://"+s.NATS, nats.Token(key)) // the key as a token
	ack, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: subject, Header: structured, Data: []byte(text)})
	if err != nil || ack.Stream != "EVENTS" || ack.Sequence == 0 || ack.Duplicate {
		t.Fatalf("js.Publish: %+v, %v", ack, err)
	}
	if got := f.sink.Wait(f.path, 1)[0]; string(got.Body) != text {
		t.Errorf("got %s, want %s", got.Body, text)
	}
	if d := f.client.AwaitDelivery(t, ack.Sequence, "delivered"); d.Event.Type != f.name {
		t.Errorf("delivery %+v", d)
	}
	_, asUser := connect(t, "nats://"+key+"@"+s.NATS) // the key as the user name
	again, err := asUser.PublishMsg(t.Context(), &nats.Msg{Subject: subject, Header: structured, Data: []byte(text)})
	if err != nil || !again.Duplicate || again.Sequence != ack.Sequence {
		t.Errorf("the same again: %+v, %v", again, err)
	}
	if r := f.client.Publish(t, text); !r.Duplicate || r.Sequence != ack.Sequence {
		t.Errorf("the same again by HTTP: %+v", r)
	}
	f.requestBinary(nc, subject)
	f.refusedByNATS(js, text)
	f.odd(js)
}

// requestBinary publishes in binary mode, by a plain request.
func (f *flow) requestBinary(nc *nats.Conn, subject string) {
	f.t.Helper()
	id := unique("nats-binary")
	answer, err := nc.RequestMsg(&nats.Msg{Subject: subject, Data: []byte(`{"a": 1.0}`), Header: nats.Header{
		"ce-specversion": {"1.0"}, "ce-id": {id}, "ce-source": {"/e2e"}, "ce-type": {f.name}, "ce-datacontenttype": {"application/json"},
	}}, fleettest.Patience)
	if err != nil {
		f.t.Fatalf("request: %v", err)
	}
	var got map[string]any
	if err := json.Unmarshal(answer.Data, &got); err != nil || got["stream"] != "EVENTS" || got["seq"] == nil {
		f.t.Errorf("answer %s, %v", answer.Data, err)
	}
	if body := string(f.sink.Wait(f.path, 2)[1].Body); eventID([]byte(body)) != id || !strings.Contains(body, `"data":{"a": 1.0}`) {
		f.t.Errorf("got %s", body)
	}
}

// refusedByNATS: what is not valid is refused with a reason, and what is refused is not stored.
func (f *flow) refusedByNATS(js jetstream.JetStream, known string) {
	f.t.Helper()
	structured := nats.Header{"Content-Type": {fleettest.Structured}}
	for name, tc := range map[string]struct {
		msg  nats.Msg
		code int
	}{
		"garbage":        {nats.Msg{Subject: "hookfleet.publish.default.x", Data: []byte("hello")}, 400},
		"cut":            {nats.Msg{Subject: "hookfleet.publish.default.x", Header: structured, Data: []byte(`{"specversion":"1.0"`)}, 400},
		"another type":   {nats.Msg{Subject: "hookfleet.publish.default.x", Header: structured, Data: []byte(event(unique("e"), "y", "1"))}, 400},
		"another tenant": {nats.Msg{Subject: "hookfleet.publish.default.x", Header: structured, Data: []byte(strings.Replace(event(unique("e"), "x", "1"), "{", `{"tenant":"acme",`, 1))}, 400},
		"no type":        {nats.Msg{Subject: "hookfleet.publish.default.=", Header: structured, Data: []byte(event(unique("e"), "x", "1"))}, 400},
		"reused id":      {nats.Msg{Subject: "hookfleet.publish.default." + f.name, Header: structured, Data: []byte(strings.Replace(known, "1.0 }", "2.0 }", 1))}, 409},
	} {
		_, err := js.PublishMsg(f.t.Context(), &tc.msg)
		refused, ok := errors.AsType[*jetstream.APIError](err)
		if !ok || refused.Code != tc.code || refused.Description == "" {
			f.t.Errorf("%s: error %v, want code %d and a description", name, err, tc.code)
		}
	}
}

// odd publishes a type whose bytes are no subject token, for a tenant that only the subject names.
func (f *flow) odd(js jetstream.JetStream) {
	f.t.Helper()
	typ := f.name + ".Ö rder..x>"
	f.client.Subscribe(f.t, f.name, fmt.Sprintf(`{"types":[%q],"sink":%q}`, typ, f.sink.URL("/odd")))
	text := event(unique("odd"), typ, "1")
	ack, err := js.PublishMsg(f.t.Context(), &nats.Msg{
		Subject: "hookfleet.publish.default." + f.name + ".=C3=96=20rder.=.x=3E",
		Header:  nats.Header{"Content-Type": {fleettest.Structured}}, Data: []byte(text),
	})
	if err != nil {
		f.t.Fatalf("an odd type: %v", err)
	}
	if got := f.sink.Wait("/odd", 1)[0]; string(got.Body) != text {
		f.t.Errorf("got %s", got.Body)
	}
	if d := f.client.AwaitDelivery(f.t, ack.Sequence, "delivered"); d.Event.Type != typ {
		f.t.Errorf("delivery %+v", d)
	}
}

// testConnectionOutlivesItsKey: who was connected when a key was deleted went on publishing with it.
func testConnectionOutlivesItsKey(t *testing.T, s *fleettest.Server) {
	c := s.Client()
	var k struct{ ID, Key string }
	c.Must(t, http.StatusCreated, http.MethodPost, "/v1/keys", `{"role":"producer"}`, &k)
	closed := make(chan struct{})
	nc, err := nats.Connect(s.BrokerURL(k.Key), nats.NoReconnect(), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	c.Must(t, http.StatusNoContent, http.MethodDelete, "/v1/keys/"+k.ID, nil, nil)
	<-closed
	if nc, err := nats.Connect(s.BrokerURL(k.Key)); err == nil {
		nc.Close()
		t.Error("a key that was deleted lets in")
	}
}

// testNATSPermissions: a producer key may publish for its tenants and nothing else; without a key nobody gets in.
func testNATSPermissions(t *testing.T, s *fleettest.Server) {
	c := s.Client()
	key := newKey(t, c, `{"role":"producer","tenants":["acme"]}`)
	for _, url := range []string{"nats://" + s.NATS, "nats://wrong@" + s.NATS} {
		if nc, err := nats.Connect(url); err == nil {
			nc.Close()
			t.Errorf("%s got in", url)
		}
	}
	denied := make(chan string, 16)
	nc, js := connect(t, s.BrokerURL(key), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err.Error() }))
	text := event(unique("acme"), "x", "1")
	ack, err := js.PublishMsg(t.Context(), &nats.Msg{
		Subject: "hookfleet.publish.acme.x", Header: nats.Header{"Content-Type": {fleettest.Structured}}, Data: []byte(text),
	})
	if err != nil {
		t.Fatalf("publish for the key's own tenant: %v", err)
	}
	var e struct {
		Tenant string
		Event  json.RawMessage
	}
	c.Must(t, http.StatusOK, http.MethodGet, fmt.Sprintf("/v1/events/%d", ack.Sequence), nil, &e)
	if e.Tenant != "acme" || string(e.Event) != text {
		t.Errorf("event %+v %s", e, e.Event)
	}
	for _, subject := range []string{"hookfleet.publish.default.x", "hookfleet.events.acme.x", "$JS.API.STREAM.DELETE.EVENTS", "hookfleet.due.a.b", "_HOOKFLEET.x", "$KV.hookfleet_keys.operator"} {
		if err := errors.Join(nc.Publish(subject, []byte("x")), nc.Flush()); err != nil {
			t.Fatal(err)
		}
		f := <-denied
		if !strings.Contains(strings.ToLower(f), "permissions violation") || !strings.Contains(f, subject) {
			t.Errorf("publishing to %s: %s", subject, f)
		}
	}
	// A producer that names no tenant is for the tenant default, here as by HTTP.
	plain, plainJS := connect(t, s.BrokerURL(newKey(t, c, `{"role":"producer"}`)), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err.Error() }))
	if _, err := plainJS.PublishMsg(t.Context(), &nats.Msg{
		Subject: "hookfleet.publish.default.x", Header: nats.Header{"Content-Type": {fleettest.Structured}}, Data: []byte(event(unique("plain"), "x", "1")),
	}); err != nil {
		t.Errorf("publish by a key without tenants: %v", err)
	}
	if err := errors.Join(plain.Publish("hookfleet.publish.acme.x", nil), plain.Flush()); err != nil {
		t.Fatal(err)
	}
	select {
	case f := <-denied:
		if !strings.Contains(f, "hookfleet.publish.acme.x") {
			t.Error(f)
		}
	case <-time.After(fleettest.Patience):
		t.Error("a key without tenants may publish for every tenant by NATS")
	}
	// Types that end with a dot are prefixes, as those with .* are.
	for _, types := range []string{"order.", "order.*"} {
		_, typed := connect(t, s.BrokerURL(newKey(t, c, fmt.Sprintf(`{"role":"producer","types":[%q]}`, types))))
		if _, err := typed.PublishMsg(t.Context(), &nats.Msg{
			Subject: "hookfleet.publish.default.order.x", Header: nats.Header{"Content-Type": {fleettest.Structured}}, Data: []byte(event(unique("typed"), "order.x", "1")),
		}); err != nil {
			t.Errorf("publish by a key for the types %s: %v", types, err)
		}
	}
	for _, subject := range []string{">", "hookfleet.events.>", "$JS.>", "_HOOKFLEET.>", "hookfleet.publish.acme.>"} {
		if _, err := nc.Subscribe(subject, func(*nats.Msg) { t.Errorf("a producer heard %s", subject) }); err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		if f := <-denied; !strings.Contains(strings.ToLower(f), "permissions violation") {
			t.Errorf("listening to %s: %s", subject, f)
		}
	}
}

// testInvalidEvent: what an operator writes straight into the stream and is no event ends as a dead letter without
// subscription, and stops nothing.
func testInvalidEvent(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, "")
	_, js := connect(t, s.BrokerURL(s.Key))
	garbage := []string{"garbage \x00\xff", `{"specversion":"1.0"}`, ""}
	sequences := map[uint64]string{}
	for i, data := range garbage {
		m := &nats.Msg{Subject: "hookfleet.events.default." + f.name, Data: []byte(data)}
		if i == 1 {
			m.Header = nats.Header{"Content-Type": {fleettest.Structured}}
		}
		ack, err := js.PublishMsg(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		sequences[ack.Sequence] = data
	}
	f.await(f.publish(), "delivered")
	f.once(1)
	type letter struct {
		ID, Subscription, Reason string

		Sequence uint64
		Raw      []byte
		Event    json.RawMessage
	}
	var mine []letter
	fleettest.Eventually(t, "dead letters of what is no event", func() (bool, any) {
		mine = nil
		for _, l := range fleettest.List[letter](t, f.client, "/v1/dead-letters?reason=invalid_event") {
			if _, ok := sequences[l.Sequence]; ok {
				mine = append(mine, l)
			}
		}
		return len(mine) == len(garbage), mine
	})
	for _, l := range mine {
		if l.Subscription != "" || l.Reason != "invalid_event" || string(l.Raw) != sequences[l.Sequence] || string(l.Event) != "null" {
			t.Errorf("dead letter %+v %s, want %q", l, l.Event, sequences[l.Sequence])
		}
		f.client.Do(t, http.MethodPost, "/v1/dead-letters/"+l.ID+"/replay", nil).Refused(t, http.StatusConflict, "not_replayable")
		f.do(http.StatusNoContent, http.MethodDelete, "/v1/dead-letters/"+l.ID)
	}
}
