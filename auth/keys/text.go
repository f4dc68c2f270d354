package keys

import (
	"crypto/rand"
	"crypto/sha256"
	"hash/crc32"
	"math/big"
	"strings"

	"github.com/hookfleet/hookfleet/auth/secret"
)

// The form of a key's text: hf_, 256 random bits in base 62, and 6 digits of a checksum of all before it. Secret scanners find the prefix and tell
// by the checksum, without asking anyone, what is one of our keys. No character of it needs escaping in a URL, a shell or a NATS subject.
const (
	textPrefix   = "hf_"
	randomBytes  = 32
	randomDigits = 43 // of 256 bits
	sumDigits    = 6  // of 32 bits
)

// idPrefix begins the id of a key, which is no secret and says nothing about the text.
const (
	idPrefix = "key_"
	idDigits = 20
)

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// Hash is the SHA-256 of a key's text. The text has 256 random bits, so it needs neither salt nor stretching.
type Hash [sha256.Size]byte

// HashOf returns the hash under which text is stored.
func HashOf(text string) Hash {
	var b [128]byte // keys are shorter: no memory is asked for with each request
	return sha256.Sum256(append(b[:0], text...))
}

// Generate returns a new id and the text of a new key.
func Generate() (id string, text secret.Text) {
	var b [randomBytes]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the program instead
	body := textPrefix + encode(new(big.Int).SetBytes(b[:]), randomDigits)
	return idPrefix + strings.ToLower(rand.Text())[:idDigits], secret.New(body + checksum(body))
}

// WellFormed reports whether text has the form of Generate, checksum included. A key that an operator has chosen need not.
func WellFormed(text string) bool {
	const length = len(textPrefix) + randomDigits + sumDigits
	if len(text) != length || !strings.HasPrefix(text, textPrefix) {
		return false
	}
	body := text[:length-sumDigits]
	return body+checksum(body) == text && strings.Trim(text[len(textPrefix):], base62) == ""
}

func checksum(s string) string {
	return encode(new(big.Int).SetUint64(uint64(crc32.ChecksumIEEE([]byte(s)))), sumDigits)
}

// encode writes n in base 62 with leading zeros. (big.Int has its digits in another order.)
func encode(n *big.Int, digits int) string {
	out := make([]byte, digits)
	base, rest := big.NewInt(int64(len(base62))), new(big.Int)
	for i := digits - 1; i >= 0; i-- {
		n.QuoRem(n, base, rest)
		out[i] = base62[rest.Int64()]
	}
	return string(out)
}
