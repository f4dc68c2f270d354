package worker

import (
	"context"
	"time"

	"github.com/hookfleet/hookfleet/events/stream"
)

// lane is one of the three ways by which deliveries reach a worker: first attempts, retries that are due, and held ones.
// Each has slots of its own, so that a flood of one never starves the others.
type lane struct {
	name   string
	stream string
	place  stream.Place // where its messages wait; "" = in the event stream
	slots  chan struct{}
}

// take occupies a slot for one delivery. It returns false when ctx ends first.
func (l *lane) take(ctx context.Context) bool {
	select {
	case l.slots <- struct{}{}:
		return true
	default:
	}
	select {
	case l.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (l *lane) give() { <-l.slots }

// patience is how long a delivery of this lane may wait for its sink's turn.
func (l *lane) patience() time.Duration { return patience(cap(l.slots)-len(l.slots), cap(l.slots)) }

// saturation is the part of the slots that is in use, 0 to 1.
func (l *lane) saturation() float64 { return float64(len(l.slots)) / float64(cap(l.slots)) }
