package events

import (
	"slices"
	"time"
)

// Bounds of what a source may say.
const (
	MinEvery      = 100 * time.Millisecond // a poll costs some writes of its own
	maxEvery      = maxDelay
	maxStatusText = 1024 // bytes of one status
	MaxItemKey    = 255  // bytes (API.md 5)
	MaxItemBatch  = 1000 // items that one call adds: as many as one call publishes
)

// StatusSource is polled for the statuses of items (API.md 5).
type StatusSource struct {
	ID          string      `json:"id"`
	Tenant      string      `json:"tenant"`
	URL         string      `json:"url"`                  // with ${key}
	Credential  *Credential `json:"credential,omitempty"` // nil = none
	Every       Duration    `json:"every"`                // between ticks, which are aligned to the epoch
	Status      string      `json:"status"`               // path in the answer
	Type        string      `json:"type"`                 // of the events
	Initial     string      `json:"initial"`              // what an item begins with
	Terminal    []string    `json:"terminal,omitempty"`   // statuses that complete an item; none = it never is
	Concurrency int         `json:"concurrency"`          // simultaneous requests of the whole fleet
	Timeout     Duration    `json:"timeout"`              // whole exchange
}

// Path is the source attribute of the events of a source.
func (s *StatusSource) Path() string { return "/sources/" + s.ID }

// Tick is the last tick at or before now.
func (s *StatusSource) Tick(now time.Time) time.Time {
	ns := now.UnixNano()
	return time.Unix(0, ns-ns%int64(s.Every)).UTC()
}

// IsTerminal reports whether a status completes an item.
func (s *StatusSource) IsTerminal(status string) bool { return slices.Contains(s.Terminal, status) }

// Clone returns a copy of s that shares nothing that changes.
func (s *StatusSource) Clone() *StatusSource {
	c := *s
	c.Credential = s.Credential.clone()
	return &c
}

// secrets returns the secrets of s, those that it may have and has not included.
func (s *StatusSource) secrets() []secretField {
	if s.Credential == nil {
		return nil
	}
	return s.Credential.secrets("/credential", "url", Origin(s.URL))
}

// KeepSecrets gives s the secrets of old, the source that it replaces, wherever s has none or a mask. It is an *Invalid
// when that is not possible, as for Subscription.KeepSecrets. old is nil for a new source.
func (s *StatusSource) KeepSecrets(old *StatusSource) error {
	var before []secretField
	var from *Credential
	if old != nil {
		before, from = old.secrets(), old.Credential
		s.Credential.keepParameters(from)
	}
	if faults := keepSecrets(s.secrets(), before); faults != nil {
		return invalidSource(faults)
	}
	if s.Credential == nil {
		return nil
	}
	if from == nil {
		from = s.Credential
	}
	s.Credential.adopt(from)
	return nil
}

// Unlocked reports, as an *Invalid, the secrets of s that must be sent because what is stored of them is locked.
func (s *StatusSource) Unlocked(locked *LockedError) error {
	if faults := locked.missing(s.secrets(), s.Credential.omitted("/credential")); faults != nil {
		return invalidSource(faults)
	}
	return nil
}

func invalidSource(faults []Fault) *Invalid {
	return &Invalid{Status: statusInvalid, Code: codeInvalidSource, Faults: faults}
}
