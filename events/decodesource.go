package events

import (
	"strconv"
	"strings"
	"time"
)

const (
	codeInvalidSource = "invalid_source"
	codeInvalidItem   = "invalid_item"
)

// MaxSourceBytes bounds the JSON of a source: a credential of some 30 KiB and 100 terminal statuses fit.
const MaxSourceBytes = 512 << 10

// What a source is when it does not say.
const (
	defaultEvery       = Duration(5 * time.Minute)
	defaultPath        = "status"
	defaultInitial     = "Booked"
	defaultConcurrency = 64
	defaultTimeout     = Duration(15 * time.Second)
)

// DecodeSource reads a source from the JSON of the API as DecodeSubscription reads a subscription, with the code
// invalid_source. KeepSecrets follows. lastpoll and items, which are read-only, are ignored.
func DecodeSource(text []byte, tenant string, policy SinkPolicy) (*StatusSource, error) {
	if len(text) > MaxSourceBytes {
		return nil, tooLarge("", "is larger than "+strconv.Itoa(MaxSourceBytes)+" bytes")
	}
	root, err := parseDocument(text)
	if err != nil {
		return nil, err
	}
	if tenant == "" {
		tenant = DefaultTenant
	}
	d := sourceReader{sinks: policy, s: &StatusSource{
		Tenant: tenant, Every: defaultEvery, Status: defaultPath, Initial: defaultInitial,
		Concurrency: defaultConcurrency, Timeout: defaultTimeout,
	}}
	d.source(root)
	if d.faults != nil {
		return nil, invalidSource(d.faults)
	}
	return d.s, nil
}

// sourceReader knows where in the document what is.
type sourceReader struct {
	document
	s     *StatusSource
	sinks SinkPolicy
}

func (d *sourceReader) source(v *jsonValue) {
	s := d.s
	d.object(v, "", map[string]reader{
		"id":          d.text(&s.ID, wrongID),
		"tenant":      d.text(&s.Tenant, wrongID),
		"url":         d.url,
		"credential":  (&credentialReader{&d.document, d.sinks, &s.Credential}).credential,
		"every":       d.duration(&s.Every, Duration(MinEvery), maxEvery),
		"status":      d.text(&s.Status, wrongStatusPath),
		"type":        d.text(&s.Type, wrongEventType),
		"initial":     d.text(&s.Initial, wrongStatus),
		"terminal":    d.statuses(&d.s.Terminal),
		"concurrency": d.integer(&s.Concurrency, 1, MaxConcurrency),
		"timeout":     d.duration(&s.Timeout, Duration(MinTimeout), Duration(MaxTimeout)),
		"lastpoll":    d.ignore,
		"items":       d.ignore,
	})
	if v.kind != jsonObject {
		return
	}
	for _, name := range []string{"url", "type"} {
		if v.member(name) == nil {
			d.fault("/"+name, "is required")
		}
	}
}

// url reads where the statuses are asked for: as a sink, with ${key} and no other placeholder.
func (d *sourceReader) url(v *jsonValue, at string) {
	if !d.is(jsonString, v, at) {
		return
	}
	d.s.URL = v.text
	wrong := d.sinks.Refuses(v.text)
	if wrong == nil {
		wrong = wrongKeys(v.text)
	}
	for _, why := range wrong {
		d.fault(at, "%s", why)
	}
}

// keyPlaceholder is the only one that the URL of a source has.
const keyPlaceholder = "key"

// wrongKeys says what is wrong with the placeholders of a URL that is well formed.
func wrongKeys(raw string) (wrong []string) {
	pieces, err := ParseTemplate(raw)
	if err != nil {
		return []string{err.Error()}
	}
	found := false
	for _, piece := range pieces {
		p := piece.Placeholder
		switch {
		case p == nil:
		case p.Source != FromName || p.Name != keyPlaceholder || p.HasDefault || p.Optional:
			wrong = append(wrong, "has another placeholder than ${key} at byte "+strconv.Itoa(piece.At))
		default:
			found = true
		}
	}
	if !found && wrong == nil {
		wrong = append(wrong, "has no placeholder ${key}, so that all items would be asked for at the same place")
	}
	return wrong
}

func wrongStatusPath(s string) string {
	if _, err := NewStatusPath(s); err != nil {
		return err.Error()
	}
	return ""
}

// wrongEventType says what is wrong with the type of events that we make ourselves.
func wrongEventType(s string) string {
	switch {
	case s == "":
		return "must not be empty"
	case s == TypeTest:
		return "is the type of events that test a subscription"
	case strings.Contains(s, "*"):
		return "must be one type, without *"
	case len(s) > maxTypeBytes:
		return wrongLength(s, maxTypeBytes)
	default:
		return wrongText(s)
	}
}

// DecodeItems reads the keys of items to be watched: {"key": …} or {"items": [{"key": …}, …]}. Errors are as those of
// DecodeSource, with the code invalid_item.
func DecodeItems(text []byte) (keys []string, err error) {
	root, err := parseDocument(text)
	if err != nil {
		return nil, err
	}
	var d document
	key := func(v *jsonValue, at string) {
		var k string
		d.text(&k, wrongItemKey)(v, at)
		keys = append(keys, k)
	}
	d.object(root, "", map[string]reader{"key": key, "items": func(v *jsonValue, at string) {
		d.array(v, at, MaxItemBatch, func(v *jsonValue, at string) {
			d.object(v, at, map[string]reader{"key": key})
			if v.kind == jsonObject && v.member("key") == nil {
				d.fault(at+"/key", "is required")
			}
		})
	}})
	if root.kind == jsonObject {
		switch one, many := root.member("key"), root.member("items"); {
		case one == nil && many == nil:
			d.fault("/key", "is required, or items")
		case one != nil && many != nil:
			d.fault("/key", "cannot be beside items")
		}
	}
	if d.faults != nil {
		return nil, &Invalid{Status: statusInvalid, Code: codeInvalidItem, Faults: d.faults}
	}
	return keys, nil
}

// wrongItemKey says what is wrong with a key, which becomes the subject of events.
func wrongItemKey(s string) string {
	switch {
	case s == "":
		return "must not be empty"
	case len(s) > MaxItemKey:
		return wrongLength(s, MaxItemKey)
	default:
		return wrongText(s)
	}
}
