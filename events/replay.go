package events

import "time"

// ReplayState is where a replay stands.
type ReplayState string

// The states of a replay (API.md 4). The last two end it.
const (
	ReplayRunning   ReplayState = "running"
	ReplayPaused    ReplayState = "paused"
	ReplayDone      ReplayState = "done"
	ReplayCancelled ReplayState = "cancelled"
)

// What a replay is made from.
const (
	ReplayEvents      = "events"
	ReplayDeadLetters = "dead-letters"
)

// Replay is a job that delivers once more what a subscription had, or would have: from the events that are still stored,
// or from its dead letters.
type Replay struct {
	ID           string    `json:"id"`
	Tenant       string    `json:"tenant"`
	Subscription string    `json:"subscription"`
	From         string    `json:"from"`
	Since        time.Time `json:"since,omitzero"` // zero = the oldest there is
	Until        time.Time `json:"until,omitzero"` // excluded; zero = when the job was made
	Filters      []Filter  `json:"filters,omitempty"`
	Rate         *Rate     `json:"rate,omitempty"` // of new deliveries; nil = one that leaves room for live traffic
	DryRun       bool      `json:"dryrun"`
	Again        bool      `json:"again"`
	CreatedAt    time.Time `json:"createdat"`

	// Subscribed is when the subscription was made: another of its id is none of its business.
	Subscribed time.Time `json:"subscribed"`
	// Through is the last sequence of what it is made from: what comes after the job was made is none of its business.
	Through uint64 `json:"through"`
	// Wish is what its owner wants of it: that it runs, pauses, or is cancelled. How far it is, its progress says.
	Wish ReplayState `json:"wish"`
}

// ReplayCounts is what came of a replay. Once it has ended, Matched = Sent + what was skipped because it was made before,
// and Sent = Delivered + Dead + Cancelled + what ended as skipped.
type ReplayCounts struct {
	Matched   uint64 `json:"matched"`
	Sent      uint64 `json:"sent"` // deliveries that were made
	Delivered uint64 `json:"delivered"`
	Dead      uint64 `json:"dead"`
	Skipped   uint64 `json:"skipped"` // not made, because a replay made them before, or ended as skipped
	Cancelled uint64 `json:"cancelled"`
}

// Ended counts a delivery that ended so.
func (c *ReplayCounts) Ended(s State) {
	switch s {
	case StateDelivered:
		c.Delivered++
	case StateDead:
		c.Dead++
	case StateSkipped:
		c.Skipped++
	case StateCancelled:
		c.Cancelled++
	default: // it has not ended
	}
}

// replaysOf is how many replays one by one a delivery can have before they would meet those of a job: 36^4, so that in an
// id the number of the job stands before four digits.
const replaysOf = 36 * 36 * 36 * 36

// JobReplay is what DeliveryID counts as replay for the deliveries that a replay job makes. number tells jobs apart.
func JobReplay(number uint64) uint64 { return number * replaysOf }

// NextReplay is the id of the delivery that replays the delivery id: the next of the same event and subscription. That it
// follows from the id makes a replay that is asked for twice one replay. ok is false when id is no delivery's.
func NextReplay(id string) (next string, ok bool) {
	sequence, subscription, n, ok := ParseDeliveryID(id)
	if !ok {
		return "", false
	}
	return DeliveryID(sequence, subscription, n+1), true
}
