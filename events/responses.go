package events

import (
	"strconv"
	"strings"
)

// The actions of a response rule (API.md 3).
const (
	ActionAck        = "ack"
	ActionRetry      = "retry"
	ActionDeadLetter = "deadletter"
	ActionDisable    = "disable"
)

// anyFailure is the pattern of everything but a 2xx answer, no answer included.
const anyFailure StatusPattern = "*"

// Bounds of a status in a pattern. What servers answer beyond them is met by * alone.
const (
	minStatus = 100
	maxStatus = 599
)

// StatusPattern says which answers a rule is for: one status (409), a class (3xx), a range (500-504, both ends included)
// or * for anything but 2xx, network errors included. A 2xx is met only by a pattern that names it.
type StatusPattern string

// Match reports whether the pattern is for an answer with this status; 0 = none came.
func (p StatusPattern) Match(status int) bool {
	if p == anyFailure {
		return status < 200 || status > 299
	}
	low, high, ok := p.bounds()
	return ok && status >= low && status <= high
}

// bounds are the first and last status of a pattern that is not *. ok is false for what is no pattern.
func (p StatusPattern) bounds() (low, high int, ok bool) {
	if class, isClass := strings.CutSuffix(string(p), "xx"); isClass {
		low, ok = parseStatus(class + "00")
		return low, low + 99, ok
	}
	first, last, isRange := strings.Cut(string(p), "-")
	if !isRange {
		last = first
	}
	low, okLow := parseStatus(first)
	high, okHigh := parseStatus(last)
	return low, high, okLow && okHigh && low <= high
}

// parseStatus reads three digits.
func parseStatus(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return int(n), err == nil && len(s) == 3 && n >= minStatus && n <= maxStatus
}

// RuleFor returns the first rule that is for an answer with this status, 0 = none came; nil when there is none.
func (c *DeliveryConfig) RuleFor(status int) *ResponseRule {
	for i := range c.Responses {
		if c.Responses[i].Status.Match(status) {
			return &c.Responses[i]
		}
	}
	return nil
}
