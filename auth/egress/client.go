package egress

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"
)

// Request is one request to send, once.
type Request struct {
	Method  string        // "" is POST
	URL     *url.URL      // parsed by the caller, not changed
	Header  http.Header   // sent as it is, plus user-agent when absent; canonical keys; not changed, not kept
	Body    []byte        // nil or empty: none; not changed
	Timeout time.Duration // from connecting to the last body byte; 0: only the context's
	Tenant  string        // whose connections to use
}

// Response is what came.
type Response struct {
	Status int         // 200 to 999
	Header http.Header // as it came, at most Config.MaxHeaderBytes
	Body   []byte      // the first Config.KeepBodyBytes, the caller's own
}

// Client sends requests. It is safe for concurrent use.
type Client struct {
	cfg   Config
	guard *Guard
}

// New returns a client that has not opened anything.
func New(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Client{cfg: cfg, guard: NewGuard(cfg)}, nil
}

// Guard returns the guard that the client dials with.
func (c *Client) Guard() *Guard { return c.guard }

// CheckURL reports what is wrong with u as a target, before anything resolves: nil, or an *Error of kind Blocked whose cause says it in words
// that may be shown to who registered it.
func (c *Client) CheckURL(u *url.URL) error { return nil }

// Do sends r once and returns what came. Every error is an *Error. When the caller's own context ended the exchange errors.Is(err, context.Canceled)
// holds. When the header had come and the body did not, the Response is returned beside the error.
func (c *Client) Do(ctx context.Context, r *Request) (*Response, error) {
	return nil, &Error{Kind: Protocol, Err: errors.New("not built yet")}
}

// Close closes the idle connections. Exchanges in flight go on.
func (c *Client) Close() {}
