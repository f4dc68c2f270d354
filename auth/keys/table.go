package keys

import (
	"crypto/subtle"
	"maps"
	"sync"
	"sync/atomic"
)

// Table is the set of keys that are valid now, in memory. The zero value is an empty table. It is safe for concurrent use: a Lookup takes no
// lock, a change copies the set, which is some thousands at most and changes rarely.
type Table struct {
	mu  sync.Mutex // one change at a time
	set atomic.Pointer[set]
}

type set struct {
	byHash map[Hash]*Key
	byID   map[string]*Key
}

// Lookup returns the key whose text this is. It compares hashes only, so its time depends on no stored text.
func (t *Table) Lookup(text string) (*Key, bool) {
	hash := HashOf(text)
	s := t.set.Load()
	if s == nil {
		return nil, false
	}
	k := s.byHash[hash]
	if k == nil || subtle.ConstantTimeCompare(k.Hash[:], hash[:]) != 1 {
		return nil, false
	}
	return k, true
}

// Replace makes list the whole set. Of two keys with one id or one hash the later stays.
func (t *Table) Replace(list []*Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := &set{byHash: make(map[Hash]*Key, len(list)), byID: make(map[string]*Key, len(list))}
	for _, k := range list {
		s.put(k)
	}
	t.set.Store(s)
}

// Put adds k, or replaces the key with its id. k must not be changed any more.
func (t *Table) Put(k *Key) { t.change(func(s *set) { s.put(k) }) }

// Remove takes the key with this id out; nothing happens when there is none.
func (t *Table) Remove(id string) { t.change(func(s *set) { s.remove(id) }) }

func (t *Table) change(f func(*set)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := &set{byHash: map[Hash]*Key{}, byID: map[string]*Key{}}
	if s := t.set.Load(); s != nil {
		next.byHash, next.byID = maps.Clone(s.byHash), maps.Clone(s.byID)
	}
	f(next)
	t.set.Store(next)
}

func (s *set) put(k *Key) {
	s.remove(k.ID)
	if other := s.byHash[k.Hash]; other != nil {
		delete(s.byID, other.ID)
	}
	s.byID[k.ID], s.byHash[k.Hash] = k, k
}

func (s *set) remove(id string) {
	if k := s.byID[id]; k != nil {
		delete(s.byHash, k.Hash)
		delete(s.byID, id)
	}
}
