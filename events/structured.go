package events

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strconv"
	"unsafe"
)

// parser reads events in the JSON format: one strict scan that validates, notes the attributes and where data is. Values
// without escapes are not copied but point into the text.
type parser struct {
	scanner
	attributes
	data, base64 member // of the event being read; name "" = absent
}

// member is one member of an event: its name and where its value is.
type member struct {
	name       string
	start, end int
	escaped    bool // the value is a string with a backslash
}

// ParseStructured reads one event in the JSON format (application/cloudevents+json). The event keeps text, which must not
// be changed afterwards. Errors are *Invalid: 400 invalid_json when text is not JSON, 413 too_large, 422 invalid_event
// with all faults at once.
//
// JSON is taken strictly: one value, valid UTF-8, no unpaired surrogates, no more than 64 levels, and no member of the
// event twice. What is inside data is checked as JSON only: what its members are called is the producer's business.
func ParseStructured(text []byte) (*Event, error) {
	if len(text) > MaxEventBytes {
		return nil, tooLarge("", eventTooLarge)
	}
	p := parser{scanner: scanner{text: text}}
	i := p.readEvent(skipSpace(text, 0))
	if i >= 0 {
		p.end(i)
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	p.event.text = slices.Clip(text)
	return p.event, nil
}

const eventTooLarge = "an event has at most 1,000,000 bytes"

func tooLarge(pointer, detail string) *Invalid {
	return &Invalid{Status: 413, Code: "too_large", Faults: []Fault{{Pointer: pointer, Detail: detail}}}
}

// err is what is wrong so far; bad JSON hides the rest.
func (p *parser) err() error {
	if p.wrong != "" {
		return &Invalid{Status: 400, Code: "invalid_json", Faults: []Fault{{Detail: p.problem()}}}
	}
	return p.invalid()
}

// readEvent reads the event that begins at i.
func (p *parser) readEvent(i int) int {
	p.begin()
	p.data, p.base64 = member{}, member{}
	if i < len(p.text) && p.text[i] != '{' {
		p.note(Fault{Pointer: p.base(), Detail: "must be a JSON object"})
		return p.value(i, 0)
	}
	if i >= len(p.text) {
		return p.unexpected(i, "an event")
	}
	if i = p.members(skipSpace(p.text, i+1)); i >= 0 {
		p.require()
		p.setData()
	}
	return i
}

// members reads all members and the brace behind them.
func (p *parser) members(i int) int {
	if i < len(p.text) && p.text[i] == '}' {
		return i + 1
	}
	for {
		if i = p.member(i); i < 0 {
			return -1
		}
		i = skipSpace(p.text, i)
		switch {
		case i < len(p.text) && p.text[i] == ',':
			i = skipSpace(p.text, i+1)
		case i < len(p.text) && p.text[i] == '}':
			return i + 1
		default:
			return p.unexpected(i, "',' or '}'")
		}
	}
}

func (p *parser) member(i int) int {
	if i >= len(p.text) || p.text[i] != '"' {
		return p.unexpected(i, "a member name")
	}
	start := i
	if i = p.str(i); i < 0 {
		return -1
	}
	m := member{name: asString(p.unquote(start, i, p.escaped))}
	if m.start = p.colon(i); m.start < 0 {
		return -1
	}
	p.escaped = false
	if m.end = p.value(m.start, 1); m.end < 0 {
		return -1
	}
	m.escaped = p.escaped
	p.keep(m)
	return m.end
}

// unquote returns what the string between start and end, quotes included, stands for.
func (p *parser) unquote(start, end int, escaped bool) []byte {
	raw := p.text[start+1 : end-1 : end-1]
	if escaped {
		raw = appendUnescaped(make([]byte, 0, len(raw)), raw)
	}
	return raw
}

// asString is b as a string without a copy: nobody changes the text of an event.
func asString(b []byte) string {
	return unsafe.String(unsafe.SliceData(b), len(b)) //nolint:gosec // see above
}

// keep keeps a member: data for later, when the content type is known, attributes at once.
func (p *parser) keep(m member) {
	switch m.name {
	case "data_base64":
		p.once(&p.base64, m)
	case "data":
		p.once(&p.data, m)
	default:
		if p.fresh(m.name) {
			p.attribute(m)
		}
	}
}

// once keeps data or data_base64.
func (p *parser) once(kept *member, m member) {
	if kept.name != "" {
		p.fault(m.name, "appears more than once")
		return
	}
	*kept = m
}

// attribute sets an attribute by its JSON type (JF-3). null is an absent attribute (JF-2).
func (p *parser) attribute(m member) {
	at := Attribute{Name: m.name}
	switch c := p.text[m.start]; c {
	case '"':
		at.Value = asString(p.unquote(m.start, m.end, m.escaped))
	case 'n':
		return
	case 't', 'f':
		at.Kind = KindBoolean
		at.Value = "false"
		if c == 't' {
			at.Value = "true"
		}
	case '{', '[':
		p.refuse(m.name, "must be a string, an integer or a boolean")
		return
	default:
		at.Kind, at.Value = KindInteger, asString(p.text[m.start:m.end])
		if _, err := strconv.ParseInt(at.Value, 10, 32); err != nil && !isStringName(m.name) {
			p.refuse(m.name, "must be an integer of 32 bits, without fraction and exponent")
			return
		}
	}
	p.set(at)
}

// setData decides what data is, now that the content type is known.
func (p *parser) setData() {
	e := p.event
	isNull := p.base64.name != "" && p.text[p.base64.start] == 'n' // as in the JSON schema of CloudEvents
	switch {
	case p.base64.name != "" && !isNull:
		if p.data.name != "" {
			p.fault("data_base64", "excludes data")
			return
		}
		p.setBase64(p.base64)
	case p.data.name == "":
	case e.contentType == "" || IsJSONType(e.contentType):
		e.data, e.kind = p.text[p.data.start:p.data.end:p.data.end], DataJSON
	case p.text[p.data.start] != '"':
		p.fault("data", "must be a string, as datacontenttype is not JSON")
	default:
		e.data, e.kind = p.unquote(p.data.start, p.data.end, p.data.escaped), DataText
	}
}

// strictBase64 refuses padding bits that are not zero: two spellings of the same bytes would be possible.
var strictBase64 = base64.StdEncoding.Strict()

// setBase64 decodes data_base64: JSON escapes first, then base64 (JF-9).
func (p *parser) setBase64(m member) {
	if p.text[m.start] != '"' {
		p.fault(m.name, "must be a string")
		return
	}
	raw := p.unquote(m.start, m.end, m.escaped)
	data := make([]byte, strictBase64.DecodedLen(len(raw)))
	n, err := strictBase64.Decode(data, raw)
	if err != nil || bytes.ContainsAny(raw, "\r\n") { // which Decode skips
		p.fault(m.name, "must be standard base64 with padding")
		return
	}
	p.event.data, p.event.kind = data[:n:n], DataBinary
}
