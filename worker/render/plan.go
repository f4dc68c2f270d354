package render

import (
	"cmp"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"

	"github.com/hookfleet/hookfleet/events"
)

// Media types of what is sent.
const (
	structuredType = "application/cloudevents+json"
	batchType      = "application/cloudevents-batch+json"
	jsonType       = "application/json"
	binaryType     = "application/octet-stream"
)

// Plan is what all requests of one version of a subscription have in common, compiled. It is immutable and safe for
// concurrent use.
type Plan struct {
	settings *events.ProtocolSettings
	sink     sink
	headers  []header
	body     body
	lookup   lookup
	override *lookup // of sinkoverride; nil = none

	structured []string // the Content-Type of structured mode, and what falls back to it
	fallback   []string
}

// New compiles a subscription. It fails on nothing that was taken when the subscription was registered.
func New(s *events.Subscription) (*Plan, error) {
	p := &Plan{settings: &s.ProtocolSettings, fallback: []string{structuredType}}
	p.structured = []string{cmp.Or(p.settings.ContentType, structuredType)}
	var err error
	if p.sink, err = newSink(s.Sink, &p.lookup); err != nil {
		return nil, err
	}
	if p.headers, err = newHeaders(p.settings.Headers, &p.lookup); err != nil {
		return nil, err
	}
	if p.settings.ContentMode == events.ModeTemplate {
		if p.body, err = newBody(p.settings.Body, cmp.Or(p.settings.ContentType, jsonType), &p.lookup); err != nil {
			return nil, err
		}
	}
	p.lookup.seal()
	if s.SinkOverride == "" {
		return p, nil
	}
	ref, err := events.ParseReference(s.SinkOverride)
	if err != nil {
		return nil, fmt.Errorf("sinkoverride %w", err)
	}
	p.override = &lookup{}
	p.override.slot(ref)
	p.override.seal()
	return p, nil
}

// Override is the sink that the event has for itself, in place of the subscription's. ok is false when it has none: null
// and an empty string are none.
func (p *Plan) Override(e *events.Event) (v events.Value, ok bool) {
	if p.override == nil {
		return v, false
	}
	v = p.override.values(&Input{Event: e})[0]
	return v, !v.NoText() && v.Text() != ""
}

// Sink is the subscription's sink when it has no placeholders: the URL that Render gives, and always the same pointer.
func (p *Plan) Sink() *url.URL {
	if p.sink.text != nil {
		return nil
	}
	return p.sink.base
}

// Fields is about how many header fields Render sets.
func (p *Plan) Fields(e *events.Event) int {
	n := 1 + len(p.headers)
	if p.settings.ContentMode == events.ModeBinary {
		n += e.Len()
	}
	return n
}

// Render makes a request: it sets in h what the subscription and its mode say, and returns the URL and the body. override
// is the URL to go to instead of the sink; nil = the sink. Its error is an *Error. URL and body must not be changed.
func (p *Plan) Render(in *Input, override *url.URL, h http.Header) (u *url.URL, body []byte, err error) {
	values := p.lookup.values(in)
	if u = override; u == nil {
		if u, err = p.sink.url(values); err != nil {
			return nil, nil, err
		}
	}
	body, contentType, err := p.content(in.Event, values, h)
	if err != nil {
		return nil, nil, err
	}
	if contentType != nil {
		h["Content-Type"] = contentType
	}
	if err := setHeaders(p.headers, h, values); err != nil {
		return nil, nil, err
	}
	return u, body, nil
}

// content is the body and its Content-Type (nil = none), by content mode. A GET has neither.
func (p *Plan) content(e *events.Event, values []events.Value, h http.Header) (body []byte, contentType []string, err error) {
	if p.settings.Method == events.MethodGet {
		if p.settings.ContentMode == events.ModeBinary {
			p.setAttributes(e, h)
		}
		return nil, nil, nil
	}
	switch p.settings.ContentMode {
	case events.ModeBinary:
		body, contentType = p.binary(e, h)
	case events.ModeData:
		body, contentType = p.data(e)
	case events.ModeTemplate:
		body, err = p.body.bytes(values)
		contentType = p.templateType(body)
	default:
		body, contentType = p.structuredBody(e), p.structured
	}
	return body, contentType, err
}

// Member is what a batch has of an event.
func (p *Plan) Member(e *events.Event) []byte { return p.structuredBody(e) }

// Batch makes what is around a batch of several events, of which in has the first: it sets in h what the subscription
// says, and returns the URL. Nothing of it is of one event.
func (p *Plan) Batch(in *Input, h http.Header) (*url.URL, error) {
	values := p.lookup.values(in)
	u, err := p.sink.url(values)
	if err != nil {
		return nil, err
	}
	h["Content-Type"] = []string{cmp.Or(p.settings.ContentType, batchType)}
	return u, setHeaders(p.headers, h, values)
}

// structuredBody is the event in structured mode.
func (p *Plan) structuredBody(e *events.Event) []byte {
	if len(p.settings.Omit) == 0 {
		return e.Structured()
	}
	return e.AppendWithout(make([]byte, 0, e.Size()), p.settings.Omit)
}

// binary sets the attributes in h. A request without a payload, or with one that nobody can say the type of, is not
// permitted to be in binary mode (WH-3): those events go in structured mode.
func (p *Plan) binary(e *events.Event, h http.Header) (body []byte, contentType []string) {
	data, kind := e.Data()
	typ := cmp.Or(p.settings.ContentType, e.DataContentType())
	if typ == "" && kind == events.DataJSON {
		typ = jsonType // what it is without saying so (JF-7, CE-9)
	}
	if len(data) == 0 || typ == "" {
		return p.structuredBody(e), p.fallback
	}
	p.setAttributes(e, h)
	return data, []string{typ}
}

// setAttributes sets an event's attributes as headers (HB-3, HB-4).
func (p *Plan) setAttributes(e *events.Event, h http.Header) {
	for a := range e.Attributes() {
		if a.Name == "datacontenttype" || p.omits(a.Name) {
			continue
		}
		h[attributeHeader(a.Name)] = []string{events.HeaderValue(a.Value)}
	}
}

func (p *Plan) omits(name string) bool { return slices.Contains(p.settings.Omit, name) }

// attributeHeaders are the headers of the attributes that most events have.
var attributeHeaders = map[string]string{
	"specversion": "Ce-Specversion", "id": "Ce-Id", "source": "Ce-Source", "type": "Ce-Type", "subject": "Ce-Subject",
	"time": "Ce-Time", "dataschema": "Ce-Dataschema", "tenant": "Ce-Tenant", "traceparent": "Ce-Traceparent",
}

func attributeHeader(name string) string {
	if known, ok := attributeHeaders[name]; ok {
		return known
	}
	return textproto.CanonicalMIMEHeaderKey("ce-" + name)
}

// data is nothing but the data.
func (p *Plan) data(e *events.Event) (body []byte, contentType []string) {
	body, kind := e.Data()
	typ := cmp.Or(p.settings.ContentType, e.DataContentType())
	switch {
	case kind == events.DataNone && p.settings.ContentType == "":
		return nil, nil
	case typ != "":
	case kind == events.DataJSON:
		typ = jsonType
	default:
		typ = binaryType
	}
	return body, []string{typ}
}

// templateType is the Content-Type of a body that a template made. An empty one has none, unless it is asked for.
func (p *Plan) templateType(body []byte) []string {
	switch {
	case p.settings.ContentType != "":
		return []string{p.settings.ContentType}
	case len(body) == 0:
		return nil
	default:
		return []string{jsonType}
	}
}
