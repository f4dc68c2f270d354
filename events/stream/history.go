package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events"
)

// ErrCursor says that a cursor is none that a list gave. History.List and DeadList.List return it.
var ErrCursor = errors.New("not a cursor of this list")

const (
	// followGets is how many records of a delivery's subject are looked at one by one before they are read in a row: a
	// delivery that went well is among the first, and a consumer costs as much as ten of them.
	followGets = 48
	// recentRecords is how far before a subject's newest record a delivery that waits is looked for: what was written
	// between its timer and now is at most what the workers have in flight.
	recentRecords = 4096
)

// Matcher tells the subscriptions that the event stored at sequence is for: the registry's Match, handed in from above.
type Matcher func(ctx context.Context, e *events.Event, sequence uint64) ([]string, error)

// History reads deliveries: their state and attempts. It is safe for concurrent use, keeps nothing, and never writes.
type History struct {
	reader
	waiting *Waitlist
	dead    *DeadList
	match   Matcher
	lanes   LaneLister // nil = there are none
}

// NewHistory reads through js, whose connection should be its own: the server answers reads in the order of what else
// comes by it. match may be nil: then a delivery is not known before its first record.
func NewHistory(js jetstream.JetStream, match Matcher) *History {
	return &History{reader: newReader(js), waiting: NewWaitlist(js), dead: NewDeadList(js), match: match}
}

// Found is a delivery: its newest record, which is its state, and its attempts, the oldest first. Attempts that are
// older than the history is kept are missing.
type Found struct {
	Record   *events.Record
	Attempts []events.Attempt
}

// Find returns a delivery. ok is false when there is none of this id, or when it ended longer ago than the history is
// kept.
func (h *History) Find(ctx context.Context, id string) (f *Found, ok bool, err error) {
	sequence, subscription, replay, ok := events.ParseDeliveryID(id)
	if !ok {
		return nil, false, nil
	}
	f, err = h.findWaiting(ctx, subscription, sequence, id)
	if f == nil && err == nil && replay == 0 {
		f, err = h.findUnreached(ctx, subscription, sequence, id)
	}
	if f == nil && err == nil {
		f, err = h.findRecords(ctx, subscription, sequence, id)
	}
	if f == nil && err == nil && replay == 0 {
		f, err = h.findPending(ctx, subscription, sequence, id)
	}
	if err != nil {
		return nil, false, fmt.Errorf("find delivery %s: %w", id, err)
	}
	return f, f != nil, nil
}

// findWaiting finds a delivery that has a message of its own: a timer, a place in HELD or a dead letter. That names its
// newest record, and each record the one before, so this costs no search.
func (h *History) findWaiting(ctx context.Context, subscription string, sequence uint64, id string) (*Found, error) {
	d, state, err := h.standing(ctx, subscription, id)
	if d == nil || err != nil {
		return nil, err
	}
	records, err := h.chain(ctx, id, d.Record)
	if err != nil {
		return nil, err
	}
	later, err := h.recent(ctx, HistorySubject(subscription, sequence), id, d.Record)
	if err != nil {
		return nil, err
	}
	records = append(records, later...)
	// Where its own message says that it is dead, an older record does not know better.
	if n := len(records); n == 0 || state == events.StateDead && !records[n-1].State.Ended() {
		records = append(records, &events.Record{Delivery: *d, State: state})
	}
	return found(records), nil
}

// standing returns the delivery as its own message has it, or nil when it has none.
func (h *History) standing(ctx context.Context, subscription, id string) (*events.Delivery, events.State, error) {
	w, ok, err := h.waiting.Find(ctx, subscription, id)
	if err != nil {
		return nil, "", err
	}
	if ok {
		return &w.Delivery, w.State(), nil
	}
	letter, ok, err := h.dead.Find(ctx, id)
	if !ok || err != nil {
		return nil, "", err
	}
	return &letter.Delivery, events.StateDead, nil
}

// chain returns the records of a delivery from the oldest that is kept to the one at newest. It ends where a record is
// not there any more, or is another delivery's.
func (h *History) chain(ctx context.Context, id string, newest uint64) ([]*events.Record, error) {
	var records []*events.Record
	for at := newest; at != 0; {
		m, err := h.direct(ctx, Attempts, getRequest{Sequence: at})
		if err != nil {
			return nil, err
		}
		if m == nil {
			break
		}
		text := recordOf(m.Data, id)
		if text == nil {
			break
		}
		r, err := ParseRecord(text)
		if err != nil {
			return nil, err
		}
		records = append(records, r)
		if r.Record >= at {
			break // never: a record is written after the one before it
		}
		at = r.Record
	}
	slices.Reverse(records)
	return records, nil
}

// recent returns the records of a delivery after the one at known, when they were written a moment ago: an attempt
// that has its record and whose timer is not removed yet.
func (h *History) recent(ctx context.Context, subject, id string, known uint64) ([]*events.Record, error) {
	last, err := h.direct(ctx, Attempts, getRequest{Last: subject})
	if last == nil || err != nil || last.Sequence <= known {
		return nil, err
	}
	from := max(known+1, last.Sequence-min(last.Sequence, recentRecords))
	return h.follow(ctx, subject, map[string]bool{id: true}, from)
}

// findRecords searches the records of a delivery from the time of its event on.
func (h *History) findRecords(ctx context.Context, subscription string, sequence uint64, id string) (*Found, error) {
	from := uint64(1) // an event that is trimmed may be of any time
	if e, err := h.direct(ctx, Events, getRequest{Sequence: sequence}); err != nil {
		return nil, err
	} else if e != nil {
		start, err := h.leader(ctx, Attempts, getRequest{StartTime: &e.Time})
		if start == nil || err != nil {
			return nil, err
		}
		from = start.Sequence
	}
	records, err := h.follow(ctx, HistorySubject(subscription, sequence), map[string]bool{id: true}, from)
	if len(records) == 0 || err != nil {
		return nil, err
	}
	if first := records[0]; first.Record != 0 { // written before its event's time: a clock was set back
		earlier, err := h.chain(ctx, id, first.Record)
		if err != nil {
			return nil, err
		}
		records = append(earlier, records...)
	}
	return found(records), nil
}

// followed is the deliveries whose records are looked for.
type followed struct {
	ids     map[string]bool
	open    int // of ids, those whose end was not met
	records []*events.Record
	err     error
}

// take takes one message, and says whether to go on. met tells whether it was about one of the deliveries.
func (f *followed) take(data []byte) (met, more bool) {
	for text := range recordsOf(data) {
		if !f.ids[recordID(text)] {
			continue
		}
		met = true
		r, err := ParseRecord(text)
		if err != nil {
			f.err = err
			return true, false
		}
		if f.records = append(f.records, r); r.State.Ended() {
			f.open--
		}
	}
	return met, f.open > 0
}

// follow reads subject from a sequence on and returns the records of the deliveries in ids, until all of those have
// ended. What it looks for is usually among the first records: it asks for those one by one. After that it may be
// anywhere, and the rest is warmed and read in a row.
func (h *History) follow(ctx context.Context, subject string, ids map[string]bool, from uint64) ([]*events.Record, error) {
	f := &followed{ids: ids, open: len(ids)}
	for range followGets {
		m, err := h.direct(ctx, Attempts, getRequest{Sequence: from, Next: subject})
		if m == nil || err != nil {
			return f.records, err
		}
		met, more := f.take(m.Data)
		if !more {
			return f.records, f.err
		}
		if from = m.Sequence + 1; met {
			break // what follows is an attempt later
		}
	}
	last, err := h.direct(ctx, Attempts, getRequest{Last: subject})
	if last == nil || err != nil || last.Sequence < from {
		return f.records, err
	}
	if err := h.warm(ctx, Attempts, from, last.Sequence); err != nil {
		return nil, err
	}
	s := scan{stream: Attempts, filter: subject, from: from, to: last.Sequence}
	err = h.read(ctx, s, func(_ uint64, msg *nats.Msg) bool {
		_, more := f.take(msg.Data)
		return more
	})
	return f.records, errors.Join(err, f.err)
}

// Newest returns the newest record of a delivery after the one that d has, or nil when there is none.
func (h *History) Newest(ctx context.Context, d *events.Delivery) (*events.Record, error) {
	if d.Record == 0 {
		f, err := h.findRecords(ctx, d.Subscription, d.Event.Sequence, d.ID)
		if f == nil || err != nil {
			return nil, err
		}
		return f.Record, nil
	}
	records, err := h.follow(ctx, HistorySubject(d.Subscription, d.Event.Sequence), map[string]bool{d.ID: true}, d.Record+1)
	if len(records) == 0 || err != nil {
		return nil, err
	}
	return records[len(records)-1], nil
}

// Ends returns those of the deliveries that have ended since the records that they name, with the records that say so.
// Where many are neighbours it costs one read for all.
func (h *History) Ends(ctx context.Context, deliveries []*events.Delivery) (map[string]*events.Record, error) {
	type group struct {
		ids  map[string]bool
		from uint64
	}
	groups := map[string]*group{}
	for _, d := range deliveries {
		if d.Record == 0 {
			continue // nothing was ever done with it
		}
		subject := HistorySubject(d.Subscription, d.Event.Sequence)
		g := groups[subject]
		if g == nil {
			g = &group{ids: map[string]bool{}, from: d.Record}
			groups[subject] = g
		}
		g.ids[d.ID], g.from = true, min(g.from, d.Record)
	}
	ends := map[string]*events.Record{}
	for subject, g := range groups {
		records, err := h.follow(ctx, subject, g.ids, g.from+1)
		if err != nil {
			return nil, fmt.Errorf("look for ended deliveries: %w", err)
		}
		for _, r := range records {
			if r.State.Ended() {
				ends[r.ID] = r
			}
		}
	}
	return ends, nil
}

// LastAttempt returns the last attempt of a delivery, up to the record that it names; nil when there is none, or none
// any more.
func (h *History) LastAttempt(ctx context.Context, d *events.Delivery) (*events.Attempt, error) {
	for at := d.Record; at != 0 && d.Attempts > 0; {
		r, err := h.Record(ctx, at, d.ID)
		if err != nil {
			return nil, fmt.Errorf("last attempt of delivery %s: %w", d.ID, err)
		}
		if r == nil || r.Attempt == nil && r.Record >= at {
			return nil, nil
		}
		if r.Attempt != nil {
			return r.Attempt, nil
		}
		at = r.Record
	}
	return nil, nil
}

// EventAt returns the event at a sequence; nil when there is none, or none any more.
func (h *History) EventAt(ctx context.Context, sequence uint64) (*StoredEvent, error) {
	return (&EventLog{h.reader}).Get(ctx, sequence)
}

// findPending finds a delivery that has no record yet, because no attempt of it has ended.
func (h *History) findPending(ctx context.Context, subscription string, sequence uint64, id string) (*Found, error) {
	pending, err := h.expected(ctx, sequence)
	if err != nil {
		return nil, err
	}
	for _, r := range pending {
		if r.Subscription == subscription && r.ID == id {
			return &Found{Record: r}, nil
		}
	}
	return nil, nil
}

// findUnreached finds a delivery that its lane has before it: it may have been there for days, and the records since then
// need not be read.
func (h *History) findUnreached(ctx context.Context, subscription string, sequence uint64, id string) (*Found, error) {
	if is, err := h.unreached(ctx, subscription, sequence); !is || err != nil {
		return nil, err
	}
	return h.findPending(ctx, subscription, sequence, id)
}

// expected returns the deliveries that the event at sequence asks for, as they are before their first record.
func (h *History) expected(ctx context.Context, sequence uint64) ([]*events.Record, error) {
	if h.match == nil {
		return nil, nil
	}
	m, err := h.leader(ctx, Events, getRequest{Sequence: sequence})
	if m == nil || err != nil {
		return nil, err
	}
	return h.expectedOf(ctx, m)
}

func (h *History) expectedOf(ctx context.Context, m *stored) ([]*events.Record, error) {
	e, err := events.ParseNATS(m.Header, m.Data)
	if err != nil {
		return nil, nil // not an event: it becomes a dead letter, and has no delivery before
	}
	subscriptions, err := h.match(ctx, e, m.Sequence)
	if err != nil {
		return nil, err
	}
	records := make([]*events.Record, len(subscriptions))
	for i, s := range subscriptions {
		records[i] = &events.Record{State: events.StatePending, Delivery: events.Delivery{
			ID: events.DeliveryID(m.Sequence, s, 0), Subscription: s, Tenant: e.Tenant(),
			Event: events.Ref(e, m.Sequence), CreatedAt: m.Time,
		}}
	}
	return records, nil
}

// found puts the records of a delivery together, of which there is at least one.
func found(records []*events.Record) *Found {
	f := &Found{Record: records[len(records)-1]}
	for _, r := range records {
		if r.Attempt != nil {
			f.Attempts = append(f.Attempts, *r.Attempt)
		}
	}
	return f
}
