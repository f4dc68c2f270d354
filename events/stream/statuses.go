package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

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
	header, payload := s.Event.Message()
	return StatusMessage(s.Subject(), s.Mark, header, payload)
}

// StatusMessage is Message of an event that is there as its own message; it changes header.
func StatusMessage(subject string, m Mark, header nats.Header, payload []byte) (*nats.Msg, error) {
	mark, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode status of event %d: %w", m.Sequence, err)
	}
	header[HeaderStatus] = []string{string(mark)}
	return &nats.Msg{Subject: subject, Header: header, Data: payload}, nil
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
	stored, err := s.newest(ctx, StatusesName, subject)
	if err != nil || stored == nil {
		return m, false, err
	}
	m, err = parseMark(stored.Header)
	return m, err == nil, err
}

// Marks tells of what is stored behind a sequence of the stream of statuses. What cannot be read is left out.
func (s *Statuses) Marks(ctx context.Context, behind uint64, tell func(sequence uint64, subject string, m Mark)) error {
	state, err := s.state(ctx, StatusesName)
	if err != nil {
		return err
	}
	all := scan{stream: StatusesName, from: max(behind+1, state.First), to: state.Last, headersOnly: true}
	return s.read(ctx, all, func(sequence uint64, msg *nats.Msg) bool {
		if m, err := parseMark(msg.Header); err == nil {
			tell(sequence, msg.Subject, m)
		}
		return true
	})
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
		if !status.is(StatusName{tenant, subject, typ}) {
			continue // another name with the same hash
		}
		if newest == nil || status.After(newest.Mark) {
			newest = status
		}
	}
	return newest, nil
}

// ErrManyTypes says that a subject has statuses of more types than one look-up reads. Newest returns it.
var ErrManyTypes = errors.New("the subject has statuses of too many types")

// maxTypes bounds the messages of one look-up.
const maxTypes = 256

// stored returns the messages that may be of a subject: one of each type. Most subjects have one type, and whichever was
// stored last is all there is; that there is no other is asked at the same time. Asking for the last one of each type in
// one request (multi_last) takes three times as long, and now and then far longer.
func (s *Statuses) stored(ctx context.Context, tenant, subject, typ string) ([]*stored, error) {
	if typ != "" {
		return s.lastOf(ctx, StatusSubject(tenant, subject, typ))
	}
	all := statusPrefix(tenant, subject) + "*"
	var names []string
	var last []*stored
	g, within := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		names, err = s.subjects(within, StatusesName, all)
		return err
	})
	g.Go(func() (err error) {
		last, err = s.lastOf(within, all)
		return err
	})
	if err := g.Wait(); err != nil || len(names) <= 1 && len(last) > 0 {
		return last, err
	}
	if len(names) > maxTypes {
		return nil, fmt.Errorf("%w: %d", ErrManyTypes, len(names))
	}
	var found []*stored
	for _, name := range names {
		m, err := s.lastOf(ctx, name)
		if err != nil {
			return nil, err
		}
		found = append(found, m...)
	}
	return found, nil
}

// lastOf returns the last message of subjects, as a list; none when there is none.
func (s *Statuses) lastOf(ctx context.Context, subjects string) ([]*stored, error) {
	m, err := s.newest(ctx, StatusesName, subjects)
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

// StillBehind is the answer to one who waited for the index in vain. The answer to all others is empty, or a status.
var StillBehind = []byte("behind")

// StatusName says which statuses: of a tenant's subject, of one type or of any (""). The scheduler is asked by it, in JSON.
type StatusName struct {
	Tenant  string `json:"tenant"`
	Subject string `json:"subject"`
	Type    string `json:"type,omitempty"`
}

// StatusQuestion is what the scheduler is asked, in JSON. Who says Take is given the newest status with the answer where the
// scheduler has it at hand: as it is stored, headers and all. An earlier release neither says nor knows it.
type StatusQuestion struct {
	StatusName
	Take bool `json:"take,omitempty"`
}

// maxAskedName bounds what a question says; it is about everything where that is too little. A message has at most 1 MB.
const maxAskedName = 64 << 10

// Caught returns when every event that was accepted before the call is in the index, or with an error when that takes
// longer than ctx, also because nobody keeps the index at this moment.
func (s *Statuses) Caught(ctx context.Context) error {
	_, err := s.caught(ctx, nil)
	return err
}

// Ask is Caught for who wants the newest status of one name alone, which costs less. Usually it comes with the answer; nil
// without an error says that Newest has to find it.
func (s *Statuses) Ask(ctx context.Context, name StatusName) (*Status, error) {
	if len(name.Subject)+len(name.Type) > maxAskedName {
		return nil, s.Caught(ctx)
	}
	question, err := json.Marshal(StatusQuestion{name, true})
	if err != nil {
		return nil, fmt.Errorf("wait for the index of statuses: %w", err)
	}
	answer, err := s.caught(ctx, question)
	if err != nil || len(answer.Data) == 0 {
		return nil, err
	}
	return (&StoredStatus{Header: answer.Header, Data: answer.Data}).Status(name), nil // what is stored says it, too
}

// is reports whether it is of a name; another may have the same hash.
func (s *Status) is(name StatusName) bool {
	return s.Event.Subject() == name.Subject && (name.Type == "" || s.Event.Type() == name.Type)
}

func (s *Statuses) caught(ctx context.Context, question []byte) (*nats.Msg, error) {
	for {
		answer, err := s.nc.RequestWithContext(ctx, SubjectIndexed, question)
		switch {
		case err == nil && (len(answer.Data) == 0 || len(answer.Header[HeaderStatus]) > 0):
			return answer, nil
		case err == nil:
			err = errBehind
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the index of statuses: %w", err)
		case <-time.After(askAgain):
		}
	}
}
