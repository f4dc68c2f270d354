package events

import "strings"

// isMediaType reports whether s is a media type with parameters (RFC 2046, in the grammar of RFC 9110).
func isMediaType(s string) bool {
	if s == "application/json" {
		return true
	}
	kind, sub, ok := strings.Cut(essence(s), "/")
	if !ok || !isToken(kind) || !isToken(sub) {
		return false
	}
	_, ok = parameter(s, "")
	return ok
}

// essence is a media type without its parameters.
func essence(s string) string {
	return strings.TrimRight(cutAny(s, ";"), " \t")
}

// isToken reports whether s is a token of RFC 9110.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9'
		if !letter && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// parameter returns the first parameter with this name, unquoted; ok is false when the parameters are malformed. Empty
// parameters (a stray semicolon) are allowed, as in RFC 9110.
func parameter(s, name string) (value string, ok bool) {
	_, s, _ = strings.Cut(s, ";")
	for s != "" {
		s = strings.TrimLeft(s, " \t")
		if s == "" {
			break
		}
		if s[0] == ';' {
			s = s[1:]
			continue
		}
		var key, val string
		if key, val, s, ok = cutParameter(s); !ok {
			return "", false
		}
		if value == "" && strings.EqualFold(key, name) {
			value = val
		}
	}
	return value, true
}

// cutParameter takes key=value or key="value" from the beginning of s, and the semicolon behind it.
func cutParameter(s string) (key, value, rest string, ok bool) {
	key, s, _ = strings.Cut(s, "=")
	if !isToken(key) {
		return "", "", "", false
	}
	if strings.HasPrefix(s, `"`) {
		if value, rest, ok = cutQuoted(s); !ok {
			return "", "", "", false
		}
	} else {
		value = cutAny(s, "; \t")
		rest, ok = s[len(value):], isToken(value)
	}
	rest = strings.TrimLeft(rest, " \t")
	if rest != "" && rest[0] != ';' {
		return "", "", "", false
	}
	return key, value, strings.TrimPrefix(rest, ";"), ok
}

// cutQuoted takes a quoted-string of RFC 9110 from the beginning of s and returns what it stands for.
func cutQuoted(s string) (value, rest string, ok bool) {
	var b []byte
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return string(b), s[i+1:], true
		case '\\':
			if i++; i == len(s) {
				return "", "", false
			}
		}
		b = append(b, s[i])
	}
	return "", "", false
}

// IsJSONType reports whether data of this media type is JSON: */json and */*+json, whatever the parameters (JF-5).
func IsJSONType(s string) bool {
	if s == "application/json" {
		return true
	}
	_, sub, _ := strings.Cut(essence(s), "/")
	return strings.EqualFold(sub, "json") || hasSuffixFold(sub, "+json")
}

// isTextType reports whether data of this media type is text in UTF-8, and so a JSON string rather than base64.
func isTextType(s string) bool {
	charset, _ := parameter(s, "charset")
	if charset != "" {
		return strings.EqualFold(charset, "utf-8") || strings.EqualFold(charset, "us-ascii")
	}
	kind, sub, _ := strings.Cut(strings.ToLower(essence(s)), "/")
	if kind == "text" || strings.HasSuffix(sub, "+xml") || strings.HasSuffix(sub, "+yaml") {
		return true
	}
	switch sub {
	case "xml", "yaml", "javascript", "x-www-form-urlencoded":
		return kind == "application"
	default:
		return false
	}
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

func hasSuffixFold(s, suffix string) bool {
	return len(s) >= len(suffix) && strings.EqualFold(s[len(s)-len(suffix):], suffix)
}
