package credential

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/hookfleet/hookfleet/auth/egress"
	"github.com/hookfleet/hookfleet/auth/secret"
)

const authorization = "Authorization"

// mask stands where a secret was.
const mask = "••••"

// minRedacted is from which length on a secret is looked for in what a sink answers: shorter ones are in every text.
const minRedacted = 6

// Credential is one that is ready to be put onto requests. It is immutable but for its token, and safe for concurrent
// use. nil is none.
type Credential struct {
	header string
	values []string // of header; shared by all requests
	query  string   // name=value, escaped
	shown  string   // query as it may be shown
	hidden []string // what must not be shown
	source *Source
}

// New prepares a credential. deps are for those of a token server; their zero value does for all others.
func New(spec *Spec, deps Deps) (*Credential, error) {
	c := &Credential{}
	switch spec.Type {
	case typeNone:
		return nil, nil
	case typeAPIKey:
		c.key(spec)
	case typePlain:
		basic := basicAuth(spec.Identifier, spec.Secret.Reveal())
		c.setHeader(authorization, "Basic "+basic)
		c.hidden = []string{spec.Secret.Reveal(), basic}
	case typeBearer, typeAccessToken:
		c.setHeader(authorization, bearer(spec.AccessToken.Reveal()))
		c.hidden = []string{spec.AccessToken.Reveal()}
	case typeTokenServer:
		source, err := newSource(spec, deps)
		if err != nil {
			return nil, err
		}
		c.source = source
	default:
		return nil, fmt.Errorf("credential of type %q", spec.Type)
	}
	return c, nil
}

func (c *Credential) key(spec *Spec) {
	value := spec.Value.Reveal()
	c.hidden = []string{value}
	if spec.In != inQuery {
		c.setHeader(spec.Name, value)
		return
	}
	name, escaped := escape(spec.Name), escape(value)
	c.query, c.shown = name+"="+escaped, name+"=****"
	if escaped != value {
		c.hidden = append(c.hidden, escaped)
	}
}

func (c *Credential) setHeader(name, value string) {
	c.header, c.values = http.CanonicalHeaderKey(name), []string{value}
}

func bearer(token string) string { return "Bearer " + token }

func basicAuth(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
}

// escape percent-encodes all but unreserved characters.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// Source is where the credential's tokens come from; nil when it has none to fetch.
func (c *Credential) Source() *Source {
	if c == nil {
		return nil
	}
	return c.source
}

// Apply puts the credential onto r, and t if its tokens are fetched. r's header is changed, its URL replaced.
func (c *Credential) Apply(r *egress.Request, t *Token) {
	switch {
	case c == nil:
	case t != nil:
		r.Header[authorization] = t.values
	case c.header != "":
		r.Header[c.header] = c.values
	case c.query != "":
		u := *r.URL
		u.RawQuery = join(u.RawQuery, c.query)
		r.URL = &u
		if strings.HasPrefix(c.query, "access_token=") {
			r.Header["Cache-Control"] = noStore // RFC 6750, 2.3: no cache on the way keeps such a URL
		}
	}
}

var noStore = []string{"no-store"}

func join(query, more string) string {
	if query == "" {
		return more
	}
	return query + "&" + more
}

// Shown is the URL of a request that the credential was put onto, as it may be shown; plain is the URL before that, as
// it may be shown.
func (c *Credential) Shown(plain string) string {
	switch {
	case c == nil || c.query == "":
		return plain
	case strings.Contains(plain, "?"):
		return plain + "&" + c.shown
	default:
		return plain + "?" + c.shown
	}
}

// Redact masks the credential in what a sink answered: some repeat what they got.
func (c *Credential) Redact(text string, t *Token) string {
	if c == nil || text == "" {
		return text
	}
	if t != nil {
		return redact(text, t.text)
	}
	for _, secret := range c.hidden {
		text = redact(text, secret)
	}
	return text
}

func redact(text, secret string) string {
	if len(secret) < minRedacted || !strings.Contains(text, secret) {
		return text
	}
	return strings.ReplaceAll(text, secret, mask)
}

// clientAuth is how a client shows itself to a token server in a header (RFC 6749, 2.3.1): both are form-encoded first.
func clientAuth(id string, key secret.Text) string {
	return "Basic " + basicAuth(url.QueryEscape(id), url.QueryEscape(key.Reveal()))
}
