// Package sign signs requests: by Standard Webhooks (v1: HMAC-SHA256, and v1a: ed25519, both over id.timestamp.body), or by an HMAC over the
// body in a header of the receiver's choice. It checks signatures of both versions.
//
// It promises that what it signs is what the receivers' published libraries verify, that any number of goroutines can sign with one key, and
// that every comparison takes the same time. It does not promise freshness: the caller gives the time of the attempt.
package sign

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"hash"
	"strconv"
	"strings"
	"sync"

	"github.com/hookfleet/hookfleet/auth/secret"
)

const (
	prefix = "whsec_" // of a secret's printed form
	scheme = "v1,"    // of a signature

	// The specification's bounds of a secret, and what NewSecret makes.
	minSecret = 24
	maxSecret = 64
	newSecret = 32
)

// ErrSecret is returned by Parse for a text that is no secret. It does not repeat the text.
var ErrSecret = errors.New("secret: must be whsec_ and the base64 of 24 to 64 bytes")

// Key signs with one secret. It is safe for concurrent use.
type Key struct {
	secret []byte
	macs   sync.Pool // *mac: keying an HMAC costs as much as hashing 128 bytes, and six allocations
}

// mac is a keyed HMAC and room for what goes in and comes out, so that nothing escapes per call.
type mac struct {
	hash.Hash
	head []byte
	sum  [sha256.Size]byte
}

// NewSecret returns a new random secret in its printed form, whsec_….
func NewSecret() secret.Text {
	var b [newSecret]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the program instead
	return secret.New(prefix + base64.StdEncoding.EncodeToString(b[:]))
}

// Parse returns the key of a secret in its printed form: whsec_ and the standard base64 of 24 to 64 bytes. Keep the Key: it is there to be used again.
func Parse(text secret.Text) (*Key, error) {
	printed, ok := strings.CutPrefix(text.Reveal(), prefix)
	b, err := base64.StdEncoding.Strict().DecodeString(printed)
	if !ok || err != nil || len(b) < minSecret || len(b) > maxSecret || strings.ContainsAny(printed, "\r\n") {
		return nil, ErrSecret
	}
	k := &Key{secret: b}
	k.macs.New = func() any { return &mac{Hash: hmac.New(sha256.New, k.secret)} }
	return k, nil
}

// Sign appends "v1,<base64>", one value of webhook-signature, to dst and returns it. id is the webhook-id and must have no dot: with one, two
// messages could have the same signature, so it panics. unixSeconds is the time of this attempt, and body the bytes as they are sent.
func (k *Key) Sign(dst []byte, id string, unixSeconds int64, body []byte) []byte {
	checkID(id)
	m := k.macs.Get().(*mac)
	m.head = append(append(m.head[:0], id...), '.')
	m.head = append(strconv.AppendInt(m.head, unixSeconds, 10), '.')
	dst = append(dst, scheme...)
	dst = base64.StdEncoding.AppendEncode(dst, m.of(body))
	k.macs.Put(m)
	return dst
}

// append implements signer.
func (k *Key) append(dst []byte, id string, unixSeconds int64, body []byte) []byte {
	return k.Sign(dst, id, unixSeconds, body)
}

// checkID panics for an id with which two messages could have the same signature.
func checkID(id string) {
	if strings.IndexByte(id, '.') >= 0 {
		panic("sign: webhook-id with a dot")
	}
}

// of returns the MAC over m.head and body; it is valid until the next call.
func (m *mac) of(body []byte) []byte {
	m.Reset()
	m.Write(m.head)
	m.Write(body)
	return m.Sum(m.sum[:0])
}
