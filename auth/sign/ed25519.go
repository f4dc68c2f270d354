package sign

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"sync"

	"github.com/hookfleet/hookfleet/auth/secret"
)

const (
	prefixPrivate = "whsk_"
	prefixPublic  = "whpk_"
	schemeEd25519 = "v1a,"
)

// ErrPrivateKey is returned for a text that is no private key of scheme Ed25519. It does not repeat the text.
var ErrPrivateKey = errors.New("secret: must be whsk_ and the base64 of an ed25519 private key: its seed of 32 bytes, or seed and public key")

// edKey signs with a private key.
type edKey struct {
	private ed25519.PrivateKey
	texts   sync.Pool // *[]byte: what is signed has to be in one piece
}

// parseEd25519 reads a private key in its printed form.
func parseEd25519(text secret.Text) (*edKey, error) {
	printed, ok := strings.CutPrefix(text.Reveal(), prefixPrivate)
	b, err := base64.StdEncoding.Strict().DecodeString(printed)
	if !ok || err != nil || strings.ContainsAny(printed, "\r\n") || len(b) != ed25519.SeedSize && len(b) != ed25519.PrivateKeySize {
		return nil, ErrPrivateKey
	}
	k := &edKey{private: ed25519.NewKeyFromSeed(b[:ed25519.SeedSize])}
	if len(b) == ed25519.PrivateKeySize && !bytes.Equal(b, k.private) {
		return nil, ErrPrivateKey // signing with a public half of another key gives the private one away
	}
	k.texts.New = func() any { return new([]byte) }
	return k, nil
}

// PublicKey returns what receivers of scheme Ed25519 check with, whpk_…, for a private key in its printed form.
func PublicKey(private secret.Text) (string, error) {
	k, err := parseEd25519(private)
	if err != nil {
		return "", err
	}
	public, _ := k.private.Public().(ed25519.PublicKey)
	return prefixPublic + base64.StdEncoding.EncodeToString(public), nil
}

func (k *edKey) append(dst []byte, id string, unixSeconds int64, body []byte) []byte {
	checkID(id)
	text := k.texts.Get().(*[]byte)
	b := append(append((*text)[:0], id...), '.')
	b = append(strconv.AppendInt(b, unixSeconds, 10), '.')
	b = append(b, body...)
	dst = append(dst, schemeEd25519...)
	dst = base64.StdEncoding.AppendEncode(dst, ed25519.Sign(k.private, b))
	if cap(b) <= maxKept {
		*text = b
		k.texts.Put(text)
	}
	return dst
}

// maxKept is above which a buffer is not used again: one large event must not make all of them large.
const maxKept = 64 << 10
