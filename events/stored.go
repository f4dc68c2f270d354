package events

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
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

// Stored is a subscription with its secrets, as our own store keeps it in JSON. The JSON of the Subscription itself has
// masks in their place.
type Stored struct {
	Subscription *storedSubscription `json:"subscription,omitempty"`
	Secrets      map[string]string   `json:"secrets,omitempty"` // by JSON pointer
}

// storedSubscription keeps the settings that most subscriptions have alike as text, which Opener reads once.
type storedSubscription struct {
	*Subscription
	ProtocolSettings json.RawMessage `json:"protocolsettings"`
	Config           json.RawMessage `json:"config"`
}

// Seal returns s with its secrets, to be stored.
func Seal(s *Subscription) (Stored, error) {
	st := Stored{}
	open := s.Clone()
	for pointer, text := range open.secrets() {
		if st.Secrets == nil {
			st.Secrets = make(map[string]string)
		}
		st.Secrets[pointer] = text.Reveal()
		*text = secret.Text{}
	}
	settings, err := json.Marshal(open.ProtocolSettings)
	if err != nil {
		return st, fmt.Errorf("seal subscription: %w", err)
	}
	config, err := json.Marshal(open.Config)
	if err != nil {
		return st, fmt.Errorf("seal subscription: %w", err)
	}
	st.Subscription = &storedSubscription{open, settings, config}
	return st, nil
}

// Opener reads stored subscriptions. It remembers the settings that it has read, because a hundred thousand
// subscriptions have few different ones, and reading them is half of the work. It is not safe for concurrent use. The
// zero value is ready.
type Opener struct {
	settings map[string]ProtocolSettings
	configs  map[string]DeliveryConfig
}

// maxRemembered bounds each map of an Opener. When it is full it begins anew.
const maxRemembered = 1024

// Open returns the subscription with its secrets in place. It does not validate: what is stored was checked when it
// came in. But it refuses what lacks an id, a sink, settings or a secret, because that is not what was stored.
func (o *Opener) Open(st Stored) (*Subscription, error) {
	if st.Subscription == nil || st.Subscription.Subscription == nil {
		return nil, errors.New("stored subscription is empty")
	}
	s := st.Subscription.Subscription
	if !IsID(s.ID) || !IsID(s.Tenant) || s.Sink == "" {
		return nil, errors.New("stored subscription has no id, tenant or sink")
	}
	var err error
	if s.ProtocolSettings, err = remember(&o.settings, st.Subscription.ProtocolSettings); err != nil {
		return nil, fmt.Errorf("protocolsettings: %w", err)
	}
	if s.Config, err = remember(&o.configs, st.Subscription.Config); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	if s.Protocol == ProtocolHTTP {
		s.Protocol = ProtocolHTTP // one copy of the text for all
	}
	if s.Tenant == DefaultTenant {
		s.Tenant = DefaultTenant
	}
	if sg := s.ProtocolSettings.Signing; sg != nil {
		s.ProtocolSettings.Signing = new(*sg)
	}
	for pointer, text := range s.secrets() {
		kept := st.Secrets[pointer]
		if kept == "" {
			return nil, fmt.Errorf("stored subscription has no secret at %s", pointer)
		}
		*text = secret.New(kept)
	}
	return s, nil
}

// remember reads text, once.
func remember[T any](known *map[string]T, text []byte) (v T, err error) {
	if v, ok := (*known)[string(text)]; ok {
		return v, nil
	}
	if err := json.Unmarshal(text, &v); err != nil {
		return v, err
	}
	if *known == nil || len(*known) >= maxRemembered {
		*known = make(map[string]T)
	}
	(*known)[string(text)] = v
	return v, nil
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
