package sign

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"sync"

	"github.com/hookfleet/hookfleet/auth/secret"
)

var errHMAC = errors.New("hmac: needs a secret and a header, hash sha256 or sha512, encoding hex or base64")

// bodyKey signs the body alone, with the bytes of its secret's text as key.
type bodyKey struct {
	prefix string
	base64 bool
	macs   sync.Pool // *bodyMAC
}

// bodyMAC is a keyed HMAC and room for what comes out.
type bodyMAC struct {
	hash.Hash
	sum [sha512.Size]byte
}

func newBodyKey(text secret.Text, s *Settings) (*bodyKey, error) {
	makers := map[string]func() hash.Hash{"": sha256.New, "sha256": sha256.New, "sha512": sha512.New}
	newHash, known := makers[s.Hash]
	if text.IsZero() || !known || s.Header == "" || s.Encoding != "" && s.Encoding != "hex" && s.Encoding != "base64" {
		return nil, errHMAC
	}
	key := []byte(text.Reveal())
	k := &bodyKey{prefix: s.Prefix, base64: s.Encoding == "base64"}
	k.macs.New = func() any { return &bodyMAC{Hash: hmac.New(newHash, key)} }
	return k, nil
}

func (k *bodyKey) append(dst []byte, _ string, _ int64, body []byte) []byte {
	m := k.macs.Get().(*bodyMAC)
	m.Reset()
	m.Write(body)
	sum := m.Sum(m.sum[:0])
	dst = append(dst, k.prefix...)
	if k.base64 {
		dst = base64.StdEncoding.AppendEncode(dst, sum)
	} else {
		dst = hex.AppendEncode(dst, sum)
	}
	k.macs.Put(m)
	return dst
}
