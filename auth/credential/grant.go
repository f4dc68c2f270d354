package credential

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hookfleet/hookfleet/auth/egress"
)

const (
	// fetchTimeout bounds one request to a token server, from connecting to the last byte.
	fetchTimeout = 10 * time.Second

	// maxAnswerBytes bounds its answer. Tokens are some hundred bytes to 4 KiB.
	maxAnswerBytes = 64 << 10
)

// request is what a token server is asked, each time anew.
func (s *Source) request() (*egress.Request, error) {
	r := &egress.Request{
		Method: http.MethodPost, URL: s.endpoint, Timeout: fetchTimeout, Tenant: s.deps.Tenant, Keep: maxAnswerBytes,
		Header: http.Header{"Accept": {"application/json"}},
	}
	if s.spec.GrantType != grantJSON {
		r.Header["Content-Type"] = []string{"application/x-www-form-urlencoded"}
		r.Body = []byte(s.form(r.Header).Encode())
		return r, nil
	}
	body, err := s.object()
	r.Header["Content-Type"] = []string{"application/json"}
	r.Body = body
	return r, err
}

// form is the body of the grants of OAuth 2.0. A client with a secret shows itself in the header, or in the form.
func (s *Source) form(h http.Header) url.Values {
	spec := s.spec
	form := url.Values{"grant_type": {spec.GrantType}}
	for _, p := range spec.Parameters {
		form.Set(p.Name, p.Text.Reveal())
	}
	if len(spec.Scopes) > 0 {
		form.Set("scope", strings.Join(spec.Scopes, " "))
	}
	if spec.GrantType == grantPassword {
		form.Set(spec.UsernameField, spec.Username)
		form.Set(spec.PasswordField, spec.Password.Reveal())
	}
	switch {
	case spec.ClientID == "":
	case spec.ClientSecret.IsZero():
		form.Set("client_id", spec.ClientID)
	case spec.AuthStyle == styleParams:
		form.Set("client_id", spec.ClientID)
		form.Set("client_secret", spec.ClientSecret.Reveal())
	default:
		h[authorization] = []string{clientAuth(spec.ClientID, spec.ClientSecret)}
	}
	return form
}

// object is the body of the json grant.
func (s *Source) object() ([]byte, error) {
	members := map[string]string{s.spec.UsernameField: s.spec.Username, s.spec.PasswordField: s.spec.Password.Reveal()}
	for _, p := range s.spec.Parameters {
		members[p.Name] = p.Text.Reveal()
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(members); err != nil {
		return nil, fmt.Errorf("encode token request: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), nil
}
