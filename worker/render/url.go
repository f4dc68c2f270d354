package render

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/hookfleet/hookfleet/events"
)

// maxURL bounds the URL of a request: common servers and proxies take request lines of 8 KiB.
const maxURL = 8 << 10

const whereSink = "sink"

// sink is where a subscription sends to.
type sink struct {
	base *url.URL // without values; it is the URL when there are no placeholders
	text text     // nil: there are none
	dots bool     // its own path has segments . or ..
}

// newSink compiles the sink raw; "" is none.
func newSink(raw string, l *lookup) (s sink, err error) {
	if raw == "" {
		return s, nil
	}
	plain := raw
	if events.HasPlaceholder(raw) {
		if s.text, err = newText(raw, l); err != nil {
			return s, fmt.Errorf("sink: %w", err)
		}
		plain = s.text.without()
	}
	if s.base, err = url.Parse(plain); err != nil {
		return s, errors.New("sink: not a URL") // whose text may have secrets
	}
	s.dots = hasDots(s.base.EscapedPath())
	return s, nil
}

// url is where a request goes. It is the same pointer each time when nothing of an event is in it.
func (s *sink) url(values []events.Value) (*url.URL, error) {
	if s.text == nil {
		return s.base, nil
	}
	b, err := s.text.append(make([]byte, 0, 256), values, inURL, whereSink, maxURL)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(string(b))
	switch {
	case err != nil:
		return nil, faulty(whereSink, "is no URL with these values")
	case u.Scheme != s.base.Scheme || u.Host != s.base.Host || u.Opaque != "" || u.User != nil || u.Fragment != "":
		return nil, faulty(whereSink, "is of another origin with these values")
	case !s.dots && hasDots(u.EscapedPath()):
		return nil, faulty(whereSink, "has a segment . or .. with these values, which is another path to receivers")
	}
	return u, nil
}

// hasDots reports whether a segment of path is . or .. in any spelling: values may be dots, which need no escape, and an
// escaped one is read the same by all that follow the WHATWG. What follows a ; is a parameter to many servers.
func hasDots(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		segment, _, _ = strings.Cut(segment, ";")
		if len(segment) == 0 || len(segment) > len("%2e%2e") {
			continue
		}
		segment = strings.ReplaceAll(strings.ToLower(segment), "%2e", ".")
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}
