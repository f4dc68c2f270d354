package events

import (
	"strconv"
	"strings"
	"time"
)

// EventRef names an event without its data.
type EventRef struct {
	Sequence uint64 `json:"sequence"`
	ID       string `json:"id"`
	Source   string `json:"source"`
	Type     string `json:"type"`
	Subject  string `json:"subject,omitempty"`
}

// Ref names e, stored at sequence.
func Ref(e *Event, sequence uint64) EventRef {
	return EventRef{Sequence: sequence, ID: e.ID(), Source: e.Source(), Type: e.Type(), Subject: e.Subject()}
}

// Delivery is one event for one subscription, through all its attempts. It travels with what waits (timers, held, dead
// letters), so everything that the next attempt needs is in it.
type Delivery struct {
	ID           string    `json:"id"`
	Subscription string    `json:"subscription"`
	Tenant       string    `json:"tenant"`
	Event        EventRef  `json:"event"`
	CreatedAt    time.Time `json:"createdat"`           // acceptance of the event, or of the replay
	Attempts     int       `json:"attempts"`            // made so far
	Uncounted    int       `json:"uncounted,omitempty"` // of these, those that count for neither maxattempts nor the policy's delay
	Reason       Reason    `json:"reason,omitempty"`    // of the last attempt or hold
	NextAt       time.Time `json:"nextat,omitzero"`     // when the next attempt is due
	ReplayOf     string    `json:"replayof,omitempty"`  // the delivery that this one repeats
	Replay       string    `json:"replay,omitempty"`    // the replay job that made it
	Record       uint64    `json:"record,omitempty"`    // sequence of the newest history record; 0 = none yet
	Batch        *BatchRef `json:"batch,omitempty"`     // the batch that it was sent in; nil = none
}

// DeliveryID is the id of the delivery of the event at sequence to subscription: `<sequence>-<subscription>`, the
// sequence in base 36. It needs no index to be found again. replay counts replays of it, 0 = the first delivery; they
// are told apart as `<sequence>.<replay>-<subscription>` would be, with "r": `<sequence>r<replay>`, upper case being
// unused in base 36.
func DeliveryID(sequence uint64, subscription string, replay uint64) string {
	b := strconv.AppendUint(make([]byte, 0, len(subscription)+32), sequence, 36)
	if replay > 0 {
		b = append(b, 'R')
		b = strconv.AppendUint(b, replay, 36)
	}
	b = append(b, '-')
	return string(append(b, subscription...))
}

// ParseDeliveryID takes an id apart. ok is false for anything DeliveryID does not make.
func ParseDeliveryID(id string) (sequence uint64, subscription string, replay uint64, ok bool) {
	head, subscription, found := strings.Cut(id, "-")
	if !found || !IsID(subscription) {
		return 0, "", 0, false
	}
	head, rep, isReplay := strings.Cut(head, "R")
	var err error
	if isReplay {
		if replay, err = strconv.ParseUint(rep, 36, 64); err != nil || replay == 0 {
			return 0, "", 0, false
		}
	}
	if sequence, err = strconv.ParseUint(head, 36, 64); err != nil || sequence == 0 {
		return 0, "", 0, false
	}
	return sequence, subscription, replay, DeliveryID(sequence, subscription, replay) == id
}

// IsID reports whether s may be the id of a subscription, a tenant or a key: ^[a-z0-9][a-z0-9_-]{0,62}$ (API.md 1).
func IsID(s string) bool {
	if len(s) == 0 || len(s) > 63 || s[0] == '_' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// Response is what is kept of a sink's answer.
type Response struct {
	Headers map[string]string `json:"headers,omitempty"`
	Body    string            `json:"body,omitempty"` // at most 4 KiB (API.md 3.4)
}

// Attempt is one try on the wire.
type Attempt struct {
	Number     int       `json:"number"` // from 1
	At         time.Time `json:"at"`
	DurationMS float64   `json:"durationms"`
	Outcome    Outcome   `json:"outcome"`
	Reason     Reason    `json:"reason,omitempty"`
	Status     int       `json:"status,omitempty"` // of the answer; 0 = none came
	URL        string    `json:"url"`              // query secrets masked
	Response   *Response `json:"response,omitempty"`
	NextAt     time.Time `json:"nextat,omitzero"`
	WebhookID  string    `json:"webhookid,omitempty"` // of the batch, in content mode batch
}

// Record is one entry of the delivery history: an attempt, or a change of state without one (held, skipped, cancelled,
// dead without a request). The newest record of a delivery is its state.
type Record struct {
	Delivery
	State   State     `json:"state"`
	EndedAt time.Time `json:"endedat,omitzero"`
	First   bool      `json:"first,omitempty"` // the delivery's first record
	Attempt *Attempt  `json:"attempt,omitempty"`
}

// CancelRecord is the record of a delivery that is cancelled at now, before its next attempt.
func CancelRecord(d Delivery, reason Reason, now time.Time) *Record {
	first := d.Record == 0
	d.Reason, d.NextAt = reason, time.Time{}
	return &Record{Delivery: d, State: StateCancelled, EndedAt: now.UTC(), First: first}
}

// DeadLetter is a delivery that was given up, with the whole event.
type DeadLetter struct {
	Delivery
	LastAttempt *Attempt
	DeadAt      time.Time
	Payload     *Event
}
