package fleettest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"testing"
	"time"
)

// Media types of events.
const (
	Structured = "application/cloudevents+json"
	Batch      = "application/cloudevents-batch+json"
	JSON       = "application/json"
)

// Client calls the API with one key.
type Client struct {
	Base, Key string
	HTTP      *http.Client
}

// NewClient makes a client. It keeps connections of its own.
func NewClient(base, key string) *Client {
	return &Client{Base: base, Key: key, HTTP: &http.Client{
		Timeout:       Patience,
		Transport:     &http.Transport{MaxIdleConnsPerHost: 256, IdleConnTimeout: Patience},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Response is what the API answered, read whole.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// Problem is the body of a refusal.
type Problem struct {
	Status int
	Code   string
	Detail string
	Errors []struct{ Pointer, Detail string }
}

// Call makes one request and gives any answer. The error is of the network.
func (c *Client) Call(ctx context.Context, method, path string, header http.Header, body []byte) (*Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.Base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, header)
	if c.Key != "" {
		req.Header.Set("Authorization", "Bearer "+c.Key)
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	return &Response{resp.StatusCode, resp.Header, b}, nil
}

// Do makes one request and gives any answer. body is sent as it is when it is a string or bytes, else as JSON.
func (c *Client) Do(t testing.TB, method, path string, body any) *Response {
	t.Helper()
	return c.Send(t, method, path, http.Header{"Content-Type": {JSON}}, body)
}

// Send is Do with a header.
func (c *Client) Send(t testing.TB, method, path string, header http.Header, body any) *Response {
	t.Helper()
	var raw []byte
	switch b := body.(type) {
	case nil:
	case string:
		raw = []byte(b)
	case []byte:
		raw = b
	default:
		var err error
		if raw, err = json.Marshal(b); err != nil {
			t.Fatal(err)
		}
	}
	resp, err := c.Call(t.Context(), method, path, header, raw)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return resp
}

// Must makes one request that has to be answered with status, and reads the answer into out unless that is nil.
func (c *Client) Must(t testing.TB, status int, method, path string, body, out any) *Response {
	t.Helper()
	return c.Do(t, method, path, body).Must(t, status, out)
}

// Must checks the status and reads the body into out unless that is nil.
func (r *Response) Must(t testing.TB, status int, out any) *Response {
	t.Helper()
	if r.Status != status {
		t.Fatalf("status %d, want %d: %.2000s", r.Status, status, r.Body)
	}
	if out == nil {
		return r
	}
	if err := json.Unmarshal(r.Body, out); err != nil {
		t.Fatalf("answer %.2000s: %v", r.Body, err)
	}
	return r
}

// Refused checks that the answer is a problem with this status and code.
func (r *Response) Refused(t testing.TB, status int, code string) *Problem {
	t.Helper()
	p := &Problem{}
	r.Must(t, status, p)
	if ct := r.Header.Get("Content-Type"); p.Code != code || p.Status != status || ct != "application/problem+json" {
		t.Errorf("problem %s (%s), want code %s", r.Body, ct, code)
	}
	return p
}

// Between two looks of Eventually: soon at first, and not so often that looking is what loads the machine.
const (
	firstLook = 5 * time.Millisecond
	lastLook  = 250 * time.Millisecond
)

// Eventually asks until holds is true, and fails the test with what was seen last when it is not within Patience.
func Eventually(t testing.TB, what string, holds func() (ok bool, seen any)) {
	t.Helper()
	over := time.NewTimer(Patience)
	defer over.Stop()
	for wait := firstLook; ; wait = min(2*wait, lastLook) {
		ok, seen := holds()
		if ok {
			return
		}
		look := time.NewTimer(wait)
		select {
		case <-look.C:
		case <-over.C:
			t.Fatalf("%s did not come true within %v: %s", what, Patience, fmt.Sprint(seen))
		case <-t.Context().Done():
			t.Fatalf("%s did not come true before the test ended: %s", what, fmt.Sprint(seen))
		}
	}
}
