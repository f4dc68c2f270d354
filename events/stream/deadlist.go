package stream

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events"
)

// Letter is a dead letter as it is stored. Payload is nil when what died was not a valid event; then Raw and RawHeader
// are all there is.
type Letter struct {
	events.DeadLetter
	Raw       []byte
	RawHeader nats.Header
	Sequence  uint64 // in DEAD
}

// DeadQuery chooses dead letters. Its zero value asks for the newest hundred.
type DeadQuery struct {
	Subscription string // "" = any
	Tenant       string // "" = any
	Reason       events.Reason
	Since        time.Time // by DeadAt; zero = as long as they are kept
	Cursor       string    // of the page before; "" = the newest
	Limit        int       // 0 = defaultPage, at most maxPage
}

// Pages of lists (API.md 1).
const (
	defaultPage = 100
	maxPage     = 1000
)

func pageSize(limit int) int {
	if limit <= 0 {
		return defaultPage
	}
	return min(limit, maxPage)
}

// DeadList reads and deletes dead letters. It is safe for concurrent use and keeps nothing.
type DeadList struct{ reader }

// NewDeadList works through js, whose connection should not be one that publishes much: see NewHistory.
func NewDeadList(js jetstream.JetStream) *DeadList { return &DeadList{newReader(js)} }

// Find returns the dead letter of a delivery; ok is false when there is none.
func (d *DeadList) Find(ctx context.Context, id string) (l *Letter, ok bool, err error) {
	for _, filter := range deadFilters(id) {
		// The first match is found in the subject index. There is no second: a delivery has one tenant.
		m, err := d.leader(ctx, DeadName, getRequest{Sequence: 1, Next: filter})
		if err != nil {
			return nil, false, err
		}
		if m != nil {
			l, err := parseLetter(m)
			return l, err == nil, err
		}
	}
	return nil, false, nil
}

// deadFilters are the subjects of a dead letter but for its tenant. What matched no subscription stands under "-".
func deadFilters(id string) []string {
	_, subscription, _, ok := events.ParseDeliveryID(id)
	switch {
	case !ok || !isSubjectToken(id):
		return nil
	case subscription == string(events.ReasonInvalidEvent): // which may be the id of a subscription, too
		return []string{DeadSubject("*", noSubscription, id), DeadSubject("*", subscription, id)}
	default:
		return []string{DeadSubject("*", subscription, id)}
	}
}

func parseLetter(m *stored) (*Letter, error) {
	d, raw, err := ParseDead(m.Header, m.Data)
	if err != nil {
		return nil, err
	}
	return &Letter{DeadLetter: *d, Raw: raw, RawHeader: m.Header, Sequence: m.Sequence}, nil
}

// Delete removes a dead letter; ok is false when there was none.
func (d *DeadList) Delete(ctx context.Context, id string) (ok bool, err error) {
	l, ok, err := d.Find(ctx, id)
	if !ok || err != nil {
		return false, err
	}
	return d.remove(ctx, DeadName, l.Sequence)
}

// List returns dead letters, the newest first, and the cursor of the next page; "" when there is none. A page may have
// fewer items than its limit, or none, and still a next one: the work of a call is bounded.
func (d *DeadList) List(ctx context.Context, q DeadQuery) (page []*Letter, next string, err error) {
	kind, before, ok := parseCursor(q.Cursor)
	if q.Cursor != "" && (!ok || kind != cursorDead) {
		return nil, "", ErrCursor
	}
	state, err := d.state(ctx, DeadName)
	if err != nil {
		return nil, "", err
	}
	if q.Cursor == "" {
		before = state.Last + 1
	}
	first, err := d.since(ctx, DeadName, q.Since, state)
	if err != nil {
		return nil, "", err
	}
	chosen, at, err := d.choose(ctx, q, first, min(before, state.Last+1))
	if err != nil {
		return nil, "", fmt.Errorf("list dead letters: %w", err)
	}
	for _, sequence := range chosen {
		m, err := d.direct(ctx, DeadName, getRequest{Sequence: sequence})
		if err != nil {
			return nil, "", fmt.Errorf("list dead letters: %w", err)
		}
		if m == nil {
			continue // deleted meanwhile
		}
		if l, err := parseLetter(m); err == nil {
			page = append(page, l)
		}
	}
	if at > first {
		next = formatCursor(cursorDead, at)
	}
	return page, next, nil
}

// choose returns the sequences of a page, and before which one to go on. It reads headers only: a dead letter holds a
// whole event.
func (d *DeadList) choose(ctx context.Context, q DeadQuery, first, before uint64) (chosen []uint64, _ uint64, _ error) {
	limit := pageSize(q.Limit)
	walk := backward{reader: d.reader, stream: DeadName, headersOnly: true, matches: q.matches}
	if q.Subscription != "" || q.Tenant != "" {
		walk.filter = DeadSubject(orAny(q.Tenant), orAny(q.Subscription), "*")
	}
	walk.visit = func(sequence uint64, msg *nats.Msg) bool {
		if q.Reason != "" && headerValue(msg.Header, HeaderReason) != string(q.Reason) {
			return true
		}
		if !q.Since.IsZero() {
			at, err := time.Parse(time.RFC3339Nano, headerValue(msg.Header, HeaderDeadAt))
			if err != nil || at.Before(q.Since) {
				return true
			}
		}
		chosen = append(chosen, sequence)
		return len(chosen) < limit
	}
	if q.filters() != nil {
		return nil, first, nil // an id that none can have
	}
	at, err := walk.walk(ctx, first, before)
	return chosen, at, err
}

func (q *DeadQuery) filters() error {
	for _, s := range []string{q.Subscription, q.Tenant} {
		if s != "" && !isSubjectToken(s) {
			return fmt.Errorf("%q is no id", s)
		}
	}
	return nil
}

// matches is the subject filter of a query, for what is read whole.
func (q *DeadQuery) matches(subject string) bool {
	tenant, rest, _ := strings.Cut(strings.TrimPrefix(subject, SubjectDead), ".")
	subscription, _, _ := strings.Cut(rest, ".")
	return (q.Tenant == "" || q.Tenant == tenant) && (q.Subscription == "" || q.Subscription == subscription)
}

func orAny(token string) string {
	if token == "" {
		return "*"
	}
	return token
}
