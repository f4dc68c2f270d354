package stream

import (
	"maps"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events"
)

// Entry is a message that is stored with others, all or none, by Batches.
type Entry struct {
	Subject string
	ID      string      // its Nats-Msg-Id; "" = none, or it is in Header
	Header  nats.Header // the rest; nil = as every event in structured mode has it. It is not changed
	Data    []byte
}

// Message is the entry as a message of its own.
func (e *Entry) Message() *nats.Msg {
	h := nats.Header(events.StructuredHeader())
	if e.Header != nil {
		h = make(nats.Header, len(e.Header)+1)
		maps.Copy(h, e.Header)
	}
	if e.ID != "" {
		h[nats.MsgIdHdr] = []string{e.ID}
	}
	return &nats.Msg{Subject: e.Subject, Header: h, Data: e.Data}
}

// id is its Nats-Msg-Id; "" = none.
func (e *Entry) id() string {
	if e.ID != "" {
		return e.ID
	}
	return headerValue(e.Header, nats.MsgIdHdr)
}

// Size is how many bytes of message the entry is.
func (e *Entry) Size() int {
	size := len(e.Subject) + len(e.Data) + usualHeader + len(e.ID)
	for name, values := range e.Header {
		for _, value := range values {
			size += len(name) + len(value) + len(": \r\n")
		}
	}
	return size
}

// usualHeader is what the headers of an event in structured mode take, without its id.
const usualHeader = len("NATS/1.0\r\nContent-Type: application/cloudevents+json\r\nNats-Msg-Id: \r\n\r\n")

// JetStream's headers of atomic batches (ADR-50).
const (
	batchIDHeader       = "Nats-Batch-Id"
	batchSequenceHeader = "Nats-Batch-Sequence"
	batchCommitHeader   = "Nats-Batch-Commit"
)

// envelope is the message in which the entries of an atomic batch go out, one after the other: the connection copies what it
// is given. With a map of headers for each entry, building messages took more than sending them.
type envelope struct {
	msg   nats.Msg
	usual bool // the headers are those of an entry in structured mode, and only their values change

	id, batch, place [1]string
	last             int
	plain            bool // they are messages like all others, but that each has the batch's mark
}

// newEnvelope makes one for the entries of a batch; last is the place of the last one, which commits it.
func newEnvelope(batch string, last int) *envelope {
	v := &envelope{last: last, batch: [1]string{batch}}
	v.msg.Header = make(nats.Header, 8)
	return v
}

// newPlainEnvelope makes one for entries that are published as plain messages, each with a mark.
func newPlainEnvelope(mark string, last int) *envelope {
	v := &envelope{last: last, batch: [1]string{mark}, plain: true}
	v.msg.Header = make(nats.Header, 8)
	return v
}

// put is the message of the entry at a place of the batch, from 1. It is good until the next one is put in.
func (v *envelope) put(e *Entry, place int) *nats.Msg {
	v.id[0] = e.ID
	if !v.plain {
		v.place[0] = strconv.Itoa(place)
	}
	v.msg.Subject, v.msg.Data = e.Subject, e.Data
	usual := e.Header == nil && e.ID != ""
	if !usual || !v.usual {
		v.setHeader(e)
	}
	v.usual = usual
	if !v.plain && place == v.last {
		v.msg.Header[batchCommitHeader] = []string{"1"}
	}
	return &v.msg
}

func (v *envelope) setHeader(e *Entry) {
	h := v.msg.Header
	clear(h)
	if e.Header != nil {
		maps.Copy(h, e.Header)
	} else {
		maps.Copy(h, events.StructuredHeader())
	}
	if e.ID != "" {
		h[nats.MsgIdHdr] = v.id[:]
	}
	if v.plain {
		h[HeaderTogether] = v.batch[:]
	} else {
		h[batchIDHeader], h[batchSequenceHeader] = v.batch[:], v.place[:]
	}
}
