package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/hookfleet/hookfleet/events"
)

// maxBody bounds a body that a template makes: twice the largest event. A template may ask for data many times.
const maxBody = 2 << 20

const whereBody = "body"

// body is the template of a body: nothing, text, or JSON.
type body struct {
	text   text
	escape escape
	steps  []step // of JSON
	size   int    // of what stands for itself
}

// step writes one bit of a JSON body.
type step struct {
	kind    stepKind
	literal []byte
	part    part // stepValue: takes its JSON type
	text    text // stepText: stands within a string
	skip    int  // stepOptional: how many steps to pass over when the value is missing
}

type stepKind uint8

const (
	stepLiteral  stepKind = iota
	stepComma             // unless it would follow the opening of an object or array
	stepValue             // a value with its JSON type
	stepText              // within a string
	stepOptional          // what follows is left out when the value is missing
)

// newBody compiles the template raw, which is JSON; contentType says how values stand in a body that is a string.
func newBody(raw json.RawMessage, contentType string, l *lookup) (b body, err error) {
	if len(raw) == 0 {
		return b, nil
	}
	if raw[0] == '"' {
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return b, fmt.Errorf("body: %w", err)
		}
		b.escape = escapeFor(contentType)
		b.text, err = newText(s, l)
		b.size = len(s)
		return b, err
	}
	c := bodyCompiler{in: json.NewDecoder(bytes.NewReader(raw)), lookup: l}
	c.in.UseNumber()
	if err := c.value(); err != nil {
		return b, fmt.Errorf("body: %w", err)
	}
	c.flush()
	b.steps, b.size = c.steps, len(raw)
	return b, nil
}

// escapeFor is how a value stands in text of a media type (API.md 3.1).
func escapeFor(contentType string) escape {
	switch kind := strings.ToLower(contentType); {
	case events.IsJSONType(kind):
		return inJSONString
	case strings.HasPrefix(kind, "application/x-www-form-urlencoded"):
		return inForm
	default:
		return asItIs
	}
}

// bodyCompiler turns JSON into steps.
type bodyCompiler struct {
	in      *json.Decoder
	lookup  *lookup
	steps   []step
	literal []byte // what is to be written before the next step
}

func (c *bodyCompiler) flush() {
	if len(c.literal) > 0 {
		c.steps = append(c.steps, step{kind: stepLiteral, literal: c.literal})
		c.literal = nil
	}
}

func (c *bodyCompiler) add(s step) {
	c.flush()
	c.steps = append(c.steps, s)
}

func (c *bodyCompiler) value() error {
	token, err := c.in.Token()
	if err != nil {
		return err
	}
	return c.token(token)
}

func (c *bodyCompiler) token(token json.Token) error {
	switch v := token.(type) {
	case json.Delim:
		return c.list(v)
	case string:
		return c.str(v)
	case json.Number:
		c.literal = append(c.literal, v...)
	case bool:
		c.literal = fmt.Append(c.literal, v)
	default:
		c.literal = append(c.literal, "null"...)
	}
	return nil
}

// list compiles the members of an object or the items of an array.
func (c *bodyCompiler) list(open json.Delim) error {
	c.literal = append(c.literal, byte(open))
	dynamic := false // something before may be left out
	for i := 0; c.in.More(); i++ {
		name := ""
		if open == '{' {
			token, err := c.in.Token()
			if err != nil {
				return err
			}
			name = token.(string)
		}
		token, err := c.in.Token()
		if err != nil {
			return err
		}
		if optional, err := c.optional(token, open, name, i > 0); optional || err != nil {
			if err != nil {
				return err
			}
			dynamic = true
			continue
		}
		c.separate(i > 0, dynamic)
		if open == '{' {
			c.literal = append(events.AppendString(c.literal, name), ':')
		}
		if err := c.token(token); err != nil {
			return err
		}
	}
	end, err := c.in.Token()
	if err != nil {
		return err
	}
	c.literal = append(c.literal, byte(end.(json.Delim)))
	return nil
}

// separate writes the comma before a member, if there is one before it.
func (c *bodyCompiler) separate(follows, dynamic bool) {
	switch {
	case dynamic:
		c.add(step{kind: stepComma})
	case follows:
		c.literal = append(c.literal, ',')
	}
}

// optional compiles a member or item that is nothing but ${x?}, which is left out when x is missing.
func (c *bodyCompiler) optional(token json.Token, open json.Delim, name string, follows bool) (bool, error) {
	s, ok := token.(string)
	if !ok || !strings.HasSuffix(s, "?}") {
		return false, nil
	}
	t, err := newText(s, c.lookup)
	if err != nil || len(t) != 1 || t[0].hole == nil || !t[0].hole.Optional {
		return false, err
	}
	c.add(step{kind: stepOptional, part: t[0]})
	begin := len(c.steps)
	c.separate(follows, follows)
	if open == '{' {
		c.literal = append(events.AppendString(c.literal, name), ':')
	}
	c.add(step{kind: stepValue, part: t[0]})
	c.steps[begin-1].skip = len(c.steps) - begin
	return true, nil
}

// str compiles a string, which takes the JSON type of its value when it is nothing but a placeholder.
func (c *bodyCompiler) str(s string) error {
	t, err := newText(s, c.lookup)
	switch {
	case err != nil:
		return err
	case len(t) == 1 && t[0].hole != nil:
		c.add(step{kind: stepValue, part: t[0]})
		return nil
	case len(t) == 0:
		c.literal = append(c.literal, `""`...)
		return nil
	case len(t) == 1:
		c.literal = events.AppendString(c.literal, t[0].text)
		return nil
	}
	for i := range t {
		if t[i].hole == nil {
			escaped := events.AppendString(nil, t[i].text)
			t[i].text = string(escaped[1 : len(escaped)-1])
		}
	}
	c.literal = append(c.literal, '"')
	c.add(step{kind: stepText, text: t})
	c.literal = append(c.literal, '"')
	return nil
}

// bytes is the body with its values.
func (b *body) bytes(values []events.Value) ([]byte, error) {
	size := b.size
	for _, v := range values {
		size += v.Size()
	}
	switch {
	case b.text != nil:
		return b.text.append(make([]byte, 0, min(size, maxBody)), values, b.escape, whereBody, maxBody)
	case b.steps != nil:
		return b.json(make([]byte, 0, min(size, maxBody)), values)
	default:
		return nil, nil
	}
}

func (b *body) json(dst []byte, values []events.Value) (_ []byte, err error) {
	for i := 0; i < len(b.steps); i++ {
		switch s := &b.steps[i]; s.kind {
		case stepLiteral:
			dst = append(dst, s.literal...)
		case stepComma:
			if last := dst[len(dst)-1]; last != '{' && last != '[' {
				dst = append(dst, ',')
			}
		case stepOptional:
			if values[s.part.slot].Missing() {
				i += s.skip
			}
		case stepValue:
			dst, err = s.part.appendJSON(dst, values)
		case stepText:
			dst, err = s.text.append(dst, values, inJSONString, whereBody, maxBody)
		}
		if err != nil {
			return nil, err
		}
		if len(dst) > maxBody {
			return nil, tooLarge(whereBody, maxBody)
		}
	}
	return dst, nil
}

// appendJSON appends the value with its JSON type. null is a value here, unless there is a default for it.
func (p *part) appendJSON(dst []byte, values []events.Value) ([]byte, error) {
	v := values[p.slot]
	if v.Missing() || p.hole.HasDefault {
		var err error
		if v, err = p.value(values, whereBody); err != nil {
			return dst, err
		}
	}
	if len(dst)+v.Size() > maxBody {
		return dst, tooLarge(whereBody, maxBody)
	}
	return v.AppendJSON(dst), nil
}
