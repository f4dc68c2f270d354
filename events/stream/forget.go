package stream

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// ForgetKilled removes the heartbeats of workers and pollers that were in the process of an embedded broker. It is for the start of such
// a process, before it has a worker or poller: a store has one broker at a time, locked to its process, so they have ended with the one
// before. Who came from another process may live on, and so may one of a release that did not say where it was: those expire. It
// returns how many workers were removed, and how many are left.
func ForgetKilled(ctx context.Context, js jetstream.JetStream) (killed, left int, err error) {
	if _, _, err := forgetKilled(ctx, js, BucketPollers); err != nil {
		return 0, 0, err
	}
	return forgetKilled(ctx, js, BucketWorkers)
}

func forgetKilled(ctx context.Context, js jetstream.JetStream, bucket string) (killed, left int, err error) {
	kv, err := js.KeyValue(ctx, bucket)
	if err != nil {
		return 0, 0, fmt.Errorf("open bucket %s: %w", bucket, err)
	}
	var ended []string
	err = eachBeat(ctx, kv, func(id string, text []byte) {
		if ReadHeartbeat(text).Broker {
			ended = append(ended, id)
		} else {
			left++
		}
	})
	for _, id := range ended {
		if err == nil {
			err = SignOff(ctx, kv, id)
		}
	}
	return len(ended), left, err
}

// TakeBack has what was handed out of RETRIES and HELD, and not acknowledged, handed out anew at once instead of when the wait for its
// acknowledgement is over. It is for a time in which nobody has any of it: those would have it twice, and their acknowledgements
// count for nothing. The events themselves come to the workers in ways of their own.
func TakeBack(ctx context.Context, js jetstream.JetStream) error {
	for _, name := range []string{Retries, HeldName} {
		s, err := js.Stream(ctx, name)
		if err != nil {
			return fmt.Errorf("look at stream %s: %w", name, err)
		}
		consumers := s.ListConsumers(ctx)
		for c := range consumers.Info() {
			if c.NumAckPending == 0 {
				continue
			}
			if _, err := s.ResetConsumer(ctx, c.Name); err != nil {
				return fmt.Errorf("reset consumer %s: %w", c.Name, err)
			}
		}
		if err := consumers.Err(); err != nil {
			return fmt.Errorf("list the consumers of %s: %w", name, err)
		}
	}
	return nil
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
