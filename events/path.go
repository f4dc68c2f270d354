package events

import (
	"fmt"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// Bounds of a path.
const (
	maxSteps     = maxDepth // data nests no deeper
	maxItemDigit = 7        // an event has at most 1,000,000 bytes
)

// Path leads from the root of data to a value within it, from the outside in. The empty path is data itself.
type Path []Step

// Step is a member of an object by its name, or an item of an array by its number.
type Step struct {
	Name string // "" = an item
	Item int    // from 0
}

// pathError is what is wrong with a path, and where in its text.
type pathError struct {
	at  int
	why string
}

// parseSteps reads what follows the root of a path: .name and [number], any of them, up to the first byte that belongs to
// neither, whose position it returns.
func parseSteps(text string, i int) (p Path, end int, wrong *pathError) {
	for i < len(text) {
		var step Step
		switch text[i] {
		case '.':
			step.Name, end, wrong = cutPathName(text, i+1)
		case '[':
			step.Item, end, wrong = cutItem(text, i+1)
		default:
			return p, i, nil
		}
		if wrong != nil {
			return nil, i, wrong
		}
		if i = end; len(p) == maxSteps {
			return nil, i, &pathError{i, fmt.Sprintf("a path has at most %d steps", maxSteps)}
		}
		p = append(p, step)
	}
	return p, i, nil
}

// cutPathName reads a member's name: letters and digits of any script, _ - and @.
func cutPathName(text string, i int) (name string, end int, wrong *pathError) {
	end = i
	for end < len(text) {
		r, n := utf8.DecodeRuneInString(text[end:])
		if r != '_' && r != '-' && r != '@' && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			break
		}
		end += n
	}
	if end == i {
		return "", i, &pathError{i, "a name was expected"}
	}
	return text[i:end], end, nil
}

func cutItem(text string, i int) (item, end int, wrong *pathError) {
	end = i
	for end < len(text) && text[end] >= '0' && text[end] <= '9' {
		end++
	}
	switch {
	case end == i:
		return 0, i, &pathError{i, "the number of an item was expected"}
	case end-i > maxItemDigit:
		return 0, i, &pathError{i, "no array has so many items"}
	case end == len(text) || text[end] != ']':
		return 0, i, &pathError{end, "a ] was expected"}
	}
	item, _ = strconv.Atoi(text[i:end])
	return item, end + 1, nil
}

// Finder finds what several paths lead to, in one walk over data. It is immutable and safe for concurrent use.
type Finder struct{ root finderNode }

// finderNode is a place in data where paths go through or end.
type finderNode struct {
	ends    []int // which paths end here
	members map[string]*finderNode
	items   map[int]*finderNode
}

// NewFinder returns a finder of paths, whose order is that of what is found.
func NewFinder(paths []Path) *Finder {
	f := &Finder{}
	for i, path := range paths {
		n := &f.root
		for _, step := range path {
			n = n.next(step)
		}
		n.ends = append(n.ends, i)
	}
	return f
}

// next is the node behind a step, made if need be.
func (n *finderNode) next(s Step) *finderNode {
	if s.Name == "" {
		if n.items == nil {
			n.items = make(map[int]*finderNode)
		}
		if n.items[s.Item] == nil {
			n.items[s.Item] = &finderNode{}
		}
		return n.items[s.Item]
	}
	if n.members == nil {
		n.members = make(map[string]*finderNode)
	}
	if n.members[s.Name] == nil {
		n.members[s.Name] = &finderNode{}
	}
	return n.members[s.Name]
}

// Find sets found[i] to what path i leads to in the data of e, and leaves it where it leads to nothing. Of a member that
// is there more than once the last counts, as most readers of JSON have it. Data that is not JSON is found by the empty
// path alone: as text, or as the base64 of what is neither.
func (f *Finder) Find(e *Event, found []Value) {
	if e.kind == DataJSON {
		f.root.visit(rawJSON(trimSpace(e.data)), found)
		return
	}
	for _, i := range f.root.ends {
		found[i] = e.wholeData()
	}
}

func trimSpace(text []byte) []byte {
	text = text[skipSpace(text, 0):]
	for n := len(text); n > 0; n-- {
		if c := text[n-1]; c != ' ' && c != '\t' && c != '\n' && c != '\r' {
			return text[:n]
		}
	}
	return nil
}

func (n *finderNode) visit(raw rawJSON, found []Value) {
	for _, i := range n.ends {
		found[i] = Value{json: raw}
	}
	switch raw[0] {
	case '{':
		n.visitMembers(raw, found)
	case '[':
		n.visitItems(raw, found)
	}
}

func (n *finderNode) visitMembers(raw rawJSON, found []Value) {
	if n.members == nil {
		return
	}
	seen := 0
	for name, value := range raw.members() {
		next := n.members[string(name)]
		if next == nil {
			continue
		}
		if seen++; seen > 1 {
			next.forget(found)
		}
		next.visit(value, found)
	}
}

func (n *finderNode) visitItems(raw rawJSON, found []Value) {
	if n.items == nil {
		return
	}
	i, left := 0, len(n.items)
	for value := range raw.items() {
		if next := n.items[i]; next != nil {
			next.visit(value, found)
			if left--; left == 0 {
				return
			}
		}
		i++
	}
}

// forget takes back what an earlier member of the same name had.
func (n *finderNode) forget(found []Value) {
	for _, i := range n.ends {
		found[i] = Value{}
	}
	for _, next := range n.members {
		next.forget(found)
	}
	for _, next := range n.items {
		next.forget(found)
	}
}
