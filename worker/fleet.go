package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/events/stream"
)

// A worker is taken for dead heartbeatTTL after its last heartbeat. JetStream's shortest TTL is 1 s; missing several in a
// row is what a stalled process looks like too.
const (
	heartbeatInterval = time.Second
	heartbeatTTL      = 5 * time.Second
)

// fleet knows the live workers by their heartbeats.
type fleet struct {
	nc  *nats.Conn
	js  jetstream.JetStream
	log zerolog.Logger
	id  string

	from func(context.Context) stream.Sender // where this worker's requests come from; nil = it does not say

	mu      sync.RWMutex
	workers []string // sorted; this one included
	changed chan struct{}
}

func newFleet(nc *nats.Conn, js jetstream.JetStream, log zerolog.Logger, id string) *fleet {
	return &fleet{nc: nc, js: js, log: log, id: id, workers: []string{id}, changed: make(chan struct{}, 1)}
}

// run sends heartbeats and watches the others' until ctx ends; then it signs off.
func (f *fleet) run(ctx context.Context) error {
	kv, err := f.js.KeyValue(ctx, stream.BucketWorkers)
	if err != nil {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // told to stop before it began
		}
		return fmt.Errorf("open bucket %s: %w", stream.BucketWorkers, err)
	}
	var watching sync.WaitGroup
	watching.Go(func() { f.watch(ctx, kv) })
	defer watching.Wait()
	tick := time.NewTicker(heartbeatInterval)
	defer tick.Stop()
	for {
		f.beat(ctx)
		select {
		case <-ctx.Done():
			f.signOff(ctx, kv)
			return nil
		case <-tick.C:
		}
	}
}

// beat puts the heartbeat by hand: an Update of the KV client would drop the TTL.
func (f *fleet) beat(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, heartbeatTTL)
	defer cancel()
	var sender stream.Sender
	if f.from != nil {
		sender = f.from(ctx)
	}
	msg := &nats.Msg{
		Subject: "$KV." + stream.BucketWorkers + "." + f.id,
		Header:  nats.Header{"Nats-TTL": []string{heartbeatTTL.String()}},
		Data:    stream.Heartbeat(time.Now(), sender),
	}
	if _, err := f.js.PublishMsg(ctx, msg); err != nil && ctx.Err() == nil {
		f.log.Warn().Err(err).Msg("heartbeat not stored")
	}
}

func (f *fleet) signOff(ctx context.Context, kv jetstream.KeyValue) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := kv.Delete(ctx, f.id); err != nil {
		f.log.Debug().Err(err).Msg("sign-off not stored; the heartbeat expires")
	}
}

// watch keeps the list of live workers, and takes up a lost watch again.
func (f *fleet) watch(ctx context.Context, kv jetstream.KeyValue) {
	for ctx.Err() == nil {
		if err := f.follow(ctx, kv); err != nil && ctx.Err() == nil {
			f.log.Warn().Err(err).Msg("watch of the workers broke off")
		}
		select {
		case <-ctx.Done():
		case <-time.After(heartbeatInterval):
		}
	}
}

var errWatchEnded = errors.New("the watch ended")

func (f *fleet) follow(ctx context.Context, kv jetstream.KeyValue) error {
	w, err := kv.WatchAll(ctx)
	if err != nil {
		return fmt.Errorf("watch the workers: %w", err)
	}
	defer func() { _ = w.Stop() }() // the connection may be gone
	seen := map[string]bool{f.id: true}
	loaded := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case entry, ok := <-w.Updates():
			switch {
			case !ok:
				return errWatchEnded
			case entry == nil:
				loaded = true
			case entry.Operation() == jetstream.KeyValuePut:
				seen[entry.Key()] = true
			case entry.Key() != f.id:
				delete(seen, entry.Key())
			}
			if loaded {
				f.set(seen)
			}
		}
	}
}

func (f *fleet) set(seen map[string]bool) {
	workers := make([]string, 0, len(seen))
	for id := range seen {
		workers = append(workers, id)
	}
	slices.Sort(workers)
	f.mu.Lock()
	same := slices.Equal(workers, f.workers)
	f.workers = workers
	f.mu.Unlock()
	if !same {
		f.log.Info().Strs("workers", workers).Msg("live workers")
		select {
		case f.changed <- struct{}{}:
		default:
		}
	}
}

// rank is this worker's place for a subscription among n live workers, by rendezvous hashing: 0 owns its sink.
func (f *fleet) rank(subscription string) (rank, n int) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if len(f.workers) <= 1 {
		return 0, 1
	}
	own := weight(f.id, subscription)
	for _, id := range f.workers {
		if w := weight(id, subscription); w > own || w == own && cmp.Less(id, f.id) {
			rank++
		}
	}
	return rank, len(f.workers)
}

// owns reports whether this worker owns the subscription's sink.
func (f *fleet) owns(subscription string) bool {
	rank, _ := f.rank(subscription)
	return rank == 0
}

func weight(worker, subscription string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(worker))
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(subscription))
	// FNV alone leaves neighbouring names with neighbouring values in the high bits: mix them.
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return x
}
