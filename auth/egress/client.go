package egress

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Request is one request to send, once.
type Request struct {
	Method  string        // "" is POST
	URL     *url.URL      // parsed by the caller; not changed
	Header  http.Header   // canonical keys; nil: none. Do adds User-Agent when it is absent
	Body    []byte        // nil or empty: none; not changed, and free again when Do returns
	Timeout time.Duration // from connecting to the last body byte; 0: only the context's
	Tenant  string        // whose connections to use
}

// Response is what came.
type Response struct {
	Status int         // 200 to 999
	Header http.Header // as it came, at most Config.MaxHeaderBytes
	Body   []byte      // the first Config.KeepBodyBytes, the caller's own
}

// Client sends requests over HTTP/1.1: one exchange a connection at a time, so that no delivery shares the fate (or the flow control, or a
// GOAWAY) of another. It is safe for concurrent use.
type Client struct {
	cfg    Config
	guard  *Guard
	guests *guests
}

// New returns a client that has not opened anything.
func New(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	guard := NewGuard(cfg)
	return &Client{cfg: cfg, guard: guard, guests: newGuests(cfg, newDialer(cfg, guard))}, nil
}

// Guard returns the guard that the client dials with.
func (c *Client) Guard() *Guard { return c.guard }

// Close closes the idle connections. Exchanges in flight go on.
func (c *Client) Close() { c.guests.close() }

// Do sends r once and returns what came. Every error is an *Error. When the caller's own context ended the exchange,
// errors.Is(err, context.Canceled) holds. A response counts only when its body came too, or as much of it as is read: when the header had come and
// the body broke, the Response is returned beside the error, so that an attempt's record can show the status.
func (c *Client) Do(ctx context.Context, r *Request) (*Response, error) {
	if err := c.checkScheme(r.URL.Scheme); err != nil {
		return nil, err
	}
	if r.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, r.Timeout, errDeadline)
		defer cancel()
	}
	if at, ok := ctx.Deadline(); ok {
		ctx = context.WithValue(ctx, deadlineKey{}, at)
	}
	body := &body{rest: r.Body}
	defer body.take()
	came, err := c.guests.of(r.Tenant).RoundTrip(c.outgoing(ctx, r, body))
	if err != nil {
		return nil, explain(ctx, err)
	}
	answer, err := c.read(came)
	if err != nil {
		return answer, explain(ctx, err)
	}
	if answer == nil {
		return nil, &Error{Kind: Protocol, Err: errSwitched}
	}
	return answer, nil
}

// outgoing renders r for the transport. GetBody stays nil and Body is never nil, else the transport would send again by itself what a receiver may
// have had already.
func (c *Client) outgoing(ctx context.Context, r *Request, b *body) *http.Request {
	header := r.Header
	if header == nil {
		header = make(http.Header, 1)
	}
	if header["User-Agent"] == nil {
		header["User-Agent"] = []string{c.cfg.UserAgent}
	}
	method := r.Method
	if method == "" {
		method = http.MethodPost
	}
	plain := http.Request{
		Method: method, URL: r.URL, Header: header, Host: r.URL.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: b, ContentLength: int64(len(r.Body)),
	}
	if len(r.Body) == 0 && !replayable(method, header) {
		plain.Body = http.NoBody // else it would be chunked
	}
	return plain.WithContext(ctx)
}

// replayable reports whether http.Transport would send a request without a body again by itself.
func replayable(method string, h http.Header) bool {
	switch method {
	case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		return h["Idempotency-Key"] != nil || h["X-Idempotency-Key"] != nil
	default:
		return true
	}
}

// read takes the body of came, as far as it is wanted, and gives the connection back or closes it.
func (c *Client) read(came *http.Response) (*Response, error) {
	defer came.Body.Close()
	if came.StatusCode < 200 {
		return nil, nil
	}
	answer := &Response{Status: came.StatusCode, Header: came.Header}
	if came.ContentLength == 0 {
		return answer, nil
	}
	buf := scratch.Get().(*[]byte)
	defer scratch.Put(buf)
	var total int64
	for total < c.cfg.MaxBodyBytes {
		n, err := came.Body.Read((*buf)[:min(int64(len(*buf)), c.cfg.MaxBodyBytes-total)])
		if keep := min(n, c.cfg.KeepBodyBytes-len(answer.Body)); keep > 0 {
			answer.Body = append(answer.Body, (*buf)[:keep]...)
		}
		total += int64(n)
		if err == io.EOF {
			return answer, nil
		}
		if err != nil {
			return answer, err
		}
	}
	return answer, nil
}

// scratch holds the buffers that bodies are read into; most answers fit in one.
var scratch = sync.Pool{New: func() any { return new(make([]byte, 8<<10)) }}

// body is the reader of a request's body. The transport may read on after it has returned the response, and does not always close what it has
// not sent; so Do takes the bytes back before it returns, and nobody waits for anybody.
type body struct {
	mu   sync.Mutex
	rest []byte
	gone bool
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gone {
		return 0, errTaken
	}
	if len(b.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// Close implements io.Closer.
func (b *body) Close() error { return nil }

// take ends all reading.
func (b *body) take() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rest, b.gone = nil, true
}

var errTaken = errors.New("exchange is over")
