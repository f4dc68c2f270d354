package worker

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
	"sync/atomic"
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

	// aliveInterval is how often a worker says so in a way that outlives it: a take-over after an outage reads as much more of
	// the history than it needs.
	aliveInterval = 30 * time.Second
)

// fleet knows the live workers by their heartbeats.
type fleet struct {
	nc  *nats.Conn
	js  jetstream.JetStream
	log zerolog.Logger
	id  string

	broker bool // it is in this process

	from func(context.Context) stream.Sender // where this worker's requests come from; nil = it does not say

	changes atomic.Uint64 // how often the lists below have changed

	said time.Time // when it last said that it is alive in a way that outlives it

	mu      sync.RWMutex
	beaten  time.Time // when the last heartbeat that was stored was sent
	workers []string  // that are alive, sorted; this one included
	staying []string  // those of them that are not leaving

	parts *parts // who has which part of the limits
}

func newFleet(nc *nats.Conn, js jetstream.JetStream, log zerolog.Logger, id string) *fleet {
	return &fleet{nc: nc, js: js, log: log, id: id, workers: []string{id}, staying: []string{id}, parts: newParts()}
}

// run sends heartbeats and watches the others' until ctx ends; then it signs off. From the end of stay on, which comes
// before, its heartbeats say that it is leaving.
func (f *fleet) run(ctx, stay context.Context) error {
	kv, err := f.js.KeyValue(stay, stream.BucketWorkers)
	if err != nil {
		if stay.Err() != nil {
			return nil //nolint:nilerr // told to stop before it began
		}
		return fmt.Errorf("open bucket %s: %w", stream.BucketWorkers, err)
	}
	var watching sync.WaitGroup
	watching.Go(func() { f.watch(ctx) })
	defer watching.Wait()
	watching.Go(func() { f.parts.run(ctx, f.id) })
	tick := time.NewTicker(heartbeatInterval)
	defer tick.Stop()
	for leave := stay.Done(); ; {
		f.beat(ctx, stay.Err() != nil)
		select {
		case <-f.parts.changed:
		case <-ctx.Done():
			f.signOff(ctx, kv)
			return nil
		case <-leave:
			leave = nil // said once at once, and then as often as all else
		case <-tick.C:
		}
	}
}

// beat puts the heartbeat by hand: an Update of the KV client would drop the TTL.
func (f *fleet) beat(ctx context.Context, leaves bool) {
	ctx, cancel := context.WithTimeout(ctx, heartbeatTTL)
	defer cancel()
	var sender stream.Sender
	if f.from != nil {
		sender = f.from(ctx)
	}
	msg := &nats.Msg{
		Subject: "$KV." + stream.BucketWorkers + "." + f.id,
		Header:  nats.Header{"Nats-TTL": []string{heartbeatTTL.String()}},
		Data:    f.word(leaves, sender).Text(),
	}
	began := time.Now()
	if _, err := f.js.PublishMsg(ctx, msg); err != nil {
		if ctx.Err() == nil {
			f.log.Warn().Err(err).Msg("heartbeat not stored")
		}
		return
	}
	f.mu.Lock()
	f.beaten = began
	f.mu.Unlock()
	if began.Sub(f.said) >= aliveInterval {
		f.outlive(ctx, began)
	}
}

// outlive says that this worker is alive in a way that outlives it. It is another bucket, whose trouble must not keep the next
// heartbeat waiting.
func (f *fleet) outlive(ctx context.Context, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, heartbeatInterval/2)
	defer cancel()
	if _, err := f.js.PublishMsg(ctx, stream.AliveMessage(f.id)); err != nil {
		f.log.Warn().Err(err).Msg("sign of life not stored; trying again")
		return
	}
	f.said = now
}

// fresh reports whether the others take this worker for alive: what only one of them may do, it does while that is so.
func (f *fleet) fresh(now time.Time) bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return now.Sub(f.beaten) < heartbeatTTL-heartbeatInterval
}

// alive reports whether a worker is alive, leaving or not.
func (f *fleet) alive(id string) bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	_, ok := slices.BinarySearch(f.workers, id)
	return ok
}

func (f *fleet) signOff(ctx context.Context, kv jetstream.KeyValue) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := stream.SignOff(ctx, kv, f.id); err != nil {
		f.log.Debug().Err(err).Msg("sign-off not stored; the heartbeat expires")
	}
}

// watch keeps the list of live workers.
func (f *fleet) watch(ctx context.Context) {
	seen, loaded := map[string]stream.Heartbeat{f.id: {}}, false
	tell := func() {
		if loaded {
			f.set(seen)
		}
	}
	w := stream.Watch{
		JS: f.js, Bucket: stream.BucketWorkers, Log: f.log,
		Put: func(id string, value []byte) {
			seen[id] = stream.ReadHeartbeat(value)
			tell()
		},
		Gone: func(id string) {
			if id == f.id {
				f.parts.expired() // the others have taken us for dead
			} else {
				delete(seen, id)
			}
			tell()
		},
		Loaded: func(context.Context) error {
			loaded = true
			tell()
			return nil
		},
	}
	w.Run(ctx)
}

func (f *fleet) set(seen map[string]stream.Heartbeat) {
	workers, staying := make([]string, 0, len(seen)), make([]string, 0, len(seen))
	for id, h := range seen {
		workers = append(workers, id)
		if !h.Leaving {
			staying = append(staying, id)
		}
	}
	slices.Sort(workers)
	slices.Sort(staying)
	f.mu.Lock()
	same := slices.Equal(workers, f.workers) && slices.Equal(staying, f.staying)
	f.workers, f.staying = workers, staying
	f.mu.Unlock()
	if !same {
		f.changes.Add(1)
	}
	f.parts.set(f.id, workers, seen)
	if !same {
		f.log.Info().Strs("workers", workers).Strs("staying", staying).Msg("live workers")
	}
}

// rank is this worker's place for a subscription among n live workers, by rendezvous hashing.
func (f *fleet) rank(subscription string) (rank, n int) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.place(subscription, f.workers), len(f.workers)
}

// owns reports whether this worker owns the subscription's sink: it has the first place among those that stay.
func (f *fleet) owns(subscription string) bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	_, stays := slices.BinarySearch(f.staying, f.id)
	return stays && f.place(subscription, f.staying) == 0
}

// place counts the workers that come before this one. The caller holds mu.
func (f *fleet) place(subscription string, among []string) (before int) {
	if len(among) <= 1 {
		return 0
	}
	own := weight(f.id, subscription)
	for _, id := range among {
		if w := weight(id, subscription); w > own || w == own && cmp.Less(id, f.id) {
			before++
		}
	}
	return before
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
