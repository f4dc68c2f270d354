package filter

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"weak"

	"github.com/hookfleet/hookfleet/events"
)

// code is a compiled expression. It is safe for concurrent use.
type code interface {
	eval(ev *Evaluation) events.Truth
}

// compile compiles an expression. The error says what is wrong with it, in one line.
func compile(l events.Language, text string) (c code, err error) {
	switch l {
	case events.LanguageSQL:
		c, err = parseSQL(text)
	case events.LanguageCEL:
		c, err = parseCEL(text)
	default:
		c, err = parseMatch(text)
	}
	if err != nil {
		return nil, errors.New(oneLine(err.Error()))
	}
	return c, nil
}

// Wrong says what is wrong with an expression, and where; "" = nothing. It is events.SinkPolicy.WrongFilter.
func Wrong(l events.Language, text string) string {
	if _, err := compile(l, text); err != nil {
		return "is no valid " + string(l) + " expression: " + err.Error()
	}
	return ""
}

// program is one expression, whoever has it. It is compiled when it is first evaluated.
type program struct {
	language events.Language
	text     string
	code     atomic.Pointer[code]
	used     atomic.Bool // since the hand of the cache came by
}

// failing is the code of what cannot be compiled: it was taken by an earlier release, or comes from somebody else's store.
type failing struct{}

func (failing) eval(*Evaluation) events.Truth { return events.Failed }

// Cache holds the expressions of all filters, each once: a hundred thousand subscriptions may have the same. It compiles
// them as they are needed. It is safe for concurrent use.
type Cache struct {
	mu       sync.Mutex
	programs map[programKey]weak.Pointer[program]
	compiled []compiled // those that have code
	size     int        // of all their texts
	hand     int        // of the clock that chooses whose code goes: an index of compiled

	failures [3]atomic.Uint64
}

type programKey struct {
	language events.Language
	text     string
}

// compiled is a program that was compiled. Nobody may have it any more.
type compiled struct {
	program weak.Pointer[program]
	size    int // of its text
}

// maxCompiled bounds the texts of what is kept compiled: code takes some thirty times as much, so this is 60 MB, and
// 40,000 usual expressions. One that is evaluated after its code went is compiled again, which takes 0.1 ms.
const maxCompiled = 2 << 20

// NewCache returns an empty cache.
func NewCache() *Cache { return &Cache{programs: make(map[programKey]weak.Pointer[program])} }

// program returns the one for an expression. It is forgotten when nobody has it any more.
func (c *Cache) program(l events.Language, text string) *program {
	key := programKey{l, text}
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.programs[key].Value(); p != nil {
		return p
	}
	p := &program{language: l, text: text}
	c.programs[key] = weak.Make(p)
	runtime.AddCleanup(p, c.forget, key)
	return p
}

func (c *Cache) forget(key programKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.programs[key].Value() == nil { // else there is a new one
		delete(c.programs, key)
	}
}

// eval evaluates p. A panic in a library is a failure of this evaluation alone.
func (c *Cache) eval(p *program, ev *Evaluation) (t events.Truth) {
	defer func() {
		if recover() != nil {
			t = events.Failed
		}
	}()
	x := p.code.Load()
	if x == nil {
		x = c.compile(p)
	}
	if !p.used.Load() {
		p.used.Store(true)
	}
	return (*x).eval(ev)
}

// compile gives p its code, and takes that of others when there is too much.
func (c *Cache) compile(p *program) *code {
	x, err := compile(p.language, p.text)
	if err != nil {
		x = failing{}
	}
	if !p.code.CompareAndSwap(nil, &x) {
		return &x // another one was faster
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p.used.Store(true)
	c.compiled = append(c.compiled, compiled{weak.Make(p), len(p.text)})
	for c.size += len(p.text); c.size > maxCompiled; {
		c.tick()
	}
	return &x
}

// tick moves the hand of the clock by one: who was not used since it came by last loses its code.
func (c *Cache) tick() {
	c.hand %= len(c.compiled)
	at := c.compiled[c.hand]
	p := at.program.Value()
	if p != nil && p.used.Swap(false) {
		c.hand++
		return
	}
	if p != nil {
		p.code.Store(nil)
	}
	last := len(c.compiled) - 1
	c.compiled[c.hand] = c.compiled[last]
	c.compiled, c.size = c.compiled[:last], c.size-at.size
}

// Failures is how many evaluations of a language failed.
func (c *Cache) Failures(l events.Language) uint64 { return c.failures[index(l)].Load() }

func index(l events.Language) int {
	switch l {
	case events.LanguageSQL:
		return 0
	case events.LanguageCEL:
		return 1
	default:
		return 2
	}
}
