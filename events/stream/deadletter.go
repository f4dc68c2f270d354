package stream

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events"
)

// noSubscription stands in a dead letter's subject for an event that matched none (invalid_event).
const noSubscription = "-"

// DeadMessage is the message that stores a dead letter. raw is set instead of d.Payload for what could not be parsed as
// an event; its header is kept only where it is a CloudEvents attribute or the content type.
func DeadMessage(d *events.DeadLetter, rawHeader nats.Header, raw []byte) (*nats.Msg, error) {
	meta, err := deliveryHeader(d.Delivery)
	if err != nil {
		return nil, err
	}
	header, payload := map[string][]string(rawHeader), raw
	if d.Payload != nil {
		header, payload = d.Payload.Message()
	}
	h := make(nats.Header, len(header)+4)
	for k, v := range header {
		if d.Payload != nil || isEventHeader(k) { // Message makes none but the event's own
			h[k] = v
		}
	}
	h[HeaderDelivery] = []string{meta}
	h[HeaderReason] = []string{string(d.Reason)}
	h[HeaderDeadAt] = []string{d.DeadAt.UTC().Format(time.RFC3339Nano)}
	if d.LastAttempt != nil {
		last, err := attemptHeader(d.LastAttempt)
		if err != nil {
			return nil, fmt.Errorf("encode last attempt of %s: %w", d.ID, err)
		}
		h[HeaderAttempt] = []string{last}
	}
	subscription := d.Subscription
	if subscription == "" {
		subscription = noSubscription
	}
	return &nats.Msg{Subject: DeadSubject(d.Tenant, subscription, d.ID), Header: h, Data: payload}, nil
}

// maxAttemptHeader bounds the last attempt in a dead letter's headers, which together may have 65,535 bytes. The history
// has it whole.
const maxAttemptHeader = 16 << 10

func attemptHeader(a *events.Attempt) (string, error) {
	last, err := json.Marshal(a)
	if err == nil && len(last) > maxAttemptHeader {
		short := *a
		short.Response = nil
		last, err = json.Marshal(&short)
	}
	return string(last), err
}

// ParseDead reads a dead letter. Payload is nil when what died is not a valid event; then raw is all there is.
func ParseDead(header nats.Header, payload []byte) (d *events.DeadLetter, raw []byte, err error) {
	d = &events.DeadLetter{}
	if err := json.Unmarshal([]byte(header.Get(HeaderDelivery)), &d.Delivery); err != nil {
		return nil, nil, fmt.Errorf("decode dead letter: %w", err)
	}
	if d.DeadAt, err = time.Parse(time.RFC3339Nano, header.Get(HeaderDeadAt)); err != nil {
		return nil, nil, fmt.Errorf("decode dead letter %s: %w", d.ID, err)
	}
	if last := header.Get(HeaderAttempt); last != "" {
		if err := json.Unmarshal([]byte(last), &d.LastAttempt); err != nil {
			return nil, nil, fmt.Errorf("decode last attempt of %s: %w", d.ID, err)
		}
	}
	if d.Reason != events.ReasonInvalidEvent {
		if d.Payload, err = events.ParseNATS(header, payload); err != nil {
			return nil, nil, fmt.Errorf("decode event of dead letter %s: %w", d.ID, err)
		}
		d.Payload.Own(d.Tenant)
		d.Event = events.Ref(d.Payload, d.Event.Sequence)
	}
	return d, payload, nil
}

// isEventHeader says which headers belong to an event: an allow-list, because what a timer fires carries headers that
// make a publish fail or vanish.
func isEventHeader(name string) bool {
	const ce, contentType = "ce-", "content-type"
	return len(name) > len(ce) && equalFold(name[:len(ce)], ce) || equalFold(name, contentType)
}
