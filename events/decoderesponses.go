package events

import (
	"slices"
	"time"
)

const (
	// maxRules bounds the rules of a subscription: each is looked at for each answer.
	maxRules = 64
	// minEvery bounds how often a delivery is tried that nothing but maxage ends: a hundred requests and records a second.
	minEvery = Duration(10 * time.Millisecond)
)

func (d *subscriptionReader) responses(v *jsonValue, at string) {
	d.array(v, at, maxRules, func(v *jsonValue, at string) {
		d.s.Config.Responses = append(d.s.Config.Responses, d.responseRule(v, at))
	})
}

func (d *subscriptionReader) responseRule(v *jsonValue, at string) (r ResponseRule) {
	d.object(v, at, map[string]reader{
		"status": d.statusPattern(&r.Status),
		"action": d.action(&r.Action),
		"every":  d.duration(&r.Every, minEvery, maxDelay),
	})
	if v.kind != jsonObject {
		return r
	}
	for _, name := range []string{"status", "action"} {
		if v.member(name) == nil {
			d.fault(below(at, name), "is required")
		}
	}
	if v.member("every") != nil && r.Action != ActionRetry && r.Action != "" {
		d.fault(below(at, "every"), "is of the action %s alone", ActionRetry)
	}
	return r
}

// statusPattern takes one status as a number too.
func (d *document) statusPattern(to *StatusPattern) reader {
	return func(v *jsonValue, at string) {
		p := StatusPattern(v.text)
		_, _, ok := p.bounds()
		if v.kind != jsonString && v.kind != jsonNumber || !ok && (p != anyFailure || v.kind != jsonString) {
			d.fault(at, `must be a status (409), a class (3xx), a range (500-504) or *, with statuses from %d to %d`, minStatus, maxStatus)
			return
		}
		*to = p
	}
}

func (d *document) action(to *string) reader {
	return func(v *jsonValue, at string) {
		if !slices.Contains([]string{ActionAck, ActionRetry, ActionDeadLetter, ActionDisable}, v.text) || v.kind != jsonString {
			d.fault(at, "must be %s, %s, %s or %s", ActionAck, ActionRetry, ActionDeadLetter, ActionDisable)
			return
		}
		*to = v.text
	}
}
