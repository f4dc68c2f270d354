package events

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/hookfleet/hookfleet/auth/secret"
)

// sealed is a subscription as our own store keeps it, with its secrets, and what the store notes beside it.
type sealed struct {
	Subscription *Subscription     `json:"subscription,omitempty"` // without secrets
	Secrets      map[string]string `json:"secrets,omitempty"`      // by JSON pointer
	Note         json.RawMessage   `json:"note,omitempty"`
}

// Seal returns the JSON of s with its secrets, and of note, to be stored. json.Marshal of the subscription itself
// writes masks instead. s may be nil.
func Seal(s *Subscription, note any) (text []byte, err error) {
	var st sealed
	if st.Note, err = json.Marshal(note); err != nil {
		return nil, fmt.Errorf("seal note: %w", err)
	}
	if s != nil {
		st.Subscription = s.Clone()
		for _, f := range st.Subscription.secrets() {
			if f.text.IsZero() {
				continue
			}
			if st.Secrets == nil {
				st.Secrets = make(map[string]string)
			}
			st.Secrets[f.pointer] = f.text.Reveal()
			*f.text = secret.Text{}
		}
	}
	if text, err = encodeJSON(st); err != nil {
		return nil, fmt.Errorf("seal subscription: %w", err)
	}
	return text, nil
}

// Opener reads what Seal wrote. It remembers the settings that it has read, because a hundred thousand subscriptions
// have few different ones, and does without reflection: a hundred thousand are read in half a second, where
// encoding/json takes two. It is not safe for concurrent use. The zero value is ready.
type Opener struct {
	settings map[string]ProtocolSettings
	configs  map[string]DeliveryConfig
}

// maxRemembered bounds each map of an Opener. When it is full it begins anew.
const maxRemembered = 1024

var errSealed = errors.New("not what was stored")

// Open returns the subscription with its secrets in place, nil if there is none, and the note. It does not validate:
// what is stored was checked when it came in. But it refuses what lacks an id, a sink, settings or a secret, because
// that is not what was stored.
func (o *Opener) Open(text []byte) (s *Subscription, note json.RawMessage, err error) {
	check := scanner{text: text}
	start := skipSpace(text, 0)
	end := check.value(start, 0)
	if end < 0 || check.end(end) < 0 {
		return nil, nil, errors.New("not JSON: " + check.problem())
	}
	root := rawJSON(text[start:end])
	if root.kind() != jsonObject {
		return nil, nil, errSealed
	}
	var secrets rawJSON
	for name, value := range root.members() {
		switch string(name) {
		case "subscription":
			if s, err = o.subscription(value); err != nil {
				return nil, nil, err
			}
		case "secrets":
			secrets = value
		case "note":
			note = json.RawMessage(value)
		}
	}
	if s != nil {
		err = s.unseal(secrets)
	}
	return s, note, err
}

// unseal puts the secrets in place.
func (s *Subscription) unseal(raw rawJSON) error {
	fields := s.secrets()
	if len(fields) == 0 {
		return nil
	}
	stored := make(map[string]string)
	if raw != nil && raw.kind() == jsonObject {
		for pointer, value := range raw.members() {
			if value.kind() == jsonString {
				stored[string(pointer)] = value.text()
			}
		}
	}
	for _, f := range fields {
		*f.text = secret.New(stored[f.pointer])
		if f.need && f.text.IsZero() {
			return fmt.Errorf("stored subscription has no secret at %s", f.pointer)
		}
	}
	return nil
}

func (o *Opener) subscription(raw rawJSON) (*Subscription, error) {
	if raw.kind() != jsonObject {
		return nil, errSealed
	}
	s := new(Subscription)
	var settings, credential, config rawJSON
	var r sealedReader
	for name, value := range raw.members() {
		switch string(name) {
		case "id":
			s.ID = r.text(value)
		case "tenant":
			s.Tenant = r.shared(value, DefaultTenant)
		case "description":
			s.Description = r.text(value)
		case "paused":
			s.Paused = value[0] == 't'
		case "source":
			s.Source = r.text(value)
		case "types":
			s.Types = r.texts(value)
		case "filters":
			s.Filters = r.filters(value)
		case "sink":
			s.Sink = r.text(value)
		case "sinkoverride":
			s.SinkOverride = r.text(value)
		case "sinkcredential":
			credential = value
		case "protocol":
			s.Protocol = r.shared(value, ProtocolHTTP)
		case "protocolsettings":
			settings = value
		case "config":
			config = value
		}
	}
	if r.err != nil || !IsID(s.ID) || !IsID(s.Tenant) || s.Sink == "" && s.SinkOverride == "" {
		return nil, errSealed
	}
	if credential != nil {
		s.SinkCredential = new(Credential)
		if err := json.Unmarshal(credential, s.SinkCredential); err != nil {
			return nil, fmt.Errorf("sinkcredential: %w", err)
		}
	}
	return s, o.shared(s, settings, config)
}

// shared reads the settings.
func (o *Opener) shared(s *Subscription, settings, config rawJSON) (err error) {
	if s.ProtocolSettings, err = remember(&o.settings, settings); err != nil {
		return fmt.Errorf("protocolsettings: %w", err)
	}
	if s.Config, err = remember(&o.configs, config); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	s.ProtocolSettings = s.ProtocolSettings.clone()
	return nil
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

// sealedReader reads values; err is set when one is of another kind than what was stored.
type sealedReader struct{ err error }

func (r *sealedReader) is(kind jsonKind, raw rawJSON) bool {
	if raw.kind() != kind {
		r.err = errSealed
	}
	return raw.kind() == kind
}

func (r *sealedReader) text(raw rawJSON) string {
	if !r.is(jsonString, raw) {
		return ""
	}
	return raw.text()
}

// shared is text, in one copy for all that say usual.
func (r *sealedReader) shared(raw rawJSON, usual string) string {
	if r.is(jsonString, raw) && string(raw.bytes()) == usual {
		return usual
	}
	return r.text(raw)
}

func (r *sealedReader) texts(raw rawJSON) (all []string) {
	if !r.is(jsonArray, raw) {
		return nil
	}
	for value := range raw.items() {
		all = append(all, r.text(value))
	}
	return all
}

func (r *sealedReader) filters(raw rawJSON) (all []Filter) {
	if !r.is(jsonArray, raw) {
		return nil
	}
	for value := range raw.items() {
		all = append(all, r.filter(value))
	}
	return all
}

func (r *sealedReader) filter(raw rawJSON) (f Filter) {
	if !r.is(jsonObject, raw) {
		return f
	}
	for name, value := range raw.members() {
		switch string(name) {
		case "exact":
			f.Exact = r.conditions(value)
		case "prefix":
			f.Prefix = r.conditions(value)
		case "suffix":
			f.Suffix = r.conditions(value)
		case "all":
			f.All = r.filters(value)
		case "any":
			f.Any = r.filters(value)
		case "not":
			f.Not = new(r.filter(value))
		case "sql":
			f.SQL = r.expression(value)
		case "cel":
			f.CEL = r.expression(value)
		case "match":
			f.Match = r.expression(value)
		default:
			// Of a later release. Without it the filter would hold for everything.
			r.err = errSealed
		}
	}
	return f
}

// expression reads one, which is never empty: then the filter would hold for everything.
func (r *sealedReader) expression(raw rawJSON) string {
	text := r.text(raw)
	if text == "" {
		r.err = errSealed
	}
	return text
}

func (r *sealedReader) conditions(raw rawJSON) (all Conditions) {
	if !r.is(jsonObject, raw) {
		return nil
	}
	for name, value := range raw.members() {
		all = append(all, Condition{string(name), r.text(value)})
	}
	all.sort()
	return all
}
