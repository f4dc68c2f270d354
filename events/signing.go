package events

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/hookfleet/hookfleet/auth/secret"
)

// The signature schemes (API.md 3).
const (
	SchemeStandardWebhooks = "standardwebhooks" // v1: HMAC-SHA256, its secret is whsec_ and base64
	SchemeEd25519          = "ed25519"          // v1a, its secret is whsk_ and base64
	SchemeHMAC             = "hmac"             // over the body, its secret is any text, whose bytes are the key
)

// What scheme hmac does when it is not told.
const (
	defaultSignatureHeader = "x-partner-signature"
	hashSHA256             = "sha256"
	encodingHex            = "hex"
)

const (
	secretPrefix  = "whsec_"
	privatePrefix = "whsk_"
	secretBytes   = 32   // of secrets that are made up; 24 to 64 are taken (SW-5)
	maxHMACSecret = 4096 // bytes; what is longer than a block is hashed first anyway
)

// schemes are all there are.
var schemes = []string{SchemeStandardWebhooks, SchemeEd25519, SchemeHMAC}

// setDefaults fills in what scheme hmac needs.
func (sg *Signing) setDefaults() {
	if sg.Scheme != SchemeHMAC {
		return
	}
	for member, usual := range map[*string]string{&sg.Header: defaultSignatureHeader, &sg.Hash: hashSHA256, &sg.Encoding: encodingHex} {
		if *member == "" {
			*member = usual
		}
	}
}

// newSecret makes up a secret for the scheme. That of hmac is hexadecimal, so that nobody takes it for something to decode.
func (sg *Signing) newSecret() secret.Text {
	key := make([]byte, secretBytes)
	_, _ = rand.Read(key) // never fails
	switch sg.Scheme {
	case SchemeEd25519:
		return secret.New(privatePrefix + base64.StdEncoding.EncodeToString(ed25519.NewKeyFromSeed(key)))
	case SchemeHMAC:
		return secret.New(hex.EncodeToString(key))
	default:
		return secret.New(secretPrefix + base64.StdEncoding.EncodeToString(key))
	}
}

// wrongSecret says what is wrong with a secret for the scheme; "" = nothing. It never quotes what it got.
func (sg *Signing) wrongSecret(text string) string {
	switch sg.Scheme {
	case SchemeEd25519:
		return wrongPrivateKey(text)
	case SchemeHMAC:
		return wrongHMACSecret(text)
	default:
		return wrongSigningSecret(text)
	}
}

func wrongSigningSecret(s string) string {
	text, ok := strings.CutPrefix(s, secretPrefix)
	key, err := strictBase64.DecodeString(text)
	if !ok || err != nil || len(key) < minSigningBytes || len(key) > maxSigningBytes || strings.ContainsAny(text, "\r\n") {
		return fmt.Sprintf("must be %s and the base64 of %d to %d bytes; leave it out and one is made", secretPrefix,
			minSigningBytes, maxSigningBytes)
	}
	return ""
}

func wrongPrivateKey(s string) string {
	const want = "must be whsk_ and the base64 of an ed25519 private key (its seed of 32 bytes, or 64 bytes: seed and public key); " +
		"leave it out and one is made"
	text, ok := strings.CutPrefix(s, privatePrefix)
	key, err := strictBase64.DecodeString(text)
	if !ok || err != nil || strings.ContainsAny(text, "\r\n") || len(key) != ed25519.SeedSize && len(key) != ed25519.PrivateKeySize {
		return want
	}
	if len(key) == ed25519.PrivateKeySize && !bytes.Equal(key, ed25519.NewKeyFromSeed(key[:ed25519.SeedSize])) {
		return "has a public key that is not of its seed"
	}
	return ""
}

func wrongHMACSecret(s string) string {
	switch {
	case s == "":
		return "must not be empty; leave it out and one is made"
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "has a control character, such as the line end of a file that it was copied from"
	default:
		return wrongLength(s, maxHMACSecret)
	}
}
