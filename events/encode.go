package events

import "encoding/base64"

// AppendStructured appends the event in the JSON format. What came in structured is appended byte for byte; what came in
// binary mode is rendered, always to the same bytes: attributes in the order of Attributes, then data, whose bytes and
// number spellings stay (JF-3 to JF-7). It adds no attribute.
func (e *Event) AppendStructured(dst []byte) []byte {
	if e.text != nil {
		return append(dst, e.text...)
	}
	for i, a := range e.attrs {
		if i == 0 {
			dst = append(dst, '{')
		} else {
			dst = append(dst, ',')
		}
		dst = append(dst, '"')
		dst = append(dst, a.Name...)
		dst = append(dst, '"', ':')
		dst = appendAttribute(dst, a)
	}
	switch e.kind {
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

func appendAttribute(dst []byte, a Attribute) []byte {
	if a.Kind == KindString {
		return appendString(dst, a.Value)
	}
	return append(dst, a.Value...)
}

// appendString appends s, which is valid UTF-8, as a JSON string with no more escapes than JSON asks for.
func appendString[S string | []byte](dst []byte, s S) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
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
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// Message is the event as it is stored: headers and payload of a NATS message, in the mode and bytes it came in.
// ParseNATS makes the same event of them. The map is the caller's; the payload must not be changed.
func (e *Event) Message() (h map[string][]string, payload []byte) {
	if e.text != nil {
		return map[string][]string{"Content-Type": {structuredType}}, e.text
	}
	h = make(map[string][]string, len(e.attrs)+4) // the caller adds some of its own
	values := make([]string, len(e.attrs))
	for i, a := range e.attrs {
		values[i] = encodeHeader(a.Value)
		h[headerPrefix+a.Name] = values[i : i+1 : i+1]
	}
	return h, e.data
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
