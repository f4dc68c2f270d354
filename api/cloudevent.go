package api

import (
	"bytes"
	"errors"

	"github.com/hookfleet/hookfleet/events"
)

// cloudEvent stands for a whole event in a view. It is always the last member, and withEvent puts the event's own bytes
// in its place: an encoder would take out white space and escape characters that the producer did not.
type cloudEvent struct{}

var eventHole = []byte(`"event":null}`)

var errNoHole = errors.New("the view does not end with an event")

// withEvent encodes view, whose last member is an event that is nil, with e in its place. A nil e stays null.
func withEvent(view any, e *events.Event) ([]byte, error) {
	b, err := marshal(view)
	if err != nil {
		return nil, err
	}
	b = bytes.TrimSuffix(b, []byte("\n"))
	if e == nil {
		return b, nil
	}
	head, found := bytes.CutSuffix(b, eventHole)
	if !found {
		return nil, errNoHole
	}
	head = append(head, eventHole[:len(`"event":`)]...)
	return append(e.AppendStructured(head), '}'), nil
}
