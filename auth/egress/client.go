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
	URL     *url.URL      // parsed by the caller; not changed
	Header  http.Header   // not changed; what frames the message (Host, Content-Length, Transfer-Encoding, Connection …) is passed over
	Body    []byte        // nil or empty: none; not changed, and free again when Do returns
	Timeout time.Duration // from connecting to the last body byte; 0: only the context's
	Tenant  string        // whose connections to use
	TLS     *TLSConfig    // nil: as for all; its connections are its own
	NoProxy bool          // do not use Config.Proxy
	Keep    int           // bytes of the response's body to keep; 0: Config.KeepBodyBytes
}

// Response is what came.
type Response struct {
	Status int         // 200 to 999
	Header http.Header // canonical keys; at most Config.MaxHeaderBytes
	Body   []byte      // the first bytes, as many as the request or Config.KeepBodyBytes says; the caller's own
}

// Client sends requests over HTTP/1.1: one exchange a connection at a time, so that no delivery shares the fate (or the flow control, or a
// GOAWAY) of another. It is safe for concurrent use.
//
// It speaks HTTP itself, because net/http's Transport costs twice the CPU (two goroutines a connection, which every exchange wakes), sends requests
// again by itself, dials on after the deadline, and prints what a receiver sends unasked to the process's log.
type Client struct {
	cfg   Config
	guard *Guard
	dial  *dialer
	idle  *pool
}

// New returns a client that has not opened anything.
func New(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	guard := NewGuard(cfg)
	return &Client{cfg: cfg, guard: guard, dial: newDialer(cfg, guard), idle: newPool(cfg)}, nil
}

// Guard returns the guard that the client dials with.
func (c *Client) Guard() *Guard { return c.guard }

// Close closes the idle connections, and others as they become idle. Exchanges in flight go on.
func (c *Client) Close() { c.idle.close() }

// Do sends r once and returns what came. Every error is an *Error. When the caller's own context ended the exchange,
// errors.Is(err, context.Canceled) holds. A response counts only when its body came too, or as much of it as is read: when the header had come and
// the body broke, the Response is returned beside the error, so that an attempt's record can show the status.
func (c *Client) Do(ctx context.Context, r *Request) (*Response, error) {
	if err := c.checkScheme(r.URL.Scheme); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, ended(ctx)
	}
	now := time.Now()
	deadline := endOf(ctx, r, now)
	x := exchanges.Get().(*exchange)
	defer x.release()
	proxy := c.proxyFor(r)
	if err := x.render(r, c.cfg.UserAgent, proxy); err != nil {
		return nil, err
	}
	answer, err := c.attempt(ctx, x, r, now, deadline)
	if err != nil {
		return answer, explain(ctx, err)
	}
	if proxy != nil && answer.Status == http.StatusProxyAuthRequired {
		return nil, proxyAnswered(answer.Status) // no receiver says that
	}
	return answer, nil
}

// attempt exchanges r on one connection. An idle one that turns out to have ended, before anything was sent, makes room for the next.
func (c *Client) attempt(ctx context.Context, x *exchange, r *Request, now, deadline time.Time) (*Response, error) {
	for {
		conn, err := c.connect(ctx, r, now, deadline)
		if err != nil {
			return nil, err
		}
		if answer, err := c.exchange(ctx, x, conn, r); !errors.Is(err, errUnsent) {
			return answer, err
		}
	}
}

// proxyFor is the proxy that r goes by; nil: none.
func (c *Client) proxyFor(r *Request) *Proxy {
	if r.NoProxy {
		return nil
	}
	return c.cfg.Proxy
}

// hostOf is whose connections r may use.
func (c *Client) hostOf(r *Request) host {
	return host{r.Tenant, r.URL.Scheme, r.URL.Host, r.TLS.id(), c.proxyFor(r) != nil}
}

// endOf is when the exchange must have ended; zero: never.
func endOf(ctx context.Context, r *Request, now time.Time) time.Time {
	at, ok := ctx.Deadline()
	if r.Timeout > 0 && (!ok || now.Add(r.Timeout).Before(at)) {
		return now.Add(r.Timeout)
	}
	return at
}

// exchange sends and reads on conn, and gives conn back or closes it.
func (c *Client) exchange(ctx context.Context, x *exchange, conn *conn, r *Request) (*Response, error) {
	if !conn.heed(ctx) {
		conn.drop()
		return nil, errUnsent
	}
	answer, err := x.run(conn, r, &c.cfg)
	if living := conn.rest(); err == nil && living && x.again {
		c.idle.put(conn, x.patience)
	} else {
		conn.drop()
	}
	return answer, err
}

// connect returns an idle connection, as far as it can tell one that is still open, or a new one.
func (c *Client) connect(ctx context.Context, r *Request, now, deadline time.Time) (*conn, error) {
	for {
		conn := c.idle.take(c.hostOf(r), now)
		if conn == nil {
			return c.open(ctx, r, deadline)
		}
		if conn.SetDeadline(deadline) == nil && (conn.talk != nil || conn.open()) { // talk looks by itself
			return conn, nil
		}
		conn.drop()
	}
}

// open dials, within the deadline of the exchange.
func (c *Client) open(ctx context.Context, r *Request, deadline time.Time) (*conn, error) {
	if !deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, deadline, errDeadline)
		defer cancel()
	}
	nc, raw, err := c.dial.to(ctx, r, c.proxyFor(r))
	if err != nil {
		return nil, explain(ctx, err)
	}
	conn, err := newConn(nc, raw, c.hostOf(r))
	if err == nil {
		err = conn.SetDeadline(deadline)
	}
	if err != nil {
		nc.Close()
		return nil, explain(ctx, err)
	}
	return conn, nil
}
