package ids

// bloomProbes is how many bits an id sets: of 17 bits an id, 7 leave an id that is not there taken for one that may be in 3 of 10,000.
const bloomProbes = 7

// bloom tells which ids are not there.
type bloom []uint64

func newBloom(bits int) bloom { return make(bloom, bits/64) }

func (b bloom) add(k key) {
	at, mask := k.hi, uint64(len(b)*64-1)
	for range bloomProbes {
		b[at&mask/64] |= 1 << (at & 63)
		at += uint64(k.lo)<<1 | 1
	}
}

func (b bloom) may(k key) bool {
	at, mask := k.hi, uint64(len(b)*64-1)
	for range bloomProbes {
		if b[at&mask/64]&(1<<(at&63)) == 0 {
			return false
		}
		at += uint64(k.lo)<<1 | 1
	}
	return true
}
