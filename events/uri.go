package events

import (
	"net/netip"
	"strings"
)

// The characters of RFC 3986, as bits of a table.
const (
	inPath     = 1 << iota // unreserved, sub-delims, ":" "@" "/"
	inQuery                // the same and "?"
	inUserinfo             // unreserved, sub-delims, ":"
	inHost                 // unreserved, sub-delims
)

var uriChars = func() (t [256]uint8) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,;=") {
		t[c] = inPath | inQuery | inUserinfo | inHost
	}
	t[':'] = inPath | inQuery | inUserinfo
	t['@'] = inPath | inQuery
	t['/'] = inPath | inQuery
	t['?'] = inQuery
	return t
}()

// isURIReference reports whether s is a URI or a relative reference (RFC 3986, 4.1). Only ASCII is.
func isURIReference(s string) bool {
	rest, ok := cutScheme(s)
	if !ok && strings.Contains(cutAny(s, "/?#"), ":") { // without a scheme the first segment has no colon
		return false
	}
	return isHierarchy(rest)
}

// isURI reports whether s is a URI with a scheme. A fragment may follow: schemas are commonly named by one.
func isURI(s string) bool {
	rest, ok := cutScheme(s)
	return ok && isHierarchy(rest)
}

// cutAny returns what is before the first of chars.
func cutAny(s, chars string) string {
	if i := strings.IndexAny(s, chars); i >= 0 {
		return s[:i]
	}
	return s
}

// cutScheme takes the scheme and its colon off; ok is false, and rest is s, when there is none.
func cutScheme(s string) (rest string, ok bool) {
	for i := range len(s) {
		c := s[i]
		switch {
		case c|0x20 >= 'a' && c|0x20 <= 'z':
		case i > 0 && c == ':':
			return s[i+1:], true
		case i > 0 && (c >= '0' && c <= '9' || c == '+' || c == '-' || c == '.'):
		default:
			return s, false
		}
	}
	return s, false
}

// isHierarchy reports whether s may follow a scheme: authority, path, query, fragment.
func isHierarchy(s string) bool {
	s, fragment, _ := strings.Cut(s, "#")
	s, query, _ := strings.Cut(s, "?")
	if after, ok := strings.CutPrefix(s, "//"); ok {
		authority, path, _ := strings.Cut(after, "/")
		return isAuthority(authority) && allIn(path, inPath) && allIn(query, inQuery) && allIn(fragment, inQuery)
	}
	return allIn(s, inPath) && allIn(query, inQuery) && allIn(fragment, inQuery)
}

func isAuthority(s string) bool {
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		if !allIn(s[:i], inUserinfo) {
			return false
		}
		s = s[i+1:]
	}
	host, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		host, port = s[:i], s[i+1:]
	}
	if digits(port) < 0 {
		return false
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		return ok && isIPLiteral(inner)
	}
	return allIn(host, inHost)
}

// isIPLiteral reports whether s may stand in brackets: an IPv6 address or a future form (v1.…).
func isIPLiteral(s string) bool {
	if addr, err := netip.ParseAddr(s); err == nil {
		return addr.Is6() && addr.Zone() == ""
	}
	version, rest, ok := strings.Cut(s, ".")
	return ok && len(version) > 1 && version[0]|0x20 == 'v' && isHex(version[1:]) &&
		rest != "" && allIn(rest, inUserinfo) && !strings.Contains(rest, "%")
}

func isHex(s string) bool {
	for i := range len(s) {
		if _, ok := unhex(s[i]); !ok {
			return false
		}
	}
	return true
}

// allIn reports whether s has only characters of a class and percent-encoded bytes.
func allIn(s string, class uint8) bool {
	for i := 0; i < len(s); i++ {
		if uriChars[s[i]]&class != 0 {
			continue
		}
		if s[i] != '%' || len(s)-i < 3 {
			return false
		}
		_, high := unhex(s[i+1])
		_, low := unhex(s[i+2])
		if !high || !low {
			return false
		}
		i += 2
	}
	return true
}
