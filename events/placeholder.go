package events

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Source is where a placeholder's value comes from.
type Source uint8

// The sources of values (API.md 3.1).
const (
	FromName         Source = iota // the attribute Name when the event has it, else the member Name of data
	FromAttribute                  // the attribute Name
	FromData                       // Path in data
	FromWebhookID                  // webhook-id of the delivery
	FromSubscription               // id of the subscription
	FromAttempt                    // number of the attempt, from 1
	FromNow                        // time of the attempt, RFC 3339
	FromUnix                       // the same in seconds since 1970
)

// Placeholder is one ${…} of a template.
type Placeholder struct {
	Source Source
	Name   string // of an attribute
	Path   Path   // in data, also of FromName

	Default    string // what stands where there is no value
	HasDefault bool
	Optional   bool // ${x?}: nothing stands where there is no value

	Text string // what is between the braces, without the default
}

// Piece is a part of a template: text that stands for itself, or a placeholder.
type Piece struct {
	Text        string
	Placeholder *Placeholder // nil = it is text
	At          int          // where it begins, in bytes from 0
}

// builtins are the names that are neither of an attribute nor of data. What an event calls the same is reached by
// attributes. and data.
var builtins = map[string]Source{
	"webhookid": FromWebhookID, "subscription": FromSubscription, "attempt": FromAttempt, "now": FromNow,
}

// ParseTemplate takes a template apart into text and placeholders; $${ is text, ${. The error says what is malformed,
// and where.
func ParseTemplate(text string) ([]Piece, error) {
	var pieces []Piece
	var plain strings.Builder
	from := 0 // where plain begins
	flush := func(next int) {
		if plain.Len() > 0 {
			pieces = append(pieces, Piece{Text: plain.String(), At: from})
			plain.Reset()
		}
		from = next
	}
	for i := 0; i < len(text); {
		switch {
		case strings.HasPrefix(text[i:], "$${"):
			plain.WriteString("${")
			i += len("$${")
		case strings.HasPrefix(text[i:], "${"):
			p, end, wrong := parsePlaceholder(text, i+len("${"))
			if wrong != nil {
				return nil, fmt.Errorf("has a malformed placeholder at byte %d: %s at byte %d", i, wrong.why, wrong.at)
			}
			flush(end)
			pieces = append(pieces, Piece{Placeholder: p, At: i})
			i = end
		default:
			plain.WriteByte(text[i])
			i++
		}
	}
	flush(0)
	return pieces, nil
}

// parsePlaceholder reads a placeholder that begins behind its opening brace, and returns where it ends.
func parsePlaceholder(text string, i int) (*Placeholder, int, *pathError) {
	p, end, wrong := parseReference(text, i)
	if wrong != nil {
		return nil, i, wrong
	}
	if s, ok := builtins[p.Name]; ok && p.Source == FromName {
		p.Source, p.Path = s, nil
		if rest, found := strings.CutPrefix(text[end:], ":unix"); found && s == FromNow {
			p.Source, end = FromUnix, len(text)-len(rest)
		}
	}
	p.Text = text[i:end]
	switch rest := text[end:]; {
	case strings.HasPrefix(rest, "?}"):
		p.Optional = true
		return p, end + len("?}"), nil
	case strings.HasPrefix(rest, ":-"):
		p.HasDefault = true
		from := end + len(":-")
		if p.Default, end, wrong = cutDefault(text, from); wrong != nil {
			return nil, i, wrong
		}
		return p, end, nil
	case strings.HasPrefix(rest, "}"):
		return p, end + 1, nil
	case rest == "":
		return nil, i, &pathError{end, "it is not closed"}
	default:
		r, _ := utf8.DecodeRuneInString(rest)
		return nil, i, &pathError{end, fmt.Sprintf("%q cannot stand here", r)}
	}
}

// cutDefault reads a default up to the closing brace.
func cutDefault(text string, i int) (value string, end int, wrong *pathError) {
	n := strings.IndexByte(text[i:], '}')
	if n < 0 {
		return "", i, &pathError{len(text), "it is not closed"}
	}
	value = text[i : i+n]
	if at := strings.IndexFunc(value, unicode.IsControl); at >= 0 {
		return "", i, &pathError{i + at, "a control character cannot stand here"}
	}
	if at := strings.Index(value, "${"); at >= 0 {
		return "", i, &pathError{i + at, "a placeholder cannot stand in another"}
	}
	return value, i + n + 1, nil
}

// parseReference reads a name or path, up to what belongs to neither.
func parseReference(text string, i int) (*Placeholder, int, *pathError) {
	name, end, wrong := cutPathName(text, i)
	if wrong != nil {
		return nil, i, wrong
	}
	path, end, wrong := parseSteps(text, end)
	switch {
	case wrong != nil:
		return nil, i, wrong
	case name == "data":
		return &Placeholder{Source: FromData, Path: path}, end, nil
	case name == "attributes" && len(path) > 0:
		if len(path) > 1 || !isName(path[0].Name) || path[0].Name == "data" {
			return nil, i, &pathError{i, "attributes. is followed by the name of one"}
		}
		return &Placeholder{Source: FromAttribute, Name: path[0].Name}, end, nil
	}
	p := &Placeholder{Source: FromData, Path: append(Path{{Name: name}}, path...)}
	if len(path) == 0 && isName(name) {
		p.Source, p.Name = FromName, name
	}
	return p, end, nil
}

// ParseReference reads what names an attribute or a value in data, as sinkoverride does: a placeholder without the braces,
// which stands for nothing else.
func ParseReference(text string) (*Placeholder, error) {
	p, end, wrong := parseReference(text, 0)
	if wrong == nil && end < len(text) {
		wrong = &pathError{end, "more follows"}
	}
	if wrong != nil {
		return nil, fmt.Errorf("is no attribute and no path: %s at byte %d", wrong.why, wrong.at)
	}
	p.Text = text
	return p, nil
}

// Of is the value that a reference has in one event: of an attribute, or in data. It is missing for whatever is not of the
// event. Who asks for several values, or again and again, asks a Finder.
func (p *Placeholder) Of(e *Event) Value {
	if p.Source == FromName || p.Source == FromAttribute {
		if v := e.AttributeValue(p.Name); !v.Missing() || p.Source == FromAttribute {
			return v
		}
	}
	if p.Source != FromName && p.Source != FromData {
		return Value{}
	}
	var found [1]Value
	NewFinder([]Path{p.Path}).Find(e, found[:])
	return found[0]
}
