package events

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"
)

const (
	// maxFaults bounds an answer: a hostile event could have one in every five bytes.
	maxFaults = 1000
	// maxPointer bounds a name that is quoted in a pointer; names of attributes have some 20 bytes.
	maxPointer = 128
)

// attributes collects the attributes of one event, from whatever mode, and all that is wrong with them.
type attributes struct {
	event   *Event
	faults  []Fault
	headers bool // they are headers: pointers are header names
	nth     int  // of the events of a batch, from 1; 0 = the event is alone
	seen    nameSet

	many   bool        // more events follow, which share memory
	room   []Attribute // of them
	places []Event
}

// required are the attributes that an event must have (CE-1).
var required = [...]string{"id", "source", "specversion", "type"}

// usualRoom is how many attributes nearly no event has more of.
const usualRoom = 12

// shared is how many events of a batch have their memory from one piece: as much as the allocator has in sizes for. They hold the
// text of the whole batch anyway.
const shared = 32

// begin starts an event. Attributes and event are one allocation, or there is one of each for many events.
func (a *attributes) begin() {
	a.seen.reset()
	if !a.many {
		e := new(struct {
			Event
			room [usualRoom]Attribute
		})
		e.attrs = e.room[:0]
		a.event = &e.Event
		return
	}
	if len(a.places) == 0 {
		a.places = make([]Event, shared)
	}
	if cap(a.room) < usualRoom {
		a.room = make([]Attribute, 0, shared*usualRoom/2)
	}
	a.event, a.places = &a.places[0], a.places[1:]
	a.event.attrs = a.room[:0]
}

// finish ends an event of many: what it has not taken of the room is for the next one.
func (a *attributes) finish() {
	e := a.event
	n := len(e.attrs)
	if n <= cap(a.room) {
		a.room = a.room[n:n]
	}
	e.attrs = e.attrs[:n:n]
}

// fault notes what is wrong with the attribute, member or header name.
func (a *attributes) fault(name, detail string) {
	if len(name) > maxPointer {
		name = strings.ToValidUTF8(name[:maxPointer], "") + "…"
	}
	if a.headers {
		name = headerPrefix + name
	} else {
		name = a.base() + "/" + strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1")
	}
	a.note(Fault{Pointer: name, Detail: detail})
}

// base is the JSON pointer of the event.
func (a *attributes) base() string {
	if a.nth == 0 {
		return ""
	}
	return "/" + strconv.Itoa(a.nth-1)
}

// note notes a fault, if there are not too many already.
func (a *attributes) note(f Fault) {
	if len(a.faults) < maxFaults {
		a.faults = append(a.faults, f)
	}
}

// invalid is the error of what was collected; nil when nothing is wrong.
func (a *attributes) invalid() error {
	if len(a.faults) == 0 {
		return nil
	}
	return &Invalid{Status: 422, Code: "invalid_event", Faults: a.faults}
}

// fresh reports whether name is met for the first time and can be an attribute's.
func (a *attributes) fresh(name string) bool {
	switch {
	case !isName(name):
		a.fault(name, "is no attribute name: only lower-case letters and digits, at least one")
	case !a.seen.add(name):
		a.fault(name, "appears more than once")
	default:
		return true
	}
	return false
}

// set adds an attribute with a fresh name.
func (a *attributes) set(at Attribute) {
	e := a.event
	switch at.Name {
	case "id":
		e.id = at.Value
	case "source":
		e.source = at.Value
	case "type":
		e.typ = at.Value
	case "subject":
		e.subject = at.Value
	case "tenant":
		e.tenant = at.Value
	case "datacontenttype":
		e.contentType = at.Value
	case "time":
		e.time = at.Value
	}
	e.attrs = append(e.attrs, at)
	if wrong := at.wrong(); wrong != "" {
		a.fault(at.Name, wrong)
	}
}

// refuse notes an attribute whose value cannot be read. It is there all the same, so not also "required".
func (a *attributes) refuse(name, detail string) {
	a.event.attrs = append(a.event.attrs, Attribute{Name: name})
	a.fault(name, detail)
}

// require names what is missing.
func (a *attributes) require() {
	for _, name := range required {
		if _, ok := a.event.Attribute(name); !ok {
			a.fault(name, "is required")
		}
	}
}

// wrong says what is wrong with an attribute's value (CE-3, CE-6); "" = nothing.
func (at *Attribute) wrong() string {
	if isStringName(at.Name) {
		switch {
		case at.Kind != KindString:
			return "must be a string"
		case at.Value == "":
			return "must not be empty"
		}
	}
	if wrong := wrongText(at.Value); wrong != "" {
		return wrong
	}
	switch {
	case at.Name == "specversion" && at.Value != "1.0":
		return `must be "1.0"`
	case at.Name == "source" && !isURIReference(at.Value):
		return "must be a URI-reference"
	case at.Name == "dataschema" && !isURI(at.Value):
		return "must be an absolute URI"
	case at.Name == "datacontenttype" && !isMediaType(at.Value):
		return "must be a media type"
	case at.Name == "tenant" && !IsID(at.Value):
		return "must match ^[a-z0-9][a-z0-9_-]{0,62}$"
	case at.Name == "time":
		if _, err := parseTime(at.Value); err != nil {
			return "must be an RFC 3339 time"
		}
	}
	return ""
}

// isStringName reports whether this attribute is always a string, and never an empty one. The other extensions may be of
// any type.
func isStringName(name string) bool {
	return rank(name) < rankExtension || name == "tenant"
}

// wrongText says why s cannot be the value of an attribute (CE-6); "" = it can. Control characters in one would end in
// headers and logs.
func wrongText(s string) string {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	b := unsafe.Slice(unsafe.StringData(s), len(s)) //nolint:gosec // only read, and s keeps it alive
	for ; len(b) >= 8; b = b[8:] {                  // an addition marks 0x7f and above, a subtraction what is below the space
		w := binary.LittleEndian.Uint64(b)
		if above, below := w+ones, w-' '*ones; (w|above|below)&highs != 0 {
			return wrongRunes(s)
		}
	}
	for _, c := range b {
		if c < ' ' || c >= 0x7f {
			return wrongRunes(s)
		}
	}
	return ""
}

func wrongRunes(s string) string {
	for i, r := range s {
		switch {
		case r < ' ' || r >= 0x7f && r <= 0x9f:
			return "has a control character at byte " + strconv.Itoa(i)
		case r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe:
			return "has a Unicode noncharacter at byte " + strconv.Itoa(i)
		case r == utf8.RuneError:
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				return "has invalid UTF-8 at byte " + strconv.Itoa(i)
			}
		}
	}
	return ""
}

// isName reports whether s may name an attribute (CE-4).
func isName(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// nameSet finds duplicate names. Few are compared one by one; a hostile event can have 100,000.
type nameSet struct {
	marks uint64 // one bit for each hash of a name in few
	few   [24]string
	n     int
	many  map[string]struct{}
}

func (s *nameSet) reset() { s.marks, s.n, s.many = 0, 0, nil }

// add reports whether name was not there yet.
func (s *nameSet) add(name string) bool {
	if s.many != nil {
		n := len(s.many)
		s.many[name] = struct{}{}
		return len(s.many) > n
	}
	mark := uint64(1) << ((name[0] ^ name[len(name)-1]<<3 ^ byte(len(name))) & 63)
	if s.marks&mark != 0 {
		if slices.Contains(s.few[:s.n], name) {
			return false
		}
	}
	s.marks |= mark
	if s.n < len(s.few) {
		s.few[s.n] = name
		s.n++
		return true
	}
	s.many = make(map[string]struct{}, 2*len(s.few))
	for _, have := range s.few {
		s.many[have] = struct{}{}
	}
	s.many[name] = struct{}{}
	return true
}
