package main

import (
	"bytes"
	"fmt"
	"strconv"
)

// benchEventBytes is the size of one event in structured JSON: the goals are for 1 KiB.
const benchEventBytes = 1024

// benchDigits is how an event's number is written, so that all events are of one size and only the digits change.
const benchDigits = 10

// benchEventStart is what every event of a bench begins with. The sink finds the number behind it without parsing JSON,
// because what comes out of the fleet is byte for byte what went in.
const benchEventStart = `{"specversion":"1.0","id":"`

// benchKeys is how many subjects the events are of, each as often as the others.
const benchKeys = 10_000

// benchKeyMark stands before the digits of an event's subject.
const benchKeyMark = `"subject":"order-`

// benchEvent is an event whose number can be set in place.
type benchEvent struct {
	text   []byte
	digits []byte // within text
	key    []byte // within text: what tells its subject from the others
}

// newBenchEvent makes an event of a run: eight characters that tell it from other runs.
func newBenchEvent(run, typ string) *benchEvent {
	var b bytes.Buffer
	fmt.Fprintf(&b, `%s%s-%0*d","source":"/hookfleet/bench","type":"%s","subject":"order-0000",`+
		`"time":"2026-01-31T08:00:00Z","datacontenttype":"application/json",`+
		`"data":{"orderId":"order-4711","status":"In Transit","note":"`, benchEventStart, run, benchDigits, 0, typ)
	const end = `"}}`
	b.Write(bytes.Repeat([]byte("x"), max(0, benchEventBytes-b.Len()-len(end))))
	b.WriteString(end)
	return benchEventOf(b.Bytes(), run)
}

func benchEventOf(text []byte, run string) *benchEvent {
	at := len(benchEventStart) + len(run) + 1
	key := bytes.Index(text, []byte(benchKeyMark)) + len(benchKeyMark)
	return &benchEvent{text: text, digits: text[at : at+benchDigits], key: text[key : key+len("0000")]}
}

// number sets the event's number.
func (e *benchEvent) number(n int) {
	write(e.digits, n)
	write(e.key, n%benchKeys)
}

// write writes a number over all of digits.
func write(digits []byte, n int) {
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = byte('0' + n%10)
		n /= 10
	}
}

// benchNumberOf is the number of an event of the run; false for what is none of its events.
func benchNumberOf(text []byte, run string) (int, bool) {
	head := len(benchEventStart) + len(run) + 1
	if len(text) < head+benchDigits || string(text[len(benchEventStart):head-1]) != run {
		return 0, false
	}
	n, err := strconv.ParseUint(string(text[head:head+benchDigits]), 10, 32)
	return int(n), err == nil
}

// benchBatch is the body of one request: one event, or a JSON array of several.
type benchBatch struct {
	body   []byte
	events []*benchEvent
	kind   string // media type
}

// newBenchBatch makes a request's body of size events; with size 1 it is the event alone.
func newBenchBatch(run, typ string, size int) *benchBatch {
	one := newBenchEvent(run, typ)
	if size == 1 {
		return &benchBatch{body: one.text, events: []*benchEvent{one}, kind: typeEvent}
	}
	b := &benchBatch{kind: typeBatch, body: make([]byte, 0, size*(len(one.text)+1)+2)}
	b.body = append(b.body, '[')
	for i := range size {
		if i > 0 {
			b.body = append(b.body, ',')
		}
		at := len(b.body)
		b.body = append(b.body, one.text...) // within capacity: the slices below stay valid
		b.events = append(b.events, benchEventOf(b.body[at:len(b.body):len(b.body)], run))
	}
	b.body = append(b.body, ']')
	return b
}

// number gives the events the numbers from first on.
func (b *benchBatch) number(first int) {
	for i, e := range b.events {
		e.number(first + i)
	}
}
