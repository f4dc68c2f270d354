package worker

import (
	"context"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

// cancels knows which deliveries somebody wants cancelled that were in a worker's hands: they are not sent any more.
type cancels struct {
	js  jetstream.JetStream
	log zerolog.Logger

	told func(delivery string) // of a cancel that is new

	mu  sync.RWMutex
	ids map[string]struct{}
	per map[string]int // of ids, by subscription
}

func newCancels(js jetstream.JetStream, log zerolog.Logger) *cancels {
	return &cancels{js: js, log: log, ids: map[string]struct{}{}, per: map[string]int{}}
}

// has reports whether the delivery, or the replay that made it, is cancelled.
func (c *cancels) has(d *events.Delivery) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if len(c.ids) == 0 {
		return false
	}
	_, ok := c.ids[d.ID]
	if !ok && d.Replay != "" {
		_, ok = c.ids[stream.CancelledReplay(d.Replay)]
	}
	return ok
}

// run watches the bucket until ctx ends.
func (c *cancels) run(ctx context.Context) error {
	w := stream.Watch{
		JS: c.js, Bucket: stream.BucketCancels, Log: c.log,
		Put: func(id string, _ []byte) {
			c.set(id, true)
			c.told(id)
		},
		Gone: func(id string) { c.set(id, false) },
	}
	w.Run(ctx)
	return nil
}

func (c *cancels) set(id string, wanted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, there := c.ids[id]; there == wanted {
		return
	}
	_, subscription, _, _ := events.ParseDeliveryID(id)
	if wanted {
		c.ids[id] = struct{}{}
		c.per[subscription]++
		return
	}
	delete(c.ids, id)
	if c.per[subscription]--; c.per[subscription] == 0 {
		delete(c.per, subscription)
	}
}

// any reports whether there are cancels of a subscription's deliveries.
func (c *cancels) any(subscription string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.per[subscription] > 0
}
