package registry

import (
	"time"

	"github.com/hookfleet/hookfleet/events"
)

// Door says whether a subscription's sink may be sent to.
type Door string

// The doors.
const (
	Open Door = "open"
	Ajar Door = "ajar" // to one delivery: the breaker's probe is due
	Shut Door = "shut"
)

// Door says whether the sink may be sent to at now, by its health; when not, why.
func (e *Entry) Door(h *Health, now time.Time) (Door, events.Reason) {
	s := e.Subscription
	switch {
	case s.Paused || h.State == SinkPaused:
		return Shut, events.ReasonPaused
	case h.State == SinkDisabled:
		return Shut, events.ReasonDisabled
	case e.Locked != nil:
		return Shut, events.ReasonCredential
	case s.SinkCredential.Expired(now):
		return Shut, events.ReasonCredential
	case e.Unverified(h):
		return Shut, events.ReasonUnverified
	case h.State != SinkHeld || h.Broken() && s.Config.Breaker.Failures == 0:
		return Open, events.ReasonNone
	case now.Before(h.Until):
		return Shut, h.Reason
	case h.Broken():
		return Ajar, h.Reason
	default:
		return Open, events.ReasonNone
	}
}

// Reopens is when a door that is shut opens by itself: the sink is held for a time. Zero when it is not shut, or something
// else must happen first.
func (e *Entry) Reopens(h *Health, now time.Time) time.Time {
	door, reason := e.Door(h, now)
	if door != Shut || h.State != SinkHeld || reason != h.Reason || e.Locked != nil || e.Subscription.SinkCredential.Expired(now) {
		return time.Time{}
	}
	return h.Until
}

// GivesUp reports whether what comes to the sink is given up: failures have paused the subscription, which wants that.
func (e *Entry) GivesUp(h *Health) bool {
	p := e.Subscription.Config.Pause
	return !e.Subscription.Paused && h.State == SinkPaused && h.Reason == events.ReasonFailures &&
		p != nil && p.Then == events.ThenDeadLetter
}
