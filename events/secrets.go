package events

import (
	"bytes"
	"cmp"
	"encoding/json"
	"strings"
	"time"

	"github.com/hookfleet/hookfleet/auth/secret"
)

const maskPrefix = "••••"

// secretField is a secret of a subscription.
type secretField struct {
	pointer string // in the JSON of the subscription, and in the store
	text    *secret.Text
	of      string // the URL that it is for
	origin  string // of that URL: a change of it asks for the secret again
	kind    string // what it must stay to be kept: of a signature's, its scheme
	inner   bool   // it cannot be set: the API never shows nor takes it
	need    bool   // a stored subscription without it is not what was stored
	blank   bool   // an empty one is what was sent, and not one that was left out
	said    string // where its mask was sent; "" = at pointer

	make func() secret.Text // makes it up where there is none; nil = nobody does
}

// at is where faults of the secret are.
func (f *secretField) at() string { return cmp.Or(f.said, f.pointer) }

// secrets returns the secrets of s, those that it may have and has not included.
func (s *Subscription) secrets() []secretField {
	var all []secretField
	// Placeholders, which come after the origin, may be no part of a valid URL.
	plain, _, _ := strings.Cut(s.Sink, "${")
	sink := Origin(plain)
	add := func(pointer string, text *secret.Text, of, origin string) {
		all = append(all, secretField{pointer: pointer, text: text, of: of, origin: origin})
	}
	if sg := s.ProtocolSettings.Signing; sg != nil {
		all = append(all,
			secretField{
				pointer: "/protocolsettings/signing/secret", text: &sg.Secret, of: "sink", origin: sink, kind: sg.Scheme, need: true,
				make: sg.newSecret,
			},
			secretField{pointer: "/protocolsettings/signing/previous", text: &sg.Previous, inner: true})
	}
	if t := s.ProtocolSettings.TLS; t != nil && (t.ClientCert != "" || !t.ClientKey.IsZero()) {
		add("/protocolsettings/tls/clientkey", &t.ClientKey, "sink", sink)
	}
	if c := s.SinkCredential; c != nil {
		all = append(all, c.secrets("/sinkcredential", "sink", sink)...)
	}
	return all
}

// KeepSecrets gives s the secrets of old, the subscription that it replaces, wherever s has none or a mask. It is an
// *Invalid when that is not possible: there is none to keep where one is needed, or the origin that it goes to has
// changed, so that the secret must be sent again. old is nil for a new subscription.
func (s *Subscription) KeepSecrets(old *Subscription) error {
	var before []secretField
	if old != nil {
		before = old.secrets()
		s.SinkCredential.keepParameters(old.SinkCredential)
	}
	faults := keepSecrets(s.secrets(), before)
	if t := s.ProtocolSettings.TLS; t != nil && faults == nil {
		faults = t.wrongPair()
	}
	if faults != nil {
		return &Invalid{Status: statusInvalid, Code: codeInvalidSubscription, Faults: faults}
	}
	if sg := s.ProtocolSettings.Signing; sg != nil {
		var before *Signing
		if old != nil {
			before = old.ProtocolSettings.Signing
		}
		sg.keepPrevious(before, time.Now())
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

// keepSecrets gives those of fields that are absent or a mask their text of before, and returns the faults of those that
// cannot have it.
func keepSecrets(fields, before []secretField) (faults []Fault) {
	kept := make(map[string]secretField)
	for _, f := range before {
		if !f.text.IsZero() {
			kept[f.pointer] = f
		}
	}
	for _, f := range fields {
		masked := f.said != "" || isMask(f.text.Reveal())
		if f.inner || !masked && (f.blank || !f.text.IsZero()) {
			continue
		}
		from, ok := kept[f.pointer]
		same := ok && from.kind == f.kind
		switch {
		case masked && ok && !same && f.make != nil:
			faults = append(faults, Fault{f.at(), "is the mask of another scheme's; leave it out and one is made"})
		case masked && !same:
			faults = append(faults, Fault{f.at(), "is a mask, and there is no secret to keep"})
		case !same && f.need && f.make == nil:
			faults = append(faults, Fault{f.at(), "is required"})
		case !same:
		case from.origin != f.origin:
			faults = append(faults, Fault{f.at(), "must be sent again, because the origin of " + f.of + " has changed"})
		default:
			*f.text = *from.text
		}
	}
	return faults
}

// isMask reports whether text is what the API shows in a secret's place.
func isMask(text string) bool { return strings.HasPrefix(text, maskPrefix) }

// MakeSecrets makes up the secrets that s needs and has none of, and reports whether it made any. It follows
// KeepSecrets.
func (s *Subscription) MakeSecrets() (made bool) {
	for _, f := range s.secrets() {
		if f.make != nil && f.text.IsZero() {
			*f.text, made = f.make(), true
		}
	}
	return made
}

// Clone returns a copy of s that shares nothing that changes.
func (s *Subscription) Clone() *Subscription {
	c := *s
	c.ProtocolSettings = s.ProtocolSettings.clone()
	c.SinkCredential = s.SinkCredential.clone()
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
