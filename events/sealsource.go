package events

import (
	"encoding/json"
	"fmt"
)

// sealedSource is a source as our own store keeps it.
type sealedSource struct {
	Source *StatusSource `json:"source"` // without secrets
	sealedSecrets
	Note json.RawMessage `json:"note,omitempty"`
}

// SealSource returns the JSON of s with its secrets, and of note, to be stored; see Seal.
func SealSource(s *StatusSource, note any, sealer Sealer) (text []byte, err error) {
	st := sealedSource{Source: s.Clone()}
	if st.Note, err = json.Marshal(note); err != nil {
		return nil, fmt.Errorf("seal note: %w", err)
	}
	st.take(st.Source.secrets(), s.owner(), sealer)
	if text, err = encodeJSON(st); err != nil {
		return nil, fmt.Errorf("seal source: %w", err)
	}
	return text, nil
}

// owner names s in the places that its secrets are sealed for.
func (s *StatusSource) owner() string { return "source/" + s.Tenant + "/" + s.ID }

// OpenSource returns what SealSource wrote. As for Open, a secret that does not open is no error; see Locked and Stale.
func (o *Opener) OpenSource(text []byte) (s *StatusSource, note json.RawMessage, err error) {
	var st sealedSource
	if err := json.Unmarshal(text, &st); err != nil {
		return nil, nil, fmt.Errorf("decode source: %w", err)
	}
	s = st.Source
	if s == nil || !IsID(s.ID) || !IsID(s.Tenant) || s.URL == "" || s.Every < Duration(MinEvery) || s.Concurrency < 1 {
		return nil, nil, errSealed
	}
	o.locked, o.stale = nil, false
	return s, st.Note, o.fill(s.secrets(), s.owner(), st.Secrets, st.Sealed)
}
