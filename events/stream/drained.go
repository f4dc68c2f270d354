package stream

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Drained reports whether a held delivery may be in a worker's hands: the drain of its sink has come as far as it.
func (w *Waitlist) Drained(ctx context.Context, p *Parked) (bool, error) {
	c, err := w.js.Consumer(ctx, HeldName, HeldConsumer(p.Delivery.Subscription))
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at the drain of %s: %w", p.Delivery.Subscription, err)
	}
	return c.CachedInfo().Delivered.Stream >= p.Sequence, nil
}
