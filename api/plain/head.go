package plain

import (
	"bytes"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
)

const (
	maxHead   = 8 << 10 // real ones have under 1 KiB; net/http takes more
	maxFields = 64      // real ones have under 20

	// keptHead bounds the head that an idle connection keeps, in case the next is the same.
	keptHead = 1 << 10
)

// verdict is what the bytes at the beginning of a request are.
type verdict int

const (
	part  verdict = iota // of a head that may become plain
	whole                // a plain head
	odd                  // anything else
)

// head is the last plain head of a connection, parsed.
type head struct {
	line    string // the request line that is plain, with its end
	maxBody int64

	text   string // as it came; the strings below are parts of it
	fields http.Header
	values []string // of fields, one after the other
	host   string
	length int64 // of the body
}

// take looks for a plain head at the beginning of b, and returns its length. Most clients send the same head again and
// again, which is then not parsed again.
func (h *head) take(b []byte) (n int, v verdict) {
	if n = len(h.text); n > 0 && len(b) >= n && string(b[:n]) == h.text {
		return n, whole
	}
	if n, v = h.end(b); v != whole {
		return 0, v
	}
	if len(h.text) > keptHead { // a short one behind it may be kept, and not with the memory of this one
		h.forget()
	}
	if h.text = string(b[:n]); !h.parse() {
		h.forget()
		return 0, odd
	}
	return n, whole
}

// end finds the empty line, and checks the shape of the lines before it.
func (h *head) end(b []byte) (n int, v verdict) {
	n = min(len(b), len(h.line))
	if string(b[:n]) != h.line[:n] {
		return 0, odd
	}
	for fields := 0; ; fields++ {
		i := bytes.IndexByte(b[n:], '\n')
		switch {
		case fields > maxFields || n+max(i, 0) >= maxHead:
			return 0, odd
		case i < 0 && len(b) >= maxHead:
			return 0, odd
		case i < 0:
			return 0, part
		case i == 0 || b[n+i-1] != '\r': // a bare line feed ends a line for some and not for others
			return 0, odd
		case i == 1:
			return n + 2, whole
		}
		n += i + 1
	}
}

// parse reads the fields of text; false = there is something that is not plain.
func (h *head) parse() bool {
	if h.fields == nil {
		h.fields = http.Header{}
	}
	clear(h.fields)
	h.values, h.host, h.length = h.values[:0], "", -1
	for rest := h.text[len(h.line) : len(h.text)-2]; rest != ""; {
		var line string
		line, rest, _ = strings.Cut(rest, "\r\n")
		if !h.field(line) {
			return false
		}
	}
	return h.host != "" && h.length >= 0
}

// field reads one line.
func (h *head) field(line string) bool {
	name, value, found := strings.Cut(line, ":")
	if value = strings.Trim(value, " "); !found || !isToken(name) || !isPrintable(value) {
		return false
	}
	name = textproto.CanonicalMIMEHeaderKey(name)
	switch name {
	case "Host":
		if h.host != "" || !isHost(value) {
			return false
		}
		h.host = value
		return true // net/http takes it out of the header, too
	case "Content-Length":
		if h.length >= 0 || !h.setLength(value) {
			return false
		}
	case "Connection":
		if h.fields[name] != nil || !strings.EqualFold(value, "keep-alive") {
			return false
		}
	case "Transfer-Encoding", "Expect", "Upgrade", "Trailer", "Te", "Http2-Settings", "Proxy-Connection", "Keep-Alive",
		"Pragma": // which net/http turns into Cache-Control
		return false
	}
	h.add(name, value)
	return true
}

func (h *head) add(name, value string) {
	if had := h.fields[name]; had != nil {
		h.fields[name] = append(had, value)
		return
	}
	h.values = append(h.values, value)
	n := len(h.values)
	h.fields[name] = h.values[n-1 : n : n]
}

// setLength takes digits only, without a zero before them, which some read as octal.
func (h *head) setLength(text string) bool {
	if text == "" || strings.Trim(text, "0123456789") != "" || text[0] == '0' && len(text) > 1 {
		return false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	h.length = n
	return err == nil && n <= h.maxBody
}

// forget lets go of what the head holds.
func (h *head) forget() { *h = head{line: h.line, maxBody: h.maxBody} }

// isToken reports whether s is a token of RFC 9110.
func isToken(s string) bool {
	for i := range len(s) {
		if !tokenBytes[s[i]] {
			return false
		}
	}
	return s != ""
}

var tokenBytes = func() (set [256]bool) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		set[c] = true
	}
	return set
}()

// isPrintable reports whether s is of printable ASCII: more is allowed in values, and read in more than one way.
func isPrintable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// isHost reports whether s looks like a name or an address with or without a port.
func isHost(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9'
		if !letter && strings.IndexByte(".-_:[]", c) < 0 {
			return false
		}
	}
	return s != ""
}
