package filter

import (
	"fmt"
	"strings"

	"github.com/hookfleet/hookfleet/events"
)

// maxSteps bounds how many values a match expression may look at: 600 conditions on 1 MB of data could look at a hundred
// million, and one condition at half a million.
const maxSteps = 2_000_000

// conditions is a compiled match expression (API.md 3.2). All must hold.
type conditions []condition

// condition is a path into data and what it must lead to, as text.
type condition struct {
	path  []segment
	value string
}

// segment is one part of a path.
type segment struct {
	name  string
	items items
	field string // itemsWhere: the member that must be equal to value
	value string
}

// items says which items of an array a segment goes on with.
type items uint8

const (
	noItems    items = iota // Name: it is no array
	allItems                // Name(*)
	itemsWhere              // Name(Field=Value)
)

// parseMatch compiles a match expression.
func parseMatch(text string) (conditions, error) {
	p := matchParser{text: text}
	var all conditions
	for {
		c, err := p.condition()
		if err != nil {
			return nil, err
		}
		all = append(all, c)
		if p.at == len(text) {
			return all, nil
		}
		p.at++ // the semicolon
	}
}

// matchParser reads a match expression from the left.
type matchParser struct {
	text string
	at   int
}

// wrong is the error of what is wrong at the byte i.
func (p *matchParser) wrong(i int, format string, args ...any) error {
	return fmt.Errorf("%s at byte %d", fmt.Sprintf(format, args...), i)
}

// condition reads up to a semicolon or the end. White space before it is not part of its path, so that conditions can be
// written apart; all other white space counts.
func (p *matchParser) condition() (c condition, err error) {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
	if p.at == len(p.text) || p.text[p.at] == ';' {
		return c, p.wrong(p.at, "a condition is missing")
	}
	for {
		s, err := p.segment()
		if err != nil {
			return c, err
		}
		c.path = append(c.path, s)
		if p.at < len(p.text) && p.text[p.at] == '.' {
			p.at++
			continue
		}
		break
	}
	if p.at == len(p.text) || p.text[p.at] != '=' {
		return c, p.wrong(p.at, "a path must be followed by = and a value, not by %s", p.here())
	}
	p.at++
	c.value = p.until(";")
	return c, nil
}

// here quotes what is at the present place.
func (p *matchParser) here() string {
	if p.at == len(p.text) {
		return "the end"
	}
	r := []rune(p.text[p.at:min(len(p.text), p.at+4)])
	return fmt.Sprintf("%q", r[0])
}

// until reads up to one of the bytes in ends, or the end.
func (p *matchParser) until(ends string) string {
	rest := p.text[p.at:]
	if i := strings.IndexAny(rest, ends); i >= 0 {
		rest = rest[:i]
	}
	p.at += len(rest)
	return rest
}

func (p *matchParser) segment() (s segment, err error) {
	if s.name, err = p.name(".()=;", "a path"); err != nil {
		return s, err
	}
	if p.at == len(p.text) || p.text[p.at] != '(' {
		return s, nil
	}
	open := p.at
	p.at++
	s.items = allItems
	if strings.HasPrefix(p.text[p.at:], "*)") {
		p.at += len("*)")
		return s, nil
	}
	s.items = itemsWhere
	if s.field, err = p.name(".()=;*", "a condition in parentheses"); err != nil {
		return s, err
	}
	if p.at == len(p.text) || p.text[p.at] != '=' {
		return s, p.wrong(open, "parentheses must have * or Field=Value in them")
	}
	p.at++
	if s.value = p.until(")"); p.at == len(p.text) {
		return s, p.wrong(open, "a parenthesis is not closed")
	}
	p.at++
	return s, nil
}

// name reads the name of a member, up to one of the bytes in ends.
func (p *matchParser) name(ends, in string) (string, error) {
	start := p.at
	name := p.until(ends)
	switch {
	case name == "":
		return "", p.wrong(start, "%s lacks a member name before %s", in, p.here())
	case strings.TrimSpace(name) != name:
		return "", p.wrong(start, "the member name %q has white space around it", name)
	}
	return name, nil
}

// eval implements code.
func (all conditions) eval(ev *Evaluation) events.Truth {
	data, ok := ev.event.JSON()
	if !ok {
		return events.False // no path leads anywhere in what is not JSON
	}
	steps := maxSteps
	for i := range all {
		found := all[i].holds(data, 0, &steps)
		if steps < 0 {
			return events.Failed
		}
		if !found {
			return events.False
		}
	}
	return events.True
}

// holds reports whether the path from its segment on leads from v to the value.
func (c *condition) holds(v events.DataValue, segment int, steps *int) bool {
	if *steps--; *steps < 0 {
		return false
	}
	if segment == len(c.path) {
		return v.Is(c.value)
	}
	s := &c.path[segment]
	v, ok := v.Member(s.name)
	if !ok {
		return false
	}
	if s.items == noItems {
		return c.holds(v, segment+1, steps)
	}
	for item := range v.Items() {
		if *steps--; *steps < 0 {
			return false
		}
		if s.items == itemsWhere {
			if field, ok := item.Member(s.field); !ok || !field.Is(s.value) {
				continue
			}
		}
		if c.holds(item, segment+1, steps) {
			return true
		}
	}
	return false
}
