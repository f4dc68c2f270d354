package render

import (
	"slices"
	"strconv"
	"time"

	"github.com/hookfleet/hookfleet/events"
)

// Input is what a request is made of, beside the subscription.
type Input struct {
	Event        *events.Event
	WebhookID    string
	Subscription string
	Attempt      int       // from 1
	Now          time.Time // of the attempt
}

// timeFormat is how the contract writes times.
const timeFormat = "2006-01-02T15:04:05.000Z"

// lookup is all that the templates of a subscription ask an event for: each value once, and data walked once.
type lookup struct {
	slots  []*events.Placeholder
	paths  []events.Path // in data, of the slots that have one
	of     []int         // which slot each path is of
	finder *events.Finder
}

// slot returns the place of a placeholder's value, the same for the same source.
func (l *lookup) slot(p *events.Placeholder) int {
	for i, have := range l.slots {
		if have.Source == p.Source && have.Name == p.Name && slices.Equal(have.Path, p.Path) {
			return i
		}
	}
	l.slots = append(l.slots, p)
	if p.Source == events.FromName || p.Source == events.FromData {
		l.paths, l.of = append(l.paths, p.Path), append(l.of, len(l.slots)-1)
	}
	return len(l.slots) - 1
}

// seal ends the making of slots.
func (l *lookup) seal() { l.finder = events.NewFinder(l.paths) }

// values are those of in for each slot.
func (l *lookup) values(in *Input) []events.Value {
	if len(l.slots) == 0 {
		return nil
	}
	values := make([]events.Value, len(l.slots), len(l.slots)+len(l.paths))
	inData := false
	for i, p := range l.slots {
		values[i] = valueOf(p, in)
		inData = inData || p.Source == events.FromData || p.Source == events.FromName && values[i].Missing()
	}
	if inData {
		found := values[len(values) : len(values)+len(l.paths)]
		l.finder.Find(in.Event, found)
		for i, slot := range l.of {
			if values[slot].Missing() {
				values[slot] = found[i]
			}
		}
	}
	return values
}

// valueOf is the value of a placeholder, but for what is in data.
func valueOf(p *events.Placeholder, in *Input) events.Value {
	switch p.Source {
	case events.FromName, events.FromAttribute:
		return in.Event.AttributeValue(p.Name)
	case events.FromWebhookID:
		return events.TextValue(in.WebhookID)
	case events.FromSubscription:
		return events.TextValue(in.Subscription)
	case events.FromAttempt:
		return events.JSONValue(strconv.AppendInt(nil, int64(in.Attempt), 10))
	case events.FromNow:
		return events.TextValue(in.Now.UTC().Format(timeFormat))
	case events.FromUnix:
		return events.JSONValue(strconv.AppendInt(nil, in.Now.Unix(), 10))
	default:
		return events.Value{}
	}
}
