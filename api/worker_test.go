package api_test

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

// What a worker does, by hand.

// dispatch takes the next event from the stream as a worker does, without settling it.
func (b *bench) dispatch() jetstream.Msg {
	b.t.Helper()
	c, err := b.js.CreateOrUpdateConsumer(b.t.Context(), stream.Events, jetstream.ConsumerConfig{
		Durable: stream.ConsumerDispatch, AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: stream.SubjectEvents + ">",
		AckWait: time.Hour, MaxAckPending: 1000,
	})
	must(b.t, err)
	m, err := c.Next(jetstream.FetchMaxWait(soon))
	must(b.t, err)
	return m
}

func (b *bench) ack(m jetstream.Msg) {
	b.t.Helper()
	must(b.t, m.DoubleAck(b.t.Context()))
}

// first is the delivery of an event before its first attempt.
func (b *bench) first(sequence uint64, subscription string) *stream.Waiting {
	b.t.Helper()
	s, err := stream.NewEventLog(b.js).Get(b.t.Context(), sequence)
	must(b.t, err)
	e, err := s.Event()
	must(b.t, err)
	return &stream.Waiting{Event: e, Delivery: events.Delivery{
		ID: events.DeliveryID(sequence, subscription, 0), Subscription: subscription, Tenant: e.Tenant(), Event: events.Ref(e, sequence),
		CreatedAt: s.At,
	}}
}

// record writes what became of an attempt; attempt false records a change of state without one.
func (b *bench) record(w *stream.Waiting, state events.State, reason events.Reason, attempt bool) {
	b.t.Helper()
	d := &w.Delivery
	r := events.Record{State: state, First: d.Record == 0}
	now := time.Now().UTC()
	if attempt {
		d.Attempts++
		r.Attempt = &events.Attempt{
			Number: d.Attempts, At: now, DurationMS: 1.5, Outcome: outcomes[state], Reason: reason, Status: 503, URL: "https://partner.example/hook",
			Response: &events.Response{Headers: map[string]string{"Retry-After": "1"}, Body: "busy"},
		}
	}
	d.Reason = reason
	r.Delivery = *d
	if state.Ended() {
		r.EndedAt = now
	}
	ack, err := b.writer.Write(b.t.Context(), stream.RecordMessage(&r), stream.Attempts)
	must(b.t, err)
	d.Record = ack.Sequence
}

var outcomes = map[events.State]events.Outcome{
	events.StateDelivered: events.Delivered, events.StateRetrying: events.Retry, events.StateDead: events.Dead, events.StateHeld: events.Held,
}

// retry settles an attempt that failed: the next one is due in an hour.
func (b *bench) retry(w *stream.Waiting) {
	b.t.Helper()
	w.Delivery.NextAt = time.Now().Add(time.Hour).UTC()
	b.record(w, events.StateRetrying, events.ReasonServerError, true)
	b.setTimer(w)
}

func (b *bench) setTimer(w *stream.Waiting) {
	b.t.Helper()
	msg, err := w.TimerMessage()
	must(b.t, err)
	_, err = b.writer.Write(b.t.Context(), msg, stream.Retries)
	must(b.t, err)
}

// hold puts a delivery into HELD.
func (b *bench) hold(w *stream.Waiting) {
	b.t.Helper()
	b.record(w, events.StateHeld, events.ReasonPaused, false)
	msg, err := w.HeldMessage()
	must(b.t, err)
	_, err = b.writer.Write(b.t.Context(), msg, stream.HeldName)
	must(b.t, err)
}

// bury makes a dead letter.
func (b *bench) bury(w *stream.Waiting) {
	b.t.Helper()
	b.record(w, events.StateDead, events.ReasonRejected, true)
	b.buryOnly(&events.DeadLetter{
		Delivery: w.Delivery, DeadAt: time.Now(), Payload: w.Event,
		LastAttempt: &events.Attempt{Number: 1, At: time.Now().UTC(), Outcome: events.Dead, Reason: events.ReasonRejected, Status: 400, URL: "https://partner.example/hook"},
	})
}

func (b *bench) buryOnly(d *events.DeadLetter) {
	b.t.Helper()
	msg, err := stream.DeadMessage(d, nil, []byte("not an event"))
	must(b.t, err)
	_, err = b.writer.Write(b.t.Context(), msg, stream.DeadName)
	must(b.t, err)
}

// fired takes the next delivery whose timer fired.
func (b *bench) fired() *stream.Waiting {
	b.t.Helper()
	c, err := b.js.CreateOrUpdateConsumer(b.t.Context(), stream.Retries, jetstream.ConsumerConfig{
		Durable: stream.ConsumerDue, AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: stream.SubjectDue + ">", AckWait: time.Hour,
	})
	must(b.t, err)
	m, err := c.Next(jetstream.FetchMaxWait(soon))
	must(b.t, err)
	b.ack(m)
	w, err := stream.ParseWaiting(m.Headers(), m.Data())
	must(b.t, err)
	return w
}

// place is where a delivery waits; "" = nowhere.
func (b *bench) place(w *stream.Waiting) stream.Place {
	b.t.Helper()
	p, ok, err := stream.NewWaitlist(b.js).Find(b.t.Context(), w.Delivery.Subscription, w.Delivery.ID)
	must(b.t, err)
	if !ok {
		return ""
	}
	return p.Place
}
