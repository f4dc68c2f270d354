package events

import (
	"errors"
	"time"

	"github.com/hookfleet/hookfleet/auth/secret"
)

// How long the secret before a rotation signs as well (API.md 3).
const (
	DefaultOverlap = Duration(24 * time.Hour)
	maxOverlap     = maxDelay
)

// ErrUnsigned refuses to rotate the secret of a subscription whose requests are not signed.
var ErrUnsigned = errors.New("the subscription is not signed")

// Rotation replaces the secret of a subscription's signatures.
type Rotation struct {
	Secret  secret.Text `json:"secret,omitzero"` // the next; zero = one is made up
	Overlap Duration    `json:"overlap"`         // how long the one before signs as well; 0 = not at all
}

// DecodeRotation reads a rotation from the JSON of the API, strictly. No text is one with the defaults. The error is an *Invalid, as of
// DecodeSubscription.
func DecodeRotation(text []byte) (*Rotation, error) {
	r := &Rotation{Overlap: DefaultOverlap}
	if len(text) == 0 {
		return r, nil
	}
	root, err := parseDocument(text)
	if err != nil {
		return nil, err
	}
	var d subscriptionReader
	d.object(root, "", map[string]reader{
		"secret":  d.secret(&r.Secret, nothingWrong), // Rotate knows the scheme
		"overlap": d.duration(&r.Overlap, 0, maxOverlap),
	})
	if isMask(r.Secret.Reveal()) {
		d.fault("/secret", "is a mask; leave it out and one is made")
	}
	if d.faults != nil {
		return nil, &Invalid{Status: statusInvalid, Code: codeInvalidSubscription, Faults: d.faults}
	}
	return r, nil
}

// Rotate gives s the next secret, made up when there is none; the one before signs as well until the overlap is over. Of two rotations within
// an overlap the first secret signs no longer. To rotate to the secret that is there already changes nothing, so that a rotation can be sent
// again. The error is ErrUnsigned, or an *Invalid for a secret that is none for the scheme.
func (s *Subscription) Rotate(r *Rotation, now time.Time) (made bool, err error) {
	sg := s.ProtocolSettings.Signing
	switch {
	case sg == nil:
		return false, ErrUnsigned
	case r.Secret == sg.Secret:
		return false, nil
	}
	next := r.Secret
	if made = next.IsZero(); made {
		next = sg.newSecret()
	} else if wrong := sg.wrongSecret(next.Reveal()); wrong != "" {
		return false, &Invalid{Status: statusInvalid, Code: codeInvalidSubscription, Faults: []Fault{{"/secret", wrong}}}
	}
	sg.Previous, sg.PreviousUntil = secret.Text{}, time.Time{}
	if r.Overlap > 0 {
		sg.Previous, sg.PreviousUntil = sg.Secret, now.UTC().Add(time.Duration(r.Overlap)).Truncate(time.Millisecond)
	}
	sg.Secret = next
	return made, nil
}

// keepPrevious keeps the secret before a rotation with the present one. A new secret takes its place at once.
func (sg *Signing) keepPrevious(old *Signing, now time.Time) {
	sg.Previous, sg.PreviousUntil = secret.Text{}, time.Time{}
	if old != nil && sg.Scheme == old.Scheme && sg.Secret == old.Secret && now.Before(old.PreviousUntil) {
		sg.Previous, sg.PreviousUntil = old.Previous, old.PreviousUntil
	}
}
