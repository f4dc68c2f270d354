package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// backend is a server that answers as the contract says for one test, and remembers what it was asked.
type backend struct {
	*httptest.Server
	mux *http.ServeMux

	mu    sync.Mutex
	calls []call
}

// call is one request to a backend.
type call struct {
	line   string // method and URL
	header http.Header
	body   string
}

func newBackend(t *testing.T) *backend {
	t.Helper()
	f := &backend{mux: http.NewServeMux()}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		f.mu.Lock()
		f.calls = append(f.calls, call{r.Method + " " + r.URL.RequestURI(), r.Header, string(body)})
		f.mu.Unlock()
		f.mux.ServeHTTP(w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

// on answers requests to pattern with a status and a body.
func (f *backend) on(pattern string, status int, body string) {
	f.mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) { reply(w, status, body) })
}

func reply(w http.ResponseWriter, status int, body string) {
	kind := "application/json"
	if status >= 400 {
		kind = "application/problem+json"
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	io.WriteString(w, body)
}

// lines are the requests so far.
func (f *backend) lines() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, c := range f.calls {
		out = append(out, c.line)
	}
	return out
}

// bodies are what was sent so far.
func (f *backend) bodies() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, c := range f.calls {
		out = append(out, c.body)
	}
	return out
}

// result is what a command left.
type result struct {
	code           int
	stdout, stderr string
}

// cli runs a command line against the backend.
func (f *backend) cli(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	return cli(t, stdin, append(args, "--url", f.URL, "--key", "hf_test")...)
}

func cli(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), args, strings.NewReader(stdin), &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

// expect compares a result, text by text.
func (r result) expect(t *testing.T, code int, stdout, stderr string) {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code %d, want %d", r.code, code)
	}
	if r.stdout != stdout {
		t.Errorf("stdout:\n%s\nwant:\n%s", r.stdout, stdout)
	}
	if r.stderr != stderr {
		t.Errorf("stderr:\n%s\nwant:\n%s", r.stderr, stderr)
	}
}
