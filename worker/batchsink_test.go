package worker_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// request is one request that a batchSink got.
type request struct {
	id     string   // webhook-id
	events []string // ids
	body   string
	at     time.Time
}

// batchSink is a sink that keeps what it gets. answer may be changed while it serves; nil answers 200.
type batchSink struct {
	url string

	mu     sync.Mutex
	got    []request
	answer http.HandlerFunc
}

func newBatchSink(tb testing.TB, answer http.HandlerFunc) *batchSink {
	s := &batchSink{answer: answer}
	s.url = sink(tb, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if ct := r.Header.Get("Content-Type"); ct != "application/cloudevents-batch+json" {
			tb.Errorf("content type %s", ct)
		}
		s.mu.Lock()
		s.got = append(s.got, request{r.Header.Get("Webhook-Id"), eventIDs(tb, body), string(body), time.Now()})
		answer := s.answer
		s.mu.Unlock()
		if answer != nil {
			answer(w, r)
		}
	})
	return s
}

func (s *batchSink) on(answer http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func (s *batchSink) requests() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

// wait returns when there are n requests.
func (s *batchSink) wait(tb testing.TB, n int) []request {
	tb.Helper()
	eventually(tb, fmt.Sprintf("%d requests", n), func() bool { return len(s.requests()) >= n })
	return s.requests()
}

func eventIDs(tb testing.TB, body []byte) (ids []string) {
	var all []struct{ ID string }
	if err := json.Unmarshal(body, &all); err != nil {
		tb.Errorf("body %.200s: %v", body, err)
	}
	for _, e := range all {
		ids = append(ids, e.ID)
	}
	return ids
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}
