package events

import (
	"bytes"
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

// pointerSigningSecret is where the secret is in the JSON of a subscription.
const pointerSigningSecret = "/protocolsettings/signing/secret"

// secrets returns the secrets of s that can be set, by JSON pointer.
func (s *Subscription) secrets() map[string]*secret.Text {
	if s.ProtocolSettings.Signing == nil {
		return nil
	}
	return map[string]*secret.Text{pointerSigningSecret: &s.ProtocolSettings.Signing.Secret}
}

// KeepSecrets gives s the secrets of old, the subscription that it replaces, wherever s has none or a mask. It is an
// *Invalid when that is not possible: there is none to keep for a mask, or the origin of the sink has changed, so that
// the secret must be sent again. old is nil for a new subscription.
func (s *Subscription) KeepSecrets(old *Subscription) error {
	var kept map[string]*secret.Text
	if old != nil {
		kept = old.secrets()
	}
	var faults []Fault
	for pointer, text := range s.secrets() {
		masked := isMask(text.Reveal())
		if !masked && !text.IsZero() {
			continue
		}
		switch from := kept[pointer]; {
		case from == nil && masked:
			faults = append(faults, Fault{pointer, "is a mask, and there is no secret to keep"})
		case from == nil:
		case Origin(old.Sink) != Origin(s.Sink):
			faults = append(faults, Fault{pointer, "must be sent again, because the origin of sink has changed"})
		default:
			*text = *from
		}
	}
	if faults != nil {
		return &Invalid{Status: statusInvalid, Code: codeInvalidSubscription, Faults: faults}
	}
	return nil
}

// isMask reports whether text is what the API shows in a secret's place.
func isMask(text string) bool { return strings.HasPrefix(text, maskPrefix) }

// MakeSecrets makes up the secrets that s needs and has none of, and reports whether it made any. It follows
// KeepSecrets.
func (s *Subscription) MakeSecrets() (made bool) {
	for _, text := range s.secrets() {
		if text.IsZero() {
			*text, made = newSigningSecret(), true
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
	if s.ProtocolSettings.Signing != nil {
		c.ProtocolSettings.Signing = new(*s.ProtocolSettings.Signing)
	}
	return &c
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
