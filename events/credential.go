package events

import (
	"time"

	"github.com/hookfleet/hookfleet/auth/secret"
)

// Types of credentials (API.md 3.3).
const (
	CredentialNone        = "NONE"
	CredentialAPIKey      = "APIKEY"
	CredentialPlain       = "PLAIN"
	CredentialBearer      = "BEARER"
	CredentialAccessToken = "ACCESSTOKEN"
	CredentialTokenServer = "TOKENSERVER"
)

// How a token server is asked.
const (
	GrantClientCredentials = "client_credentials"
	GrantPassword          = "password"
	GrantJSON              = "json"
)

// Where an API key goes, and how a client shows itself to a token server.
const (
	InHeader    = "header"
	InQuery     = "query"
	StyleHeader = "header"
	StyleParams = "params"
)

const (
	defaultKeyName       = "Authorization"
	defaultUsernameField = "username"
	defaultPasswordField = "password"
	defaultTokenPath     = "access_token"
	defaultExpiresPath   = "expires_in"
)

// Expired reports whether the credential has ended by now, so that nothing may be sent until there is a new one. It is
// false for none.
func (c *Credential) Expired(now time.Time) bool {
	return c != nil && !c.AccessTokenExpiresUTC.IsZero() && !now.Before(c.AccessTokenExpiresUTC)
}

// secrets returns the secrets that a credential of its type has, which is at this pointer, and go to the origin of the
// URL that is named so.
func (c *Credential) secrets(at, name, origin string) []secretField {
	field := func(member string, text *secret.Text) secretField {
		return secretField{pointer: at + member, text: text, of: name, origin: origin, need: true, kind: c.kind()}
	}
	switch c.Type {
	case CredentialAPIKey:
		f := field("/value", &c.Value)
		if !c.Secret.IsZero() { // the mask of the short form
			f.said = at + "/secret"
		}
		return []secretField{f}
	case CredentialPlain:
		return []secretField{field("/secret", &c.Secret)}
	case CredentialBearer, CredentialAccessToken:
		return []secretField{field("/accesstoken", &c.AccessToken)}
	case CredentialTokenServer:
		return c.serverSecrets(field)
	default:
		return nil
	}
}

// serverSecrets are those for a token server. What it gets must not go to another, nor the token that it answers to
// another sink.
func (c *Credential) serverSecrets(field func(string, *secret.Text) secretField) (all []secretField) {
	add := func(member string, text *secret.Text, need bool) {
		f := field(member, text)
		f.of, f.origin, f.need = f.of+" or tokenendpoint", f.origin+" "+Origin(c.TokenEndpoint), need
		all = append(all, f)
	}
	if c.ClientID != "" || !c.ClientSecret.IsZero() {
		add("/clientsecret", &c.ClientSecret, c.GrantType == GrantClientCredentials)
	}
	if c.GrantType != GrantClientCredentials {
		add("/password", &c.Password, true)
	}
	for i := range c.Parameters {
		p := &c.Parameters[i]
		add("/parameters/"+pointerEscapes.Replace(p.Name), &p.Text, false)
		all[len(all)-1].blank = true
	}
	return all
}

// keepParameters gives c those of old where it says nothing of parameters: as masks, for keepSecrets to replace.
func (c *Credential) keepParameters(old *Credential) {
	if c == nil || old == nil || c.Type != CredentialTokenServer || c.Parameters != nil || c.kind() != old.kind() {
		return
	}
	for _, p := range old.Parameters {
		if !p.Text.IsZero() {
			p.Text = secret.New(maskPrefix)
		}
		c.Parameters = append(c.Parameters, p)
	}
}

// omitted is where secrets are that c, which is at this pointer, says nothing of and would have if they were kept; ""
// = nowhere.
func (c *Credential) omitted(at string) string {
	if c == nil || c.Type != CredentialTokenServer || c.Parameters != nil {
		return ""
	}
	return at + "/parameters/"
}

// kind is what a credential must stay for its secrets to be kept.
func (c *Credential) kind() string { return c.Type + " " + c.GrantType }

// clone returns a copy of c that shares nothing that changes. It is nil for none.
func (c *Credential) clone() *Credential {
	if c == nil {
		return nil
	}
	c = new(*c)
	c.Parameters = c.Parameters.Clone()
	return c
}

// adopt completes c with what belongs to the secrets that it keeps of old: the short forms say user and password, or
// name and value, in one. It follows when all secrets are there.
func (c *Credential) adopt(old *Credential) {
	switch {
	case c.Type == CredentialAPIKey && c.Name == "":
		c.In, c.Name = old.In, old.Name
	case c.Type == CredentialPlain && c.Identifier == "":
		c.Identifier = old.Identifier
	}
	if c.Type == CredentialAPIKey {
		c.Secret = secret.Text{}
	}
}
