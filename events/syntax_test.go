package events

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestTime(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"2026-01-02T03:04:05Z":                 "2026-01-02T03:04:05Z",
		"2026-01-02t03:04:05z":                 "2026-01-02T03:04:05Z",
		"2026-01-02T03:04:05.1+05:30":          "2026-01-01T21:34:05.1Z",
		"2026-01-02T03:04:05.1234567899-00:00": "2026-01-02T03:04:05.123456789Z",
		"2024-02-29T00:00:00Z":                 "2024-02-29T00:00:00Z",
		"0000-01-01T00:00:00Z":                 "0000-01-01T00:00:00Z",
		"2016-12-31T23:59:60.5Z":               "2017-01-01T00:00:00.5Z",
		"1990-12-31T15:59:60-08:00":            "1991-01-01T00:00:00Z",
		"":                                     "", "2026-01-02": "", "2026-01-02 03:04:05Z": "", "2026-01-02T03:04:05": "",
		"2026-01-02T03:04:05+0100": "", "2026-01-02T03:04:05+24:00": "", "2026-01-02T03:04:05+01:60": "",
		"2026-13-02T03:04:05Z": "", "2026-00-02T03:04:05Z": "", "2025-02-29T03:04:05Z": "", "2026-01-00T03:04:05Z": "",
		"2026-01-02T24:00:00Z": "", "2026-01-02T03:60:05Z": "", "2026-01-02T03:04:61Z": "", "2026-01-02T03:04:60Z": "",
		"2026-01-02T23:59:60Z": "", "2026-01-02T03:04:05.Z": "", "2026-01-02T03:04:05,1Z": "", "+026-01-02T03:04:05Z": "",
		"2026-01-02T03:04:05ZZ": "", "2026-1-02T03:04:05Z0": "", "2026-01-02T-3:04:05Z": "",
	} {
		got, err := parseTime(s)
		if want == "" {
			if err == nil {
				t.Errorf("CE-3: %q is read as %v", s, got)
			}
		} else if err != nil || got.Format(time.RFC3339Nano) != want {
			t.Errorf("CE-3: %q is %v, %v; want %s", s, got, err, want)
		}
	}
}

func TestURI(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"a:", "http://example.com", "HTTP://u:p@Ex.com:80/%7efoo;a=b?c=/?&d#e/?", "urn:a:b", "file:///a", "http://[::1]:8080/", "http://[v1.a:b]/",
		"tag:a@b,2026:c", "mailto:a@b", "h+-.1:x", "http://%41/", "http://a:/", "https://a#/definitions/x",
	} {
		if !isURI(s) || !isURIReference(s) {
			t.Errorf("CE-3: %q is a URI", s)
		}
	}
	for _, s := range []string{"/a", "a", "//a/b", "a/b:c", "?q", "#f", "./a:b", "..", "%41", "1-555-123-4567"} {
		if isURI(s) || !isURIReference(s) {
			t.Errorf("CE-3: %q is a relative reference", s)
		}
	}
	for _, s := range []string{
		"a b", "é", "a\\b", "a|b", "<a>", "%", "%4", "%zz", "a#b#c", ":a", "1a:b", "http://[::1", "http://::1]/", "http://[1.2.3.4]/", "http://[::1%25eth0]/",
		"http://[v1.]/", "http://[vx.a]/", "http://[]/", "http://a:b/", "http://a@b@c/", "http://a?[]", "a^b", "`", "{a}", `"`, "a_b:c",
	} {
		if isURI(s) || isURIReference(s) {
			t.Errorf("CE-3: %q is no URI-reference", s)
		}
	}
}

func TestMediaType(t *testing.T) {
	t.Parallel()
	for s, json := range map[string]bool{
		"application/json": true, "APPLICATION/JSON": true, "a/json;x=y": true, "a/b+json ; charset=\"a\\\"b;\"": true,
		"a/json; ;x=y;": true, "text/plain": false, "a/jsonx": false, "a/json+xml": false, "application/json5": false, "a/+json": true,
	} {
		if !isMediaType(s) || IsJSONType(s) != json {
			t.Errorf("JF-5 CE-8: %q: media type %t, JSON %t", s, isMediaType(s), IsJSONType(s))
		}
	}
	for _, s := range []string{"", "json", "/json", "a/", "a/b/c", "a b/c", " a/b", "a/b;c", "a/b;=d", "a/b;c=", "a/b;c=d e", `a/b;c="d`, `a/b;c="d"e`, "a/b;c d=e", "é/b", "a/b, c/d"} {
		if isMediaType(s) {
			t.Errorf("CE-3: %q is a media type", s)
		}
	}
}

// TestScanner compares the scanner with encoding/json, which is less strict in two points.
func TestScanner(t *testing.T) {
	t.Parallel()
	good := []string{
		`0`, `-0`, `10.25e-3`, `1E+9`, `""`, `"\"\\\/\b\f\n\r\t\u00e9"`, `[]`, ` [ 1 , 2 ] `, `{}`, `{ "a" : { } }`, `true`, `false`, `null`,
		`"` + strings.Repeat("x", 100) + `"`, `"aaaaaaaé"`, `"\ud83d\ude00"`, "\"\x7f\u2028\"",
	}
	bad := []string{
		``, ` `, `-`, `+1`, `.5`, `1.`, `1e`, `1e+`, `00`, `-01`, `0x1`, `NaN`, `Infinity`, `'a'`, `"`, `"\`, `"\x"`, `"\u12"`, `"\u12g4"`, `"\U0041"`, "\"\n\"",
		"\"aaaaaaaa\x00\"", `[`, `[1`, `[1,`, `[,1]`, `[1 2]`, `]`, `{`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{a:1}`, `{1:1}`, `{"a" 1}`, `}`, `tru`, `truE`, `nulll`,
		"\u00a01", "1\x00", "[1]\v", `{"a":1 "b":2}`,
	}
	for _, s := range good {
		if wrong := wrongJSON([]byte(s)); wrong != "" || !json.Valid([]byte(s)) {
			t.Errorf("%q: %s", s, wrong)
		}
	}
	for _, s := range bad {
		if wrong := wrongJSON([]byte(s)); wrong == "" || json.Valid([]byte(s)) {
			t.Errorf("%q: %q", s, wrong)
		}
	}
	for _, s := range []string{"\"\xff\"", "\"aaaaaaaaaaaaaaa\xe2\x82\"", `"\ud800"`, `"\udc00"`, `"\ud800\u0041"`, `"\ud800x"`, `"\ud800\ud800"`} {
		if wrongJSON([]byte(s)) == "" {
			t.Errorf("CE-6: %q is good", s)
		}
	}
}

// TestScannerStrings puts everything that matters in a string at each place of the eight bytes that are looked at
// together.
func TestScannerStrings(t *testing.T) {
	t.Parallel()
	for piece, want := range map[string]bool{
		"": true, "!#[]": true, "\x7f": true, `\n`: true, `\u00e9`: true, "é": true, "😀": true,
		"\x00": false, "\x1f": false, "\x80": false, "\xff": false, "\xe2\x82": false, `"`: false, `\q`: false,
	} {
		for before := range 20 {
			for behind := range 20 {
				text := `"` + strings.Repeat("a", before) + piece + strings.Repeat("b", behind) + `"`
				if got := wrongJSON([]byte(text)); (got == "") != want {
					t.Errorf("%q: %q", text, got)
				}
				if cut := wrongJSON([]byte(text[:len(text)-1])); cut == "" && piece != `"` {
					t.Errorf("%q is good", text[:len(text)-1])
				}
			}
		}
	}
}
