package ids

import "math/bits"

// A filter's block is a line of the processor's cache: an id has all its bits in one, which is waited for once.
const (
	blockWords = 8
	blockBits  = 64 * blockWords
)

// bloom tells which ids are not there. Of 17 bits an id, 7 that are set for each leave an id that is not there taken for one that may be in
// about one of a thousand. Blocks are in the order of keys, as slots of a table are, so that a table is added in the order of memory.
type bloom struct {
	words []uint64
	shift int // of a key's first bits to the number of its block
}

func newBloom(size int) bloom {
	blocks := size / blockBits
	return bloom{make([]uint64, blocks*blockWords), 65 - bits.Len(uint(blocks))}
}

// block is where a key's bits are, and which: three from its end, four from the end of its first part, whose begin says which block.
func (b *bloom) block(k key) (words []uint64, set [blockWords]uint64) {
	at := int(k.hi>>b.shift) * blockWords
	for _, nine := range [...]uint64{uint64(k.lo), uint64(k.lo >> 9), uint64(k.lo >> 18), k.hi, k.hi >> 9, k.hi >> 18, k.hi >> 27} {
		set[nine/64%blockWords] |= 1 << (nine % 64)
	}
	return b.words[at : at+blockWords], set
}

func (b *bloom) add(k key) {
	words, set := b.block(k)
	for i := range words {
		words[i] |= set[i]
	}
}

func (b *bloom) may(k key) bool {
	words, set := b.block(k)
	for i := range words {
		if words[i]&set[i] != set[i] {
			return false
		}
	}
	return true
}
