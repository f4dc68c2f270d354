package events

import (
	"bytes"
	"iter"
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

// read makes the tree of a text that was checked when the event came in.
func (t *tree) read(text []byte) {
	// Usual JSON has a value or name every six bytes or more.
	r := treeMaker{tree: t, scanner: scanner{text: text}, open: make([]uint32, 0, 2*manyChildren)}
	t.text, t.nodes = text, make([]node, 0, len(text)/6+8)
	r.value(skipSpace(text, 0))
}

type treeMaker struct {
	*tree
	scanner
	open []uint32 // the children of what is being read, of each level behind those of the level above
}

func (r *treeMaker) value(i int) int {
	switch r.scanner.text[i] {
	case '{':
		return r.container(i, '}')
	case '[':
		return r.container(i, ']')
	default:
		return r.scalar(i)
	}
}

func (r *treeMaker) scalar(i int) int {
	end := r.scalarEnd(i)
	r.nodes = append(r.nodes, node{uint32(i), uint32(end)})
	return end
}

// scalarEnd is behind the scalar at i, whose text was checked before: only its end is looked for.
func (r *treeMaker) scalarEnd(i int) int {
	text := r.scanner.text
	if text[i] != '"' {
		for i++; i < len(text) && text[i] > ' ' && text[i] != ',' && text[i] != '}' && text[i] != ']'; i++ {
		}
		return i
	}
	for i++; ; {
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

func (r *treeMaker) container(i int, closing byte) int {
	text, self, first := r.scanner.text, len(r.nodes), len(r.open)
	r.nodes = append(r.nodes, node{start: uint32(i)})
	for i = skipSpace(text, i+1); text[i] != closing; i = r.next(i) {
		if closing == '}' {
			i = r.colon(r.scalar(i))
		}
		r.open = append(r.open, uint32(len(r.nodes)))
		i = r.value(i)
	}
	r.nodes[self].end = uint32(len(r.nodes))
	if len(r.open)-first > manyChildren {
		r.keep(uint32(self), r.open[first:], closing == '}')
	}
	r.open = r.open[:first]
	return i + 1
}

func (r *treeMaker) keep(self uint32, items []uint32, named bool) {
	c := &children{items: append([]uint32(nil), items...)}
	if named {
		c.names = make(map[string]uint32, len(items))
		for _, i := range items {
			c.names[r.string(i-1)] = i
		}
	}
	if r.large == nil {
		r.large = make(map[uint32]*children)
	}
	r.large[self] = c
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
	for at := range v.nodes() {
		if v.tree.isNamed(at-1, name) {
			member, ok = DataValue{v.tree, at}, true
		}
	}
	return member, ok
}

// isNamed reports whether the string at i stands for name, without copying it.
func (t *tree) isNamed(i uint32, name string) bool {
	inner := t.text[t.nodes[i].start+1 : t.nodes[i].end-1]
	if len(inner) < len(name) || len(inner) > maxEscape*len(name) {
		return false
	}
	if bytes.IndexByte(inner, '\\') < 0 {
		return string(inner) == name
	}
	return string(t.bytes(i)) == name
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
