package events

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Opener reads what Seal wrote. It remembers the settings that it has read, because a hundred thousand subscriptions
// have few different ones, and does without reflection: a hundred thousand are read in half a second, where
// encoding/json takes two. (Each secret that is encrypted takes a microsecond more.) It is not safe for concurrent use.
// The zero value is ready.
type Opener struct {
	Sealer Sealer // nil: what is encrypted stays locked

	settings map[string]ProtocolSettings
	configs  map[string]*DeliveryConfig
	types    map[string][]string
	names    map[string]string
	locked   *LockedError
	stale    bool
}

// Bounds of each map of an Opener. When it is full it begins anew; what is longer is likely to be the only one of its
// kind, such as a certificate.
const (
	maxRemembered     = 1024
	maxRememberedText = 2048
)

var errSealed = errors.New("not what was stored")

// Locked says why the subscription that Open returned last has not all of its secrets: one does not open. nil = it has.
func (o *Opener) Locked() *LockedError { return o.locked }

// Stale reports whether a secret of that subscription is stored otherwise than Seal would store it now.
func (o *Opener) Stale() bool { return o.stale }

// Open returns the subscription with its secrets in place, nil if there is none, and the note. It does not validate:
// what is stored was checked when it came in. But it refuses what lacks an id, a sink, settings or a secret, because
// that is not what was stored. A secret that does not open is no error here: see Locked.
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
	var plain, encrypted rawJSON
	o.locked, o.stale = nil, false
	for name, value := range root.members() {
		switch string(name) {
		case "subscription":
			if s, err = o.subscription(value); err != nil {
				return nil, nil, err
			}
		case "secrets":
			plain = value
		case "sealed":
			encrypted = value
		case "note":
			note = json.RawMessage(value)
		}
	}
	if s != nil {
		err = o.unseal(s, plain, encrypted)
	}
	return s, note, err
}

func (o *Opener) subscription(raw rawJSON) (*Subscription, error) {
	if raw.kind() != jsonObject {
		return nil, errSealed
	}
	s := new(Subscription)
	var settings, credential, config rawJSON
	r := sealedReader{names: &o.names}
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
			s.Types = r.types(value, &o.types)
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
	if s.Config == nil {
		return errSealed
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
	if len(text) > maxRememberedText {
		return v, nil
	}
	if *known == nil || len(*known) >= maxRemembered {
		*known = make(map[string]T)
	}
	(*known)[string(text)] = v
	return v, nil
}

// sealedReader reads values; err is set when one is of another kind than what was stored.
type sealedReader struct {
	names *map[string]string // of attributes, in one copy
	err   error
}

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

// types are texts, in one copy for all that say the same.
func (r *sealedReader) types(raw rawJSON, known *map[string][]string) (all []string) {
	if all, ok := (*known)[string(raw)]; ok || !r.is(jsonArray, raw) {
		return all
	}
	for value := range raw.items() {
		all = append(all, r.text(value))
	}
	if r.err == nil && len(raw) <= maxRememberedText {
		if *known == nil || len(*known) >= maxRemembered {
			*known = make(map[string][]string)
		}
		(*known)[string(raw)] = all
	}
	return all
}

// name is the name of an attribute.
func (r *sealedReader) name(raw []byte) string {
	if known, ok := (*r.names)[string(raw)]; ok {
		return known
	}
	if *r.names == nil || len(*r.names) >= maxRemembered {
		*r.names = make(map[string]string)
	}
	name := string(raw)
	(*r.names)[name] = name
	return name
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
		all = append(all, Condition{r.name(name), r.text(value)})
	}
	all.sort()
	return all
}
