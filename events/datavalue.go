package events

import (
	"bytes"
	"encoding/binary"
	"iter"
	"math/bits"
	"sync"
)

// ValueKind is what a JSON value is.
type ValueKind uint8

// The kinds of JSON values.
const (
	ValueNull ValueKind = iota
	ValueBool
	ValueNumber
	ValueString
	ValueArray
	ValueObject
)

// DataValue is one value of an event's JSON data. It is a place in the tree that the event keeps of its data, made once for
// all who ask; nothing is copied before it is looked at. The zero value is none.
type DataValue struct {
	tree *tree
	at   uint32
}

// JSON returns the data of the event when that is JSON. The first call reads it, whoever makes it; the others find it
// read.
func (e *Event) JSON() (v DataValue, ok bool) {
	if e.kind != DataJSON {
		return DataValue{}, false
	}
	e.tree.once.Do(func() { e.tree.read(e.data) })
	return DataValue{tree: &e.tree}, true
}

// tree is a JSON text and where in it is what: a node for each value and each member name, in order of appearance.
type tree struct {
	once  sync.Once
	text  []byte
	nodes []node
	large map[uint32]*children // of the objects and arrays with more than manyChildren
}

// node is 8 bytes: data of the worst kind, [0,0,0…, has one every two bytes.
type node struct {
	start uint32 // where it begins in the text
	end   uint32 // of an object or array: the node behind its last; else where it ends in the text
}

// children are those of one object or array, so that a look-up in a large one is no walk: an expression may make 100,000
// of them.
type children struct {
	items []uint32          // nodes
	names map[string]uint32 // object: nodes by name. Of several with one name the last counts
}

// manyChildren is how many are still walked: comparing some names takes as long as hashing one.
const manyChildren = 32

// read makes the tree of a text that was checked when the event came in. It tells no more apart than it has to: who looks
// at one member waits for it.
func (t *tree) read(text []byte) {
	t.text = text
	nodes := make([]node, 0, guess(text))
	in := uint32(0) // the innermost that is open: until it is closed, its end says in which it is
	for i := 0; i < len(text); {
		start := i
		switch class[text[i]] {
		case between:
			i++
			continue
		case opening:
			nodes = append(nodes, node{uint32(i), in})
			in = uint32(len(nodes) - 1)
			i++
			continue
		case closing:
			in = t.close(nodes, in)
			i++
			continue
		case quote:
			if i++; len(text)-i >= 8 {
				if n := quoteIn(binary.LittleEndian.Uint64(text[i:])); n < 8 && text[i+n-1] != '\\' { // nearly always
					i += n + 1
					break
				}
			}
			i = stringEnd(text, i)
		default:
			for i++; i < len(text) && class[text[i]] == literal; i++ {
			}
		}
		nodes = append(nodes, node{uint32(start), uint32(i)})
		if i < len(text) && (text[i] == ':' || text[i] == ',') { // nearly always
			i++
		}
	}
	t.nodes = nodes
}

// class is what begins with a byte, outside of strings.
var class = [256]uint8{
	' ': between, '\t': between, '\n': between, '\r': between, ',': between, ':': between,
	'{': opening, '[': opening, '}': closing, ']': closing, '"': quote,
}

// The classes. What is none of the others is part of a number, true, false or null.
const (
	literal = iota
	between
	opening
	closing
	quote
)

// guess is about how many nodes a text has. Usual JSON has one every six bytes or fewer, and a long text has few.
func guess(text []byte) int {
	return min(len(text)/6, bytes.Count(text, []byte(`"`))/2+bytes.Count(text, []byte(`,`))) + 8
}

// close ends an object or array, and returns the one that it is in.
func (t *tree) close(nodes []node, i uint32) (in uint32) {
	n := &nodes[i]
	in, n.end = n.end, uint32(len(nodes))
	if n.end-i > manyChildren {
		t.nodes = nodes
		t.keep(DataValue{t, i})
	}
	return in
}

// keep notes the children of v when they are many.
func (t *tree) keep(v DataValue) {
	n := v.Len()
	if n <= manyChildren {
		return
	}
	c := &children{items: make([]uint32, 0, n)}
	if v.Kind() == ValueObject {
		c.names = make(map[string]uint32, n)
	}
	for at := range v.nodes() {
		c.items = append(c.items, at)
		if c.names != nil {
			c.names[t.string(at-1)] = at
		}
	}
	if t.large == nil {
		t.large = make(map[uint32]*children)
	}
	t.large[v.at] = c
}

// quoteIn is which byte of eight is the first quote; 8 = none is.
func quoteIn(word uint64) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	word ^= '"' * ones
	return bits.TrailingZeros64((word-ones)&^word&highs) / 8
}

// stringEnd is behind the quote that ends a string; i is within it.
func stringEnd(text []byte, i int) int {
	for {
		i += bytes.IndexByte(text[i:], '"') + 1
		slashes := 0
		for text[i-2-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return i
		}
	}
}

// behind is the node that follows i and all that is in it.
func (t *tree) behind(i uint32) uint32 {
	if c := t.text[t.nodes[i].start]; c == '{' || c == '[' {
		return t.nodes[i].end
	}
	return i + 1
}

// bytes is what a string stands for, or a literal; only good while nobody changes it.
func (t *tree) bytes(i uint32) []byte {
	raw := rawJSON(t.text[t.nodes[i].start:t.nodes[i].end])
	if raw[0] == '"' {
		return raw.bytes()
	}
	return raw
}

func (t *tree) string(i uint32) string { return asString(t.bytes(i)) }

// Kind is what the value is.
func (v DataValue) Kind() ValueKind {
	switch v.tree.text[v.tree.nodes[v.at].start] {
	case '{':
		return ValueObject
	case '[':
		return ValueArray
	case '"':
		return ValueString
	case 't', 'f':
		return ValueBool
	case 'n':
		return ValueNull
	default:
		return ValueNumber
	}
}

// Text is what a string stands for, a number as it is spelled, true, false or null; "" for an object or an array.
func (v DataValue) Text() string {
	if v.isContainer() {
		return ""
	}
	return v.tree.string(v.at)
}

func (v DataValue) isContainer() bool {
	c := v.tree.text[v.tree.nodes[v.at].start]
	return c == '{' || c == '['
}

// Len is how many items an array has, or members an object; 0 for others.
func (v DataValue) Len() int {
	if c := v.tree.large[v.at]; c != nil {
		return len(c.items)
	}
	n := 0
	for range v.nodes() {
		n++
	}
	return n
}

// nodes yields the items of an array, or the values of an object: the node before each is its name.
func (v DataValue) nodes() iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		if !v.isContainer() {
			return
		}
		t, skip := v.tree, uint32(0)
		if t.text[t.nodes[v.at].start] == '{' {
			skip = 1
		}
		for i, end := v.at+1, t.nodes[v.at].end; i < end; i = t.behind(i + skip) {
			if !yield(i + skip) {
				return
			}
		}
	}
}

// node is the i-th of nodes; false when there is none.
func (v DataValue) node(i int) (at uint32, ok bool) {
	if c := v.tree.large[v.at]; c != nil {
		if i < 0 || i >= len(c.items) {
			return 0, false
		}
		return c.items[i], true
	}
	for at := range v.nodes() {
		if i == 0 {
			return at, true
		}
		i--
	}
	return 0, false
}

// Item is the i-th item of an array; false when it has none such, or is none.
func (v DataValue) Item(i int) (DataValue, bool) {
	at, ok := v.node(i)
	return DataValue{v.tree, at}, ok && v.Kind() == ValueArray
}

// Items yields the items of an array; none for others.
func (v DataValue) Items() iter.Seq[DataValue] {
	return func(yield func(DataValue) bool) {
		if v.Kind() != ValueArray {
			return
		}
		for at := range v.nodes() {
			if !yield(DataValue{v.tree, at}) {
				return
			}
		}
	}
}

// MemberAt is the name and value of the i-th member of an object; false when it has none such, or is none.
func (v DataValue) MemberAt(i int) (name string, member DataValue, ok bool) {
	at, ok := v.node(i)
	if !ok || v.Kind() != ValueObject {
		return "", DataValue{}, false
	}
	return v.tree.string(at - 1), DataValue{v.tree, at}, true
}

// Member is the member of an object with this name, the last one when there are several; false when it has none such,
// or is none.
func (v DataValue) Member(name string) (member DataValue, ok bool) {
	if v.Kind() != ValueObject {
		return DataValue{}, false
	}
	if c := v.tree.large[v.at]; c != nil {
		at, ok := c.names[name]
		return DataValue{v.tree, at}, ok
	}
	for i, end := v.at+1, v.tree.nodes[v.at].end; i < end; i = v.tree.behind(i + 1) {
		if v.tree.isNamed(i, name) {
			member, ok = DataValue{v.tree, i + 1}, true
		}
	}
	return member, ok
}

// isNamed reports whether the string at i stands for name, without copying it. Escapes only make it longer.
func (t *tree) isNamed(i uint32, name string) bool {
	inner := t.text[t.nodes[i].start+1 : t.nodes[i].end-1]
	switch {
	case len(inner) < len(name):
		return false
	case len(inner) == len(name):
		return string(inner) == name && bytes.IndexByte(inner, '\\') < 0
	default:
		return len(inner) <= maxEscape*len(name) && bytes.IndexByte(inner, '\\') >= 0 && string(t.bytes(i)) == name
	}
}

// maxEscape is how many bytes of a string may stand for one: \u0041.
const maxEscape = 6

// Width is how many bytes a value takes in the text; 0 for an object or an array.
func (v DataValue) Width() int {
	if v.isContainer() {
		return 0
	}
	n := v.tree.nodes[v.at]
	return int(n.end - n.start)
}

// Is reports whether Text would be text, without making it. It is false for an object or an array.
func (v DataValue) Is(text string) bool {
	switch v.Kind() {
	case ValueObject, ValueArray:
		return false
	case ValueString:
		return v.tree.isNamed(v.at, text)
	default:
		return v.Text() == text
	}
}
