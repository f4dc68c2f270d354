package events

import (
	"fmt"
	"strconv"
	"strings"
)

// document is a JSON text of the API, read strictly into a tree, and all that is found wrong with it.
type document struct{ faults []Fault }

// jsonValue is one value. Only the field of its kind is set.
type jsonValue struct {
	kind    jsonKind
	text    string // of a string, or the literal of a number
	yes     bool
	members []jsonMember // in order of appearance
	items   []jsonValue
}

type jsonMember struct {
	name  string
	value jsonValue
}

type jsonKind string

const (
	jsonNull   jsonKind = "null"
	jsonBool   jsonKind = "true or false"
	jsonNumber jsonKind = "a number"
	jsonString jsonKind = "a string"
	jsonArray  jsonKind = "an array"
	jsonObject jsonKind = "an object"
)

// parseDocument reads text: complete grammar, valid UTF-8, at most maxDepth levels, nothing behind the value, no member
// twice. The error is an *Invalid that says what and where.
func parseDocument(text []byte) (*jsonValue, error) {
	s := scanner{text: text}
	i := s.value(skipSpace(text, 0), 0)
	if i >= 0 {
		i = s.end(i)
	}
	if i < 0 {
		return nil, invalidJSON(Fault{Detail: s.problem()})
	}
	var r treeReader
	v := r.value("", rawJSON(text[skipSpace(text, 0):]))
	if r.faults != nil {
		return nil, invalidJSON(r.faults...)
	}
	return &v, nil
}

func invalidJSON(faults ...Fault) *Invalid {
	return &Invalid{Status: 400, Code: "invalid_json", Faults: faults}
}

// treeReader builds the tree of a text.
type treeReader struct{ faults []Fault }

func (r *treeReader) value(at string, raw rawJSON) jsonValue {
	v := jsonValue{kind: raw.kind()}
	switch v.kind {
	case jsonObject:
		seen := make(map[string]bool)
		for key, value := range raw.members() {
			name := string(key)
			if seen[name] && len(r.faults) < maxFaults {
				r.faults = append(r.faults, Fault{below(at, name), "appears more than once"})
			}
			seen[name] = true
			v.members = append(v.members, jsonMember{name, r.value(below(at, name), value)})
		}
	case jsonArray:
		for value := range raw.items() {
			v.items = append(v.items, r.value(item(at, len(v.items)), value))
		}
	case jsonString:
		v.text = raw.text()
	case jsonNumber:
		v.text = string(raw)
	case jsonBool:
		v.yes = raw[0] == 't'
	case jsonNull:
	}
	return v
}

// below is the JSON pointer of a member.
func below(at, name string) string {
	if len(name) > maxPointer {
		name = strings.ToValidUTF8(name[:maxPointer], "") + "…"
	}
	return at + "/" + pointerEscapes.Replace(name)
}

// pointerEscapes are those of a name in a JSON pointer (RFC 6901).
var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")

// item is the JSON pointer of an item.
func item(at string, i int) string { return at + "/" + strconv.Itoa(i) }

func (d *document) fault(at, format string, args ...any) {
	if len(d.faults) < maxFaults {
		d.faults = append(d.faults, Fault{at, fmt.Sprintf(format, args...)})
	}
}

// reader takes one value of a document.
type reader func(v *jsonValue, at string)

// is reports whether v is of a kind, and faults it otherwise.
func (d *document) is(kind jsonKind, v *jsonValue, at string) bool {
	if v.kind != kind {
		d.fault(at, "must be %s", kind)
	}
	return v.kind == kind
}

// object reads the members of an object. null counts as absent, as clients generated from a schema write it.
func (d *document) object(v *jsonValue, at string, known map[string]reader) {
	if !d.is(jsonObject, v, at) {
		return
	}
	for i := range v.members {
		m := &v.members[i]
		read, ok := known[m.name]
		switch {
		case !ok:
			d.fault(below(at, m.name), "is not known%s", suggestion(m.name, known))
		case m.value.kind != jsonNull:
			read(&m.value, below(at, m.name))
		}
	}
}

// member returns a member of an object that is there and not null; nil otherwise.
func (v *jsonValue) member(name string) *jsonValue {
	for i := range v.members {
		if m := &v.members[i]; m.name == name && m.value.kind != jsonNull {
			return &m.value
		}
	}
	return nil
}

// append appends the value as JSON without white space, always the same bytes for the same value.
func (v *jsonValue) append(dst []byte) []byte {
	switch v.kind {
	case jsonObject:
		dst = append(dst, '{')
		for i := range v.members {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = v.members[i].value.append(append(appendString(dst, v.members[i].name), ':'))
		}
		return append(dst, '}')
	case jsonArray:
		dst = append(dst, '[')
		for i := range v.items {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = v.items[i].append(dst)
		}
		return append(dst, ']')
	case jsonString:
		return appendString(dst, v.text)
	case jsonNumber:
		return append(dst, v.text...)
	case jsonBool:
		return strconv.AppendBool(dst, v.yes)
	default:
		return append(dst, "null"...)
	}
}

// suggestion names the known member that was probably meant: another case, or with separators.
func suggestion(name string, known map[string]reader) string {
	plain := strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(name))
	if _, ok := known[plain]; ok {
		return ", write " + plain
	}
	return ""
}

// array reads the items of an array of at most limit.
func (d *document) array(v *jsonValue, at string, limit int, read func(v *jsonValue, at string)) {
	if !d.is(jsonArray, v, at) {
		return
	}
	if len(v.items) > limit {
		d.fault(at, "has %d items, at most %d are taken", len(v.items), limit)
		return
	}
	for i := range v.items {
		read(&v.items[i], item(at, i))
	}
}

// text reads a string that check finds nothing wrong with.
func (d *document) text(to *string, check func(string) string) reader {
	return func(v *jsonValue, at string) {
		if !d.is(jsonString, v, at) {
			return
		}
		if wrong := check(v.text); wrong != "" {
			d.fault(at, "%s", wrong)
		}
		*to = v.text
	}
}

func (d *document) boolean(to *bool) reader {
	return func(v *jsonValue, at string) {
		if d.is(jsonBool, v, at) {
			*to = v.yes
		}
	}
}

func (d *document) integer(to *int, low, high int) reader {
	return func(v *jsonValue, at string) {
		n, err := strconv.Atoi(v.text)
		if v.kind != jsonNumber || err != nil || n < low || n > high {
			d.fault(at, "must be an integer from %d to %d", low, high)
			return
		}
		*to = n
	}
}

func (d *document) number(to *float64, low, high float64) reader {
	return func(v *jsonValue, at string) {
		f, err := strconv.ParseFloat(v.text, 64)
		if v.kind != jsonNumber || err != nil || f < low || f > high {
			d.fault(at, "must be a number from %v to %v", low, high)
			return
		}
		*to = f
	}
}

// duration reads one as text. The number 0 is one too: YAML says `maxage: 0` for "none", as the contract does.
func (d *document) duration(to *Duration, low, high Duration) reader {
	return func(v *jsonValue, at string) {
		got, err := ParseDuration(v.text)
		isText := v.kind == jsonString || v.kind == jsonNumber && v.text == "0"
		if !isText || err != nil || got < low || got > high {
			d.fault(at, "must be a duration from %s to %s, such as 15s", low, high)
			return
		}
		*to = got
	}
}

// word reads a string that can only be one.
func (d *document) word(to *string, have string) reader {
	return func(v *jsonValue, at string) {
		switch {
		case !d.is(jsonString, v, at):
		case v.text != have:
			d.fault(at, "must be %s", have)
		default:
			*to = have
		}
	}
}

// ignore takes a member that is read-only.
func (*document) ignore(*jsonValue, string) {}
