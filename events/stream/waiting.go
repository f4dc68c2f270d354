package stream

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events"
)

// scheduleHeader and scheduleTarget set a message schedule. They are written by hand: the client's WithScheduleAt cuts
// to whole seconds, which would be up to a second early.
const (
	scheduleHeader = "Nats-Schedule"
	scheduleTarget = "Nats-Schedule-Target"
)

// Waiting is a delivery that waits, by value: the event travels with it, so that it depends on no other stream.
type Waiting struct {
	Delivery events.Delivery
	Event    *events.Event
	At       time.Time // when the timer fires; zero = at Delivery.NextAt. It is not stored

	After time.Duration // how long after ReplayMessage was stored it begins, at most MaxAfter. It is stored there alone
}

// message builds the message of a waiting delivery from our header and the event's own.
func (w *Waiting) message(subject string) (*nats.Msg, error) {
	meta, err := deliveryHeader(w.Delivery)
	if err != nil {
		return nil, err
	}
	header, payload := w.Event.Message()
	h := make(nats.Header, len(header)+3)
	maps.Copy(h, header)
	h[HeaderDelivery] = []string{meta}
	return &nats.Msg{Subject: subject, Header: h, Data: payload}, nil
}

// deliveryHeader is the delivery without what the event says itself: all headers of a message together are at most
// 65,535 bytes, and an id or subject alone may be larger.
func deliveryHeader(d events.Delivery) (string, error) {
	d.Event = events.EventRef{Sequence: d.Event.Sequence}
	meta, err := json.Marshal(&d)
	if err != nil {
		return "", fmt.Errorf("encode delivery %s: %w", d.ID, err)
	}
	return string(meta), nil
}

// TimerMessage is the message that sets the delivery's timer. It replaces the timer it already has.
func (w *Waiting) TimerMessage() (*nats.Msg, error) {
	msg, err := w.message(RetrySubject(w.Delivery.Subscription, w.Delivery.ID))
	if err != nil {
		return nil, err
	}
	at := w.At
	if at.IsZero() {
		at = w.Delivery.NextAt
	}
	msg.Header[scheduleHeader] = []string{"@at " + at.UTC().Format(time.RFC3339Nano)}
	msg.Header[scheduleTarget] = []string{DueSubject(w.Delivery.Subscription, w.Delivery.ID)}
	return msg, nil
}

// HeldMessage is the message that puts the delivery into its sink's held queue.
func (w *Waiting) HeldMessage() (*nats.Msg, error) {
	return w.message(HeldSubject(w.Delivery.Subscription, w.Delivery.ID))
}

// ParseWaiting reads what TimerMessage and HeldMessage wrote, also after the timer fired.
func ParseWaiting(header nats.Header, payload []byte) (*Waiting, error) {
	w := &Waiting{}
	if err := json.Unmarshal([]byte(header.Get(HeaderDelivery)), &w.Delivery); err != nil {
		return nil, fmt.Errorf("decode waiting delivery: %w", err)
	}
	e, err := events.ParseNATS(header, payload)
	if err != nil {
		return nil, fmt.Errorf("decode event of delivery %s: %w", w.Delivery.ID, err)
	}
	if !e.Own(w.Delivery.Tenant) {
		return nil, fmt.Errorf("event of delivery %s is not tenant %s's", w.Delivery.ID, w.Delivery.Tenant)
	}
	w.Event, w.Delivery.Event = e, events.Ref(e, w.Delivery.Event.Sequence)
	return w, nil
}
