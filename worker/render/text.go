package render

import (
	"strings"

	"github.com/hookfleet/hookfleet/events"
)

// part is text that stands for itself, or the place of a value.
type part struct {
	text string
	hole *events.Placeholder // nil = it is text
	slot int
}

// text is a template of text.
type text []part

func newText(s string, l *lookup) (text, error) {
	pieces, err := events.ParseTemplate(s)
	if err != nil {
		return nil, err
	}
	t := make(text, len(pieces))
	for i, piece := range pieces {
		t[i] = part{text: piece.Text, hole: piece.Placeholder}
		if piece.Placeholder != nil {
			t[i].slot = l.slot(piece.Placeholder)
		}
	}
	return t, nil
}

// value is what stands in the place of p; missing where nothing does. where is for the fault of a value that is not there.
func (p *part) value(values []events.Value, where string) (events.Value, error) {
	switch v := values[p.slot]; {
	case !v.NoText():
		return v, nil
	case p.hole.HasDefault:
		return events.TextValue(p.hole.Default), nil
	case p.hole.Optional:
		return events.Value{}, nil
	default:
		return v, faulty(where, "%s is missing", p.hole.Text)
	}
}

// escape appends the text of a value as it stands in some place; why says that it cannot stand there.
type escape func(dst []byte, v events.Value) (out []byte, why string)

// append appends the text with its values, at most limit bytes in all.
func (t text) append(dst []byte, values []events.Value, esc escape, where string, limit int) ([]byte, error) {
	for i := range t {
		p := &t[i]
		if p.hole == nil {
			dst = append(dst, p.text...)
		} else {
			v, err := p.value(values, where)
			if err != nil {
				return dst, err
			}
			if len(dst)+v.Size() > limit {
				return dst, tooLarge(where, limit)
			}
			var why string
			if dst, why = esc(dst, v); why != "" {
				return dst, faulty(where, "%s %s", p.hole.Text, why)
			}
		}
		if len(dst) > limit {
			return dst, tooLarge(where, limit)
		}
	}
	return dst, nil
}

func tooLarge(where string, limit int) error {
	return faulty(where, "would be larger than %d bytes", limit)
}

// without is the text with a letter in the place of each value.
func (t text) without() string {
	var b strings.Builder
	for _, p := range t {
		if p.hole == nil {
			b.WriteString(p.text)
		} else {
			b.WriteByte('x')
		}
	}
	return b.String()
}

// absent reports whether t is a single optional placeholder without a value: what it is the value of is left out.
func (t text) absent(values []events.Value) bool {
	return len(t) == 1 && t[0].hole != nil && t[0].hole.Optional && values[t[0].slot].NoText()
}

const upperHex = "0123456789ABCDEF"

// isUnreserved reports whether a byte stands for itself wherever it is in a URL (RFC 3986, 2.3).
func isUnreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

func inURL(dst []byte, v events.Value) ([]byte, string) {
	return appendEncoded(dst, v.Text(), false), ""
}

func inForm(dst []byte, v events.Value) ([]byte, string) {
	return appendEncoded(dst, v.Text(), true), ""
}

// appendEncoded percent-encodes to unreserved characters; plus writes a space as forms have it.
func appendEncoded(dst []byte, s string, plus bool) []byte {
	for i := range len(s) {
		switch c := s[i]; {
		case isUnreserved(c):
			dst = append(dst, c)
		case plus && c == ' ':
			dst = append(dst, '+')
		default:
			dst = append(dst, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return dst
}

func inJSONString(dst []byte, v events.Value) ([]byte, string) { return v.AppendInString(dst), "" }

func asItIs(dst []byte, v events.Value) ([]byte, string) { return append(dst, v.Text()...), "" }
