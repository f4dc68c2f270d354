package producer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

// maxChecks bounds the duplicates that are compared with what is stored at the same time.
const maxChecks = 64

// Responder answers publishers that speak NATS, as JetStream would.
type Responder struct {
	nc     *nats.Conn
	ingest *Ingest
	log    zerolog.Logger
	checks chan struct{}
	ready  chan struct{}
}

// hearTimeout is how long the broker may take to hear of the responder at its start.
const hearTimeout = 10 * time.Second

// NewResponder makes a responder. It starts nothing.
func NewResponder(nc *nats.Conn, ingest *Ingest, log zerolog.Logger) *Responder {
	return &Responder{nc: nc, ingest: ingest, log: log, checks: make(chan struct{}, maxChecks), ready: make(chan struct{})}
}

// Listening is closed once publishers are heard.
func (r *Responder) Listening() <-chan struct{} { return r.ready }

// Run takes events until ctx ends; all API processes share them. What was taken by then is answered.
func (r *Responder) Run(ctx context.Context) error {
	var checking sync.WaitGroup
	sub, err := r.nc.QueueSubscribe(stream.SubjectPublish+">", stream.QueueIngest, func(m *nats.Msg) { r.take(ctx, m, &checking) })
	if err != nil {
		return fmt.Errorf("listen for publishers: %w", err)
	}
	heard, cancel := context.WithTimeout(ctx, hearTimeout)
	defer cancel()
	if err := stream.Flush(heard, r.nc); err != nil && ctx.Err() == nil {
		return fmt.Errorf("listen for publishers: %w", err)
	}
	close(r.ready)
	closed := make(chan struct{})
	sub.SetClosedHandler(func(string) { close(closed) })
	<-ctx.Done()
	if err := sub.Drain(); err == nil {
		<-closed
	}
	checking.Wait()
	return nil
}

// take stores one event and answers when it is durable, without waiting here.
func (r *Responder) take(ctx context.Context, m *nats.Msg, checking *sync.WaitGroup) {
	came := time.Now()
	e, err := parsePublished(m)
	if err != nil {
		r.refuse(m, err)
		return
	}
	entries, err := r.ingest.entries([]*events.Event{e})
	if err != nil {
		r.refuse(m, err)
		return
	}
	checking.Add(1)
	err = r.ingest.writer.Submit(entries[0].Message(), stream.Events, func(ack stream.Ack, err error) {
		if err != nil || !ack.Duplicate {
			defer checking.Done()
			r.stored(ctx, m, e, ack, came, err)
			return
		}
		checking.Go(func() {
			defer checking.Done()
			r.checks <- struct{}{}
			defer func() { <-r.checks }()
			r.stored(ctx, m, e, ack, came, nil)
		})
	})
	if err != nil {
		checking.Done()
		r.refuse(m, fmt.Errorf("%w: %w", ErrUnavailable, err))
	}
}

func (r *Responder) stored(ctx context.Context, m *nats.Msg, e *events.Event, ack stream.Ack, came time.Time, err error) {
	if err != nil {
		r.refuse(m, fmt.Errorf("%w: %w", ErrUnavailable, err))
		return
	}
	receipt, err := r.ingest.receipt(context.WithoutCancel(ctx), e, ack, came)
	if err != nil {
		r.refuse(m, err)
		return
	}
	r.answer(m, pubAck{Stream: stream.Events, Sequence: receipt.Sequence, Duplicate: receipt.Duplicate})
}

// pubAck is JetStream's answer to a publisher.
type pubAck struct {
	Error     *ackError `json:"error,omitempty"`
	Stream    string    `json:"stream"`
	Sequence  uint64    `json:"seq"`
	Duplicate bool      `json:"duplicate,omitempty"`
}

// The codes of refusals.
const (
	codeInvalid     = 400
	codeReuse       = 409
	codeTooLarge    = 413
	codeUnavailable = 503
)

// ackError is JetStream's error. The codes are HTTP's.
type ackError struct {
	Code        int    `json:"code"`
	Description string `json:"description"`
}

func (r *Responder) refuse(m *nats.Msg, err error) {
	code := codeUnavailable
	if invalid, ok := errors.AsType[*events.Invalid](err); ok {
		code = codeInvalid
		if invalid.Status == codeTooLarge || invalid.Status == codeReuse {
			code = invalid.Status
		}
	}
	r.answer(m, pubAck{Error: &ackError{Code: code, Description: err.Error()}, Stream: stream.Events})
}

func (r *Responder) answer(m *nats.Msg, a pubAck) {
	if m.Reply == "" {
		return // a plain publish does not want to know
	}
	body, err := json.Marshal(a)
	if err == nil {
		err = r.nc.Publish(m.Reply, body)
	}
	if err != nil {
		r.log.Warn().Err(err).Msg("publisher not answered")
	}
}

// parsePublished reads an event from hookfleet.publish.<tenant>.<type…>: both must agree with the event.
func parsePublished(m *nats.Msg) (*events.Event, error) {
	tenant, tokens, _ := strings.Cut(strings.TrimPrefix(m.Subject, stream.SubjectPublish), ".")
	typ, ok := stream.DecodeType(tokens)
	if !events.IsID(tenant) || !ok {
		return nil, invalidSubject("is not hookfleet.publish.<tenant>.<type>, with bytes outside [A-Za-z0-9_-] as =HH")
	}
	e, err := events.ParseNATS(m.Header, m.Data)
	if err != nil {
		return nil, err
	}
	if !e.Own(tenant) {
		return nil, invalidSubject("says tenant " + tenant + ", the event " + e.Tenant())
	}
	if e.Type() != typ {
		return nil, invalidSubject("says another type than the event")
	}
	return e, nil
}

func invalidSubject(detail string) error {
	return &events.Invalid{Status: 422, Code: "invalid_event", Faults: []events.Fault{{Pointer: "subject", Detail: detail}}}
}
