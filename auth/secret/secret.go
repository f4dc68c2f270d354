// Package secret holds the type of everything that must not be printed.
//
// It promises that no formatting verb, JSON encoder or logger shows a secret's text; only Reveal does.
// It does not promise that the text is absent from memory.
package secret

import (
	"encoding/json"
	"fmt"
)

// redacted is what every printer sees.
const redacted = "[redacted]"

// maskTail is from which length on the mask shows the last four characters (API.md 3.3).
const maskTail = 16

// Text is a secret. The zero value is "no secret".
type Text struct{ text string }

// New wraps text.
func New(text string) Text { return Text{text} }

// Reveal returns the text itself, for the one place that sends or signs with it.
func (t Text) Reveal() string { return t.text }

// IsZero reports whether there is no secret.
func (t Text) IsZero() bool { return t.text == "" }

// Mask is what the API answers in the secret's place: "••••", with the last four characters from 16 up.
func (t Text) Mask() string {
	switch {
	case t.text == "":
		return ""
	case len(t.text) >= maskTail:
		return "••••" + t.text[len(t.text)-4:]
	default:
		return "••••"
	}
}

// String implements fmt.Stringer and never reveals.
func (t Text) String() string {
	if t.text == "" {
		return ""
	}
	return redacted
}

// GoString implements fmt.GoStringer and never reveals.
func (t Text) GoString() string { return `secret.Text("` + t.String() + `")` }

// Format implements fmt.Formatter, so that %x, %q and %d do not reveal either.
func (t Text) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(t.String())) }

// MarshalJSON encodes the mask, never the text.
func (t Text) MarshalJSON() ([]byte, error) { return json.Marshal(t.Mask()) }

// UnmarshalJSON takes a JSON string as the text.
func (t *Text) UnmarshalJSON(b []byte) error {
	if err := json.Unmarshal(b, &t.text); err != nil {
		return fmt.Errorf("secret: not a string")
	}
	return nil
}
