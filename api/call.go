package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"

	"github.com/hookfleet/hookfleet/auth/keys"
	"github.com/hookfleet/hookfleet/events"
)

// call is one request to one route, authenticated and with its parameters checked.
type call struct {
	w     http.ResponseWriter
	r     *http.Request
	route *route
	key   *keys.Key // whose call it is; nil on a public route
	query query
	id    string // the wildcard of the path, as it came
}

// tenant returns the only tenant whose objects the caller may see; "" when it may see all.
func (c *call) tenant() string {
	if c.key.Role == keys.Partner {
		return c.key.Home()
	}
	return ""
}

// wants returns the tenant that a list is about: the one asked for, within what the caller may see. none is true when
// that is nothing.
func (c *call) wants() (tenant string, none bool) {
	asked, own := c.query.text("tenant"), c.tenant()
	switch {
	case own == "" || asked == own:
		return asked, false
	case asked == "":
		return own, false
	default:
		return "", true
	}
}

// hidden reports whether an object of this tenant is not there as far as the caller knows.
func (c *call) hidden(tenant string) bool {
	own := c.tenant()
	return own != "" && own != tenant
}

// objectID returns the id in the path, or the problem when it cannot be one.
func (c *call) objectID() (string, error) {
	if !events.IsID(c.id) {
		return "", problem(CodeBadID, "an id matches ^[a-z0-9][a-z0-9_-]{0,62}$")
	}
	return c.id, nil
}

// json answers with v.
func (c *call) json(status int, v any) error {
	b, err := marshal(v)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	c.raw(status, b)
	return nil
}

// marshal is json.Marshal without escaping <, > and &: answers are read as JSON, never as HTML (nosniff).
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return b.Bytes(), err
}

// raw answers with what is JSON already.
func (c *call) raw(status int, body []byte) {
	h := c.w.Header()
	h.Set("Content-Type", jsonType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	c.w.WriteHeader(status)
	_, _ = c.w.Write(body) // a client that went away is no fault of ours
}

// body reads the request's body within the route's bound.
func (c *call) body() ([]byte, error) {
	b, err := readBody(c.w, c.r, c.route.body.maxBytes)
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(b)) == 0 {
		if c.route.body.optional {
			return nil, nil
		}
		return nil, faulty(CodeInvalidJSON, events.Fault{Detail: "the body is empty"})
	}
	return b, checkMedia(c.r, c.route.body.media)
}

// noBody refuses a body where none is taken; an empty JSON object is let through, because many clients send one.
func (c *call) noBody() error {
	const enough = 64
	b, err := readBody(c.w, c.r, enough)
	if err != nil {
		return err
	}
	if b = bytes.TrimSpace(b); len(b) > 0 && string(b) != "{}" {
		return problem(CodeInvalidBody, "this takes no body")
	}
	return nil
}

func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, &http.MaxBytesError{Limit: limit}
	}
	if err := checkEncoding(r.Header); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		if _, tooLong := err.(*http.MaxBytesError); tooLong { //nolint:errorlint // MaxBytesReader returns it as it is
			return nil, err
		}
		return nil, problem(CodeInvalidBody, "the body could not be read: %v", err)
	}
	return b, nil
}

// remote is who the connection is from.
func remote(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap()
}
