package api

import (
	"net/http"
	"time"

	"github.com/hookfleet/hookfleet/auth/sign"
	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
)

// maxRotationBody fits the longest secret, each of its characters escaped.
const maxRotationBody = 32 << 10

const rotateText = "The secret before signs as well until the overlap is over, so that the receiver can change over in between: webhook-signature then " +
	"has two values, the new secret's first. With scheme hmac, whose header receivers compare as a whole, the header has the new secret's signature " +
	"alone, and the one before signs in a second header, the same name with -previous behind. Deliveries that wait are signed when they are sent. " +
	"A rotation within an overlap ends the overlap; one to the secret that is there already changes nothing. A PUT with another secret takes the " +
	"place of both at once."

// signingView is how requests are signed, in an answer. PublicKey is what receivers of scheme ed25519 check with.
type signingView struct {
	*events.Signing
	Secret        string `json:"secret" doc:"masked, but in the answer that made it up"`
	PublicKey     string `json:"publickey,omitempty" doc:"of ed25519: whpk_ and base64, for the receiver" access:"readonly"`
	PreviousUntil Time   `json:"previousuntil,omitzero" doc:"until when the secret before the last rotation signs as well" access:"readonly"`
}

func viewSigning(sg *events.Signing, shown bool, now time.Time) *signingView {
	v := &signingView{Signing: sg, Secret: sg.Secret.Mask()}
	if shown {
		v.Secret = sg.Secret.Reveal()
	}
	if sg.Scheme == events.SchemeEd25519 {
		v.PublicKey, _ = sign.PublicKey(sg.Secret) // what is stored was checked; without it there is none to show
	}
	if now.Before(sg.PreviousUntil) {
		v.PreviousUntil = Time(sg.PreviousUntil)
	}
	return v
}

func (a *API) rotateSecret(c *call) error {
	if _, err := c.objectID(); err != nil {
		return err
	}
	text, err := c.body()
	if err != nil {
		return err
	}
	rotation, err := events.DecodeRotation(text)
	if err != nil {
		return err
	}
	old, revision, err := a.replaced(c)
	switch {
	case err != nil:
		return err
	case old == nil:
		return registry.ErrNotFound
	}
	e, err := a.deps.Registry.Rotate(c.r.Context(), c.id, rotation, revision)
	if err != nil {
		return err
	}
	return a.answerEntry(c, http.StatusOK, e)
}
