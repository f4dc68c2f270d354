package ids

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"
)

// eventIDLen is the length of the ids that events have: base64url of 24 bytes of a SHA-256.
const eventIDLen = 32

// key is 96 bits of an id's hash: among 12 million ids, two have the same with a probability of 1 in 10^15.
type key struct {
	hi uint64
	lo uint32
}

// keyOf is the key of an id. That of an event is a hash already.
func keyOf(id string) key {
	var b [eventIDLen]byte
	if len(id) == eventIDLen {
		var text [eventIDLen]byte
		copy(text[:], id)
		if n, err := base64.RawURLEncoding.Decode(b[:], text[:]); err == nil && n == eventIDLen*3/4 {
			return key{binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint32(b[8:])}
		}
	}
	sum := sha256.Sum256([]byte(id))
	return key{binary.BigEndian.Uint64(sum[:]), binary.BigEndian.Uint32(sum[8:])}
}

// Bits of an entry, beside those of its key. 2^44 sequences last for 27 years at 20,000 a second.
const (
	sequenceBits = 44
	timeLowBits  = 64 - sequenceBits
	entrySize    = 24
)

// entry is a key, a sequence, and a time in milliseconds. The zero value, which has no sequence, is a free slot.
type entry [3]uint64

func newEntry(k key, sequence uint64, at time.Time) entry {
	ms := uint64(max(at.UnixMilli(), 0))
	return entry{k.hi, uint64(k.lo)<<32 | ms>>timeLowBits&(1<<32-1), ms<<sequenceBits | sequence&(1<<sequenceBits-1)}
}

func (e *entry) key() key         { return key{e[0], uint32(e[1] >> 32)} }
func (e *entry) sequence() uint64 { return e[2] & (1<<sequenceBits - 1) }
func (e *entry) free() bool       { return e.sequence() == 0 }
func (e *entry) at() int64        { return int64(e[1]&(1<<32-1)<<timeLowBits | e[2]>>sequenceBits) }

func (e *entry) put(b []byte) {
	for i, word := range e {
		binary.LittleEndian.PutUint64(b[8*i:], word)
	}
}

func readEntry(b []byte) (e entry) {
	for i := range e {
		e[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return e
}
