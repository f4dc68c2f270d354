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

// EventLog reads the stream of events. Its connection must not be one that is published on.
type EventLog struct{ reader }

// NewEventLog returns a reader of the events.
func NewEventLog(js jetstream.JetStream) *EventLog { return &EventLog{newReader(js)} }

// StoredEvent is a message of the stream of events.
type StoredEvent struct {
	Sequence uint64
	Tenant   string // of its subject
	At       time.Time
	header   nats.Header
	data     []byte
}

// Event parses what is stored. It is an error when that is not a valid event of its tenant, which a worker makes a dead
// letter of.
func (s *StoredEvent) Event() (*events.Event, error) {
	e, err := events.ParseNATS(s.header, s.data)
	if err != nil {
		return nil, fmt.Errorf("event %d: %w", s.Sequence, err)
	}
	if !e.Own(s.Tenant) {
		return nil, fmt.Errorf("event %d: tenant %s was stored as %s", s.Sequence, e.Tenant(), s.Tenant)
	}
	return e, nil
}

// Raw returns what is stored, which the caller must not change.
func (s *StoredEvent) Raw() (nats.Header, []byte) { return s.header, s.data }

// MayHaveStatus reports whether it may be an event with a Status. It costs a look at the bytes.
func (s *StoredEvent) MayHaveStatus() bool { return events.MayHaveStatus(s.header, s.data) }

// Size is about how many bytes it takes.
func (s *StoredEvent) Size() int { return len(s.data) + storedOverhead }

// storedOverhead is about what a stored event takes beside its data: a few headers.
const storedOverhead = 512

// Get returns the event at sequence; nil when there is none, or none any more.
func (l *EventLog) Get(ctx context.Context, sequence uint64) (*StoredEvent, error) {
	m, err := l.leader(ctx, Events, getRequest{Sequence: sequence})
	if err != nil || m == nil {
		return nil, err
	}
	return &StoredEvent{sequence, subjectTenant(m.Subject), m.Time, m.Header, m.Data}, nil
}

// EventRange says which events a walk visits: those in [First, Before) of the tenant and type, "" = any.
type EventRange struct {
	Tenant, Type  string
	First, Before uint64
}

// Walk visits events, newest first, until visit returns false or the walk has done as much as one call may. It returns
// the sequence before which to go on; r.First = all was visited.
func (l *EventLog) Walk(ctx context.Context, r EventRange, visit func(*StoredEvent) bool) (uint64, error) {
	var wrong error
	w := backward{reader: l.reader, stream: Events, filter: r.subjects(), matches: r.matches}
	w.visit = func(sequence uint64, msg *nats.Msg) bool {
		at, err := storedAt(msg)
		if err != nil {
			wrong = err
			return false
		}
		return visit(&StoredEvent{sequence, subjectTenant(msg.Subject), at, msg.Header, msg.Data})
	}
	next, err := w.walk(ctx, max(r.First, 1), r.Before)
	if err == nil {
		err = wrong
	}
	return next, err
}

// Bounds returns the first sequence that is stored, and the one that the next event gets.
func (l *EventLog) Bounds(ctx context.Context) (first, end uint64, err error) {
	s, err := l.state(ctx, Events)
	return max(s.First, 1), s.Last + 1, err
}

// Ahead returns the sequence of the first event behind sequence; 0 = there is none. It asks who knows every acknowledged one,
// and costs the broker next to nothing when there is none.
func (l *EventLog) Ahead(ctx context.Context, sequence uint64) (uint64, error) {
	m, err := l.certain(ctx, Events, getRequest{Sequence: sequence + 1, Next: ">"})
	if err != nil || m == nil {
		return 0, err
	}
	return m.Sequence, nil
}

// Since returns the sequence of the first event stored at t or later; end when there is none.
func (l *EventLog) Since(ctx context.Context, t time.Time, end uint64) (uint64, error) {
	m, err := l.direct(ctx, Events, getRequest{StartTime: &t})
	if err != nil || m == nil {
		return end, err
	}
	return m.Sequence, nil
}

// subjects is what the server is asked for; "" where that is everything.
func (r *EventRange) subjects() string {
	tenant, types := "*", ">"
	if r.Tenant != "" {
		tenant = r.Tenant
	}
	if r.Type != "" {
		types = EncodeType(r.Type)
	}
	if tenant == "*" && types == ">" {
		return ""
	}
	return SubjectEvents + tenant + "." + types
}

// matches says the same of one subject.
func (r *EventRange) matches(subject string) bool {
	tenant, types, ok := strings.Cut(strings.TrimPrefix(subject, SubjectEvents), ".")
	return ok && (r.Tenant == "" || r.Tenant == tenant) && (r.Type == "" || EncodeType(r.Type) == types)
}

func subjectTenant(subject string) string {
	tenant, _, _ := strings.Cut(strings.TrimPrefix(subject, SubjectEvents), ".")
	return tenant
}

// storedAt is when a message was stored: in its reply subject when a consumer delivered it, else in its header.
func storedAt(msg *nats.Msg) (time.Time, error) {
	if msg.Reply == "" {
		at, err := time.Parse(time.RFC3339Nano, msg.Header.Get(jetstream.TimeStampHeaer))
		if err != nil {
			return at, fmt.Errorf("time of a stored message: %w", err)
		}
		return at, nil
	}
	meta, err := msg.Metadata()
	if err != nil {
		return time.Time{}, fmt.Errorf("time of a stored message: %w", err)
	}
	return meta.Timestamp, nil
}
