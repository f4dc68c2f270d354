package events

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth is how deep JSON may nest (API.md 1), the event's own object included.
const maxDepth = 64

// scanner checks JSON text strictly, as RFC 8259 has it, in one pass without allocating: complete grammar, valid UTF-8,
// no unpaired surrogates, at most maxDepth levels. Its methods take the position where something begins and return the
// one behind it, or -1 after fail.
type scanner struct {
	text    []byte
	wrong   string // what is wrong; "" = nothing so far
	at      int    // where, in bytes
	escaped bool   // whether the string scanned last holds a backslash
}

func (s *scanner) fail(at int, wrong string) int {
	if s.wrong == "" {
		s.at, s.wrong = at, wrong
	}
	return -1
}

// problem is what is wrong and where; "" = nothing.
func (s *scanner) problem() string {
	if s.wrong == "" {
		return ""
	}
	return s.wrong + " at byte " + strconv.Itoa(s.at)
}

// unexpected fails at i, where something else had to be.
func (s *scanner) unexpected(i int, wanted string) int {
	if i >= len(s.text) {
		return s.fail(len(s.text), "ends where "+wanted+" was expected,")
	}
	return s.fail(i, "expected "+wanted)
}

// skipSpace returns the first position from i that holds no JSON white space.
func skipSpace(text []byte, i int) int {
	const space = 1<<' ' | 1<<'\t' | 1<<'\n' | 1<<'\r'
	for i < len(text) && text[i] <= ' ' && space>>text[i]&1 != 0 {
		i++
	}
	return i
}

// end checks that nothing follows.
func (s *scanner) end(i int) int {
	if i = skipSpace(s.text, i); i < len(s.text) {
		return s.fail(i, "more follows the value")
	}
	return i
}

// value scans any JSON value that lies within depth objects and arrays.
func (s *scanner) value(i, depth int) int {
	if i >= len(s.text) {
		return s.unexpected(i, "a value")
	}
	switch s.text[i] {
	case '"':
		return s.str(i)
	case '{':
		return s.object(i, depth)
	case '[':
		return s.array(i, depth)
	case 't':
		return s.literal(i, "true")
	case 'f':
		return s.literal(i, "false")
	case 'n':
		return s.literal(i, "null")
	default:
		return s.number(i)
	}
}

func (s *scanner) literal(i int, word string) int {
	if len(s.text)-i < len(word) || string(s.text[i:i+len(word)]) != word {
		return s.unexpected(i, "a value")
	}
	return i + len(word)
}

func (s *scanner) object(i, depth int) int {
	if depth >= maxDepth {
		return s.fail(i, "nests deeper than 64 levels")
	}
	text := s.text
	i = skipSpace(text, i+1)
	if i < len(text) && text[i] == '}' {
		return i + 1
	}
	for {
		if i >= len(text) || text[i] != '"' {
			return s.unexpected(i, "a member name")
		}
		if i = s.str(i); i < 0 {
			return -1
		}
		if i = s.colon(i); i < 0 {
			return -1
		}
		if i = s.value(i, depth+1); i < 0 {
			return -1
		}
		i = skipSpace(text, i)
		switch {
		case i < len(text) && text[i] == ',':
			i = skipSpace(text, i+1)
		case i < len(text) && text[i] == '}':
			return i + 1
		default:
			return s.unexpected(i, "',' or '}'")
		}
	}
}

// colon scans the colon behind a member name and the white space around it.
func (s *scanner) colon(i int) int {
	text := s.text
	if len(text)-i >= 2 && text[i] == ':' && text[i+1] > ' ' { // nearly always
		return i + 1
	}
	i = skipSpace(text, i)
	if i >= len(text) || text[i] != ':' {
		return s.unexpected(i, "':'")
	}
	return skipSpace(text, i+1)
}

func (s *scanner) array(i, depth int) int {
	if depth >= maxDepth {
		return s.fail(i, "nests deeper than 64 levels")
	}
	text := s.text
	i = skipSpace(text, i+1)
	if i < len(text) && text[i] == ']' {
		return i + 1
	}
	for {
		if i = s.value(i, depth+1); i < 0 {
			return -1
		}
		i = skipSpace(text, i)
		switch {
		case i < len(text) && text[i] == ',':
			i = skipSpace(text, i+1)
		case i < len(text) && text[i] == ']':
			return i + 1
		default:
			return s.unexpected(i, "',' or ']'")
		}
	}
}

func (s *scanner) number(i int) int {
	text := s.text
	start := i
	if text[i] == '-' {
		i++
	}
	switch {
	case i < len(text) && text[i] == '0':
		i++
	case i < len(text) && text[i] >= '1' && text[i] <= '9':
		i = s.digits(i)
	case i == start:
		return s.unexpected(i, "a value")
	default:
		return s.unexpected(i, "a digit")
	}
	if i < len(text) && text[i] == '.' {
		if i = s.someDigits(i + 1); i < 0 {
			return -1
		}
	}
	if i < len(text) && text[i]|0x20 == 'e' {
		i++
		if i < len(text) && (text[i] == '+' || text[i] == '-') {
			i++
		}
		return s.someDigits(i)
	}
	return i
}

func (s *scanner) digits(i int) int {
	text := s.text
	for i < len(text) && text[i] >= '0' && text[i] <= '9' {
		i++
	}
	return i
}

func (s *scanner) someDigits(i int) int {
	if end := s.digits(i); end > i {
		return end
	}
	return s.unexpected(i, "a digit")
}

// str scans a string. It looks at eight bytes at a time: strings are most of an event.
func (s *scanner) str(i int) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	text := s.text
	start := i + 1
	s.escaped = false
	var high uint64 // not 0 when a byte is outside ASCII
	for i = start; ; {
		if len(text)-i >= 8 {
			w := binary.LittleEndian.Uint64(text[i:])
			quote, slash := w^'"'*ones, w^'\\'*ones
			// The high bit of each byte that is a quote, a backslash or a control character. Borrows can only make false
			// marks above a true one, and the lowest is taken.
			mark := ((quote-ones)&^quote | (slash-ones)&^slash | (w-' '*ones)&^w) & highs
			if mark == 0 {
				high |= w & highs
				i += 8
				continue
			}
			n := bits.TrailingZeros64(mark)
			high |= w & highs & (1<<n - 1)
			i += n / 8
		} else {
			for i < len(text) && text[i] != '"' && text[i] != '\\' && text[i] >= ' ' {
				high |= uint64(text[i] & 0x80)
				i++
			}
		}
		if i >= len(text) {
			return s.unexpected(i, "'\"'")
		}
		switch text[i] {
		case '"':
			if high == 0 {
				return i + 1
			}
			return s.unicode(start, i)
		case '\\':
			s.escaped = true
			if i = s.escape(i); i < 0 {
				return -1
			}
		default:
			return s.fail(i, "control character in a string")
		}
	}
}

// unicode checks the UTF-8 of the string between start and end.
func (s *scanner) unicode(start, end int) int {
	if utf8.Valid(s.text[start:end]) {
		return end + 1
	}
	for {
		r, n := utf8.DecodeRune(s.text[start:end])
		if r == utf8.RuneError && n <= 1 {
			return s.fail(start, "invalid UTF-8")
		}
		start += n
	}
}

// escape scans a backslash and what belongs to it; both halves of a surrogate pair.
func (s *scanner) escape(i int) int {
	if i+1 >= len(s.text) {
		return s.unexpected(i+1, "an escape")
	}
	switch s.text[i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 2
	case 'u':
	default:
		return s.fail(i, "unknown escape")
	}
	r, ok := hex4(s.text, i+2)
	switch {
	case !ok:
		return s.fail(i, "\\u wants four hexadecimal digits")
	case !utf16.IsSurrogate(r):
		return i + 6
	}
	if len(s.text)-i >= 12 && s.text[i+6] == '\\' && s.text[i+7] == 'u' {
		if low, ok := hex4(s.text, i+8); ok && utf16.DecodeRune(r, low) != utf8.RuneError {
			return i + 12
		}
	}
	return s.fail(i, "unpaired surrogate")
}

// hex4 reads four hexadecimal digits.
func hex4(text []byte, i int) (rune, bool) {
	if len(text)-i < 4 {
		return 0, false
	}
	var r rune
	for _, c := range text[i : i+4] {
		d, ok := unhex(c)
		if !ok {
			return 0, false
		}
		r = r<<4 | rune(d)
	}
	return r, true
}

func unhex(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	default:
		return 0, false
	}
}

// appendUnescaped appends what a string stands for; raw is what str accepted, without the quotes.
func appendUnescaped(dst, raw []byte) []byte {
	for i := 0; ; {
		n := bytes.IndexByte(raw[i:], '\\')
		if n < 0 {
			return append(dst, raw[i:]...)
		}
		dst = append(dst, raw[i:i+n]...)
		c := raw[i+n+1]
		i += n + 2
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r, _ := hex4(raw, i)
			i += 4
			if utf16.IsSurrogate(r) {
				low, _ := hex4(raw, i+2)
				r = utf16.DecodeRune(r, low)
				i += 6
			}
			dst = utf8.AppendRune(dst, r)
			continue
		}
		dst = append(dst, c)
	}
}
