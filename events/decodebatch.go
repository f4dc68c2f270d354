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

func (d *subscriptionReader) contentMode(v *jsonValue, at string) {
	if slices.Contains([]string{ModeStructured, ModeBatch}, v.text) && v.kind == jsonString {
		d.s.ProtocolSettings.ContentMode = v.text
		return
	}
	d.word(new(string), ModeStructured, "binary", "data", "template")(v, at)
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
