package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hookfleet/hookfleet/events"
)

// decodeObject reads a JSON object strictly: every member known and there once, nothing behind it. members maps the
// names to what they decode into, *string or *[]string; null counts as absent. Faults are all named at once, under code.
func decodeObject(text []byte, code Code, members map[string]any) error {
	if !utf8.Valid(text) {
		return faulty(CodeInvalidJSON, events.Fault{Detail: "invalid UTF-8"})
	}
	if deeperThan(text, maxDepth) {
		return faulty(CodeInvalidJSON, events.Fault{Detail: "nests deeper than 64 levels"})
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	if start, err := dec.Token(); err != nil {
		return notJSON(dec, err)
	} else if start != json.Delim('{') {
		return faulty(code, events.Fault{Detail: "must be an object"})
	}
	var faults []events.Fault
	seen := map[string]bool{}
	for dec.More() {
		name, raw, err := member(dec)
		if err != nil {
			return notJSON(dec, err)
		}
		if seen[name] {
			return faulty(CodeInvalidJSON, events.Fault{Pointer: pointer(name), Detail: "appears more than once"})
		}
		seen[name] = true
		if detail := decodeMember(members, name, raw); detail != "" {
			faults = append(faults, events.Fault{Pointer: pointer(name), Detail: detail})
		}
	}
	if _, err := dec.Token(); err != nil {
		return notJSON(dec, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return faulty(CodeInvalidJSON, events.Fault{Detail: "more follows the object"})
	}
	if faults != nil {
		return faulty(code, faults...)
	}
	return nil
}

// maxDepth is how deep JSON may nest (API.md 1).
const maxDepth = 64

// deeperThan counts brackets outside of strings; text need not be JSON.
func deeperThan(text []byte, limit int) bool {
	depth, quoted, escaped := 0, false, false
	for _, c := range text {
		switch {
		case escaped:
			escaped = false
		case quoted:
			escaped, quoted = c == '\\', c != '"'
		case c == '"':
			quoted = true
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		}
		if depth > limit {
			return true
		}
	}
	return false
}

func member(dec *json.Decoder) (name string, raw json.RawMessage, err error) {
	token, err := dec.Token()
	if err != nil {
		return "", nil, err
	}
	if err := dec.Decode(&raw); err != nil {
		return "", nil, err
	}
	name, _ = token.(string)
	return name, raw, nil
}

// decodeMember says what is wrong with a member; "" when nothing is.
func decodeMember(members map[string]any, name string, raw json.RawMessage) string {
	into, known := members[name]
	if !known {
		return "is not known here; known are " + strings.Join(slices.Sorted(maps.Keys(members)), ", ")
	}
	if json.Unmarshal(raw, into) == nil {
		return ""
	}
	if _, list := into.(*[]string); list {
		return "must be a list of strings"
	}
	return "must be a string"
}

func notJSON(dec *json.Decoder, err error) error {
	detail := "ends early"
	if _, ok := errors.AsType[*json.SyntaxError](err); ok {
		detail = err.Error()
	}
	return faulty(CodeInvalidJSON, events.Fault{Detail: fmt.Sprintf("%s, at byte %d", detail, dec.InputOffset())})
}

// pointer is the JSON pointer of a member of the outermost object.
func pointer(name string) string {
	const enough = 100
	if len(name) > enough {
		name = strings.ToValidUTF8(name[:enough], "") + "…"
	}
	return "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}
