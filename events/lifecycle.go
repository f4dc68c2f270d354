package events

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"time"
)

// Bounds of what is known of a key, so that it stays some hundred bytes and can never become too large to store.
const (
	maxKnownTexts  = 16     // statuses that are kept as they are; things have some five
	maxKnownText   = 64     // bytes of one
	maxKnownHashes = 10_000 // the others, of 8 bytes each: the oldest is forgotten then, and may be sent again
	hashBytes      = 8

	// maxKeyBytes bounds a key: it is held in memory, and stored, for everything that waits. A longer one is cut, and what
	// was cut stands behind it as a hash.
	maxKeyBytes = 512
)

// Progress is what is known of one key of a lifecycle: what was delivered for it. The zero value knows nothing.
type Progress struct {
	Completed bool      `json:"completed,omitempty"` // a terminal status was delivered
	Statuses  []string  `json:"statuses,omitempty"`  // that were delivered
	Hashes    []byte    `json:"hashes,omitempty"`    // of further ones, and of long ones: 8 bytes of SHA-256 each, oldest first
	Newest    time.Time `json:"newest,omitzero"`     // newest time of an event that was delivered, where only the latest goes
	// Last is the EVENTS sequence of the last delivery that counts here. When the process ends between storing this and
	// recording the delivery, it tells that this very delivery was made, and is no duplicate of itself.
	Last uint64 `json:"last,omitempty"`
}

// Judge says whether an event with this status and time may be sent, or else why it is skipped. at is the event's time,
// or when it was accepted if it has none. What other deliveries wait for the key is not its business: Supersedes is.
func (l *Lifecycle) Judge(p *Progress, status string, at time.Time) (skip Reason, ok bool) {
	switch {
	case p.Completed && len(l.Terminal) > 0:
		return ReasonCompleted, false
	case l.Dedupe && p.knows(status):
		return ReasonDuplicateStatus, false
	case l.LatestOnly && at.Before(p.Newest):
		return ReasonSuperseded, false
	default:
		return ReasonNone, true
	}
}

// Supersedes reports whether, of two events that wait for a key, the one accepted later makes the earlier one pointless:
// only the latest is wanted, and it is not older. Where only the latest is wanted and it is older, it is pointless itself.
func (l *Lifecycle) Supersedes(later, earlier time.Time) bool {
	return l.LatestOnly && !later.Before(earlier)
}

// Deliver notes that an event with this status and time was delivered, and reports whether anything is new, so that p must
// be stored. Each setting counts what is delivered while it is set.
func (p *Progress) Deliver(l *Lifecycle, status string, at time.Time) (changed bool) {
	if l.Dedupe && !p.knows(status) {
		p.learn(status)
		changed = true
	}
	if l.LatestOnly && at.After(p.Newest) {
		p.Newest, changed = at.UTC(), true
	}
	if !p.Completed && slices.Contains(l.Terminal, status) {
		p.Completed, changed = true, true
	}
	return changed
}

// Clone returns a copy that shares nothing with p.
func (p *Progress) Clone() *Progress {
	c := *p
	c.Statuses, c.Hashes = slices.Clone(p.Statuses), slices.Clone(p.Hashes)
	return &c
}

// Size is about how many bytes of memory p takes.
func (p *Progress) Size() int {
	const itself, text = 112, 16
	n := itself + len(p.Hashes)
	for _, s := range p.Statuses {
		n += text + len(s)
	}
	return n
}

func (p *Progress) knows(status string) bool {
	if slices.Contains(p.Statuses, status) {
		return true
	}
	if len(p.Hashes) == 0 {
		return false
	}
	hash := statusHash(status)
	for i := 0; i+hashBytes <= len(p.Hashes); i += hashBytes {
		if binary.BigEndian.Uint64(p.Hashes[i:]) == hash {
			return true
		}
	}
	return false
}

func (p *Progress) learn(status string) {
	if len(status) <= maxKnownText && len(p.Statuses) < maxKnownTexts {
		p.Statuses = append(p.Statuses, status)
		return
	}
	if len(p.Hashes) >= maxKnownHashes*hashBytes {
		p.Hashes = slices.Delete(p.Hashes, 0, hashBytes)
	}
	p.Hashes = binary.BigEndian.AppendUint64(p.Hashes, statusHash(status))
}

// statusHash is long enough for no two of ten thousand statuses to share one, and good enough that nobody can make another
// tenant's do so.
func statusHash(status string) uint64 {
	sum := sha256.Sum256([]byte(status))
	return binary.BigEndian.Uint64(sum[:])
}

// StatusOf is the status that an event has, as text; false when it has none: it is missing, null, empty, an object or an
// array.
func (l *Lifecycle) StatusOf(e *Event) (string, bool) { return wordOf(l.Status, e) }

// KeyOf is what the event's delivery goes one at a time for, as text; false when nothing orders it: the subscription has
// neither ordering nor lifecycle, or the event has no key, which is missing, null, empty, an object or an array. Such an
// event waits for no other, and no lifecycle has a progress for it: one that all of them shared would skip what was never
// sent.
func (s *Subscription) KeyOf(e *Event) (string, bool) {
	key, ok := wordOf(s.LaneKey(), e)
	if len(key) > maxKeyBytes {
		sum := sha256.Sum256([]byte(key))
		key = key[:maxKeyBytes-2*len(sum)] + hex.EncodeToString(sum[:])
	}
	return key, ok
}

// wordOf is the text of what a reference names in an event, when it is a string that is not empty, a number or a boolean.
func wordOf(reference string, e *Event) (string, bool) {
	if reference == "" {
		return "", false
	}
	ref, err := ParseReference(reference)
	if err != nil {
		return "", false
	}
	v := ref.Of(e)
	if v.NoText() || v.json != nil && (v.json[0] == '{' || v.json[0] == '[') {
		return "", false
	}
	text := strings.Clone(v.Text()) // it is kept, and its event is not
	return text, text != ""
}

// LifecycleTime is the time of an event that lifecycles go by: its own, or when it was accepted if it has none.
func LifecycleTime(e *Event, accepted time.Time) time.Time {
	if at := e.Time(); !at.IsZero() {
		return at
	}
	return accepted
}
