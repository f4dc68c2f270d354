package stream

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// DispatchPlace is how far the workers are with EVENTS, kept by their consumer.
type DispatchPlace struct{ reader }

// NewDispatchPlace works by js.
func NewDispatchPlace(js jetstream.JetStream) *DispatchPlace { return &DispatchPlace{newReader(js)} }

// dispatchInfo is what is needed of the consumer's state.
type dispatchInfo struct {
	dispatchFloors
	Pending    uint64 `json:"num_pending"`
	AckPending int    `json:"num_ack_pending"`
}

func (p *DispatchPlace) info(ctx context.Context) (i dispatchInfo, err error) {
	if err := p.call(ctx, "CONSUMER.INFO."+Events+"."+ConsumerDispatch, struct{}{}, &i); err != nil {
		return i, fmt.Errorf("look at consumer %s: %w", ConsumerDispatch, err)
	}
	return i, nil
}

// Look returns the sequence up to which all is settled, and the newest one. It is for a time in which nobody pulls. open is how
// many below floor are in somebody's hands nevertheless.
func (p *DispatchPlace) Look(ctx context.Context) (floor, last uint64, open int, err error) {
	i, err := p.info(ctx)
	if err != nil {
		return 0, 0, 0, err
	}
	state, err := p.state(ctx, Events)
	if err != nil {
		return 0, 0, 0, err
	}
	floor = max(i.Floor.Stream, i.Delivered.Stream) // the floor alone stands still where nothing was
	return floor, state.Last, i.AckPending, nil
}

// Quiet reports whether all events were handed out, and all of those acknowledged.
func (p *DispatchPlace) Quiet(ctx context.Context) (bool, error) {
	i, err := p.info(ctx)
	return err == nil && i.Pending == 0 && i.AckPending == 0, err
}

// Set says that all up to floor is settled, and nothing above is in anybody's hands: who pulls gets what lies above.
func (p *DispatchPlace) Set(ctx context.Context, floor uint64) error {
	asked, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	_, err := p.js.ResetConsumerToSequence(asked, Events, ConsumerDispatch, floor+1)
	if err != nil && ctx.Err() == nil { // nobody answers where there is no consumer
		if _, gone := p.info(ctx); errors.Is(gone, jetstream.ErrConsumerNotFound) || errors.Is(gone, jetstream.ErrStreamNotFound) {
			return gone
		}
	}
	if err != nil {
		return fmt.Errorf("move consumer %s to %d: %w", ConsumerDispatch, floor, err)
	}
	return nil
}
