package partners

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
)

// Object is a JSON object whose members were read strictly.
type Object struct {
	call    *Call
	where   string
	members map[string]json.RawMessage
}

// Object reads the body, which has to be one JSON object with no member twice and nothing behind it.
func (c *Call) Object() *Object {
	return c.object("body", c.Body)
}

func (c *Call) object(where string, raw []byte) *Object {
	members, err := readMembers(raw)
	if err != nil {
		c.Refuse(http.StatusBadRequest, "%s is no object: %v", where, err)
	}
	return &Object{c, where, members}
}

// readMembers reads an object and refuses a member that is there twice, which encoding/json lets pass.
func readMembers(raw []byte) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil, fmt.Errorf("begins with %.20q", raw)
	}
	members := map[string]json.RawMessage{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
		if _, twice := members[name.(string)]; twice {
			return nil, fmt.Errorf("has %q twice", name)
		}
		members[name.(string)] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("goes on behind its end")
	}
	return members, nil
}

// Has reports whether a member is there.
func (o *Object) Has(name string) bool { _, ok := o.members[name]; return ok }

// Only refuses members that are neither of must, which have to be there, nor of may.
func (o *Object) Only(must []string, may ...string) {
	for _, name := range must {
		if !o.Has(name) {
			o.call.Refuse(http.StatusBadRequest, "%s lacks %q", o.where, name)
		}
	}
	for name := range o.members {
		if !slices.Contains(must, name) && !slices.Contains(may, name) {
			o.call.Refuse(http.StatusBadRequest, "%s has %q, which is not agreed", o.where, name)
		}
	}
}

// Text is a member that has to be a text that is not empty; "" when it is not there or no text.
func (o *Object) Text(name string) string {
	var s *string
	raw, ok := o.members[name]
	if !ok {
		return ""
	}
	if err := json.Unmarshal(raw, &s); err != nil || s == nil || *s == "" {
		o.call.Refuse(http.StatusBadRequest, "%s: %q is %s, not a text", o.where, name, raw)
		return ""
	}
	return *s
}

// Is refuses a member that is not this text.
func (o *Object) Is(name, want string) {
	if got := o.Text(name); got != want {
		o.call.Refuse(http.StatusBadRequest, "%s: %q is %q, not %q", o.where, name, got, want)
	}
}

// Time is a member that has to be an RFC 3339 time.
func (o *Object) Time(name string) time.Time {
	text := o.Text(name)
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil && o.Has(name) {
		o.call.Refuse(http.StatusBadRequest, "%s: %q is %q, not a time", o.where, name, text)
	}
	return at
}

// Texts is a member that has to be a list of texts.
func (o *Object) Texts(name string) []string {
	var list []string
	if raw, ok := o.members[name]; ok && (json.Unmarshal(raw, &list) != nil || list == nil) {
		o.call.Refuse(http.StatusBadRequest, "%s: %q is %s, not a list of texts", o.where, name, raw)
	}
	return list
}

// Object is a member that has to be an object.
func (o *Object) Object(name string) *Object {
	return o.call.object(o.where+"."+name, o.members[name])
}
