package registry

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events/stream"
)

// bucket is one KV bucket, watched into memory.
type bucket struct {
	name  string
	table table
	tide  tide
	kv    atomic.Pointer[handle]
	ready chan struct{} // closed when the first load is done
	first sync.Once
	again chan struct{} // asks for a new watch

	markerMu sync.Mutex
	markers  map[string]marker // what deleted keys leave behind
}

// marker is what KV leaves of a deleted key. A new record of the key follows its revision.
type marker struct {
	revision uint64
	at       time.Time
}

// handle is how the bucket is reached.
type handle struct {
	jetstream.KeyValue
	direct bool // one server has all of it, so that a direct get reads what was written
}

// table is where a bucket's records go.
type table interface {
	set(e jetstream.KeyValueEntry)
	remove(e jetstream.KeyValueEntry) // deleted or purged
	// sweep drops what is not in keys and not newer than upto.
	sweep(keys map[string]struct{}, upto uint64)
}

func newBucket(name string, t table) *bucket {
	return &bucket{
		name: name, table: t, ready: make(chan struct{}), again: make(chan struct{}, 1), markers: make(map[string]marker),
	}
}

func (b *bucket) stream() string { return "KV_" + b.name }

// subject is where the records of a key are.
func (b *bucket) subject(key string) string { return "$KV." + b.name + "." + key }

// wait returns when the bucket was read once.
func (b *bucket) wait(ctx context.Context) error {
	select {
	case <-b.ready:
		return nil
	default:
	}
	select {
	case <-b.ready:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("bucket %s is not loaded: %w", b.name, context.Cause(ctx))
	}
}

// rewatch asks for a new watch: this one does not bring what is there.
func (b *bucket) rewatch() {
	select {
	case b.again <- struct{}{}:
	default:
	}
}

// retryWatch is the pause before a watch that could not be made is tried again: a broker that restarts is away for
// about a second.
const retryWatch = 250 * time.Millisecond

// follow watches b until ctx ends. A watch that ends is made anew; so is every watch after a reconnect, because what the
// broker forgot in between would be missed: then the whole bucket is read again and what is gone is swept.
func (r *Registry) follow(ctx context.Context, b *bucket) {
	reconnected := r.nc.StatusChanged(nats.CONNECTED)
	defer r.nc.RemoveStatusListener(reconnected)
	for ctx.Err() == nil {
		err := r.watch(ctx, b, reconnected)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			continue
		}
		r.log.Warn().Err(err).Str("bucket", b.name).Msg("watch lost, trying again")
		select {
		case <-ctx.Done():
		case <-time.After(retryWatch):
		}
	}
}

// watch reads b and follows it until ctx ends or the watch is lost (an error), or a new one is asked for.
func (r *Registry) watch(ctx context.Context, b *bucket, reconnected <-chan nats.Status) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h, err := r.open(ctx, b.name)
	if err != nil {
		return err
	}
	b.kv.Store(h)
	w, err := h.WatchAll(ctx)
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	defer stream.StopWatch(w)
	load := loading{keys: make(map[string]struct{})}
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-reconnected:
			if !ok {
				return nats.ErrConnectionClosed
			}
			return nil
		case <-b.again:
			return nil
		case e, ok := <-w.Updates():
			switch {
			case !ok:
				return errors.New("watch ended")
			case e == nil:
				load.done(b)
			default:
				load.take(b, e)
			}
		}
	}
}

func (r *Registry) open(ctx context.Context, name string) (*handle, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	kv, err := r.js.KeyValue(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("open bucket: %w", err)
	}
	status, err := kv.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("open bucket: %w", err)
	}
	h := &handle{KeyValue: kv}
	if s, ok := status.(*jetstream.KeyValueBucketStatus); ok {
		cfg := s.StreamInfo().Config
		h.direct = cfg.AllowDirect && cfg.Replicas <= 1 && r.nc.ConnectedClusterName() == ""
	}
	return h, nil
}

// loading is the first part of a watch: what is there already. The tide only rises at its end, because what was deleted
// in the meantime shows by its absence.
type loading struct {
	keys   map[string]struct{} // nil when done
	newest uint64
}

func (l *loading) take(b *bucket, e jetstream.KeyValueEntry) {
	b.mark(e)
	if e.Operation() == jetstream.KeyValuePut {
		b.table.set(e)
		if l.keys != nil {
			l.keys[e.Key()] = struct{}{}
		}
	} else {
		b.table.remove(e)
	}
	if l.keys == nil {
		b.tide.rise(e.Revision())
		return
	}
	l.newest = max(l.newest, e.Revision())
}

func (l *loading) done(b *bucket) {
	b.table.sweep(l.keys, l.newest)
	b.tide.rise(l.newest)
	l.keys = nil
	b.first.Do(func() { close(b.ready) })
}

// mark keeps the marker of a deleted key, until the key has a record again.
func (b *bucket) mark(e jetstream.KeyValueEntry) {
	b.markerMu.Lock()
	defer b.markerMu.Unlock()
	if e.Operation() == jetstream.KeyValuePut {
		delete(b.markers, e.Key())
		return
	}
	b.markers[e.Key()] = marker{e.Revision(), e.Created()}
}

// marker returns the revision of the marker of a key; 0 = it has none.
func (b *bucket) marker(key string) uint64 {
	b.markerMu.Lock()
	defer b.markerMu.Unlock()
	return b.markers[key].revision
}

// forget drops a marker that is not there any more.
func (b *bucket) forget(key string, revision uint64) {
	b.markerMu.Lock()
	defer b.markerMu.Unlock()
	if b.markers[key].revision == revision {
		delete(b.markers, key)
	}
}

// oldMarkers returns the markers that nobody needs any more.
func (b *bucket) oldMarkers() map[string]uint64 {
	b.markerMu.Lock()
	defer b.markerMu.Unlock()
	old := make(map[string]uint64)
	for key, m := range b.markers {
		if time.Since(m.at) > markerAge {
			old[key] = m.revision
		}
	}
	return old
}
