package events

import (
	"fmt"
	"slices"
	"strings"
)

// Bounds of what a subscription may say about its requests.
const (
	maxHeaders      = 64   // as many as servers commonly take, less what we send ourselves
	maxHeaderName   = 128  // far beyond any
	maxHeaderText   = 4096 // half of what servers commonly take for one
	maxOmitted      = 64   // attributes; events have some ten
	maxPlaceholders = 1000 // in one body: each is looked up for each event
)

// Words of the content modes and methods of API.md 3.
const (
	MethodPut    = "PUT"
	MethodPatch  = "PATCH"
	MethodGet    = "GET"
	ModeBinary   = "binary"
	ModeData     = "data"
	ModeTemplate = "template"
)

// oneOf reads a string that is one of words.
func (d *document) oneOf(to *string, words ...string) reader {
	return func(v *jsonValue, at string) {
		switch {
		case !d.is(jsonString, v, at):
		case !slices.Contains(words, v.text):
			d.fault(at, "must be one of %s", strings.Join(words, ", "))
		default:
			*to = v.text
		}
	}
}

func wrongReference(s string) string {
	if _, err := ParseReference(s); err != nil {
		return err.Error()
	}
	return ""
}

func wrongContentType(s string) string {
	if wrong := wrongText(s); wrong != "" {
		return wrong
	}
	if !isMediaType(s) || len(s) > maxHeaderText {
		return "must be a media type"
	}
	return ""
}

func (d *subscriptionReader) omit(v *jsonValue, at string) {
	p := &d.s.ProtocolSettings
	d.array(v, at, maxOmitted, func(v *jsonValue, at string) {
		if !d.is(jsonString, v, at) {
			return
		}
		switch {
		case !isName(v.text) || v.text == "data":
			d.fault(at, "is no attribute name: only lower-case letters and digits, at least one, and not data")
		case slices.Contains(required[:], v.text):
			d.fault(at, "%s is required in every event and cannot be left out", v.text)
		case slices.Contains(p.Omit, v.text):
			d.fault(at, "appears more than once")
		}
		p.Omit = append(p.Omit, v.text)
	})
}

func (d *subscriptionReader) headers(v *jsonValue, at string) {
	if !d.is(jsonObject, v, at) {
		return
	}
	if len(v.members) > maxHeaders {
		d.fault(at, "has %d members, at most %d are taken", len(v.members), maxHeaders)
		return
	}
	headers := make(map[string]string, len(v.members))
	seen := make(map[string]bool, len(v.members))
	for i := range v.members {
		m := &v.members[i]
		if m.value.kind == jsonNull {
			continue
		}
		at := below(at, m.name)
		if wrong := wrongHeaderName(m.name); wrong != "" {
			d.fault(at, "%s", wrong)
		} else if seen[lower(m.name)] {
			d.fault(at, "appears more than once, in another case")
		}
		seen[lower(m.name)] = true
		var text string
		d.text(&text, wrongHeaderText)(&m.value, at)
		headers[m.name] = text
	}
	if len(headers) > 0 {
		d.s.ProtocolSettings.Headers = headers
	}
}

// reservedHeaders are those that frame the message or are ours to set (API.md 3.1); one that ends in - stands for all that
// begin so.
var reservedHeaders = []string{
	"host", "content-", "connection", "transfer-encoding", "webhook-", "ce-", "keep-alive", "proxy-", "te", "trailer", "upgrade", "expect",
}

// wrongHeaderName says why a subscription cannot set the header name; "" = it can.
func wrongHeaderName(name string) string {
	if !isToken(name) || len(name) > maxHeaderName {
		return "is no header name"
	}
	if isReservedHeader(name) {
		return "cannot be set: it is reserved"
	}
	return ""
}

// isReservedHeader reports whether no setting and no credential of a subscription may set a header of this name.
func isReservedHeader(name string) bool {
	name = lower(name)
	return slices.ContainsFunc(reservedHeaders, func(reserved string) bool {
		return name == reserved || strings.HasSuffix(reserved, "-") && strings.HasPrefix(name, reserved)
	})
}

// wrongHeaderText says what is wrong with the template of a header's value; "" = nothing.
func wrongHeaderText(s string) string {
	if len(s) > maxHeaderText {
		return wrongLength(s, maxHeaderText)
	}
	pieces, err := ParseTemplate(s)
	if err != nil {
		return err.Error()
	}
	for _, piece := range pieces {
		for i := range len(piece.Text) {
			if c := piece.Text[i]; (c < ' ' || c >= 0x7f) && c != '\t' {
				return fmt.Sprintf("has a character at byte %d that a header cannot carry", piece.At+i)
			}
		}
	}
	return ""
}

// body reads the template of a body: a string, or any other JSON whose strings are templates.
func (d *subscriptionReader) body(v *jsonValue, at string) {
	left := maxPlaceholders
	d.bodyValue(v, at, &left)
	if left < 0 {
		d.fault(at, "has more than %d placeholders", maxPlaceholders)
	}
	d.s.ProtocolSettings.Body = v.append(nil)
}

func (d *subscriptionReader) bodyValue(v *jsonValue, at string, left *int) {
	switch v.kind {
	case jsonString:
		pieces, err := ParseTemplate(v.text)
		if err != nil {
			d.fault(at, "%s", err)
		}
		for _, piece := range pieces {
			if piece.Placeholder != nil {
				*left--
			}
		}
	case jsonArray:
		for i := range v.items {
			d.bodyValue(&v.items[i], item(at, i), left)
		}
	case jsonObject:
		for i := range v.members {
			m := &v.members[i]
			if strings.Contains(m.name, "${") {
				d.fault(below(at, m.name), "is the name of a member, which takes no placeholder")
			}
			d.bodyValue(&m.value, below(at, m.name), left)
		}
	default:
	}
}

// checkRequest faults what does not go together in what requests look like.
func (d *subscriptionReader) checkRequest() {
	const at = "/protocolsettings"
	p := &d.s.ProtocolSettings
	switch {
	case p.Body == nil:
	case p.ContentMode != ModeTemplate:
		d.fault(at+"/body", "is for contentmode template alone")
	case p.Method == MethodGet:
		d.fault(at+"/body", "cannot be sent with GET")
	}
	if p.Method == MethodGet && d.s.Sink != "" && !HasPlaceholder(d.s.Sink) {
		d.fault("/sink", "has no placeholder, which method GET needs in path or query: a GET says nothing else of the event")
	}
	if p.ContentMode == ModeBinary && hasPrefixFold(p.ContentType, structuredStart) {
		d.fault(at+"/contenttype", "is of structured mode, and contentmode is binary")
	}
	for _, name := range sortedNames(p.Headers) {
		if why := d.s.setsHeader(lower(name)); why != "" {
			d.fault(below(at+"/headers", name), "cannot be set: %s", why)
		}
	}
}

func sortedNames(m map[string]string) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// setsHeader says what else sets the header name, in lower case; "" = nothing.
func (s *Subscription) setsHeader(name string) string {
	if sg := s.ProtocolSettings.Signing; sg != nil && sg.Header != "" && strings.TrimSuffix(name, suffixPrevious) == lower(sg.Header) {
		return "the signature is in it"
	}
	if s.credentialSets(name) {
		return "the credential is in it"
	}
	return ""
}

// credentialSets reports whether the credential may be in the header name, in lower case.
func (s *Subscription) credentialSets(name string) bool {
	c := s.SinkCredential
	return c != nil && (name == "authorization" || c.In != InQuery && lower(c.Name) == name)
}
