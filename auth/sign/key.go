// Package sign makes and checks Standard Webhooks signatures.
package sign

import (
	"errors"
	"net/http"
	"time"

	"github.com/hookfleet/hookfleet/auth/secret"
)

// Key signs with one secret. It is safe for concurrent use.
type Key struct{}

// NewSecret returns a new random secret in its printed form, whsec_….
func NewSecret() secret.Text { return secret.New("") }

// Parse returns the key of a secret in its printed form: whsec_ and the standard base64 of 24 to 64 bytes.
func Parse(text secret.Text) (*Key, error) { return nil, errors.New("sign: not built yet") }

// Sign appends "v1,<base64>", the value for webhook-signature, to dst. id must have no dot. unixSeconds is the time of this attempt.
func (k *Key) Sign(dst []byte, id string, unixSeconds int64, body []byte) []byte { return dst }

// Verify reports whether one of the signatures in h (webhook-id, webhook-timestamp, webhook-signature) is of k, and the timestamp within Tolerance of now.
func (k *Key) Verify(h http.Header, body []byte, now time.Time) error { return nil }

// Tolerance is how far the timestamp of a message may be from the receiver's clock, both ways.
const Tolerance = 5 * time.Minute
