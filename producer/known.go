package producer

import (
	"hash/maphash"
	"sync"
)

// Sizes of known: a generation takes 4 MiB at 32 bits for each of 1,048,576 ids, and holds an id that it has not in 2 of a million when
// it is full.
const (
	knownIDs    = 1 << 20
	knownBits   = 32 * knownIDs
	knownProbes = 10
)

// known tells which ids may have been published before, of the last one to two million: a guess, which decides by which of two ways a batch is
// stored. Either way leaves it to the broker what is a duplicate. The zero value knows none.
type known struct {
	mu   sync.Mutex
	seed maphash.Seed
	now  []uint64 // the bits of the newest ids
	old  []uint64 // of those before
	n    int      // ids in now
}

// add adds an id, and reports whether it may have been there.
func (k *known) add(id string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.now == nil:
		k.seed, k.now = maphash.MakeSeed(), make([]uint64, knownBits/64)
	case k.n == knownIDs:
		k.now, k.old = k.old, k.now
		if k.now == nil {
			k.now = make([]uint64, knownBits/64)
		}
		clear(k.now)
		k.n = 0
	}
	hash := maphash.String(k.seed, id)
	step := hash>>32 | 1
	inNow, inOld := true, k.old != nil
	for i := range uint64(knownProbes) {
		at := (hash + i*step) % knownBits
		word, bit := at/64, uint64(1)<<(at%64)
		inNow = inNow && k.now[word]&bit != 0
		inOld = inOld && k.old[word]&bit != 0
		k.now[word] |= bit
	}
	if !inNow {
		k.n++
	}
	return inNow || inOld
}
