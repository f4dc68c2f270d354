package stream

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events"
)

// Place is where a delivery waits.
type Place string

// The places of a delivery that waits.
const (
	PlaceTimer Place = "timer" // RETRIES, until its time
	PlaceDue   Place = "due"   // RETRIES, fired: a worker has it or will take it
	PlaceHeld  Place = "held"  // HELD, until its sink may be sent to
)

// Parked is a delivery that waits, and where.
type Parked struct {
	Waiting
	Place    Place
	Sequence uint64    // in its stream
	Since    time.Time // when it was put there
}

// State is the delivery's state as far as its place tells it.
func (p *Parked) State() events.State {
	switch {
	case p.Place == PlaceHeld:
		return events.StateHeld
	case p.Delivery.Attempts == 0 && p.Delivery.Record == 0:
		return events.StatePending // a replay before its first attempt
	default:
		return events.StateRetrying
	}
}

// Counts is how many deliveries of a subscription wait.
type Counts struct {
	Timers uint64 // set, and fired ones that are not settled
	Held   uint64
}

// Waitlist looks at and cancels what waits. It is safe for concurrent use and keeps nothing. Its reads know every
// acknowledged write.
type Waitlist struct{ reader }

// NewWaitlist works through js, whose connection should not be one that publishes much: see NewHistory.
func NewWaitlist(js jetstream.JetStream) *Waitlist { return &Waitlist{newReader(js)} }

// Find returns the delivery id of subscription where it waits; ok is false when it does not. A delivery on its first
// attempt does not wait.
func (w *Waitlist) Find(ctx context.Context, subscription, id string) (p *Parked, ok bool, err error) {
	if !isSubjectToken(subscription) || !isSubjectToken(id) {
		return nil, false, nil
	}
	where := places(subscription, id)
	// The timer twice: what was due at the first look may be a timer again when we look for what is due.
	for _, at := range append(where[:], where[0]) {
		m, err := w.newest(ctx, at.stream, at.subject)
		if err != nil {
			return nil, false, err
		}
		if m != nil {
			p, err := parseParked(m, at.place)
			return p, err == nil, err
		}
	}
	return nil, false, nil
}

// Held returns the delivery as it lies in its sink's held queue; ok is false when it does not, wherever else it waits.
func (w *Waitlist) Held(ctx context.Context, subscription, id string) (p *Parked, ok bool, err error) {
	m, err := w.newest(ctx, HeldName, HeldSubject(subscription, id))
	if m == nil || err != nil {
		return nil, false, err
	}
	p, err = parseParked(m, PlaceHeld)
	return p, err == nil, err
}

// HeldAt returns what lies in HELD at a sequence; ok is false when it is gone.
func (w *Waitlist) HeldAt(ctx context.Context, sequence uint64) (p *Parked, ok bool, err error) {
	m, err := w.leader(ctx, HeldName, getRequest{Sequence: sequence})
	if m == nil || err != nil {
		return nil, false, err
	}
	p, err = parseParked(m, PlaceHeld)
	return p, err == nil, err
}

type place struct {
	place           Place
	stream, subject string
}

func places(subscription, id string) [3]place {
	return [3]place{
		{PlaceTimer, Retries, RetrySubject(subscription, id)},
		{PlaceDue, Retries, DueSubject(subscription, id)},
		{PlaceHeld, HeldName, HeldSubject(subscription, id)},
	}
}

func parseParked(m *stored, p Place) (*Parked, error) {
	w, err := ParseWaiting(m.Header, m.Data)
	if err != nil {
		return nil, err
	}
	return &Parked{Waiting: *w, Place: p, Sequence: m.Sequence, Since: m.Time}, nil
}

// Cancel removes the delivery from wherever it waits, and returns how many messages that were. An attempt that is in
// flight goes on.
func (w *Waitlist) Cancel(ctx context.Context, subscription, id string) (removed uint64, err error) {
	if !isSubjectToken(subscription) || !isSubjectToken(id) {
		return 0, nil
	}
	for _, at := range places(subscription, id) {
		n, err := w.purge(ctx, at.stream, at.subject)
		if err != nil {
			return removed, fmt.Errorf("cancel delivery %s: %w", id, err)
		}
		removed += n
	}
	return removed, nil
}

// CancelSubscription removes everything of a subscription that waits. Before deliveries are removed, end is called with
// them, a page at a time, to write how they ended; nil removes at once. What comes to wait meanwhile is removed too.
func (w *Waitlist) CancelSubscription(ctx context.Context, subscription string, end func(context.Context, []*Parked) error) error {
	if !isSubjectToken(subscription) {
		return nil
	}
	for range cancelPasses {
		var removed int
		for _, q := range queues(subscription) {
			n, err := w.cancelQueue(ctx, q, end)
			if err != nil {
				return fmt.Errorf("cancel the deliveries of %s: %w", subscription, err)
			}
			removed += n
		}
		if removed == 0 {
			return nil
		}
	}
	return nil
}

const (
	// cancelPasses: a delivery may move behind us, from due back to a timer.
	cancelPasses = 3
	// cancelPage bounds what is in memory while a subscription is cancelled: 256 events of at most 1 MB, usually 1 KB.
	cancelPage = 256
	// fewNames: up to so many deliveries are found by their names in the subject index, beyond by reading on from one to the
	// next. Between two that are far apart the server loads every block, which holds up writers; many are not far apart.
	fewNames = 4096
)

func (w *Waitlist) cancelQueue(ctx context.Context, q queue, end func(context.Context, []*Parked) error) (removed int, err error) {
	if end == nil {
		n, err := w.purge(ctx, q.stream, q.subject)
		return int(n), err
	}
	page := make([]*Parked, 0, cancelPage)
	flush := func() error {
		if len(page) == 0 {
			return nil
		}
		if err := end(ctx, page); err != nil {
			return err
		}
		for _, p := range page {
			if _, err := w.remove(ctx, q.stream, p.Sequence); err != nil {
				return err
			}
		}
		removed += len(page)
		clear(page)
		page = page[:0]
		return nil
	}
	for p, err := range w.queued(ctx, q) {
		if err != nil {
			return removed, err
		}
		if page = append(page, p); len(page) < cancelPage {
			continue
		}
		if err := flush(); err != nil {
			return removed, err
		}
	}
	return removed, flush()
}

// queue is where deliveries of one subscription, or of all, wait.
type queue struct {
	place           Place
	stream, subject string
}

// queues are in the order in which deliveries move, so that one that moves meanwhile is met in the next. subscription
// may be "*".
func queues(subscription string) [3]queue {
	return [3]queue{
		{PlaceTimer, Retries, SubjectRetry + subscription + ".*"},
		{PlaceDue, Retries, SubjectDue + subscription + ".*"},
		{PlaceHeld, HeldName, SubjectHeld + subscription + ".*"},
	}
}

// All yields everything of a subscription that waits: timers, then what is due, then what is held, in no particular
// order within. What becomes a timer again meanwhile may be missed.
func (w *Waitlist) All(ctx context.Context, subscription string) iter.Seq2[*Parked, error] {
	return func(yield func(*Parked, error) bool) {
		if !isSubjectToken(subscription) {
			return
		}
		for _, q := range queues(subscription) {
			for p, err := range w.queued(ctx, q) {
				if !yield(p, err) || err != nil {
					return
				}
			}
		}
	}
}

// queued yields what is in a queue. Messages that cannot be read are passed over.
func (w *Waitlist) queued(ctx context.Context, q queue) iter.Seq2[*Parked, error] {
	return func(yield func(*Parked, error) bool) {
		n, err := w.count(ctx, q.stream, q.subject)
		switch {
		case err != nil:
			yield(nil, err)
		case n <= fewNames:
			w.queuedByName(ctx, q, yield)
		default:
			w.queuedBySequence(ctx, q, yield)
		}
	}
}

func (w *Waitlist) queuedByName(ctx context.Context, q queue, yield func(*Parked, error) bool) {
	names, err := w.subjects(ctx, q.stream, q.subject)
	if err != nil {
		yield(nil, err)
		return
	}
	for _, name := range names {
		m, err := w.newest(ctx, q.stream, name)
		if err != nil {
			yield(nil, err)
			return
		}
		if m == nil {
			continue // it moved
		}
		if p, err := parseParked(m, q.place); err == nil && !yield(p, nil) {
			return
		}
	}
}

func (w *Waitlist) queuedBySequence(ctx context.Context, q queue, yield func(*Parked, error) bool) {
	for at := uint64(1); ; {
		m, err := w.leader(ctx, q.stream, getRequest{Sequence: at, Next: q.subject})
		if err != nil {
			yield(nil, err)
			return
		}
		if m == nil {
			return
		}
		at = m.Sequence + 1
		if p, err := parseParked(m, q.place); err == nil && !yield(p, nil) {
			return
		}
	}
}

// Count returns how many deliveries of a subscription wait. It costs a look at the broker's subject index for each.
func (w *Waitlist) Count(ctx context.Context, subscription string) (Counts, error) {
	if !isSubjectToken(subscription) {
		return Counts{}, nil
	}
	timers, err := w.count(ctx, Retries, "hookfleet.*."+subscription+".*")
	if err != nil {
		return Counts{}, err
	}
	held, err := w.count(ctx, HeldName, SubjectHeld+subscription+".*")
	if err != nil {
		return Counts{}, err
	}
	return Counts{Timers: timers, Held: held}, nil
}

// Total counts what waits in the whole fleet.
func (w *Waitlist) Total(ctx context.Context) (Counts, error) {
	timers, err := w.state(ctx, Retries)
	if err != nil {
		return Counts{}, err
	}
	pins, err := w.count(ctx, Retries, subjectPin)
	if err != nil {
		return Counts{}, err
	}
	held, err := w.state(ctx, HeldName)
	if err != nil {
		return Counts{}, err
	}
	return Counts{Timers: timers.Messages - min(pins, timers.Messages), Held: held.Messages}, nil
}

// purge removes the messages of a stream that match subject.
func (r reader) purge(ctx context.Context, stream, subject string) (uint64, error) {
	req := struct {
		Filter string `json:"filter"`
	}{subject}
	var answer struct {
		Purged uint64 `json:"purged"`
	}
	if err := r.call(ctx, "STREAM.PURGE."+stream, req, &answer); err != nil {
		return 0, fmt.Errorf("purge %s of %s: %w", subject, stream, err)
	}
	return answer.Purged, nil
}

// isSubjectToken reports whether s is one literal token, so that an id from outside is no wildcard.
func isSubjectToken(s string) bool {
	for i := range len(s) {
		if !isPlainByte(s[i]) {
			return false
		}
	}
	return s != ""
}
