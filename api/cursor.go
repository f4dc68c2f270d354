package api

import (
	"encoding/base64"
	"encoding/binary"
	"hash/fnv"
	"maps"
	"slices"
	"strings"

	"github.com/hookfleet/hookfleet/events"
)

// cursorVersion is the first byte of every cursor, so that a later release can change what follows.
const cursorVersion = 1

// A cursor is base64url(version, 4 bytes of what it belongs to, positions as uvarints, text). It holds positions only:
// who may see what is decided anew on each page, so a forged one shows nothing that a call without would not. What it
// belongs to (the route, the caller's tenant and the other parameters) is checked to tell mistakes, not attacks.

// owner is a checksum of what a cursor of this call is good for.
func (q *query) owner(tenant string) uint32 {
	h := fnv.New32a()
	add := func(s string) { _, _ = h.Write(append([]byte(s), 0)) }
	add(q.route)
	add(tenant)
	for _, name := range slices.Sorted(maps.Keys(q.values)) {
		if name != "limit" && name != "cursor" {
			add(name)
			add(q.values[name])
		}
	}
	return h.Sum32()
}

// cursor makes the cursor of the next page.
func (q *query) cursor(tenant, text string, positions ...uint64) string {
	b := binary.BigEndian.AppendUint32([]byte{cursorVersion}, q.owner(tenant))
	b = binary.AppendUvarint(b, uint64(len(positions)))
	for _, p := range positions {
		b = binary.AppendUvarint(b, p)
	}
	return base64.RawURLEncoding.EncodeToString(append(b, text...))
}

// at reads the cursor of the call: n positions and a text. ok is false when it has none.
func (q *query) at(tenant string, n int) (positions []uint64, text string, ok bool, err error) {
	raw := q.values["cursor"]
	if raw == "" {
		return make([]uint64, n), "", false, nil
	}
	bad := badCursor()
	b, err := base64.RawURLEncoding.Strict().DecodeString(raw)
	if err != nil || strings.ContainsAny(raw, "\r\n") || len(b) < 6 || b[0] != cursorVersion || binary.BigEndian.Uint32(b[1:]) != q.owner(tenant) {
		return nil, "", false, bad
	}
	b = b[5:]
	count, b, sound := uvarint(b)
	if !sound || count != uint64(n) {
		return nil, "", false, bad
	}
	positions = make([]uint64, n)
	for i := range positions {
		if positions[i], b, sound = uvarint(b); !sound {
			return nil, "", false, bad
		}
	}
	return positions, string(b), true, nil
}

// uvarint takes one number off b.
func uvarint(b []byte) (n uint64, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 {
		return 0, nil, false
	}
	return n, b[size:], true
}

// badCursor is the problem of a cursor that the list itself refuses.
func badCursor() error {
	return faulty(CodeBadCursor, events.Fault{Pointer: "cursor", Detail: "is not the next of a page of this list with these parameters"})
}
