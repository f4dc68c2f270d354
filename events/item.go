package events

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// ItemState says whether an item of a source is asked for.
type ItemState string

// The states of an item.
const (
	ItemOpen      ItemState = "open"
	ItemCompleted ItemState = "completed"
)

// Item is what a source watches.
type Item struct {
	Key         string    `json:"key"`
	Status      string    `json:"status"` // the last one that was found, or the source's initial one
	AddedAt     time.Time `json:"addedat"`
	Changes     int       `json:"changes,omitempty"`    // how often another status was found
	ChangedAt   time.Time `json:"changedat,omitzero"`   // when the status was found; zero = it is the initial one
	CompletedAt time.Time `json:"completedat,omitzero"` // zero = it is open

	// Error is why there was no status at the last tick, and FailingSince since when there is none; "" = there was one.
	Error        string    `json:"error,omitempty"`
	FailingSince time.Time `json:"failingsince,omitzero"`
}

// State is open until the item is completed.
func (i *Item) State() ItemState {
	if i.CompletedAt.IsZero() {
		return ItemOpen
	}
	return ItemCompleted
}

// ItemHash names an item in subjects: keys may be any text.
func ItemHash(key string) string {
	sum := digest(key)
	return lowerBase32.EncodeToString(sum[:16])
}

// Change is the event that an item, as it was before, has another status. The same change has the same id however often
// it is found.
func (s *StatusSource) Change(i *Item, status Value, at time.Time) (*Event, error) {
	sum := digest(i.Key, i.AddedAt.UTC().Format(time.RFC3339Nano), strconv.Itoa(i.Changes), status.Text())
	b := make([]byte, 0, 512)
	b = append(b, `{"specversion":"1.0","id":"`...)
	b = lowerBase32.AppendEncode(b, sum[:20])
	b = appendString(append(b, `","source":`...), s.Path())
	b = appendString(append(b, `,"type":`...), s.Type)
	b = appendString(append(b, `,"subject":`...), i.Key)
	b = append(b, `,"time":"`...)
	b = append(b, at.UTC().Format("2006-01-02T15:04:05.000Z")...)
	if s.Tenant != DefaultTenant { // which is what an absent one is
		b = append(append(b, `","tenant":"`...), s.Tenant...)
	}
	b = append(b, `","datacontenttype":"application/json","data":{"status":`...)
	b = append(status.AppendJSON(b), "}}"...)
	e, err := ParseStructured(b)
	if err != nil {
		return nil, fmt.Errorf("event of item %q: %w", i.Key, err)
	}
	return e, nil
}

// StatusPath finds the status in an answer. It is immutable and safe for concurrent use.
type StatusPath struct {
	text   string
	finder *Finder
}

// NewStatusPath reads a path: member names joined by dots, each with indexes behind it, such as data.orders[0].status.
func NewStatusPath(text string) (*StatusPath, error) {
	name, end, wrong := cutPathName(text, 0)
	if wrong == nil {
		var p Path
		if p, end, wrong = parseSteps(text, end); wrong == nil && end == len(text) {
			return &StatusPath{text, NewFinder([]Path{append(Path{{Name: name}}, p...)})}, nil
		}
	}
	if wrong == nil {
		wrong = &pathError{end, "more follows"}
	}
	return nil, fmt.Errorf("is no path such as data.status: %s at byte %d", wrong.why, wrong.at)
}

var errNotJSON = errors.New("the answer is not JSON")

// Find returns the status in an answer: a string that is not empty, a number, or true or false.
func (p *StatusPath) Find(answer []byte) (Value, error) {
	check := scanner{text: answer}
	start := skipSpace(answer, 0)
	end := check.value(start, 0)
	if end < 0 || check.end(end) < 0 {
		return Value{}, errNotJSON
	}
	found := make([]Value, 1)
	p.finder.root.visit(rawJSON(answer[start:end]), found)
	v := found[0]
	switch {
	case v.NoText():
		return Value{}, fmt.Errorf("the answer has no status at %s", p.text)
	case v.json[0] == '{' || v.json[0] == '[':
		return Value{}, fmt.Errorf("what the answer has at %s is no status but %s", p.text, v.json.kind())
	case v.Text() == "":
		return Value{}, fmt.Errorf("the status at %s is empty", p.text)
	case len(v.Text()) > maxStatusText:
		return Value{}, fmt.Errorf("the status at %s is longer than %d bytes", p.text, maxStatusText)
	default:
		return v, nil
	}
}
