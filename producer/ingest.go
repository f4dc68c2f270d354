package producer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

// maxSubject bounds the subject that an event's type becomes: a NATS protocol line is 4 KiB at most, with the reply
// subject and the numbers in it.
const maxSubject = 2048

// maxRounds bounds how often a batch with duplicates is tried anew: each round, somebody else stored one of its events.
const maxRounds = 4

// What callers of Accept branch on, besides *events.Invalid.
var (
	// ErrReuse: the id and source are known, with other data or attributes. The first is kept.
	ErrReuse = errors.New("the id was used for another event of the source")
	// ErrUnavailable: the events may or may not be stored; publishing them again is safe.
	ErrUnavailable = errors.New("the events could not be stored")
)

// IngestDeps is what an Ingest works with.
type IngestDeps struct {
	JS      jetstream.JetStream
	Writer  *stream.Writer
	Batches *stream.Batches
	Admit   func(bytes int) error // refuses what would fill the store; nil = takes all
	// Stored is told of events that are durable now, the first at a sequence and the others behind it, before who published
	// them is answered. They came at a time, and were stored shortly after. It must not wait. nil = nobody is told.
	Stored  func(first uint64, evts []*events.Event, came time.Time)
	Metrics prometheus.Registerer
}

// Ingest stores events.
type Ingest struct {
	js       jetstream.JetStream
	writer   *stream.Writer
	batches  *stream.Batches
	admit    func(bytes int) error
	stored   func(first uint64, evts []*events.Event, came time.Time)
	accepted prometheus.Counter
}

// NewIngest makes an ingest. It starts nothing.
func NewIngest(deps IngestDeps) *Ingest {
	i := &Ingest{
		js: deps.JS, writer: deps.Writer, batches: deps.Batches, admit: deps.Admit, stored: deps.Stored,
		accepted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hookfleet_events_accepted_total", Help: "Events that are durable and were answered; duplicates not counted.",
		}),
	}
	if i.admit == nil {
		i.admit = func(int) error { return nil }
	}
	if i.stored == nil {
		i.stored = func(uint64, []*events.Event, time.Time) {}
	}
	deps.Metrics.MustRegister(i.accepted)
	return i
}

// Accept stores all of evts or none, and returns when they are durable, with a receipt for each in order. Errors are
// *events.Invalid, ErrReuse, ErrUnavailable.
func (i *Ingest) Accept(ctx context.Context, evts []*events.Event) ([]Receipt, error) {
	came := time.Now()
	entries, err := i.entries(evts)
	if err != nil {
		return nil, err
	}
	switch len(evts) {
	case 0:
		return []Receipt{}, nil
	case 1:
		r, err := i.acceptOne(ctx, evts[0], entries[0].Message(), came)
		return []Receipt{r}, err
	default:
		return i.acceptBatch(ctx, evts, entries, came)
	}
}

// entries builds what is stored, and asks for room.
func (i *Ingest) entries(evts []*events.Event) ([]stream.Entry, error) {
	entries := make([]stream.Entry, len(evts))
	var faults []events.Fault
	size := 0
	var tenant, typ, subject string // most of a batch are alike
	for n, e := range evts {
		if subject == "" || e.Tenant() != tenant || e.Type() != typ {
			tenant, typ = e.Tenant(), e.Type()
			subject = stream.EventSubject(tenant, typ)
		}
		one := entry(e)
		one.Subject = subject
		if len(one.Subject) > maxSubject {
			pointer := "/type"
			if len(evts) > 1 {
				pointer = fmt.Sprintf("/%d/type", n)
			}
			faults = append(faults, events.Fault{Pointer: pointer, Detail: "is too long"})
		}
		entries[n] = one
		size += one.Size()
	}
	if len(faults) > 0 {
		return nil, &events.Invalid{Status: 422, Code: "invalid_event", Faults: faults}
	}
	if err := i.admit(size); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return entries, nil
}

// entry is the event as it is stored, in the mode and bytes it came in, without its subject.
func entry(e *events.Event) stream.Entry {
	if e.IsStructured() {
		return stream.Entry{ID: e.MsgID(), Data: e.Structured()}
	}
	header, payload := e.Message()
	return stream.Entry{ID: e.MsgID(), Header: header, Data: payload}
}

// message is the event as it is stored, as a message of its own.
func message(e *events.Event) *nats.Msg {
	one := entry(e)
	one.Subject = stream.EventSubject(e.Tenant(), e.Type())
	return one.Message()
}

func (i *Ingest) acceptOne(ctx context.Context, e *events.Event, m *nats.Msg, came time.Time) (Receipt, error) {
	ack, err := i.writer.Write(ctx, m, stream.Events)
	if err != nil {
		return Receipt{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return i.receipt(ctx, e, ack, came)
}

// receipt answers for one stored event; a duplicate must be the same event.
func (i *Ingest) receipt(ctx context.Context, e *events.Event, ack stream.Ack, came time.Time) (Receipt, error) {
	r := receiptOf(e, ack.Sequence)
	r.Duplicate = ack.Duplicate
	if !ack.Duplicate {
		i.accepted.Inc()
		i.stored(ack.Sequence, []*events.Event{e}, came)
		return r, nil
	}
	same, err := isStored(ctx, i.js, e, ack.Sequence)
	if err != nil {
		return Receipt{}, err
	}
	if !same {
		return Receipt{}, reused(e)
	}
	return r, nil
}

// reused is the refusal of an event whose id another one had.
func reused(e *events.Event) error {
	pointer := "ce-id"
	if e.IsStructured() {
		pointer = "/id"
	}
	return reuse(events.Fault{Pointer: pointer, Detail: reuseDetail(e)})
}

// reusedAt is what is wrong with such an event of a batch.
func reusedAt(at int, e *events.Event) events.Fault {
	return events.Fault{Pointer: fmt.Sprintf("/%d/id", at), Detail: reuseDetail(e)}
}

// reuse is ErrReuse, and says which events are meant.
func reuse(faults ...events.Fault) error {
	return fmt.Errorf("%w: %w", ErrReuse, &events.Invalid{Status: http.StatusConflict, Code: "id_reuse", Faults: faults})
}

func reuseDetail(e *events.Event) string {
	return fmt.Sprintf("%q of %q was used for another event", e.ID(), e.Source())
}

// isStored reports whether the event stored at sequence is e. What has been trimmed since is taken for the same.
func isStored(ctx context.Context, js jetstream.JetStream, e *events.Event, sequence uint64) (bool, error) {
	s, err := js.Stream(ctx, stream.Events)
	if err != nil {
		return false, fmt.Errorf("%w: look at the stream: %w", ErrUnavailable, err)
	}
	m, err := s.GetMsg(ctx, sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("%w: read event %d: %w", ErrUnavailable, sequence, err)
	}
	stored, err := events.ParseNATS(m.Header, m.Data)
	if err != nil {
		return false, nil //nolint:nilerr // what lies there is no event, so it is not this one
	}
	stored.Own(e.Tenant())
	return stored.Same(e), nil
}

// acceptBatch stores the events atomically. Those that are known already, or stand twice in the batch, are left out; when
// one of them is another event under the same id, nothing is stored.
func (i *Ingest) acceptBatch(ctx context.Context, evts []*events.Event, entries []stream.Entry, came time.Time) ([]Receipt, error) {
	first, err := i.batches.Store(ctx, stream.Events, entries)
	switch {
	case errors.Is(err, stream.ErrDuplicateInBatch): // which the broker says of either kind
		return i.acceptSome(ctx, evts, entries, came)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	receipts := make([]Receipt, len(evts))
	for n, e := range evts {
		receipts[n] = receiptOf(e, first+uint64(n))
	}
	i.accepted.Add(float64(len(evts)))
	i.stored(first, evts, came)
	return receipts, nil
}

// acceptSome is acceptBatch where some events are known already, or stand twice in the batch.
func (i *Ingest) acceptSome(ctx context.Context, evts []*events.Event, entries []stream.Entry, came time.Time) ([]Receipt, error) {
	receipts := make([]Receipt, len(evts))
	twins, fresh, err := twinsOf(evts, entries)
	if err != nil {
		return nil, err
	}
	for round := range maxRounds {
		if round > 0 || len(twins) == 0 { // else that may have been all
			left, err := i.leaveOutKnown(ctx, evts, entries, fresh, receipts)
			if err != nil {
				return nil, err
			}
			fresh = left
		}
		first, err := i.storeFresh(ctx, entries, fresh)
		switch {
		case err == nil:
			for n, at := range fresh {
				receipts[at] = receiptOf(evts[at], first+uint64(n))
				i.stored(first+uint64(n), []*events.Event{evts[at].Detached()}, came) // of a batch of which little may be new
			}
			i.accepted.Add(float64(len(fresh)))
			for at, twin := range twins {
				receipts[at] = receipts[twin]
				receipts[at].Duplicate = true
			}
			return receipts, nil
		case !errors.Is(err, stream.ErrDuplicateInBatch):
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
	return nil, fmt.Errorf("%w: somebody else is storing the same events", ErrUnavailable)
}

// storeFresh stores the fresh ones of entries. With them, or without any, what is known already is durable.
func (i *Ingest) storeFresh(ctx context.Context, entries []stream.Entry, fresh []int) (first uint64, err error) {
	if len(fresh) == 0 {
		return 0, i.batches.Sync(stream.Events)
	}
	some := make([]stream.Entry, len(fresh))
	for n, at := range fresh {
		some[n] = entries[at]
	}
	return i.batches.Store(ctx, stream.Events, some)
}

// twinsOf finds the events that stand more than once in a batch: twins maps a later one to the first.
func twinsOf(evts []*events.Event, entries []stream.Entry) (twins map[int]int, fresh []int, err error) {
	first := make(map[string]int, len(evts))
	twins = map[int]int{}
	var faults []events.Fault
	for at, e := range evts {
		id := entries[at].ID
		before, ok := first[id]
		switch {
		case !ok:
			first[id] = at
			fresh = append(fresh, at)
		case !evts[before].Same(e):
			faults = append(faults, reusedAt(at, e))
		default:
			twins[at] = before
		}
	}
	if len(faults) > 0 {
		return nil, nil, reuse(faults...)
	}
	return twins, fresh, nil
}

// leaveOutKnown asks for each event whether it is stored already, writes the receipts of those that are, and returns the
// others.
func (i *Ingest) leaveOutKnown(ctx context.Context, evts []*events.Event, entries []stream.Entry, fresh []int, receipts []Receipt) ([]int, error) {
	asked := make([]stream.Entry, len(fresh))
	for n, at := range fresh {
		asked[n] = entries[at]
	}
	sequences, err := i.batches.Known(ctx, asked)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	var left []int
	var faults []events.Fault
	for n, at := range fresh {
		sequence := sequences[n]
		if sequence == 0 {
			left = append(left, at)
			continue
		}
		same, err := isStored(ctx, i.js, evts[at], sequence)
		if err != nil {
			return nil, err
		}
		if !same {
			faults = append(faults, reusedAt(at, evts[at]))
			continue
		}
		receipts[at] = receiptOf(evts[at], sequence)
		receipts[at].Duplicate = true
	}
	if len(faults) > 0 {
		return nil, reuse(faults...)
	}
	return left, nil
}
