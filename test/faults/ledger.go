package faults

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"sync"
	"time"
)

// Accepted is one event whose publishing was answered with 202.
type Accepted struct {
	ID       string    `json:"accepted"`
	Sum      string    `json:"sum"`   // of the bytes that were published
	Sinks    []string  `json:"sinks"` // each of which must get it once
	Sequence uint64    `json:"sequence"`
	Key      string    `json:"key,omitempty"` // what it is to be delivered in order for; "" = in any
	At       time.Time `json:"at"`
}

// Received is one request that a sink got. It is written before it is answered.
type Received struct {
	ID      string    `json:"received"` // of the event
	Sink    string    `json:"sink"`
	Webhook string    `json:"webhook"` // webhook-id
	Sum     string    `json:"sum"`
	Status  int       `json:"status"` // of the answer that follows
	At      time.Time `json:"at"`
}

// OK reports whether the sink took it.
func (r *Received) OK() bool { return r.Status >= 200 && r.Status < 300 }

// Sum is the fingerprint of an event's bytes.
func Sum(body []byte) string {
	s := sha256.Sum256(body)
	return hex.EncodeToString(s[:12])
}

// Ledger is what publishers and sinks wrote down, in memory and in a file that is left for whoever looks for the reason
// of a failure.
type Ledger struct {
	mu       sync.Mutex
	file     *os.File
	out      *bufio.Writer
	err      error // the first of writing
	accepted []Accepted
	received []Received
	owed     map[delivery]bool // deliveries of accepted events: true = a sink took it
	early    map[delivery]bool // what a sink took before its publisher was answered
	missing  int               // deliveries that are to come
	changed  chan struct{}     // closed and replaced with each change
}

// delivery is one event for one sink.
type delivery struct{ id, sink string }

// NewLedger makes a ledger with its file at path.
func NewLedger(path string) (*Ledger, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return &Ledger{file: f, out: bufio.NewWriterSize(f, 1<<20), owed: map[delivery]bool{}, early: map[delivery]bool{}, changed: make(chan struct{})}, nil
}

// Close writes the file out.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.err, l.out.Flush(), l.file.Close())
}

// Accept writes down what was accepted.
func (l *Ledger) Accept(events ...Accepted) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range events {
		l.accepted = append(l.accepted, a)
		l.write(a)
		for _, sink := range a.Sinks {
			d := delivery{a.ID, sink}
			if l.owed[d] = l.early[d]; !l.early[d] {
				l.missing++
			}
			delete(l.early, d)
		}
	}
	l.notify()
}

// Receive writes down what a sink got.
func (l *Ledger) Receive(r Received) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.received = append(l.received, r)
	l.write(r)
	if r.OK() {
		l.take(delivery{r.ID, r.Sink})
	}
	l.notify()
}

// take counts a delivery that a sink took. The caller holds mu.
func (l *Ledger) take(d delivery) {
	taken, owed := l.owed[d]
	switch {
	case !owed:
		l.early[d] = true
	case !taken:
		l.owed[d] = true
		l.missing--
	}
}

func (l *Ledger) write(entry any) {
	b, err := json.Marshal(entry)
	if err == nil {
		_, err = l.out.Write(append(b, '\n'))
	}
	if l.err == nil {
		l.err = err
	}
}

func (l *Ledger) notify() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// Counts are how many events were accepted, how many requests came, and how many deliveries are to come.
func (l *Ledger) Counts() (accepted, received, missing int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.accepted), len(l.received), l.missing
}

// Changed is closed with the next change.
func (l *Ledger) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}
