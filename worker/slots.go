package worker

import (
	"context"

	"github.com/hookfleet/hookfleet/events/stream"
)

// lane is one of the three ways by which deliveries reach a worker: first attempts, retries that are due, and held ones.
// Each has slots of its own, so that a flood of one never starves the others.
type lane struct {
	name   string
	stream string
	place  stream.Place  // where its messages wait; "" = in the event stream
	hands  chan struct{} // a place for each delivery in hand, waiting for its sink's turn or sent; nil = bounded elsewhere
	slots  chan struct{} // a place for each send
}

// handsPerSlot is how many deliveries are in hand for each send: the next ones are here when a send ends.
const handsPerSlot = 2

// greed is how much of what is free one sink may take: with 2, one hanging sink gets at most two thirds of a lane's
// slots, ten of them leave a twentieth, and what they have in excess goes to HELD.
const greed = 2

func newLane(name, streamName string, place stream.Place, slots int) *lane {
	return &lane{
		name: name, stream: streamName, place: place, hands: make(chan struct{}, handsPerSlot*slots), slots: make(chan struct{}, slots),
	}
}

// occupy takes a place in sem. It returns false when ctx ends first.
func occupy(ctx context.Context, sem chan struct{}) bool {
	select {
	case sem <- struct{}{}:
		return true
	default:
	}
	select {
	case sem <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// take takes a delivery in hand, give lets go of it.
func (l *lane) take(ctx context.Context) bool { return occupy(ctx, l.hands) }

func (l *lane) give() { <-l.hands }

// limit is how many sends at a time one sink may have, of the limit that it has itself.
func (l *lane) limit(own int) int {
	if own == 0 {
		return 0
	}
	return min(own, max(1, greed*(cap(l.slots)-len(l.slots))))
}

// saturation is the part of the slots that is in use, 0 to 1.
func (l *lane) saturation() float64 { return float64(len(l.slots)) / float64(cap(l.slots)) }
