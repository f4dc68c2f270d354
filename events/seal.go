package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hookfleet/hookfleet/auth/secret"
)

// Sealer encrypts the secrets of what is stored. place says where a secret is stored: it opens nowhere else.
type Sealer interface {
	Seal(text []byte, place string) (sealed string)
	Open(sealed, place string) (text []byte, err error)
	Current(sealed string) bool // whether Seal would use the key of sealed
}

// sealed is a subscription as our own store keeps it, with its secrets, and what the store notes beside it.
type sealed struct {
	Subscription *Subscription `json:"subscription,omitempty"` // without secrets
	sealedSecrets
	Note json.RawMessage `json:"note,omitempty"`
}

// sealedSecrets are secrets as our own store keeps them.
type sealedSecrets struct {
	Secrets map[string]string `json:"secrets,omitempty"` // by JSON pointer, as they are: of a store without keys
	Sealed  map[string]string `json:"sealed,omitempty"`  // by JSON pointer, encrypted
}

// Seal returns the JSON of s with its secrets, and of note, to be stored. json.Marshal of the subscription itself
// writes masks instead. s may be nil. Without a sealer the secrets are stored as they are.
func Seal(s *Subscription, note any, sealer Sealer) (text []byte, err error) {
	var st sealed
	if st.Note, err = json.Marshal(note); err != nil {
		return nil, fmt.Errorf("seal note: %w", err)
	}
	if s != nil {
		st.Subscription = s.Clone()
		st.take(st.Subscription.secrets(), s.owner(), sealer)
	}
	if text, err = encodeJSON(st); err != nil {
		return nil, fmt.Errorf("seal subscription: %w", err)
	}
	return text, nil
}

// take moves the texts of fields, which are of what owner names, into the store's form.
func (st *sealedSecrets) take(fields []secretField, owner string, sealer Sealer) {
	for _, f := range fields {
		if !f.text.IsZero() {
			st.add(f, owner, sealer)
			*f.text = secret.Text{}
		}
	}
}

func (st *sealedSecrets) add(f secretField, owner string, sealer Sealer) {
	into, text := &st.Secrets, f.text.Reveal()
	if sealer != nil {
		into, text = &st.Sealed, sealer.Seal([]byte(text), owner+f.pointer)
	}
	if *into == nil {
		*into = make(map[string]string)
	}
	(*into)[f.pointer] = text
}

// owner names s in the places that its secrets are sealed for. Neither a tenant nor an id has a slash.
func (s *Subscription) owner() string { return "subscription/" + s.Tenant + "/" + s.ID }

// unseal puts the secrets in place.
func (o *Opener) unseal(s *Subscription, plain, encrypted rawJSON) error {
	fields := s.secrets()
	if len(fields) == 0 {
		return nil
	}
	return o.fill(fields, s.owner(), byPointer(plain), byPointer(encrypted))
}

// fill puts the texts of fields in place, which are of what owner names.
func (o *Opener) fill(fields []secretField, owner string, asIs, closed map[string]string) error {
	for _, f := range fields {
		if text, ok := closed[f.pointer]; ok {
			o.open(f, text, owner+f.pointer)
		} else {
			// Parameters are in the record itself where an earlier release stored it.
			if text, ok := asIs[f.pointer]; ok || !f.blank {
				*f.text = secret.New(text)
			}
			o.stale = o.stale || !f.text.IsZero() && o.Sealer != nil
		}
		if f.need && f.text.IsZero() && o.locked == nil {
			return fmt.Errorf("what is stored has no secret at %s", f.pointer)
		}
	}
	return nil
}

// LockedError says which secrets of a stored subscription do not open, and why the first of them does not.
type LockedError struct {
	Pointers []string
	Err      error
}

// Error implements error.
func (l *LockedError) Error() string { return "secret " + l.Pointers[0] + " " + l.Err.Error() }

// Unwrap gives the Sealer's error.
func (l *LockedError) Unwrap() error { return l.Err }

var errNoKeys = errors.New("is encrypted, and there are no keys")

func (o *Opener) open(f secretField, sealed, place string) {
	text, err := []byte(nil), errNoKeys
	if o.Sealer != nil {
		text, err = o.Sealer.Open(sealed, place)
	}
	if err != nil {
		if o.locked == nil {
			o.locked = &LockedError{Err: err}
		}
		o.locked.Pointers = append(o.locked.Pointers, f.pointer)
		return
	}
	*f.text = secret.New(string(text))
	o.stale = o.stale || !o.Sealer.Current(sealed)
}

// byPointer reads an object of texts.
func byPointer(raw rawJSON) map[string]string {
	if raw == nil || raw.kind() != jsonObject {
		return nil
	}
	all := make(map[string]string)
	for pointer, value := range raw.members() {
		if value.kind() == jsonString {
			all[string(pointer)] = value.text()
		}
	}
	return all
}

// Unlocked reports, as an *Invalid, the secrets of s that must be sent because what is stored of them is locked. What can
// be sent is for some URL.
func (s *Subscription) Unlocked(locked *LockedError) error {
	if faults := locked.missing(s.secrets(), s.SinkCredential.omitted("/sinkcredential")); faults != nil {
		return &Invalid{Status: statusInvalid, Code: codeInvalidSubscription, Faults: faults}
	}
	return nil
}

// missing are the faults of fields that must be sent because what is stored of them is locked. omitted is where all that
// is stored would be kept; "" = nowhere.
func (l *LockedError) missing(fields []secretField, omitted string) (faults []Fault) {
	const again = "must be sent again, because the stored one cannot be opened"
	for _, f := range fields {
		if f.of != "" && slices.Contains(l.Pointers, f.pointer) && (f.text.IsZero() && !f.blank || isMask(f.text.Reveal())) {
			faults = append(faults, Fault{f.pointer, again})
		}
	}
	for _, pointer := range l.Pointers {
		if omitted != "" && strings.HasPrefix(pointer, omitted) {
			faults = append(faults, Fault{pointer, again})
		}
	}
	return faults
}
