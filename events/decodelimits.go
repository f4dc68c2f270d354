package events

import (
	"slices"
	"strings"
)

// Bounds of limits (API.md 3).
const (
	maxPermit     = 1_000_000 // beyond what one fleet sends
	maxOrigin     = 253       // of a DNS name
	maxOriginPart = 63        // of one of its labels
)

// defaultRate is what a rate says that leaves something out; burst is then its permit.
func defaultRate() *Rate { return &Rate{Permit: 100, Per: Duration(defaultPer)} }

// defaultPause is what a pause says that leaves something out.
func defaultPause() *Pause { return &Pause{After: 20, Then: ThenHold} }

func (d *subscriptionReader) rate(v *jsonValue, at string) {
	r := defaultRate()
	d.s.Config.Rate = r
	d.object(v, at, map[string]reader{
		"permit": d.integer(&r.Permit, 1, maxPermit),
		"per":    d.duration(&r.Per, minDelay, maxDelay),
		"burst":  d.integer(&r.Burst, 1, maxPermit),
	})
	if v.member("burst") == nil {
		r.Burst = r.Permit
	}
	if float64(r.Burst)/float64(r.Permit)*float64(r.Per) > float64(maxDelay) {
		d.fault(at+"/burst", "is more than the rate allows in %s", maxDelay)
	}
}

func (d *subscriptionReader) pause(v *jsonValue, at string) {
	p := defaultPause()
	d.s.Config.Pause = p
	d.object(v, at, map[string]reader{
		"after": d.integer(&p.After, 1, maxAttempts),
		"then":  d.oneOf(&p.Then, ThenHold, ThenDeadLetter),
	})
}

func (d *subscriptionReader) breaker(v *jsonValue, at string) {
	b := &d.s.Config.Breaker
	d.object(v, at, map[string]reader{
		"failures": d.integer(&b.Failures, 0, maxAttempts),
		"cooldown": d.duration(&b.Cooldown, minDelay, maxDelay),
	})
}

// handshake reads the abuse protection. That a mode other than off needs an origin and one sink to ask is checked when
// all of the subscription is read.
func (d *subscriptionReader) handshake(v *jsonValue, at string) {
	h := &Handshake{Mode: HandshakeOff}
	d.s.ProtocolSettings.Handshake = h
	d.object(v, at, map[string]reader{
		"mode":   d.oneOf(&h.Mode, HandshakeOff, HandshakeOptional, HandshakeRequired),
		"origin": d.text(&h.Origin, wrongOrigin),
		"rate":   d.integer(&h.Rate, 1, maxPermit),
	})
}

const pointerHandshake = "/protocolsettings/handshake"

// checkHandshake refuses a handshake that cannot be made: who asks must have a name, and whom to ask must be known now
// (AP-1: the very URL that is registered).
func (d *subscriptionReader) checkHandshake(policy SinkPolicy) {
	h := d.s.ProtocolSettings.Handshake
	if !d.s.Handshakes() {
		return
	}
	if h.Origin == "" {
		h.Origin = policy.Origin
	}
	if h.Origin == "" && !d.faulted(pointerHandshake+"/origin") {
		d.fault(pointerHandshake+"/origin", "is required: the DNS name that this fleet calls itself")
	}
	switch {
	case strings.Contains(d.s.Sink, "${"):
		d.fault(pointerHandshake+"/mode", "must be off: a sink with placeholders is no one URL that could be asked")
	case d.s.SinkOverride != "":
		d.fault(pointerHandshake+"/mode", "must be off: what sinkoverride names cannot be asked before")
	}
}

func (d *document) faulted(at string) bool {
	return slices.ContainsFunc(d.faults, func(f Fault) bool { return f.Pointer == at })
}

// wrongOrigin says what is wrong with the name of a system, as WebHook-Request-Origin has it (AP-2).
func wrongOrigin(s string) string {
	const wrong = "must be a DNS name, such as events.example.com"
	if s == "" || len(s) > maxOrigin {
		return wrong
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > maxOriginPart || label[0] == '-' || label[len(label)-1] == '-' || !isLabel(label) {
			return wrong
		}
	}
	return ""
}

func isLabel(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
