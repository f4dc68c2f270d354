package egress

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// ours are the headers that frame the message, name the host or are for a proxy: what a caller sets of them is passed over.
var ours = map[string]bool{
	"Host": true, "Content-Length": true, "Transfer-Encoding": true, "Connection": true, "Keep-Alive": true, "Proxy-Connection": true,
	"Te": true, "Trailer": true, "Upgrade": true, "Expect": true, "Proxy-Authorization": true, "Proxy-Authenticate": true,
}

// errRequest is a fault of the request itself. It does not repeat the value, which may be a secret.
func errRequest(what string) error {
	return &Error{Kind: Protocol, Err: errors.New("request not sent: " + what)}
}

// render writes the head of r to x.out, in the form that proxy wants; nil: none.
func (x *exchange) render(r *Request, agent string, proxy *Proxy) error {
	method := r.Method
	if method == "" {
		method = http.MethodPost
	}
	if !isToken(method) {
		return errRequest("the method is not valid")
	}
	authority, err := authorityOf(r.URL)
	if err != nil {
		return err
	}
	b := append(append(x.out[:0], method...), ' ')
	absolute := proxy != nil && r.URL.Scheme == "http" // through a tunnel, the receiver reads it
	if absolute {
		b = append(append(b, "http://"...), authority...)
	}
	b = append(appendTarget(b, r.URL), " HTTP/1.1\r\nHost: "...)
	b = append(b, authority...)
	if absolute {
		b = proxy.appendAuthorization(b)
	}
	if r.Header["User-Agent"] == nil {
		b = append(append(b, "\r\nUser-Agent: "...), agent...)
	}
	if len(r.Body) > 0 || method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch {
		b = strconv.AppendInt(append(b, "\r\nContent-Length: "...), int64(len(r.Body)), 10)
	}
	b = append(b, '\r', '\n')
	b, err = x.renderHeader(b, r.Header)
	x.out = append(b, '\r', '\n')
	x.bodiless = method == http.MethodHead
	return err
}

// authorityOf is the value of Host.
func authorityOf(u *url.URL) (string, error) {
	if isASCII(u.Host) {
		return u.Host, nil
	}
	name, err := punycode(u.Hostname())
	if err != nil {
		return "", blocked("host is not a host name")
	}
	if port := u.Port(); port != "" {
		name += ":" + port
	}
	return name, nil
}

// renderHeader appends the fields of h in the order of their names, so that a request is the same bytes each time.
func (x *exchange) renderHeader(b []byte, h http.Header) ([]byte, error) {
	x.names = x.names[:0]
	for name := range h {
		if !ours[name] {
			x.names = append(x.names, name)
		}
	}
	slices.Sort(x.names)
	for _, name := range x.names {
		if !isToken(name) {
			return b, errRequest("a header's name is not valid")
		}
		for _, value := range h[name] {
			if !isValue(value) {
				return b, errRequest("the value of header " + name + " has control characters")
			}
			b = append(append(b, name...), ':', ' ')
			b = append(append(b, value...), '\r', '\n')
		}
	}
	return b, nil
}

// appendTarget appends path and query of u. Whatever u was made of, no byte of it ends the line or the target.
func appendTarget(b []byte, u *url.URL) []byte {
	path := u.EscapedPath()
	if !strings.HasPrefix(path, "/") {
		b = append(b, '/')
	}
	b = appendPrintable(b, path)
	if u.RawQuery != "" || u.ForceQuery {
		b = appendPrintable(append(b, '?'), u.RawQuery)
	}
	return b
}

func appendPrintable(b []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		if c := s[i]; c > ' ' && c < 0x7f {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return b
}

// isToken is the rule for names and methods (RFC 9110, 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		if !tokens[s[i]] {
			return false
		}
	}
	return s != ""
}

var tokens = func() (t [256]bool) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") {
		t[c] = true
	}
	return t
}()

// isValue is the rule for values: no control characters but the tab.
func isValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
