package events

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"
)

// The prefix of headers that carry attributes, and the media types of the JSON format.
const (
	headerPrefix    = "ce-"
	structuredType  = "application/cloudevents+json"
	batchType       = "application/cloudevents-batch+json"
	structuredStart = "application/cloudevents"
	batchStart      = "application/cloudevents-batch"
)

// headers are the headers of a message that concern its event. HTTP and NATS differ in what they do with case: names
// are compared without it here (NB-3).
type headers struct {
	contentTypes []string
	ce           []header // by attribute name, the ones that everybody has first
}

type header struct {
	name   string // of the attribute, lower case
	values []string
}

// readHeaders picks the headers that concern the event. The order of a map is random; what is rendered must not be.
func readHeaders(h map[string][]string) headers {
	var out headers
	for key, values := range h {
		switch {
		case len(values) == 0:
		case hasPrefixFold(key, headerPrefix):
			if out.ce == nil {
				out.ce = make([]header, 0, len(h))
			}
			out.ce = append(out.ce, header{lower(key[len(headerPrefix):]), values})
		case strings.EqualFold(key, "content-type"):
			out.contentTypes = append(out.contentTypes, values...)
		}
	}
	slices.SortFunc(out.ce, func(a, b header) int {
		return cmp.Or(cmp.Compare(rank(a.name), rank(b.name)), cmp.Compare(a.name, b.name))
	})
	return out
}

// lower is strings.ToLower for ASCII only: other letters are in no attribute name.
func lower(s string) string {
	for i := range len(s) {
		if s[i] >= 'A' && s[i] <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if b[i] >= 'A' && b[i] <= 'Z' {
					b[i] |= 0x20
				}
			}
			return string(b)
		}
	}
	return s
}

// rankExtension is the rank of all attributes that the specification does not define.
const rankExtension = 8

// rank puts the attributes of the specification in the order people write them in, and extensions behind.
func rank(name string) int {
	switch name {
	case "specversion":
		return 0
	case "id":
		return 1
	case "source":
		return 2
	case "type":
		return 3
	case "subject":
		return 4
	case "time":
		return 5
	case "datacontenttype":
		return 6
	case "dataschema":
		return 7
	default:
		return rankExtension
	}
}

// contentType is the one Content-Type; "" when there is none.
func (h *headers) contentType() (string, error) {
	switch len(h.contentTypes) {
	case 0:
		return "", nil
	case 1:
		return h.contentTypes[0], nil
	default:
		return "", &Invalid{Status: 400, Code: "invalid_header", Faults: []Fault{
			{Pointer: "content-type", Detail: "appears more than once"}}}
	}
}

// isBinary reports whether there is an attribute that every event has: then the message claims to be one in binary mode.
func (h *headers) isBinary() bool {
	return slices.ContainsFunc(h.ce, func(c header) bool { return rank(c.name) <= rank("type") })
}

// isJSONFormat reports whether a Content-Type is want, in UTF-8.
func isJSONFormat(contentType, want string) bool {
	charset, ok := parameter(contentType, "charset")
	return ok && strings.EqualFold(essence(contentType), want) && (charset == "" || strings.EqualFold(charset, "utf-8"))
}

func unsupported(detail string) error {
	return &Invalid{Status: 415, Code: "unsupported_media_type", Faults: []Fault{{Pointer: "content-type", Detail: detail}}}
}

// readHTTPBinary reads an event in binary mode, whose Content-Type is its datacontenttype (HB-3).
func (h *headers) readHTTPBinary(contentType string, data []byte) (*Event, error) {
	a := h.read()
	if a.seen.add("datacontenttype") {
		a.mediaType(contentType)
	} else {
		a.fault("datacontenttype", "must be the Content-Type instead")
	}
	return a.binary(data)
}

// readNATSBinary reads an event in binary mode, whose ce-datacontenttype is its datacontenttype (NB-2), or else its
// Content-Type, as producers send it that know HTTP better (NB-3).
func (h *headers) readNATSBinary(contentType string, data []byte) (*Event, error) {
	a := h.read()
	if a.seen.add("datacontenttype") {
		a.mediaType(contentType)
	}
	return a.binary(data)
}

// read reads the attributes.
func (h *headers) read() *attributes {
	a := &attributes{headers: true}
	a.begin()
	for _, c := range h.ce {
		if a.fresh(c.name) {
			a.fromHeader(c)
		}
	}
	return a
}

// fromHeader sets an attribute that came as a header.
func (a *attributes) fromHeader(c header) {
	switch value, wrong := decodeHeader(c.values[0]); {
	case len(c.values) > 1:
		a.refuse(c.name, "appears more than once")
	case c.name == "data":
		a.refuse(c.name, "is no attribute name")
	case wrong != "":
		a.refuse(c.name, wrong)
	default:
		a.set(Attribute{Name: c.name, Value: value})
	}
}

// mediaType sets datacontenttype from a Content-Type, if there is one.
func (a *attributes) mediaType(contentType string) {
	if contentType == "" {
		return
	}
	e, at := a.event, Attribute{Name: "datacontenttype", Value: contentType}
	e.contentType = contentType
	place := slices.IndexFunc(e.attrs, func(other Attribute) bool { return rank(other.Name) > rank(at.Name) })
	if place < 0 {
		place = len(e.attrs)
	}
	e.attrs = slices.Insert(e.attrs, place, at)
	if wrong := at.wrong(); wrong != "" {
		a.note(Fault{Pointer: "content-type", Detail: wrong})
	}
}

// binary completes an event in binary mode.
func (a *attributes) binary(data []byte) (*Event, error) {
	a.require()
	a.setBinaryData(data)
	if err := a.invalid(); err != nil {
		return nil, err
	}
	if a.event.size() > MaxEventBytes {
		return nil, tooLarge("", eventTooLarge)
	}
	return a.event, nil
}

// setBinaryData decides what the data of a message in binary mode is in JSON. It never changes a byte. Without a content
// type it is looked at, which RFC 9110 (8.3) allows: JSON is JSON, as JF-7 has it, anything else is binary.
func (a *attributes) setBinaryData(data []byte) {
	e := a.event
	if len(data) == 0 {
		return
	}
	e.data, e.kind = slices.Clip(data), DataBinary
	switch {
	case e.contentType == "":
		if wrongJSON(data) == "" {
			e.kind = DataJSON
		}
	case IsJSONType(e.contentType):
		e.kind = DataJSON
		if wrong := wrongJSON(data); wrong != "" {
			a.note(Fault{Pointer: "/data", Detail: "must be JSON, as the content type says: " + wrong})
		}
	case isTextType(e.contentType) && utf8.Valid(data):
		e.kind = DataText
	}
}

// wrongJSON says why data is not JSON that can stand in an event; "" = it is.
func wrongJSON(data []byte) string {
	s := scanner{text: data}
	if i := s.value(skipSpace(data, 0), 1); i >= 0 {
		s.end(i)
	}
	return s.problem()
}

// contradiction compares copies of attributes in headers, which structured mode allows (HB-6), with the event. What
// differs would be read differently by whoever looks at the headers.
func (h *headers) contradiction(e *Event) error {
	var faults []Fault
	for _, c := range h.ce {
		if value, ok := e.Attribute(c.name); !ok || !slices.ContainsFunc(c.values, func(v string) bool {
			decoded, wrong := decodeHeader(v)
			return v == value || wrong == "" && decoded == value
		}) || len(c.values) != 1 {
			faults = append(faults, Fault{Pointer: headerPrefix + c.name, Detail: "contradicts the event in the body"})
		}
	}
	if faults == nil {
		return nil
	}
	return &Invalid{Status: 400, Code: "invalid_header", Faults: faults}
}

// decodeHeader undoes a quoted-string, then exactly one percent-encoding (HB-5). wrong says why it cannot. Characters
// that had to be encoded but were not are taken: most SDKs send them so.
func decodeHeader(s string) (value, wrong string) {
	if strings.HasPrefix(s, `"`) {
		unquoted, rest, ok := cutQuoted(s)
		if !ok || rest != "" {
			return "", "is a malformed quoted string"
		}
		s = unquoted
	}
	if strings.Contains(s, "%") {
		b := make([]byte, 0, len(s))
		for i := 0; i < len(s); i++ {
			if s[i] != '%' {
				b = append(b, s[i])
				continue
			}
			if len(s)-i < 3 {
				return "", "has a malformed percent-encoding"
			}
			high, ok1 := unhex(s[i+1])
			low, ok2 := unhex(s[i+2])
			if !ok1 || !ok2 {
				return "", "has a malformed percent-encoding"
			}
			b = append(b, high<<4|low)
			i += 2
		}
		s = string(b)
	}
	if !utf8.ValidString(s) {
		return "", "has invalid UTF-8"
	}
	return s, ""
}

// mustEncode reports whether a byte of a header value is percent-encoded (HB-4).
func mustEncode(c byte) bool { return c <= ' ' || c >= 0x7f || c == '"' || c == '%' }

// encodeHeader percent-encodes a value (HB-4).
func encodeHeader(s string) string {
	n := encodedLen(s)
	if n == len(s) {
		return s
	}
	return string(appendHeader(make([]byte, 0, n), s))
}

func appendHeader(dst []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		if c := s[i]; mustEncode(c) {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

func encodedLen(s string) int {
	n := len(s)
	for i := range len(s) {
		if mustEncode(s[i]) {
			n += 2
		}
	}
	return n
}
