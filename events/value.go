package events

import "encoding/base64"

// Value is what a placeholder stands for in one event: JSON, or text that no JSON was. The zero value is missing.
type Value struct {
	json rawJSON
	text string
	some bool // text is a value, also when it is empty
}

// TextValue is a value that is a string.
func TextValue(s string) Value { return Value{text: s, some: true} }

// JSONValue is a value that is JSON, which must be valid and have no white space around it.
func JSONValue(text []byte) Value { return Value{json: text} }

// Missing reports whether there is no value.
func (v Value) Missing() bool { return !v.some && v.json == nil }

// NoText reports whether there is nothing to write where text is: it is missing, or null.
func (v Value) NoText() bool { return v.Missing() || v.json != nil && v.json[0] == 'n' }

// IsString reports whether the value is a string.
func (v Value) IsString() bool { return v.some || v.json != nil && v.json[0] == '"' }

// Text is the value as text: what a string stands for, a number in its own spelling, an object or an array as its JSON.
func (v Value) Text() string {
	if v.json == nil {
		return v.text
	}
	if v.json[0] == '"' {
		return asString(v.json.bytes())
	}
	return asString(v.json)
}

// Size is about how many bytes the value takes.
func (v Value) Size() int { return len(v.text) + len(v.json) }

// AppendJSON appends the value with its JSON type, in its own spelling.
func (v Value) AppendJSON(dst []byte) []byte {
	switch {
	case v.json != nil:
		return append(dst, v.json...)
	case v.some:
		return appendString(dst, v.text)
	default:
		return append(dst, "null"...)
	}
}

// AppendInString appends the text of the value as it stands within a JSON string.
func (v Value) AppendInString(dst []byte) []byte {
	switch {
	case v.json == nil:
		return appendEscaped(dst, v.text)
	case v.json[0] == '"':
		return append(dst, v.json[1:len(v.json)-1]...)
	default:
		return appendEscaped(dst, []byte(v.json))
	}
}

// AttributeValue is a context attribute with the JSON type that it came with; missing when the event does not have it.
func (e *Event) AttributeValue(name string) Value {
	for i := range e.attrs {
		a := &e.attrs[i]
		switch {
		case a.Name != name:
		case a.Kind == KindString:
			return TextValue(a.Value)
		default:
			return Value{json: rawJSON(a.Value)}
		}
	}
	return Value{}
}

// wholeData is data as one value.
func (e *Event) wholeData() Value {
	switch e.kind {
	case DataJSON:
		return Value{json: trimSpace(e.data)}
	case DataText:
		return TextValue(asString(e.data))
	case DataBinary:
		return TextValue(base64.StdEncoding.EncodeToString(e.data))
	default:
		return Value{}
	}
}

// AppendString appends s, which is valid UTF-8, as a JSON string.
func AppendString(dst []byte, s string) []byte { return appendString(dst, s) }

// HeaderValue is s percent-encoded as a header that carries an attribute has it (HB-4).
func HeaderValue(s string) string { return encodeHeader(s) }

// AppendHeader appends s percent-encoded as HeaderValue does.
func AppendHeader(dst []byte, s string) []byte { return appendHeader(dst, s) }
