package credential

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/auth/egress"
	"github.com/hookfleet/hookfleet/auth/secret"
)

// memory is a Store of one process.
type memory struct {
	mu       sync.Mutex
	text     map[string][]byte
	revision map[string]uint64
}

func newMemory() *memory { return &memory{text: map[string][]byte{}, revision: map[string]uint64{}} }

func (m *memory) Load(_ context.Context, key string) ([]byte, uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.text[key]), m.revision[key], nil
}

func (m *memory) Save(_ context.Context, key string, text []byte, revision uint64) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.revision[key] != revision {
		return 0, ErrConflict
	}
	m.text[key] = slices.Clone(text)
	m.revision[key]++
	return m.revision[key], nil
}

// change changes what is stored under the one key of the tests.
func (m *memory) change(t *testing.T, change func(*shared)) {
	t.Helper()
	text, revision, _ := m.Load(t.Context(), testKey)
	var e shared
	if err := json.Unmarshal(text, &e); err != nil {
		t.Fatal(err)
	}
	change(&e)
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Save(t.Context(), testKey, text, revision); err != nil {
		t.Fatal(err)
	}
}

const testKey = "sub"

func client(t testing.TB) *egress.Client {
	t.Helper()
	cfg := egress.DefaultConfig()
	cfg.PlainHTTP, cfg.Allow = true, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	c, err := egress.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// tokenServer is one that does as it is told.
type tokenServer struct {
	url string

	mu     sync.Mutex
	answer func(n int, w http.ResponseWriter)
	got    []*http.Request
	bodies []string
	open   int
	peak   int
}

func newTokenServer(t testing.TB, answer func(n int, w http.ResponseWriter)) *tokenServer {
	t.Helper()
	s := &tokenServer{answer: answer}
	server := httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(server.Close)
	s.url = server.URL + "/token"
	return s
}

func (s *tokenServer) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	s.got, s.bodies = append(s.got, r), append(s.bodies, string(body))
	n, answer := len(s.got), s.answer
	s.open++
	s.peak = max(s.peak, s.open)
	s.mu.Unlock()
	answer(n, w)
	s.mu.Lock()
	s.open--
	s.mu.Unlock()
}

func (s *tokenServer) fetches() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.got)
}

// say makes all following answers this one.
func (s *tokenServer) say(answer func(n int, w http.ResponseWriter)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// gives answers with a new token each time, that lives so long.
func gives(life string) func(int, http.ResponseWriter) {
	return func(n int, w http.ResponseWriter) {
		text, _ := json.Marshal(map[string]any{"access_token": "token-" + string(rune('0'+n)), "token_type": "Bearer", "expires_in": json.Number(life)})
		_, _ = w.Write(text)
	}
}

func refuses(status int, body string) func(int, http.ResponseWriter) {
	return func(_ int, w http.ResponseWriter) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func clientSpec(endpoint string) *Spec {
	return &Spec{
		Type: typeTokenServer, TokenEndpoint: endpoint, GrantType: "client_credentials", ClientID: "id", ClientSecret: secret.New("canary-secret"),
		AuthStyle: "header", TokenPath: "access_token", ExpiresPath: "expires_in",
	}
}

// source is what one worker has of a credential.
func source(t testing.TB, spec *Spec, store Store, change ...func(*Deps)) *Source {
	t.Helper()
	deps := Deps{Client: client(t), Store: store, Key: testKey, Version: 1, Tenant: "acme"}
	for _, f := range change {
		f(&deps)
	}
	c, err := New(spec, deps)
	if err != nil {
		t.Fatal(err)
	}
	return c.Source()
}

func token(t testing.TB, s *Source) *Token {
	t.Helper()
	got, err := s.Token(t.Context(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func parse(t testing.TB, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
