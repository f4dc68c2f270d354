package sinktest_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/hookfleet/hookfleet/test/sinktest"
)

func post(t *testing.T, url, body string) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Webhook-Id", "msg_1")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp, nil
}

func TestRecordsAndAnswersInTurn(t *testing.T) {
	t.Parallel()
	s := sinktest.New(t)
	s.On("/a", sinktest.Answer{Status: 500, Header: map[string]string{"Retry-After": "1"}, Body: "no"}, sinktest.Answer{})
	for i, want := range []int{500, 204, 204} {
		resp, err := post(t, s.URL("/a?x=1"), "hello")
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != want {
			t.Errorf("request %d: status %d, want %d", i, resp.StatusCode, want)
		}
		if body, _ := io.ReadAll(resp.Body); i == 0 && (string(body) != "no" || resp.Header.Get("Retry-After") != "1") {
			t.Errorf("answer %q %v", body, resp.Header)
		}
	}
	got := s.WaitAnswered("/a", 3)
	if r := got[0]; string(r.Body) != "hello" || r.Query != "x=1" || r.Number != 1 || r.Status != 500 || r.ID() != "msg_1" || r.Answered.Before(r.At) {
		t.Errorf("recorded %+v", r)
	}
	s.On("/a", sinktest.Answer{Status: 202}) // counts from here
	if resp, err := post(t, s.URL("/a"), ""); err != nil || resp.StatusCode != 202 {
		t.Errorf("after a new answer: %v, %v", resp, err)
	}
	if len(s.Got("/other")) != 0 {
		t.Error("paths are not told apart")
	}
}

func TestCutResetsTheConnection(t *testing.T) {
	t.Parallel()
	s := sinktest.New(t)
	s.On("/a", sinktest.Answer{Cut: true})
	if _, err := post(t, s.URL("/a"), "x"); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("error %v, want a reset", err)
	}
	s.Wait("/a", 1)
}

func TestUntilHoldsRequestsOpen(t *testing.T) {
	t.Parallel()
	s := sinktest.New(t)
	answer := make(chan struct{})
	s.On("/a", sinktest.Answer{Until: answer})
	var posting sync.WaitGroup
	for range 3 {
		posting.Go(func() {
			if _, err := post(t, s.URL("/a"), "x"); err != nil {
				t.Error(err)
			}
		})
	}
	s.WaitOpen("/a", 3)
	if n := len(s.Got("/a")); n != 3 {
		t.Errorf("%d requests recorded before they were answered, want 3", n)
	}
	close(answer)
	posting.Wait()
	s.WaitAnswered("/a", 3)
	if s.Peak("/a") != 3 || s.Open("/a") != 0 {
		t.Errorf("peak %d, open %d", s.Peak("/a"), s.Open("/a"))
	}
}
