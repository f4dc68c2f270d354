package sign

import (
	"crypto/ed25519"
	"crypto/hmac"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hookfleet/hookfleet/auth/secret"
)

// Tolerance is how far the timestamp of a message may be from the receiver's clock, both ways, in Verify as in the published libraries.
const Tolerance = 5 * time.Minute

// The headers of a message.
const (
	HeaderID        = "Webhook-Id"
	HeaderTimestamp = "Webhook-Timestamp"
	HeaderSignature = "Webhook-Signature"
)

// What Verify returns.
var (
	ErrHeaders   = errors.New("webhook-id, webhook-timestamp or webhook-signature is missing or malformed")
	ErrTooOld    = errors.New("webhook-timestamp is too old")
	ErrTooNew    = errors.New("webhook-timestamp is in the future")
	ErrSignature = errors.New("no signature matches")
)

// Verifier checks signatures of one key.
type Verifier interface {
	// Verify returns nil when one of the signatures in h is of the key over this body, and the timestamp is within Tolerance of now. Signatures
	// of other schemes are passed over, as one message may carry several.
	Verify(h http.Header, body []byte, now time.Time) error
}

// ParseVerifier returns the verifier of what a receiver has: a secret, whsec_…, or a public key, whpk_….
func ParseVerifier(text secret.Text) (Verifier, error) {
	printed, ok := strings.CutPrefix(text.Reveal(), prefixPublic)
	if !ok {
		return Parse(text)
	}
	b, err := base64.StdEncoding.Strict().DecodeString(printed)
	if err != nil || len(b) != ed25519.PublicKeySize {
		return nil, ErrPublicKey
	}
	return publicKey(b), nil
}

// ErrPublicKey is returned for a text that begins as a public key and is none.
var ErrPublicKey = errors.New("public key: must be whpk_ and the base64 of 32 bytes")

// message is what the headers of a message say.
type message struct{ id, stamp, list string }

// readMessage reads the headers and checks the time.
func readMessage(h http.Header, now time.Time) (m message, err error) {
	m = message{h.Get(HeaderID), h.Get(HeaderTimestamp), h.Get(HeaderSignature)}
	seconds, err := strconv.ParseInt(m.stamp, 10, 64)
	if m.id == "" || m.list == "" || err != nil {
		return m, ErrHeaders
	}
	switch sent := time.Unix(seconds, 0); {
	case now.Sub(sent) > Tolerance:
		return m, fmt.Errorf("%w: %s", ErrTooOld, sent.UTC().Format(time.RFC3339))
	case sent.Sub(now) > Tolerance:
		return m, fmt.Errorf("%w: %s", ErrTooNew, sent.UTC().Format(time.RFC3339))
	}
	return m, nil
}

// appendHead appends what is signed before the body: the texts as they came, because 01 is not 1.
func (m *message) appendHead(b []byte) []byte { return append(b, m.id+"."+m.stamp+"."...) }

// find returns nil when good is true of one of the signatures of a scheme.
func (m *message) find(scheme string, good func(signature []byte) bool) error {
	for one := range strings.SplitSeq(m.list, " ") {
		text, ok := strings.CutPrefix(one, scheme)
		if !ok {
			continue
		}
		if got, err := base64.StdEncoding.DecodeString(text); err == nil && good(got) {
			return nil
		}
	}
	return ErrSignature
}

// Verify implements Verifier for v1.
func (k *Key) Verify(h http.Header, body []byte, now time.Time) error {
	msg, err := readMessage(h, now)
	if err != nil {
		return err
	}
	m := k.macs.Get().(*mac)
	defer k.macs.Put(m)
	m.head = msg.appendHead(m.head[:0])
	want := m.of(body)
	return msg.find(scheme, func(got []byte) bool { return hmac.Equal(got, want) })
}

// publicKey is that of a receiver of v1a.
type publicKey ed25519.PublicKey

// Verify implements Verifier for v1a.
func (k publicKey) Verify(h http.Header, body []byte, now time.Time) error {
	msg, err := readMessage(h, now)
	if err != nil {
		return err
	}
	text := append(msg.appendHead(nil), body...)
	return msg.find(schemeEd25519, func(got []byte) bool { return ed25519.Verify(ed25519.PublicKey(k), text, got) })
}
