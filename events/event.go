package events

import (
	"cmp"
	"iter"
	"time"
)

// MaxEventBytes is the largest event that is taken, attributes and data together (API.md 2).
const MaxEventBytes = 1_000_000

// DefaultTenant is whose an event or subscription is that names no tenant.
const DefaultTenant = "default"

// AttributeKind is the JSON type an attribute was written with. HTTP and NATS headers only know strings.
type AttributeKind uint8

// The kinds of attributes (JF-3).
const (
	KindString AttributeKind = iota
	KindInteger
	KindBoolean
)

// Attribute is one context attribute in canonical string form (CE-7), spelled as it came in.
type Attribute struct {
	Name, Value string
	Kind        AttributeKind
}

// DataKind says how data is written in the JSON format.
type DataKind uint8

// The kinds of data.
const (
	DataNone   DataKind = iota // no data member (JF-8: null is data)
	DataJSON                   // a raw JSON value
	DataText                   // a JSON string that holds text (JF-6)
	DataBinary                 // data_base64
)

// Event is one CloudEvents 1.0 event: the bytes it came in and where its parts are. It is immutable once parsed but for
// what it remembers of its data, and safe for concurrent use. The zero value is no event.
type Event struct {
	text  []byte // structured mode: the whole JSON text, untouched. nil in binary mode
	data  []byte // the bytes of data: raw JSON, text or decoded base64
	kind  DataKind
	attrs []Attribute // in order of appearance, specversion included

	id, source, typ, subject, tenant, contentType, time string

	owner string // the tenant of an event that names none: of the subject it was published to

	tree tree // of data, for who asks; see JSON
}

// ID returns the attribute id.
func (e *Event) ID() string { return e.id }

// Source returns the attribute source, in the spelling it came in.
func (e *Event) Source() string { return e.source }

// Type returns the attribute type.
func (e *Event) Type() string { return e.typ }

// Subject returns the attribute subject; "" when absent.
func (e *Event) Subject() string { return e.subject }

// Tenant returns the extension attribute tenant; when it is absent the tenant that Own gave, or DefaultTenant.
func (e *Event) Tenant() string { return cmp.Or(e.tenant, e.owner, DefaultTenant) }

// Own says whose the event is when it names no tenant itself, without adding an attribute to it. It returns false when
// the event names another tenant. It is for the one who parsed the event, before others see it.
func (e *Event) Own(tenant string) bool {
	if e.tenant == "" {
		e.owner = tenant
	}
	return e.Tenant() == tenant
}

// HasTenant reports whether the event names its tenant itself.
func (e *Event) HasTenant() bool { return e.tenant != "" }

// DataContentType returns the attribute datacontenttype; "" when absent.
func (e *Event) DataContentType() string { return e.contentType }

// Time returns the attribute time; the zero time when absent. Its spelling is in Attribute("time").
func (e *Event) Time() time.Time {
	t, err := parseTime(e.time)
	if err != nil {
		return time.Time{}
	}
	return t
}

// expiryName is the extension attribute that says when an event is of no use any more (CloudEvents extension expirytime).
const expiryName = "expirytime"

// Expired reports whether the event is of no use any more at now: that is its expirytime, or after it. A value that is no
// RFC 3339 time is none: an event is not lost for an attribute that somebody else meant otherwise.
func (e *Event) Expired(now time.Time) bool {
	at, some := e.ExpiryTime()
	return some && !now.Before(at)
}

// ExpiryTime returns when the event expires; ok is false when it does not.
func (e *Event) ExpiryTime() (at time.Time, ok bool) {
	text, ok := e.Attribute(expiryName)
	if !ok {
		return time.Time{}, false
	}
	at, err := parseTime(text)
	return at, err == nil
}

// Attribute returns a context attribute in canonical string form, and whether the event has it.
func (e *Event) Attribute(name string) (string, bool) {
	for i := range e.attrs {
		if e.attrs[i].Name == name {
			return e.attrs[i].Value, true
		}
	}
	return "", false
}

// Attributes yields the context attributes in order of appearance.
func (e *Event) Attributes() iter.Seq[Attribute] {
	return func(yield func(Attribute) bool) {
		for _, a := range e.attrs {
			if !yield(a) {
				return
			}
		}
	}
}

// Len is how many context attributes the event has.
func (e *Event) Len() int { return len(e.attrs) }

// Size is about how many bytes the event takes, attributes and data together.
func (e *Event) Size() int { return e.size() }

// Data returns the bytes of data and how they are written in JSON: the raw JSON value, the text, or the decoded base64.
// The caller must not change them.
func (e *Event) Data() ([]byte, DataKind) { return e.data, e.kind }

// Structured returns the event in structured mode: the very bytes it came in, or what AppendStructured makes of a binary
// one. The caller must not change them.
func (e *Event) Structured() []byte {
	if e.text != nil {
		return e.text
	}
	return e.AppendStructured(nil)
}

// IsStructured reports whether the event came in structured mode.
func (e *Event) IsStructured() bool { return e.text != nil }
