package producer

import (
	"cmp"
	"hash/maphash"
	"math"
	"sync"
	"time"
)

// Sizes of known: a generation takes 4 MiB at 32 bits for each of 1,048,576 ids, and holds an id that it has not in 2 of a million when
// it is full. So many generations have the ids of ten minutes at 28,000 events a second, for which the broker needs gigabytes.
const (
	knownIDs    = 1 << 20
	knownBits   = 32 * knownIDs
	knownProbes = 10
	generations = 16
)

// known tells which ids may have been published within the window in which they are duplicates. It decides by which of two ways a batch is stored:
// either leaves it to the broker what is a duplicate, but one that was not expected is dear.
type known struct {
	window time.Duration

	mu    sync.Mutex
	seed  maphash.Seed
	all   []*generation // the newest last
	until time.Time     // until then an id may come again that had no room here
}

// generation are ids that came one after the other.
type generation struct {
	bits []uint64
	n    int
	last time.Time // when the newest came
}

// newKnown makes one for a window; 0 = for ever, as far as there is room.
func newKnown(window time.Duration) *known {
	return &known{window: cmp.Or(window, math.MaxInt64), seed: maphash.MakeSeed()}
}

// add adds an id at a time, and reports whether it may have been published before.
func (k *known) add(id string, now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for len(k.all) > 0 && now.Sub(k.all[0].last) > k.window {
		k.all = k.all[1:]
	}
	hash := maphash.String(k.seed, id)
	found := false
	for _, g := range k.all {
		found = found || g.has(hash)
	}
	if !found {
		k.newest().put(hash, now)
	}
	return found || now.Before(k.until)
}

// newest is the generation that takes more ids.
func (k *known) newest() *generation {
	if n := len(k.all); n > 0 && k.all[n-1].n < knownIDs {
		return k.all[n-1]
	}
	if len(k.all) == generations {
		k.until = k.all[0].last.Add(k.window)
		k.all = k.all[1:]
	}
	g := &generation{bits: make([]uint64, knownBits/64)}
	k.all = append(k.all, g)
	return g
}

// probes are the places of an id's bits: from one by a step.
func probes(hash uint64) (at, step uint64) { return hash, hash>>32 | 1 }

func (g *generation) has(hash uint64) bool {
	at, step := probes(hash)
	for range knownProbes {
		bit := at % knownBits
		if g.bits[bit/64]&(1<<(bit%64)) == 0 {
			return false
		}
		at += step
	}
	return true
}

func (g *generation) put(hash uint64, now time.Time) {
	at, step := probes(hash)
	for range knownProbes {
		bit := at % knownBits
		g.bits[bit/64] |= 1 << (bit % 64)
		at += step
	}
	g.n++
	g.last = now
}
