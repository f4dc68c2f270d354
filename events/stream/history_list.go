package stream

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events"
)

// maxResolved bounds the look-ups of a page for deliveries whose end lies outside of what the page read.
const maxResolved = 256

// newestRecords is the position of a cursor that begins at the newest record.
const newestRecords = 0

// Query chooses deliveries. Its zero value asks for the newest hundred.
type Query struct {
	Subscription string       // "" = any
	Tenant       string       // "" = any
	State        events.State // "" = any
	Event        uint64       // sequence of the event; 0 = any
	Since, Until time.Time    // by creation, Until excluded; zero = open
	Cursor       string       // of the page before; "" = the newest
	Limit        int          // 0 = 100, at most 1000
}

// takes reports whether the query asks for r in its present state.
func (q *Query) takes(r *events.Record) bool {
	return (q.State == "" || q.State == r.State) && q.takesAnyState(r)
}

func (q *Query) takesAnyState(r *events.Record) bool {
	return (q.Subscription == "" || q.Subscription == r.Subscription) &&
		(q.Tenant == "" || q.Tenant == r.Tenant) &&
		(q.Since.IsZero() || !r.CreatedAt.Before(q.Since)) &&
		(q.Until.IsZero() || r.CreatedAt.Before(q.Until))
}

// listing is one page in the making.
type listing struct {
	*History
	Query
	items []*events.Record
	seen  map[string]bool // ids of items
}

func (l *listing) full() bool { return len(l.items) >= pageSize(l.Limit) }

// add puts r on the page unless its delivery is there already.
func (l *listing) add(r *events.Record) {
	if !l.seen[r.ID] {
		l.seen[r.ID] = true
		l.items = append(l.items, r)
	}
}

// List returns deliveries as their newest records, the newest delivery first, and the cursor of the next page; "" when
// there is none. Deliveries come in the order of their first records, which is that of creation but for what was on its
// way at the same time; a page is sorted. A page may have fewer items than its limit, or none, and still a next one: the
// work of a call is bounded. A delivery that changes while pages are read may come twice.
func (h *History) List(ctx context.Context, q Query) (items []*events.Record, next string, err error) {
	l := &listing{History: h, Query: q, seen: map[string]bool{}}
	if q.Event != 0 {
		next, err = l.ofEvent(ctx)
	} else {
		next, err = l.page(ctx)
	}
	if err != nil {
		return nil, "", fmt.Errorf("list deliveries: %w", err)
	}
	slices.SortStableFunc(l.items, func(a, b *events.Record) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(b.Event.Sequence, a.Event.Sequence))
	})
	return l.items, next, nil
}

// page reads the kind of list that the cursor belongs to: first what is pending, which is newest, then the records.
// What waits is read from its own streams when that is little.
func (l *listing) page(ctx context.Context) (next string, err error) {
	if l.Subscription != "" && !isSubjectToken(l.Subscription) {
		return "", nil
	}
	kind := byte(cursorPending)
	if l.Cursor != "" {
		kind = l.Cursor[0]
	} else if l.State == events.StateRetrying || l.State == events.StateHeld {
		if kind, err = l.waitingKind(ctx); err != nil {
			return "", err
		}
	} else if l.State != "" && l.State != events.StatePending {
		kind = cursorRecords
	}
	switch kind {
	case cursorWaiting:
		return l.waitingPage(ctx)
	case cursorPending:
		next, err := l.pendingPage(ctx)
		if next != "" || err != nil || l.State == events.StatePending {
			return next, err
		}
		l.Cursor = ""
		if l.full() {
			return formatCursor(cursorRecords, newestRecords), nil
		}
	}
	return l.recordPage(ctx)
}

// records is the walk over ATTEMPTS for one page.
type records struct {
	*listing
	open     map[string]newestRecord
	top      bool // the walk began at the newest record, so that the newest one met is the delivery's state
	resolved int
	err      error
}

// newestRecord is the newest record that was met of a delivery whose first record is still to come.
type newestRecord struct {
	sequence uint64
	state    events.State
}

// recordPage reads ATTEMPTS backward. A delivery is listed when its first record is met.
func (l *listing) recordPage(ctx context.Context) (next string, err error) {
	state, err := l.state(ctx, Attempts)
	if err != nil {
		return "", err
	}
	before, err := l.recordsBefore(ctx, state)
	if err != nil {
		return "", err
	}
	first, err := l.since(ctx, Attempts, l.Since, state)
	if err != nil {
		return "", err
	}
	r := &records{listing: l, open: map[string]newestRecord{}, top: before > state.Last}
	walk := backward{reader: l.reader, stream: Attempts}
	walk.visit = func(sequence uint64, msg *nats.Msg) bool { return r.visit(ctx, sequence, msg) }
	if l.Subscription != "" {
		walk.filter = HistorySubjects(l.Subscription)
		prefix := strings.TrimSuffix(walk.filter, "*")
		walk.matches = func(subject string) bool { return strings.HasPrefix(subject, prefix) }
	}
	at, err := walk.walk(ctx, first, before)
	if err = cmp.Or(r.err, err); err != nil || at <= first {
		return "", err
	}
	return formatCursor(cursorRecords, at), nil
}

// recordsBefore is the sequence before which the page begins.
func (l *listing) recordsBefore(ctx context.Context, state streamState) (uint64, error) {
	if l.Cursor != "" {
		kind, at, ok := parseCursor(l.Cursor)
		if !ok || kind != cursorRecords {
			return 0, ErrCursor
		}
		if at != newestRecords {
			return min(at, state.Last+1), nil
		}
	}
	if !l.Until.IsZero() {
		return l.upTo(ctx, l.Until, state)
	}
	return state.Last + 1, nil
}

// visit takes one record, and says whether the walk goes on.
func (r *records) visit(ctx context.Context, sequence uint64, msg *nats.Msg) bool {
	id := headerValue(msg.Header, HeaderDelivery)
	if _, subscription, _ := strings.Cut(id, "-"); r.Subscription != "" && subscription != r.Subscription {
		return true
	}
	if r.Tenant != "" && !bytes.Contains(msg.Data, []byte(`,"tenant":"`+r.Tenant+`"`)) {
		return true
	}
	newest, known := r.open[id]
	if !known {
		newest = newestRecord{sequence, events.State(headerValue(msg.Header, HeaderState))}
	}
	if !bytes.Contains(msg.Data, firstMember) {
		r.open[id] = newest
		return true
	}
	delete(r.open, id)
	r.err = r.list(ctx, id, msg.Data, newest)
	return r.err == nil && !r.full() && r.resolved < maxResolved
}

// list puts the delivery whose first record is data on the page, if the query asks for it.
func (r *records) list(ctx context.Context, id string, data []byte, newest newestRecord) error {
	if r.seen[id] || newest.state.Ended() && r.State != "" && r.State != newest.state {
		return nil
	}
	first, err := ParseRecord(data)
	if err != nil {
		return nil // nobody can read it; the others are not to suffer
	}
	if !r.takesAnyState(first) {
		return nil
	}
	now, err := r.newest(ctx, first, newest)
	if err != nil {
		return err
	}
	if r.takes(now) {
		r.add(now)
	}
	return nil
}

// newest returns the newest record of a delivery. Unless it is known to have ended, or to be the newest, it is looked up
// where it waits, and else in the records after.
func (r *records) newest(ctx context.Context, first *events.Record, at newestRecord) (*events.Record, error) {
	now := first
	if m, err := r.direct(ctx, Attempts, getRequest{Sequence: at.sequence}); err != nil {
		return nil, err
	} else if m != nil {
		if now, err = ParseRecord(m.Data); err != nil {
			return nil, err
		}
	}
	if r.top || now.State.Ended() {
		return now, nil
	}
	r.resolved++
	d, state, err := r.standing(ctx, first.Subscription, first.ID)
	if err != nil {
		return nil, err
	}
	if d != nil {
		return &events.Record{Delivery: *d, State: state}, nil
	}
	subject := HistorySubject(first.Subscription, first.Event.Sequence)
	last, err := r.direct(ctx, Attempts, getRequest{Last: subject})
	if last == nil || err != nil {
		return now, err
	}
	later, err := r.follow(ctx, subject, first.ID, at.sequence+1, last.Sequence)
	if len(later) == 0 || err != nil {
		return now, err
	}
	return later[len(later)-1], nil
}

const (
	// upToSlack: a first record comes at most the longest timeout of an attempt after its event, unless it was behind.
	upToSlack = 10 * time.Minute
	// upToSample is how many records tell whether the workers were behind at a time.
	upToSample = 256
)

// upTo returns a sequence of ATTEMPTS from which on there is no first record of a delivery created before t. The
// records of a backlog come late but in order: where those at hand are of later deliveries, all that follow are.
func (l *listing) upTo(ctx context.Context, t time.Time, state streamState) (uint64, error) {
	for slack := upToSlack; ; slack *= 2 {
		m, err := l.leader(ctx, Attempts, getRequest{StartTime: new(t.Add(slack))})
		if err != nil {
			return 0, err
		}
		if m == nil {
			return state.Last + 1, nil
		}
		behind := false
		s := scan{stream: Attempts, from: m.Sequence, to: min(m.Sequence+upToSample, state.Last)}
		err = l.read(ctx, s, func(_ uint64, msg *nats.Msg) bool {
			if bytes.Contains(msg.Data, firstMember) {
				r, err := ParseRecord(msg.Data)
				behind = err == nil && r.CreatedAt.Before(t)
			}
			return !behind
		})
		if err != nil {
			return 0, err
		}
		if !behind {
			return m.Sequence, nil
		}
	}
}
