package stream

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// ForgetKilled removes the heartbeats of workers and pollers that were in the process of an embedded broker, and returns how many. It
// is for the start of such a process, before it has a worker or poller: a store has one broker at a time, locked to its process, so
// they have ended with the one before. Who came from another process may live on, and so may one of a release that did not say where
// it was: those expire.
func ForgetKilled(ctx context.Context, js jetstream.JetStream) (n int, err error) {
	for _, bucket := range []string{BucketWorkers, BucketPollers} {
		kv, err := js.KeyValue(ctx, bucket)
		if err != nil {
			return n, fmt.Errorf("open bucket %s: %w", bucket, err)
		}
		var killed []string
		err = eachBeat(ctx, kv, func(id string, text []byte) {
			if ReadHeartbeat(text).Broker {
				killed = append(killed, id)
			}
		})
		if err != nil {
			return n, err
		}
		for _, id := range killed {
			if err := SignOff(ctx, kv, id); err != nil {
				return n, err
			}
			n++
		}
	}
	return n, nil
}

// SignOff removes a heartbeat from its bucket. What tells the others so is removed by the broker.
func SignOff(ctx context.Context, kv jetstream.KeyValue, id string) error {
	if err := kv.Purge(ctx, id, jetstream.PurgeTTL(markerTTL)); err != nil {
		return fmt.Errorf("sign off %s: %w", id, err)
	}
	return nil
}

// eachBeat reads the heartbeats that are in a bucket.
func eachBeat(ctx context.Context, kv jetstream.KeyValue, read func(id string, text []byte)) error {
	w, err := kv.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return fmt.Errorf("read heartbeats of %s: %w", kv.Bucket(), err)
	}
	defer StopWatch(w)
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("read heartbeats of %s: %w", kv.Bucket(), context.Cause(ctx))
		case entry, ok := <-w.Updates():
			switch {
			case !ok:
				return fmt.Errorf("read heartbeats of %s: %w", kv.Bucket(), errWatchEnded)
			case entry == nil:
				return nil
			}
			read(entry.Key(), entry.Value())
		}
	}
}
