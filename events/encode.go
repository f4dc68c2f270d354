package events

import (
	"encoding/base64"
	"slices"
	"strconv"
)

// AppendStructured appends the event in the JSON format. What came in structured is appended byte for byte; what came in
// binary mode is rendered, always to the same bytes: attributes in the order of Attributes, then data, whose bytes and
// number spellings stay (JF-3 to JF-7). It adds no attribute.
func (e *Event) AppendStructured(dst []byte) []byte {
	if e.text != nil {
		return append(dst, e.text...)
	}
	return e.appendStructured(dst, nil)
}

// appendStructured renders an event that came in binary mode, without the attributes in omit.
func (e *Event) appendStructured(dst []byte, omit []string) []byte {
	dst = e.appendAttributes(dst, omit)
	switch e.kind {
	case DataNone:
	case DataJSON:
		dst = append(append(dst, `,"data":`...), e.data...)
	case DataText:
		dst = appendString(append(dst, `,"data":`...), e.data)
	case DataBinary:
		dst = append(dst, `,"data_base64":"`...)
		dst = append(base64.StdEncoding.AppendEncode(dst, e.data), '"')
	}
	return append(dst, '}')
}

// appendAttributes appends the attributes as members, with the opening brace, but for those in omit.
func (e *Event) appendAttributes(dst []byte, omit []string) []byte {
	dst = append(dst, '{')
	separate := false
	for _, a := range e.attrs {
		if slices.Contains(omit, a.Name) {
			continue
		}
		if separate {
			dst = append(dst, ',')
		}
		separate = true
		dst = append(append(append(dst, '"'), a.Name...), '"', ':')
		if a.Kind == KindString {
			dst = appendString(dst, a.Value)
		} else {
			dst = append(dst, a.Value...)
		}
	}
	return dst
}

// appendString appends s, which is valid UTF-8, as a JSON string with no more escapes than JSON asks for.
func appendString[S string | []byte](dst []byte, s S) []byte {
	return append(appendEscaped(append(dst, '"'), s), '"')
}

// appendEscaped is appendString without the quotes.
func appendEscaped[S string | []byte](dst []byte, s S) []byte {
	const hex = "0123456789abcdef"
	start := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(dst, s[start:]...)
}

// Message is the event as it is stored: headers and payload of a NATS message, in the mode and bytes it came in.
// ParseNATS makes the same event of them. The map is the caller's; the payload must not be changed.
func (e *Event) Message() (h map[string][]string, payload []byte) {
	if e.text != nil {
		return StructuredHeader(), e.text
	}
	if e.size()-len(e.data) > maxHeaderBytes {
		return e.longMessage()
	}
	h = make(map[string][]string, len(e.attrs)+4) // the caller adds some of its own
	values := make([]string, len(e.attrs))
	for i, a := range e.attrs {
		values[i] = encodeHeader(a.Value)
		h[headerPrefix+a.Name] = values[i : i+1 : i+1]
	}
	return h, e.data
}

// structuredRoom is how many headers there are room for in StructuredHeader: the caller adds some of its own.
const structuredRoom = 6

// structuredValue is never changed: it has no room to append to, and nobody sets a header's value in place.
var structuredValue = []string{structuredType}

// StructuredHeader is the headers of the Message of every event in structured mode, whose payload is its text. The map is the
// caller's.
func StructuredHeader() map[string][]string {
	h := make(map[string][]string, structuredRoom)
	h["Content-Type"] = structuredValue
	return h
}

// maxHeaderBytes is how many bytes of headers a stored event has at most. JetStream takes 65,535 bytes of them, of which
// half is for what else travels with a message.
const maxHeaderBytes = 32 << 10

// headerLong is the header of an event in binary mode whose attributes are too long for headers: how many bytes of the
// payload are its attributes in the JSON format. The rest is data.
const headerLong = "Hookfleet-Attributes"

func (e *Event) longMessage() (h map[string][]string, payload []byte) {
	payload = append(e.appendAttributes(make([]byte, 0, e.size()), nil), '}')
	h = map[string][]string{headerLong: {strconv.Itoa(len(payload))}}
	return h, append(payload, e.data...)
}

// size is how many bytes the event takes as it is stored.
func (e *Event) size() int {
	if e.text != nil {
		return len(e.text)
	}
	n := len(e.data)
	for _, a := range e.attrs {
		n += len(headerPrefix) + len(a.Name) + len(": \r\n") + encodedLen(a.Value)
	}
	return n
}
