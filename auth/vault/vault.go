// Package vault encrypts what is stored and must not be read off a disk: AES-256-GCM under keys that the fleet shares.
//
// It promises that what Seal returned opens again under any vault that has the key, that a changed byte or another place
// (the aad) does not open at all, and that which key is missing can be told without it. It does not promise to keep the
// keys, and it cannot tell an old sealed text from the newest.
package vault

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/hookfleet/hookfleet/auth/secret"
)

// version begins every sealed text: v1.<id of the key>.<base64url of nonce, ciphertext and tag>.
const version = "v1"

// maxKeys bounds the keys of a vault: two while keys are changed, and some that were forgotten.
const maxKeys = 16

// ErrBroken says that a sealed text is not what Seal returned for this place: it was changed, or moved. Open returns it.
var ErrBroken = errors.New("was changed, or is of another place")

// MissingKeyError says that a sealed text needs a key that the vault does not have. Open returns it.
type MissingKeyError struct{ ID string }

// Error implements error.
func (m *MissingKeyError) Error() string { return "needs the key " + m.ID + ", which is missing" }

// Vault seals with its first key and opens with all. It is immutable and safe for concurrent use.
type Vault struct {
	first *key
	byID  map[string]*key
}

// New returns a vault with these keys, each 32 bytes in base64 or hex. The error names every fault, and no key.
func New(keys []secret.Text) (*Vault, error) {
	if len(keys) == 0 || len(keys) > maxKeys {
		return nil, fmt.Errorf("%d keys, not 1 to %d", len(keys), maxKeys)
	}
	v := &Vault{byID: make(map[string]*key, len(keys))}
	var errs []error
	for i, text := range keys {
		k, err := parseKey(text)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("key %d %w", i+1, err))
			continue
		case v.byID[k.id] != nil:
			errs = append(errs, fmt.Errorf("key %d is there twice", i+1))
		}
		v.byID[k.id] = k
		if v.first == nil {
			v.first = k
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return v, nil
}

// KeyID names the key that Seal uses. It tells nothing about the key.
func (v *Vault) KeyID() string { return v.first.id }

// Seal encrypts text for one place, which aad names: it opens there and nowhere else. Texts of any number may be sealed
// with one key.
func (v *Vault) Seal(text []byte, aad string) string {
	sealed := make([]byte, nonceSize, nonceSize+len(text)+tagSize)
	_, _ = rand.Read(sealed) // never fails
	sealed = v.first.gcm(sealed).Seal(sealed, sealed[derivedSize:nonceSize], text, []byte(aad))
	return version + "." + v.first.id + "." + base64.RawURLEncoding.EncodeToString(sealed)
}

// Open returns the text that was sealed for the place. The error is a *MissingKeyError or ErrBroken.
func (v *Vault) Open(sealed, aad string) ([]byte, error) {
	id, text, ok := split(sealed)
	if !ok {
		return nil, ErrBroken
	}
	k := v.byID[id]
	if k == nil {
		return nil, &MissingKeyError{ID: id}
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) < nonceSize+tagSize {
		return nil, ErrBroken
	}
	plain, err := k.gcm(b).Open(nil, b[derivedSize:nonceSize], b[nonceSize:], []byte(aad))
	if err != nil {
		return nil, ErrBroken
	}
	return plain, nil
}

// Current reports whether sealed was sealed with the first key.
func (v *Vault) Current(sealed string) bool {
	id, _, ok := split(sealed)
	return ok && id == v.first.id
}

// KeyOf names the key that sealed was sealed with; "" when it is no sealed text.
func KeyOf(sealed string) string {
	id, _, _ := split(sealed)
	return id
}

// split takes a sealed text apart.
func split(sealed string) (id, text string, ok bool) {
	head, rest, _ := strings.Cut(sealed, ".")
	id, text, ok = strings.Cut(rest, ".")
	if !ok || head != version || len(id) != idDigits || strings.ContainsAny(text, "\r\n") { // the decoder would skip line ends
		return "", "", false
	}
	return id, text, true
}
