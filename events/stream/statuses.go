package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events"
)

// Mark is where a status stands among others of its subject and type: by the time of its event, and of two at the same
// time by acceptance.
type Mark struct {
	At       time.Time `json:"at"`       // time of the event, else when it was accepted
	Sequence uint64    `json:"sequence"` // of the event
}

// After reports whether m is newer than o.
func (m Mark) After(o Mark) bool {
	return m.At.After(o.At) || m.At.Equal(o.At) && m.Sequence > o.Sequence
}

// Status is an event that says what became of its subject, by value: it outlives the stream of events.
type Status struct {
	Mark
	Event *events.Event
}

// Value is the status itself.
func (s *Status) Value() string {
	value, _ := s.Event.Status()
	return value
}

// Subject is where the status lies in the stream of statuses.
func (s *Status) Subject() string {
	return StatusSubject(s.Event.Tenant(), s.Event.Subject(), s.Event.Type())
}

// Message is the message that stores the status, in place of an older one.
func (s *Status) Message() (*nats.Msg, error) {
	mark, err := json.Marshal(s.Mark)
	if err != nil {
		return nil, fmt.Errorf("encode status of event %d: %w", s.Sequence, err)
	}
	header, payload := s.Event.Message()
	h := make(nats.Header, len(header)+1)
	maps.Copy(h, header)
	h[HeaderStatus] = []string{string(mark)}
	return &nats.Msg{Subject: s.Subject(), Header: h, Data: payload}, nil
}

func parseMark(header nats.Header) (m Mark, err error) {
	if err := json.Unmarshal([]byte(headerValue(header, HeaderStatus)), &m); err != nil {
		return m, fmt.Errorf("decode status: %w", err)
	}
	return m, nil
}

// Statuses looks up statuses. It is safe for concurrent use and keeps nothing.
type Statuses struct{ reader }

// NewStatuses works through js, whose connection should not be one that publishes much: see NewHistory.
func NewStatuses(js jetstream.JetStream) *Statuses { return &Statuses{newReader(js)} }

// Mark returns which event is stored at a subject of the stream of statuses; ok is false when there is none.
func (s *Statuses) Mark(ctx context.Context, subject string) (m Mark, ok bool, err error) {
	stored, err := s.leader(ctx, StatusesName, getRequest{Last: subject})
	if err != nil || stored == nil {
		return m, false, err
	}
	m, err = parseMark(stored.Header)
	return m, err == nil, err
}

// Newest returns the newest status of a tenant's subject, of one type or of any (""); nil when there is none.
func (s *Statuses) Newest(ctx context.Context, tenant, subject, typ string) (*Status, error) {
	found, err := s.stored(ctx, tenant, subject, typ)
	if err != nil {
		return nil, err
	}
	var newest *Status
	for _, m := range found {
		status, err := parseStatus(m, tenant)
		if err != nil {
			return nil, err
		}
		if status.Event.Subject() != subject || typ != "" && status.Event.Type() != typ {
			continue // another name with the same hash
		}
		if newest == nil || status.After(newest.Mark) {
			newest = status
		}
	}
	return newest, nil
}

// stored returns the messages that may be of a subject: one of each type.
func (s *Statuses) stored(ctx context.Context, tenant, subject, typ string) ([]*stored, error) {
	if typ == "" {
		return s.lastOf(ctx, StatusesName, statusPrefix(tenant, subject)+"*")
	}
	m, err := s.leader(ctx, StatusesName, getRequest{Last: StatusSubject(tenant, subject, typ)})
	if err != nil || m == nil {
		return nil, err
	}
	return []*stored{m}, nil
}

func parseStatus(m *stored, tenant string) (*Status, error) {
	mark, err := parseMark(m.Header)
	if err != nil {
		return nil, err
	}
	e, err := events.ParseNATS(m.Header, m.Data)
	if err != nil {
		return nil, fmt.Errorf("event %d of a status: %w", mark.Sequence, err)
	}
	if !e.Own(tenant) {
		return nil, fmt.Errorf("event %d of a status is not tenant %s's", mark.Sequence, tenant)
	}
	return &Status{mark, e}, nil
}

// askAgain is the pause before who keeps the index is asked again, when nobody answers: the scheduler is changing.
const askAgain = 50 * time.Millisecond

// errBehind says that the index has not caught up in the time that it gives itself.
var errBehind = errors.New("it is behind")

// StillBehind is the answer to one who waited for the index in vain. The answer to all others is empty.
var StillBehind = []byte("behind")

// Caught returns when every event that was accepted before the call is in the index, or with an error when that takes
// longer than ctx, also because nobody keeps the index at this moment.
func (s *Statuses) Caught(ctx context.Context) error {
	for {
		answer, err := s.nc.RequestWithContext(ctx, SubjectIndexed, nil)
		switch {
		case err == nil && len(answer.Data) == 0:
			return nil
		case err == nil:
			err = errBehind
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the index of statuses: %w", err)
		case <-time.After(askAgain):
		}
	}
}
