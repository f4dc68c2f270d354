package worker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/events/stream"
)

// cancels knows which deliveries somebody wants cancelled that were in a worker's hands: they are not sent any more.
type cancels struct {
	js  jetstream.JetStream
	log zerolog.Logger

	told func(delivery string) // of a cancel that is new

	mu  sync.RWMutex
	ids map[string]struct{}
}

func newCancels(js jetstream.JetStream, log zerolog.Logger) *cancels {
	return &cancels{js: js, log: log, ids: map[string]struct{}{}}
}

func (c *cancels) has(id string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if len(c.ids) == 0 {
		return false
	}
	_, ok := c.ids[id]
	return ok
}

// run watches the bucket until ctx ends, and takes up a lost watch again.
func (c *cancels) run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := c.follow(ctx); err != nil && ctx.Err() == nil {
			c.log.Warn().Err(err).Msg("watch of the cancels broke off")
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return nil
}

func (c *cancels) follow(ctx context.Context) error {
	kv, err := c.js.KeyValue(ctx, stream.BucketCancels)
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", stream.BucketCancels, err)
	}
	w, err := kv.WatchAll(ctx)
	if err != nil {
		return fmt.Errorf("watch bucket %s: %w", stream.BucketCancels, err)
	}
	defer func() { _ = w.Stop() }() // the connection may be gone
	for {
		select {
		case <-ctx.Done():
			return nil
		case entry, ok := <-w.Updates():
			if !ok {
				return errWatchEnded
			}
			if entry != nil {
				wanted := entry.Operation() == jetstream.KeyValuePut
				c.set(entry.Key(), wanted)
				if wanted {
					c.told(entry.Key())
				}
			}
		}
	}
}

func (c *cancels) set(id string, wanted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if wanted {
		c.ids[id] = struct{}{}
	} else {
		delete(c.ids, id)
	}
}
