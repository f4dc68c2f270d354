package worker

import (
	"context"

	"github.com/hookfleet/hookfleet/events/stream"
)

// slots are the room for the deliveries that reach a worker in one of three ways: first attempts, retries that are due, and
// held ones. Each way has its own, so that a flood of one never starves the others.
type slots struct {
	name   string
	stream string
	place  stream.Place  // where its messages wait; "" = in the event stream
	hands  chan struct{} // a place for each delivery in hand, waiting for its sink's turn or sent; nil = bounded elsewhere
	sends  chan struct{} // a place for each send
}

// handsPerSend is how many deliveries are in hand for each send: the next ones are here when a send ends.
const handsPerSend = 2

// greed is how much of what is free one sink may take: with 2, one hanging sink gets at most two thirds of the
// slots, ten of them leave a twentieth, and what they have in excess goes to HELD.
const greed = 2

func newSlots(name, streamName string, place stream.Place, sends int) *slots {
	return &slots{
		name: name, stream: streamName, place: place, hands: make(chan struct{}, handsPerSend*sends), sends: make(chan struct{}, sends),
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
func (s *slots) take(ctx context.Context) bool { return occupy(ctx, s.hands) }

func (s *slots) give() { <-s.hands }

// limit is how many sends at a time one sink may have, of the limit that it has itself.
func (s *slots) limit(own int) int {
	if own == 0 {
		return 0
	}
	return min(own, max(1, greed*(cap(s.sends)-len(s.sends))))
}

// saturation is the part of the slots that is in use, 0 to 1.
func (s *slots) saturation() float64 { return float64(len(s.sends)) / float64(cap(s.sends)) }
