package registry

import (
	"time"

	"github.com/hookfleet/hookfleet/events"
)

// SinkState says whether a subscription's sink may be sent to.
type SinkState string

// The states of a sink (API.md 3, status).
const (
	SinkActive   SinkState = "active"
	SinkHeld     SinkState = "held"
	SinkPaused   SinkState = "paused"
	SinkDisabled SinkState = "disabled"
)

// Health is the state of one subscription's sink. The zero value, and what is absent, is an active sink.
type Health struct {
	State               SinkState     `json:"state"`
	Reason              events.Reason `json:"reason,omitempty"`
	Since               time.Time     `json:"since,omitzero"`
	Until               time.Time     `json:"until,omitzero"` // held: when it is released
	ConsecutiveFailures int           `json:"consecutivefailures,omitempty"`
	Backlog             bool          `json:"backlog,omitempty"` // HELD has deliveries of it
}
