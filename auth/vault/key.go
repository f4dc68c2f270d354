package vault

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/hookfleet/hookfleet/auth/secret"
)

// Sizes of XAES-256-GCM (c2sp.org/XAES-256-GCM): the first half of its nonce makes a key for this text alone out of the
// vault's, under which the second half is the nonce of AES-256-GCM. Nonces of 192 bits may be random without a bound on
// how many texts a key seals; those of plain GCM may not, beyond 2³².
const (
	keySize     = 32
	nonceSize   = 24
	derivedSize = 12
	tagSize     = 16
)

// idDigits is the length of a key's id in hex: enough to tell the keys of a fleet apart.
const idDigits = 12

// errKey says what a key looks like. New returns it with the number of the key.
var errKey = errors.New("is not 32 bytes in base64 or hex (hookfleet key new-secret makes one)")

// key is one key of a vault, prepared.
type key struct {
	id    string
	block cipher.Block
	mask  [aes.BlockSize]byte // K1 of CMAC
}

// NewKey makes a key, in the form that New takes.
func NewKey() secret.Text {
	b := make([]byte, keySize)
	_, _ = rand.Read(b) // never fails
	return secret.New(base64.StdEncoding.EncodeToString(b))
}

func parseKey(text secret.Text) (*key, error) {
	b, ok := decodeKey(strings.TrimSpace(text.Reveal()))
	if !ok {
		return nil, errKey
	}
	sum := sha256.Sum256(append([]byte("hookfleet id of a secrets key\x00"), b...))
	block, err := aes.NewCipher(b)
	if err != nil {
		return nil, errKey
	}
	k := &key{id: hex.EncodeToString(sum[:])[:idDigits], block: block}
	block.Encrypt(k.mask[:], k.mask[:])
	var carry byte
	for i := len(k.mask) - 1; i >= 0; i-- {
		k.mask[i], carry = k.mask[i]<<1|carry, k.mask[i]>>7
	}
	k.mask[aes.BlockSize-1] ^= carry * 0x87
	return k, nil
}

// decodeKey reads hex, and base64 of either alphabet with or without padding. No text can be both: 64 digits are 48
// bytes in base64.
func decodeKey(s string) ([]byte, bool) {
	if b, err := hex.DecodeString(s); err == nil {
		return b, len(b) == keySize
	}
	s = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(s, "="))
	b, err := base64.RawStdEncoding.DecodeString(s)
	return b, err == nil && len(b) == keySize
}

// gcm is AES-256-GCM under the key that the nonce derives.
func (k *key) gcm(nonce []byte) cipher.AEAD {
	var derived [keySize]byte
	for i := range 2 {
		half := derived[i*aes.BlockSize:][:aes.BlockSize]
		half[1], half[2] = byte(i+1), 'X'
		copy(half[4:], nonce[:derivedSize])
		for j := range half {
			half[j] ^= k.mask[j]
		}
		k.block.Encrypt(half, half)
	}
	block, err := aes.NewCipher(derived[:])
	if err != nil {
		panic("vault: a key of 32 bytes is refused")
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic("vault: AES is refused")
	}
	return gcm
}
