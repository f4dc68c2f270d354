package events

import (
	"slices"
	"time"
)

// Bounds of a batch's settings, and what it is without them (API.md 3).
const (
	maxBatchBody   = 1 << 20                   // a worker has some hundred batches in memory, each as long as its request takes
	maxBatchLinger = Duration(5 * time.Minute) // as an exchange: a message is in a worker's hands no longer for one than for the other
)

// DefaultBatch is what API.md 3 says.
func DefaultBatch() Batch {
	return Batch{MaxEvents: 100, MaxBytes: 256 << 10, Linger: Duration(time.Second)}
}

// batch reads the bounds of a batch. In other content modes they are kept for when the mode is changed.
func (d *subscriptionReader) batch(v *jsonValue, at string) {
	b := DefaultBatch()
	d.s.ProtocolSettings.Batch = &b
	d.object(v, at, map[string]reader{
		"maxevents": d.integer(&b.MaxEvents, 1, MaxBatchEvents),
		"maxbytes":  d.integer(&b.MaxBytes, 1, maxBatchBody),
		"linger":    d.duration(&b.Linger, 0, maxBatchLinger),
	})
}

// finishBatch fills in the bounds of a batch that says none.
func (d *subscriptionReader) finishBatch(v *jsonValue, at string) {
	p := &d.s.ProtocolSettings
	if p.ContentMode != ModeBatch {
		return
	}
	if p.Batch == nil {
		p.Batch = new(DefaultBatch())
	}
	if method := v.member("method"); method != nil && method.text == "GET" {
		d.fault(at+"/method", "GET has no body, which is where the batch would be")
	}
}

// checkBatch faults what asks for one event where a request has several. It follows the reading of all members.
func (d *subscriptionReader) checkBatch() {
	p := &d.s.ProtocolSettings
	if p.ContentMode != ModeBatch {
		return
	}
	if d.s.SinkOverride != "" {
		d.fault("/sinkoverride", "cannot be with contentmode batch: a batch has several events and one sink")
	}
	if ofOneEvent(d.s.Sink) {
		d.fault("/sink", "has a placeholder of one event, and with contentmode batch a request has several")
	}
	for _, name := range sortedNames(p.Headers) {
		if ofOneEvent(p.Headers[name]) {
			d.fault(below("/protocolsettings/headers", name), "has a placeholder of one event, and with contentmode batch a request has several")
		}
	}
}

// ofOneEvent reports whether a template asks for something of an event.
func ofOneEvent(template string) bool {
	pieces, err := ParseTemplate(template)
	return err == nil && slices.ContainsFunc(pieces, func(piece Piece) bool {
		if piece.Placeholder == nil {
			return false
		}
		switch piece.Placeholder.Source {
		case FromWebhookID, FromSubscription, FromAttempt, FromNow, FromUnix:
			return false
		default:
			return true
		}
	})
}
