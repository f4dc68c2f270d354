package api

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/events/stream"
)

// testSubscription stores a test event and a delivery of it to this subscription. A crash between leaves an event that
// is for nobody, and a caller without an answer.
func (a *API) testSubscription(c *call) error {
	e, err := a.entry(c)
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	event, err := newTestEvent(e, now)
	if err != nil {
		return err
	}
	sequence, err := a.store(c.r.Context(), event)
	if err != nil {
		return err
	}
	id := e.Subscription.ID
	d := events.Delivery{
		ID: events.DeliveryID(sequence, id, 0), Subscription: id, Tenant: e.Subscription.Tenant, Event: events.Ref(event, sequence),
		CreatedAt: now, NextAt: now,
	}
	if err := a.setTimer(c.r.Context(), &stream.Waiting{Delivery: d, Event: event}, nil); err != nil {
		return err
	}
	c.w.Header().Set("Location", "/v1/deliveries/"+d.ID)
	return c.json(http.StatusAccepted, viewDelivery(&d, events.StatePending))
}

// newTestEvent is an event that a receiver takes like any other, and that says what it is. It has a value wherever the
// subscription's templates ask for one.
func newTestEvent(e *registry.Entry, now time.Time) (*events.Event, error) {
	id := e.Subscription.ID
	attributes := map[string]string{
		"specversion": "1.0", "id": "test-" + rand.Text(), "source": "/v1/subscriptions/" + id + "/test", "type": events.TypeTest,
		"time": now.Format(timeFormat), "datacontenttype": "application/json",
	}
	if t := e.Subscription.Tenant; t != events.DefaultTenant {
		attributes["tenant"] = t
	}
	data := map[string]any{"subscription": id, "message": "a test of this webhook: nothing has happened"}
	text, err := newSample(e.Subscription, attributes, data).text()
	if err != nil {
		return nil, err
	}
	event, err := events.ParseStructured(text)
	if err != nil {
		return nil, fmt.Errorf("make a test event: %w", err)
	}
	return event, nil
}

// store stores an event as ingest does, durably.
func (a *API) store(ctx context.Context, e *events.Event) (sequence uint64, err error) {
	header, payload := e.Message()
	h := make(nats.Header, len(header)+1)
	maps.Copy(h, header)
	h[nats.MsgIdHdr] = []string{e.MsgID()}
	msg := &nats.Msg{Subject: stream.EventSubject(e.Tenant(), e.Type()), Header: h, Data: payload}
	ack, err := a.deps.Writer.Write(ctx, msg, stream.Events)
	if err != nil {
		return 0, fmt.Errorf("store event %s: %w", e.ID(), err)
	}
	return ack.Sequence, nil
}

// setTimer makes w due at its time, durably. conditions are further headers of the message.
func (a *API) setTimer(ctx context.Context, w *stream.Waiting, conditions map[string]string) error {
	msg, err := w.TimerMessage()
	if err != nil {
		return err
	}
	for name, value := range conditions {
		msg.Header[name] = []string{value}
	}
	if _, err := a.deps.Writer.Write(ctx, msg, stream.Retries); err != nil {
		return fmt.Errorf("set timer of %s: %w", w.Delivery.ID, err)
	}
	return nil
}
