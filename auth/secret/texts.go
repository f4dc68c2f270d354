package secret

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"
)

// Texts are secrets by name: in JSON an object whose values are masks. Nil and empty are none.
type Texts []Named

// Named is one of Texts.
type Named struct {
	Name string
	Text Text
}

// Clone returns a copy that shares nothing.
func (t Texts) Clone() Texts { return slices.Clone(t) }

// Has reports whether there is a secret of this name.
func (t Texts) Has(name string) bool {
	return slices.ContainsFunc(t, func(n Named) bool { return n.Name == name })
}

// MarshalJSON encodes an object of masks, never of the texts.
func (t Texts) MarshalJSON() ([]byte, error) {
	all := make(map[string]Text, len(t))
	for _, n := range t {
		all[n.Name] = n.Text
	}
	return json.Marshal(all)
}

// UnmarshalJSON takes an object of strings as the texts, and sorts them by name.
func (t *Texts) UnmarshalJSON(b []byte) error {
	var all map[string]Text
	if err := json.Unmarshal(b, &all); err != nil {
		return errors.New("secrets: not an object of strings")
	}
	*t = nil
	for name, text := range all {
		*t = append(*t, Named{name, text})
	}
	slices.SortFunc(*t, func(a, b Named) int { return cmp.Compare(a.Name, b.Name) })
	return nil
}
