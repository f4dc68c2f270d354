package plain

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// answer gathers what the handler answers. It implements http.ResponseWriter.
type answer struct {
	conn   *conn
	header http.Header
	status int   // 0 = not yet
	length int64 // of the body, as the handler said; -1 = it did not
	close  bool  // the handler wants the connection closed
	uneven bool  // the handler wrote more than it had said
}

func (a *answer) reset() {
	clear(a.header)
	a.status, a.length, a.close, a.uneven = 0, -1, false, false
	s := a.conn.scratch
	s.out, s.body = s.out[:0], s.body[:0]
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter. The header is taken as it is now.
func (a *answer) WriteHeader(status int) {
	switch {
	case status < 100 || status > 999:
		panic(fmt.Sprintf("invalid WriteHeader code %v", status)) // as net/http does
	case a.status != 0:
		a.conn.server.logf("superfluous call of WriteHeader with status %d, the answer has %d", status, a.status)
	case status >= 200:
		a.status = status
		a.writeHead()
	}
}

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	s := a.conn.scratch
	switch {
	case !hasBody(a.status):
		return 0, http.ErrBodyNotAllowed
	case a.length >= 0 && int64(len(s.body)+len(b)) > a.length:
		a.uneven = true
		return 0, http.ErrContentLength
	}
	s.body = append(s.body, b...)
	return len(b), nil
}

// hasBody reports whether an answer with this status has one.
func hasBody(status int) bool {
	return status != http.StatusNoContent && status != http.StatusNotModified
}

// writeHead writes the status line, and the header but for what ends it.
func (a *answer) writeHead() {
	out := append(a.conn.scratch.out, "HTTP/1.1 "...)
	out = strconv.AppendInt(out, int64(a.status), 10)
	out = append(out, ' ')
	if text := http.StatusText(a.status); text != "" {
		out = append(out, text...)
	} else {
		out = strconv.AppendInt(append(out, "status code "...), int64(a.status), 10)
	}
	out = append(out, "\r\n"...)
	for name, values := range a.header {
		if a.passes(name, values) {
			for _, value := range values {
				out = appendField(out, name, value)
			}
		}
	}
	a.conn.scratch.out = out
}

// passes reports whether a field goes out as the handler set it: how long the answer is and whether the connection lasts
// is said by end.
func (a *answer) passes(name string, values []string) bool {
	switch name {
	case "Content-Length":
		if n, err := strconv.ParseInt(strings.TrimSpace(strings.Join(values, ",")), 10, 64); err == nil && n >= 0 {
			a.length = n
		}
		return false
	case "Connection":
		a.close = slices.ContainsFunc(values, hasClose)
		return false
	case "Transfer-Encoding", "Trailer":
		return false
	case "Content-Type":
		return hasBody(a.status)
	default:
		return isToken(name) // which what begins with http.TrailerPrefix is not
	}
}

func hasClose(value string) bool {
	for option := range strings.SplitSeq(value, ",") {
		if strings.EqualFold(strings.TrimSpace(option), "close") {
			return true
		}
	}
	return false
}

// appendField appends one line, of which a value never makes two.
func appendField(out []byte, name, value string) []byte {
	out = append(append(out, name...), ": "...)
	value = strings.TrimSpace(value)
	for i := range len(value) {
		if c := value[i]; c == '\r' || c == '\n' {
			out = append(out, ' ')
		} else {
			out = append(out, c)
		}
	}
	return append(out, "\r\n"...)
}

// end completes the answer; last = the connection is closed behind it. It returns the whole, and whether the body is as
// long as was said.
func (a *answer) end(last bool) (out []byte, even bool) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	s := a.conn.scratch
	length := int64(len(s.body))
	even = !a.uneven && (a.length < 0 || a.length == length || !hasBody(a.status))
	if a.length >= 0 {
		length = a.length
	}
	out = s.out
	if hasBody(a.status) {
		if a.header["Content-Type"] == nil && len(s.body) > 0 && a.header.Get("Content-Encoding") == "" {
			out = appendField(out, "Content-Type", http.DetectContentType(s.body))
		}
		out = append(strconv.AppendInt(append(out, "Content-Length: "...), length, 10), "\r\n"...)
	}
	if a.header["Date"] == nil {
		out = append(append(append(out, "Date: "...), a.conn.server.date()...), "\r\n"...)
	}
	if last {
		out = append(out, "Connection: close\r\n"...)
	}
	out = append(out, "\r\n"...)
	s.out = append(out, s.body...)
	return s.out, even
}
