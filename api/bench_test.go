package api_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/api"
	"github.com/hookfleet/hookfleet/auth/secret"
	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/test/natstest"
)

// BenchmarkPublish is what the API adds to ingest: routing, authentication, the question whether the key may publish,
// and metrics.
func BenchmarkPublish(b *testing.B) {
	nc, js := natstest.Start(b)
	var a *api.API
	ingest := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !a.MayPublish(r, "acme", "order.status") {
			b.Error("may not publish")
		}
		w.WriteHeader(http.StatusAccepted)
	})
	a = newBare(b, js, stream.NewWriter(nc, nil), ingest)
	h := a.Handler()
	r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/v1/events", nil)
	r.Header.Set("Authorization", "Bearer the-operator")
	w := &discard{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
	if w.status != http.StatusAccepted {
		b.Fatalf("status %d", w.status)
	}
}

func newBare(b *testing.B, js jetstream.JetStream, writer *stream.Writer, ingest http.Handler) *api.API {
	b.Helper()
	reg, err := registry.New(js, registry.DefaultConfig(), zerolog.Nop())
	if err != nil {
		b.Fatal(err)
	}
	a, err := api.New(api.Deps{
		JetStream: js, Registry: reg, Writer: writer, Ingest: ingest, Metrics: prometheus.NewRegistry(),
		Keys: api.NewKeyStore(api.OperatorKey{Text: secret.New("the-operator")}, zerolog.Nop()),
	}, api.DefaultConfig())
	if err != nil {
		b.Fatal(err)
	}
	return a
}

type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }
