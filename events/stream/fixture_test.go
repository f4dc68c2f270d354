package stream

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/test/natstest"
)

// fixture is a broker with our streams, and a way to write what workers would.
type fixture struct {
	testing.TB
	nc *nats.Conn
	js jetstream.JetStream
	// read is another connection, as readers should have.
	read jetstream.JetStream
}

func setup(t testing.TB) *fixture {
	t.Helper()
	srv := natstest.Server(t, t.TempDir())
	nc, js := natstest.Connect(t, srv)
	_, read := natstest.Connect(t, srv)
	topology, err := NewTopology(js, DefaultConfig(), zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	if err := topology.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &fixture{t, nc, js, read}
}

// event is an event of tenant, which need not be stored.
func (f *fixture) event(tenant, id string) *events.Event {
	f.Helper()
	e, err := events.ParseStructured(fmt.Appendf(nil,
		`{"specversion":"1.0","id":%q,"source":"/orders","type":"order.status","tenant":%q,"data":{"n":1}}`, id, tenant))
	if err != nil {
		f.Fatal(err)
	}
	return e
}

// accept stores an event and returns its sequence and time.
func (f *fixture) accept(e *events.Event) (uint64, time.Time) {
	f.Helper()
	h, data := e.Message()
	seq := f.publish(&nats.Msg{Subject: EventSubject(e.Tenant(), e.Type()), Header: h, Data: data})
	m, err := newReader(f.read).leader(f.Context(), Events, getRequest{Sequence: seq})
	if err != nil {
		f.Fatal(err)
	}
	return seq, m.Time
}

func (f *fixture) publish(msg *nats.Msg) uint64 {
	f.Helper()
	ack, err := f.js.PublishMsg(f.Context(), msg)
	if err != nil {
		f.Fatal(err)
	}
	return ack.Sequence
}

// delivery is the delivery of an event that is stored at sequence.
func (f *fixture) delivery(e *events.Event, sequence uint64, subscription string, at time.Time) events.Delivery {
	return events.Delivery{
		ID: events.DeliveryID(sequence, subscription, 0), Subscription: subscription, Tenant: e.Tenant(),
		Event: events.Ref(e, sequence), CreatedAt: at,
	}
}

// record records an attempt of d, or a state without one, and updates d as a worker does.
func (f *fixture) record(d *events.Delivery, state events.State, attempted bool) *events.Record {
	f.Helper()
	r := &events.Record{State: state, First: d.Record == 0}
	if attempted {
		d.Attempts++
		r.Attempt = &events.Attempt{Number: d.Attempts, At: time.Now().UTC(), URL: "https://partner.example/", Outcome: events.Retry}
	}
	if state.Ended() {
		r.EndedAt = time.Now().UTC()
	}
	r.Delivery = *d
	d.Record = f.publish(RecordMessage(r))
	return r
}

// timer sets the delivery's timer to at.
func (f *fixture) timer(e *events.Event, d events.Delivery, at time.Time) {
	f.Helper()
	d.NextAt = at
	msg, err := (&Waiting{Delivery: d, Event: e}).TimerMessage()
	if err != nil {
		f.Fatal(err)
	}
	f.publish(msg)
}

func (f *fixture) hold(e *events.Event, d events.Delivery) {
	f.Helper()
	msg, err := (&Waiting{Delivery: d, Event: e}).HeldMessage()
	if err != nil {
		f.Fatal(err)
	}
	f.publish(msg)
}

func (f *fixture) bury(e *events.Event, d events.Delivery, reason events.Reason) {
	f.Helper()
	d.Reason = reason
	msg, err := DeadMessage(&events.DeadLetter{Delivery: d, DeadAt: time.Now().UTC(), Payload: e}, nil, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.publish(msg)
}

// dispatchConsumer makes the workers' consumer.
func (f *fixture) dispatchConsumer() jetstream.Consumer {
	f.Helper()
	c, err := f.js.CreateOrUpdateConsumer(f.Context(), Events, jetstream.ConsumerConfig{
		Durable: ConsumerDispatch, AckPolicy: jetstream.AckExplicitPolicy,
	})
	if err != nil {
		f.Fatal(err)
	}
	return c
}

// take takes messages up to sequence as a worker does, and acks none.
func (f *fixture) take(sequence uint64) []jetstream.Msg {
	f.Helper()
	var taken []jetstream.Msg
	batch, err := f.dispatchConsumer().Fetch(int(sequence))
	if err != nil {
		f.Fatal(err)
	}
	for m := range batch.Messages() {
		taken = append(taken, m)
		if meta, err := m.Metadata(); err != nil || meta.Sequence.Stream == sequence {
			break
		}
	}
	return taken
}
