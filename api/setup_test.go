package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/api"
	"github.com/hookfleet/hookfleet/auth/secret"
	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/test/natstest"
)

// soon bounds every wait of these tests; a wait that succeeds takes milliseconds.
const soon = time.Minute

// bench is an API over a broker of its own, served on a port of its own, without workers: tests do their part by hand,
// with what the workers use, so that every state of a delivery stays as long as it is looked at.
type bench struct {
	t        *testing.T
	nc       *nats.Conn
	js       jetstream.JetStream
	registry *registry.Registry
	writer   *stream.Writer
	keys     *api.KeyStore
	api      *api.API
	url      string
	operator string // key
	log      zerolog.Logger
	problems []string // what readiness says
	sender   func(context.Context) stream.Sender
}

func setup(t *testing.T) *bench {
	t.Helper()
	nc, js := natstest.Start(t)
	return setupOn(t, nc, js)
}

// setupOn makes one API process of a fleet.
func setupOn(t *testing.T, nc *nats.Conn, js jetstream.JetStream) *bench {
	t.Helper()
	log := zerolog.Nop()
	if os.Getenv("HOOKFLEET_TEST_LOG") != "" {
		log = zerolog.New(zerolog.NewTestWriter(t))
	}
	b := &bench{t: t, nc: nc, js: js, writer: stream.NewWriter(nc, nil)}
	topology, err := stream.NewTopology(js, stream.DefaultConfig(), log)
	must(t, err)
	must(t, topology.Ensure(t.Context()))
	b.registry, err = registry.New(js, registry.DefaultConfig(), log)
	must(t, err)
	operator, err := api.EnsureOperatorKey(t.TempDir(), secret.Text{})
	must(t, err)
	b.operator = operator.Text.Reveal()
	b.keys = api.NewKeyStore(operator, log)
	b.keys.Attach(js, b.writer)
	cfg := api.DefaultConfig()
	cfg.Listen = "127.0.0.1:0"
	b.log = log
	b.api = b.again(cfg)
	b.run("writer", b.writer.Run)
	b.run("registry", b.registry.Run)
	b.run("keys", b.keys.Run)
	b.run("api", b.api.Run)
	for _, done := range []<-chan struct{}{b.registry.Loaded(), b.keys.Loaded(), b.api.Listening()} {
		await(t, done)
	}
	b.url = "http://" + b.api.Addr().String()
	return b
}

// again makes one more API of the same process.
func (b *bench) again(cfg api.Config) *api.API {
	b.t.Helper()
	ingest := &ingest{writer: b.writer}
	a, err := api.New(api.Deps{
		JetStream: b.js, Registry: b.registry, Writer: b.writer, Ingest: ingest, Keys: b.keys, Metrics: prometheus.NewRegistry(),
		Sinks: events.SinkPolicy{PlainHTTP: true}, Codes: map[error]api.Code{errForbidden: api.CodeForbidden},
		Storage: func() float64 { return 0.25 }, Log: b.log,
		Checks: []api.Check{func() (string, string) { return "worker", strings.Join(b.problems, ", ") }},
		Sender: func(ctx context.Context) stream.Sender {
			if b.sender == nil {
				return stream.Sender{}
			}
			return b.sender(ctx)
		},
	}, cfg)
	must(b.t, err)
	ingest.api = a
	return a
}

// run runs a part until the test ends.
func (b *bench) run(name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	b.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.t.Errorf("%s: %v", name, err)
		}
	})
}

var errForbidden = errors.New("may not publish")

// ingest stands where the producer's handler is mounted; that one has tests of its own.
type ingest struct {
	api    *api.API
	writer *stream.Writer
}

func (i *ingest) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 8<<20))
	if err != nil {
		i.api.Fail(w, r, err)
		return
	}
	all, batch, err := events.ParseHTTP(r.Header, body)
	if err != nil {
		i.api.Fail(w, r, err)
		return
	}
	var receipts []map[string]any
	for _, e := range all {
		if !i.api.MayPublish(r, e.Tenant(), e.Type()) {
			i.api.Fail(w, r, errForbidden)
			return
		}
		ack, err := i.writer.Write(r.Context(), eventMessage(e), stream.Events)
		if err != nil {
			i.api.Fail(w, r, err)
			return
		}
		receipts = append(receipts, map[string]any{
			"id": e.ID(), "source": e.Source(), "tenant": e.Tenant(), "sequence": ack.Sequence, "duplicate": ack.Duplicate,
		})
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	var v any = map[string]any{"items": receipts}
	if !batch {
		v = receipts[0]
	}
	_ = json.NewEncoder(w).Encode(v)
}

func eventMessage(e *events.Event) *nats.Msg {
	header, payload := e.Message()
	h := nats.Header{nats.MsgIdHdr: []string{e.MsgID()}}
	maps.Copy(h, header)
	return &nats.Msg{Subject: stream.EventSubject(e.Tenant(), e.Type()), Header: h, Data: payload}
}

// reply is an answer of the API.
type reply struct {
	t      *testing.T
	status int
	header http.Header
	body   []byte
}

// request is a call of the API; key "" is the operator's.
type request struct {
	method, path, body string
	key                string
	header             map[string]string
}

const noKey = "-"

func (b *bench) do(r request) *reply {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), r.method, b.url+r.path, strings.NewReader(r.body))
	must(b.t, err)
	switch r.key {
	case "":
		req.Header.Set("Authorization", "Bearer "+b.operator)
	case noKey:
	default:
		req.Header.Set("Authorization", "Bearer "+r.key)
	}
	if r.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range r.header {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultTransport.RoundTrip(req) // as it is: no redirects
	must(b.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(b.t, err)
	return &reply{b.t, resp.StatusCode, resp.Header, body}
}

func (b *bench) get(path string) *reply {
	b.t.Helper()
	return b.do(request{method: "GET", path: path})
}

func (b *bench) post(path, body string) *reply {
	b.t.Helper()
	return b.do(request{method: "POST", path: path, body: body})
}

func (b *bench) put(path, body string) *reply {
	b.t.Helper()
	return b.do(request{method: "PUT", path: path, body: body})
}

func (b *bench) delete(path string) *reply {
	b.t.Helper()
	return b.do(request{method: "DELETE", path: path})
}

// want fails the test unless the answer has this status.
func (r *reply) want(status int) *reply {
	r.t.Helper()
	if r.status != status {
		r.t.Fatalf("status %d, want %d: %s", r.status, status, r.body)
	}
	return r
}

// problem fails the test unless the answer is this problem, and returns the pointers of its faults.
func (r *reply) problem(status int, code api.Code) []string {
	r.t.Helper()
	r.want(status)
	if got := r.header.Get("Content-Type"); got != "application/problem+json" {
		r.t.Fatalf("content type %q of a problem", got)
	}
	var p api.Problem
	r.into(&p)
	if p.Code != code || p.Status != status || p.Title == "" || p.Type != "about:blank" {
		r.t.Fatalf("problem %+v, want %d %s", p, status, code)
	}
	pointers := []string{}
	for _, f := range p.Errors {
		pointers = append(pointers, f.Pointer)
	}
	return pointers
}

func (r *reply) into(v any) {
	r.t.Helper()
	if err := json.Unmarshal(r.body, v); err != nil {
		r.t.Fatalf("answer %q: %v", r.body, err)
	}
}

// at returns a member of the answer by its path, "" when it is absent.
func (r *reply) at(path ...string) string {
	r.t.Helper()
	var v any
	dec := json.NewDecoder(bytes.NewReader(r.body))
	dec.UseNumber()
	must(r.t, dec.Decode(&v))
	for _, name := range path {
		object, ok := v.(map[string]any)
		if !ok {
			return ""
		}
		v = object[name]
	}
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

// ids returns the ids of a page and its cursor.
func (r *reply) ids() (ids []string, next string) {
	r.t.Helper()
	var p struct {
		Items []struct {
			ID       string `json:"id"`
			Sequence uint64 `json:"sequence"`
		} `json:"items"`
		Next string `json:"next"`
	}
	r.want(http.StatusOK).into(&p)
	for _, item := range p.Items {
		if item.ID == "" {
			item.ID = fmt.Sprint(item.Sequence)
		}
		ids = append(ids, item.ID)
	}
	return ids, p.Next
}

// pages reads a list to its end.
func (b *bench) pages(path string) (ids []string) {
	b.t.Helper()
	join := "?"
	if strings.Contains(path, "?") {
		join = "&"
	}
	next := ""
	for range 100 {
		at := path
		if next != "" {
			at += join + "cursor=" + next
		}
		page, cursor := b.get(at).ids()
		ids = append(ids, page...)
		if next = cursor; next == "" {
			return ids
		}
	}
	b.t.Fatal("the list has no end")
	return nil
}

// newKey makes a key over the API.
func (b *bench) newKey(body string) string {
	b.t.Helper()
	return b.post("/v1/keys", body).want(http.StatusCreated).at("key")
}

// partnerKey makes a key of a partner.
func (b *bench) partnerKey(tenant string) string {
	b.t.Helper()
	return b.newKey(fmt.Sprintf(`{"role":"partner","tenants":[%q]}`, tenant))
}

// subscribe makes a subscription.
func (b *bench) subscribe(id, tenant string) {
	b.t.Helper()
	b.post("/v1/subscriptions", fmt.Sprintf(`{"id":%q,"tenant":%q,"sink":"https://partner.example/hook"}`, id, tenant)).want(http.StatusCreated)
}

// publish publishes an event and returns its sequence.
func (b *bench) publish(id, tenant, typ string) uint64 {
	b.t.Helper()
	r := b.do(request{method: "POST", path: "/v1/events", body: eventText(id, tenant, typ), header: map[string]string{"Content-Type": "application/cloudevents+json"}})
	var v struct{ Sequence uint64 }
	r.want(http.StatusAccepted).into(&v)
	return v.Sequence
}

func eventText(id, tenant, typ string) string {
	return fmt.Sprintf(`{"specversion":"1.0", "id":%q,"source":"/orders","type":%q,"subject":"order-%s","tenant":%q,"data": {"n":1.50, "s":"<&>"} }`, id, typ, id, tenant)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func await(t *testing.T, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(soon):
		t.Fatal("did not get ready")
	}
}
