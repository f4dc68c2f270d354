package events

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/hookfleet/hookfleet/auth/secret"
)

const (
	secretPrefix = "whsec_"
	secretBytes  = 32 // of secrets that are made up; 24 to 64 are taken (SW-5)
	maskPrefix   = "••••"
)

// secretField is a secret of a subscription that can be set.
type secretField struct {
	pointer string // in the JSON of the subscription, and in the store
	text    *secret.Text
	of      string // the URL that it is for
	origin  string // of that URL: a change of it asks for the secret again
	made    bool   // it is made up where there is none
	need    bool   // a stored subscription without it is not what was stored
	kind    string // a secret of one kind is never kept for another
	said    string // where its mask was sent; "" = at pointer
}

// at is where faults of the secret are.
func (f *secretField) at() string { return cmp.Or(f.said, f.pointer) }

// secrets returns the secrets of s that can be set.
func (s *Subscription) secrets() []secretField {
	var all []secretField
	// Placeholders, which come after the origin, may be no part of a valid URL.
	plain, _, _ := strings.Cut(s.Sink, "${")
	sink := Origin(plain)
	add := func(pointer string, text *secret.Text, of, origin string) {
		all = append(all, secretField{pointer: pointer, text: text, of: of, origin: origin})
	}
	if sg := s.ProtocolSettings.Signing; sg != nil {
		all = append(all, secretField{
			pointer: "/protocolsettings/signing/secret", text: &sg.Secret, of: "sink", origin: sink, made: true, need: true,
		})
	}
	if t := s.ProtocolSettings.TLS; t != nil {
		add("/protocolsettings/tls/clientkey", &t.ClientKey, "sink", sink)
	}
	if c := s.SinkCredential; c != nil {
		all = append(all, c.secrets(sink)...)
	}
	return all
}

// KeepSecrets gives s the secrets of old, the subscription that it replaces, wherever s has none or a mask. It is an
// *Invalid when that is not possible: there is none to keep where one is needed, or the origin that it goes to has
// changed, so that the secret must be sent again. old is nil for a new subscription.
func (s *Subscription) KeepSecrets(old *Subscription) error {
	kept := make(map[string]secretField)
	if old != nil {
		for _, f := range old.secrets() {
			if !f.text.IsZero() {
				kept[f.pointer] = f
			}
		}
	}
	var faults []Fault
	for _, f := range s.secrets() {
		masked := f.said != "" || isMask(f.text.Reveal())
		if !masked && !f.text.IsZero() {
			continue
		}
		from, ok := kept[f.pointer]
		ok = ok && from.kind == f.kind
		switch {
		case !ok && masked:
			faults = append(faults, Fault{f.at(), "is a mask, and there is no secret to keep"})
		case !ok && f.need && !f.made:
			faults = append(faults, Fault{f.at(), "is required"})
		case !ok:
		case from.origin != f.origin:
			faults = append(faults, Fault{f.at(), "must be sent again, because the origin of " + f.of + " has changed"})
		default:
			*f.text = *from.text
		}
	}
	if faults != nil {
		return &Invalid{Status: statusInvalid, Code: codeInvalidSubscription, Faults: faults}
	}
	if c := s.SinkCredential; c != nil {
		var from *Credential
		if old != nil {
			from = old.SinkCredential
		}
		c.adopt(cmp.Or(from, c))
	}
	return nil
}

// isMask reports whether text is what the API shows in a secret's place.
func isMask(text string) bool { return strings.HasPrefix(text, maskPrefix) }

// MakeSecrets makes up the secrets that s needs and has none of, and reports whether it made any. It follows
// KeepSecrets.
func (s *Subscription) MakeSecrets() (made bool) {
	for _, f := range s.secrets() {
		if f.made && f.text.IsZero() {
			*f.text, made = newSigningSecret(), true
		}
	}
	return made
}

func newSigningSecret() secret.Text {
	key := make([]byte, secretBytes)
	_, _ = rand.Read(key) // never fails
	return secret.New(secretPrefix + base64.StdEncoding.EncodeToString(key))
}

// Clone returns a copy of s that shares nothing that changes.
func (s *Subscription) Clone() *Subscription {
	c := *s
	c.ProtocolSettings = s.ProtocolSettings.clone()
	if s.SinkCredential != nil {
		c.SinkCredential = new(*s.SinkCredential)
	}
	return &c
}

// clone returns a copy of p that shares nothing that holds secrets.
func (p ProtocolSettings) clone() ProtocolSettings {
	if p.Signing != nil {
		p.Signing = new(*p.Signing)
	}
	if p.TLS != nil {
		p.TLS = new(*p.TLS)
	}
	return p
}

// encodeJSON is json.Marshal without its escapes of <, > and &.
func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
