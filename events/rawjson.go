package events

import (
	"bytes"
	"iter"
)

// rawJSON is the text of one JSON value that scanner has accepted, without the white space around it. Reading it needs no
// reflection and builds no tree: only what is wanted is looked at.
type rawJSON []byte

// kind is what the value is.
func (r rawJSON) kind() jsonKind {
	switch r[0] {
	case '{':
		return jsonObject
	case '[':
		return jsonArray
	case '"':
		return jsonString
	case 't', 'f':
		return jsonBool
	case 'n':
		return jsonNull
	default:
		return jsonNumber
	}
}

// text is what a string stands for.
func (r rawJSON) text() string { return string(r.bytes()) }

// bytes is text, which is part of r where nothing is escaped.
func (r rawJSON) bytes() []byte {
	inner := r[1 : len(r)-1]
	if bytes.IndexByte(inner, '\\') >= 0 {
		return appendUnescaped(nil, inner)
	}
	return inner
}

// members yields name and value of each member of an object. The name is only good until the next one.
func (r rawJSON) members() iter.Seq2[[]byte, rawJSON] {
	return func(yield func([]byte, rawJSON) bool) {
		s := scanner{text: r}
		for i := skipSpace(r, 1); r[i] != '}'; {
			end := s.str(i)
			name := r[i:end]
			i = s.colon(end)
			end = s.value(i, 0)
			if !yield(name.bytes(), r[i:end]) {
				return
			}
			i = s.next(end)
		}
	}
}

// items yields the items of an array.
func (r rawJSON) items() iter.Seq[rawJSON] {
	return func(yield func(rawJSON) bool) {
		s := scanner{text: r}
		for i := skipSpace(r, 1); r[i] != ']'; {
			end := s.value(i, 0)
			if !yield(r[i:end]) {
				return
			}
			i = s.next(end)
		}
	}
}

// next is the position behind a comma, or of what closes the object or array.
func (s *scanner) next(i int) int {
	i = skipSpace(s.text, i)
	if s.text[i] == ',' {
		i = skipSpace(s.text, i+1)
	}
	return i
}
