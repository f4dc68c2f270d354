package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// benchConn is one connection of a load, with one request at a time.
type benchConn interface {
	// post sends one request, and says when it did and when the answer had come whole, in Unix nanoseconds.
	post(b *benchBatch) (sent, answered int64, err error)
	close()
}

// rawConn is one HTTP connection to the sink, used as fast as net/http lets one: no client, no redirects, no copies, one request
// value for all requests. The body is of a type that net/http knows to be in memory, else it sends header and body in two
// writes.
type rawConn struct {
	transport *http.Transport
	req       *http.Request
	body      bytes.Reader
	stop      func() bool
}

func newRawConn(ctx context.Context, target *url.URL) *rawConn {
	c := &rawConn{}
	var mu sync.Mutex
	var open []net.Conn
	c.stop = context.AfterFunc(ctx, func() { // cheaper than a context for each request
		mu.Lock()
		defer mu.Unlock()
		for _, conn := range open {
			_ = conn.Close()
		}
	})
	dialer := &net.Dialer{Timeout: benchDial}
	c.transport = &http.Transport{
		MaxIdleConnsPerHost: 1, DisableCompression: true,
		DialContext: func(dial context.Context, network, addr string) (net.Conn, error) {
			conn, err := dialer.DialContext(dial, network, addr)
			if err == nil {
				mu.Lock()
				open = append(open, conn)
				mu.Unlock()
			}
			return conn, err
		},
	}
	c.req = &http.Request{
		Method: http.MethodPost, URL: target, Host: target.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{ // as the fleet's requests have them
			"User-Agent": {"hookfleet-bench"}, "Webhook-Id": {"msg_idofallrequestsoftherawloop"}, "Webhook-Timestamp": {"1772366400"},
			"Webhook-Signature": {"v1,c2lnbmF0dXJlIG9mIHRoZSByYXcgbG9vcCwgNDQgbG9uZw=="},
		},
		Body: io.NopCloser(&c.body),
	}
	return c
}

func (c *rawConn) close() {
	c.stop()
	c.transport.CloseIdleConnections()
}

// errRefused says that the same request will be refused again.
var errRefused = errors.New("refused")

// unaccepted is the error of an answer that is no 2xx.
func unaccepted(resp *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxShown))
	err = errors.Join(fmt.Errorf("%s: %s", resp.Status, text), err)
	if resp.StatusCode/100 == 4 && resp.StatusCode != http.StatusTooManyRequests {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	return err
}

// post implements benchConn.
func (c *rawConn) post(b *benchBatch) (sent, answered int64, err error) {
	c.body.Reset(b.body)
	c.req.ContentLength = int64(len(b.body))
	c.req.Header["Content-Type"] = []string{b.kind}
	sent = time.Now().UnixNano()
	resp, err := c.transport.RoundTrip(c.req)
	if err != nil {
		return 0, 0, fmt.Errorf("post to %s: %w", c.req.URL, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return 0, 0, fmt.Errorf("post to %s: %w", c.req.URL, unaccepted(resp))
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0, 0, fmt.Errorf("post to %s: %w", c.req.URL, err)
	}
	return sent, time.Now().UnixNano(), nil
}
