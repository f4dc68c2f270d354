package egress

import (
	"bytes"
	"errors"
	"math"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"
)

// errBroken is what is no HTTP/1.1. It says nothing of what came, which may be the secret that we sent.
var errBroken = &Error{Kind: Protocol, Err: errMalformed}

const (
	// maxFields bounds a header's fields, each of which costs far more in memory than its bytes. Real answers have under 50.
	maxFields = 512

	// maxChunkLine bounds a chunk's size with its extensions, which nobody uses.
	maxChunkLine = 1024
)

// head is the status line and the header of a response.
type head struct {
	status   int
	fields   http.Header
	length   int64 // of the body; -1: it ends with the connection
	chunked  bool
	keep     bool // the connection stays open
	patience time.Duration
}

// readHead reads the header of the final response, past the 1xx before it.
func (x *exchange) readHead(limit int64) (head, error) {
	x.left = limit - int64(x.w-x.r)
	for {
		block, err := x.readBlock()
		if err != nil {
			return head{}, err
		}
		h, err := parseHead(block)
		switch {
		case err != nil:
			return head{}, err
		case h.status == http.StatusSwitchingProtocols:
			return head{}, &Error{Kind: Protocol, Err: errSwitched}
		case h.status >= 200:
			return h, nil
		}
	}
}

// readBlock returns the bytes up to the next empty line, without it. They are valid until the next read.
func (x *exchange) readBlock() ([]byte, error) {
	for seen := 0; ; {
		b := x.in[x.r:x.w]
		if !couldBeHTTP(b) {
			return nil, errBroken
		}
		if end, next := blockEnd(b, seen); next > 0 {
			x.r += next
			return b[:end], nil
		}
		seen = max(0, len(b)-3)
		if err := x.fill(); errors.Is(err, errEnough) {
			return nil, &Error{Kind: Protocol, Err: errHeader}
		} else if err != nil {
			return nil, err
		}
	}
}

// couldBeHTTP ends a wait for the rest of what never was a response.
func couldBeHTTP(b []byte) bool {
	const start = "HTTP/1."
	n := min(len(b), len(start))
	return string(b[:n]) == start[:n]
}

// blockEnd finds the first empty line of b that ends after from: where what is before it ends, and where what is after it begins.
func blockEnd(b []byte, from int) (end, next int) {
	for i := from; ; i++ {
		j := bytes.IndexByte(b[i:], '\n')
		if j < 0 {
			return 0, 0
		}
		i += j
		switch rest := b[i+1:]; {
		case len(rest) > 0 && rest[0] == '\n':
			return i + 1, i + 2
		case len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n':
			return i + 1, i + 3
		}
	}
}

// readLine returns the next line without its end.
func (x *exchange) readLine() ([]byte, error) {
	for {
		b := x.in[x.r:x.w]
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			x.r += i + 1
			return bytes.TrimSuffix(b[:i], []byte{'\r'}), nil
		}
		if len(b) > maxChunkLine {
			return nil, errBroken
		}
		if err := x.fill(); err != nil {
			return nil, err
		}
	}
}

// parseHead parses a status line and the fields after it. The result shares nothing with b.
func parseHead(b []byte) (head, error) {
	unfold(b)
	text := string(b)
	line, text, _ := strings.Cut(text, "\n")
	h := head{length: -1, patience: idleTimeout}
	minor, ok := h.parseStatus(strings.TrimSuffix(line, "\r"))
	if !ok {
		return h, errBroken
	}
	if err := h.parseFields(text); err != nil {
		return h, err
	}
	if h.status < 200 {
		return h, nil
	}
	return h, h.frame(minor)
}

// unfold makes one line of a value that goes on in the next (RFC 9112, 5.2).
func unfold(b []byte) {
	for i := 1; i+1 < len(b); i++ {
		if b[i] == '\n' && (b[i+1] == ' ' || b[i+1] == '\t') {
			b[i] = ' '
			if b[i-1] == '\r' {
				b[i-1] = ' '
			}
		}
	}
}

func (h *head) parseStatus(line string) (minor byte, ok bool) {
	const shape = "HTTP/1.x 200"
	if len(line) < len(shape) || line[8] != ' ' || len(line) > len(shape) && line[12] != ' ' || !isDigits(line[7:8]) || !isDigits(line[9:12]) {
		return 0, false
	}
	h.status, _ = strconv.Atoi(line[9:12])
	return line[7], h.status >= 100
}

func (h *head) parseFields(text string) error {
	n := strings.Count(text, "\n")
	if n > maxFields {
		return &Error{Kind: Protocol, Err: errHeader}
	}
	h.fields = make(http.Header, n)
	if n == 0 {
		return nil
	}
	values := make([]string, 0, n)
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		line = strings.TrimSuffix(line, "\r")
		name, value, ok := strings.Cut(line, ":")
		if value = strings.Trim(value, " \t"); !ok || !isToken(name) || !isValue(value) {
			return errBroken
		}
		name = textproto.CanonicalMIMEHeaderKey(name)
		if had := h.fields[name]; had != nil {
			h.fields[name] = append(had, value)
			continue
		}
		values = append(values, value)
		h.fields[name] = values[len(values)-1 : len(values) : len(values)]
	}
	return nil
}

// frame finds out how the body ends and whether the connection goes on after it (RFC 9112, 6.3 and 9.3).
func (h *head) frame(minor byte) error {
	h.keep = minor >= '1'
	for _, value := range h.fields["Connection"] {
		for option := range strings.SplitSeq(value, ",") {
			switch option = strings.Trim(option, " \t"); {
			case strings.EqualFold(option, "close"):
				h.keep = false
			case minor == '0' && strings.EqualFold(option, "keep-alive"):
				h.keep = true
			}
		}
	}
	lengths := h.fields["Content-Length"]
	if codings := h.fields["Transfer-Encoding"]; codings != nil {
		if len(codings) != 1 || !strings.EqualFold(codings[0], "chunked") {
			return errBroken
		}
		h.chunked = true
		h.keep = h.keep && minor >= '1' && lengths == nil // with both, somebody in between may see another end
		return nil
	}
	for i, text := range lengths {
		n, err := strconv.ParseUint(text, 10, 63)
		if err != nil || !isDigits(text) || i > 0 && int64(n) != h.length {
			return errBroken
		}
		h.length = int64(n)
	}
	h.hint()
	return nil
}

// hint takes the receiver's word for when it closes idle connections, and is a second earlier.
func (h *head) hint() {
	values := h.fields["Keep-Alive"]
	if values == nil {
		return
	}
	_, text, ok := strings.Cut(values[0], "timeout=")
	text, _, _ = strings.Cut(text, ",")
	if n, err := strconv.ParseUint(strings.Trim(text, " \t"), 10, 31); ok && err == nil {
		h.patience = max(0, time.Duration(n)*time.Second-time.Second)
	}
}

func chunkSize(line []byte) (int64, error) {
	size, _, _ := bytes.Cut(line, []byte{';'})
	n, err := strconv.ParseUint(string(bytes.TrimRight(size, " \t")), 16, 64)
	if err != nil || n > math.MaxInt64 || len(line) > maxChunkLine {
		return 0, errBroken
	}
	return int64(n), nil
}

func isDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
