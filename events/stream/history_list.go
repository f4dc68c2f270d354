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

// recordPage reads ATTEMPTS backward. A delivery is listed when its first record is met.
func (l *listing) recordPage(ctx context.Context) (next string, err error) {
	state, err := l.state(ctx, Attempts)
	if err != nil {
		return "", err
	}
	before, left, sparse, err := l.recordsBefore(ctx, state)
	if err != nil {
		return "", err
	}
	first, err := l.since(ctx, Attempts, l.Since, state)
	if err != nil {
		return "", err
	}
	r := &records{listing: l, open: map[string]newestRecord{}, start: before, top: before > state.Last, left: left}
	walk := backward{reader: l.reader, stream: Attempts, visit: r.visit, sparse: sparse}
	if l.Subscription != "" {
		walk.filter = HistorySubjects(l.Subscription)
		prefix := strings.TrimSuffix(walk.filter, "*")
		walk.matches = func(subject string) bool { return strings.HasPrefix(subject, prefix) }
	}
	for (before > first || r.left > 0) && !l.full() && r.resolved < maxResolved && !walk.spent() {
		if r.left > 0 {
			err = r.visitRest(ctx, before)
		} else {
			before, err = walk.walk(ctx, first, before)
		}
		if err != nil {
			return "", err
		}
		if err := r.settle(ctx); err != nil {
			return "", err
		}
	}
	switch {
	case before <= first && r.left == 0:
		return "", nil
	case walk.sparse:
		return formatCursor(cursorSparse, before*maxBundle+uint64(r.left)), nil
	default:
		return formatCursor(cursorRecords, before*maxBundle+uint64(r.left)), nil
	}
}

// recordsBefore is the sequence before which the page begins, how many records of the message there are left, and
// whether what it looks for was rare there.
func (l *listing) recordsBefore(ctx context.Context, state streamState) (before uint64, left int, sparse bool, err error) {
	if l.Cursor != "" {
		kind, at, ok := parseCursor(l.Cursor)
		if !ok || kind != cursorRecords && (kind != cursorSparse || l.Subscription == "") {
			return 0, 0, false, ErrCursor
		}
		if at/maxBundle > state.Last {
			return state.Last + 1, 0, kind == cursorSparse, nil
		}
		if at != newestRecords {
			return at / maxBundle, int(at % maxBundle), kind == cursorSparse, nil
		}
	}
	if !l.Until.IsZero() {
		before, err = l.upTo(ctx, l.Until, state)
		return before, 0, false, err
	}
	return state.Last + 1, 0, false, nil
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
			for text := range recordsOf(msg.Data) {
				if bytes.Contains(text, firstMember) {
					r, err := ParseRecord(text)
					behind = behind || err == nil && r.CreatedAt.Before(t)
				}
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
