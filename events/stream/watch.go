package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
)

// Watch tells of the newest record of each key of a bucket: of those that are stored first, and then of each change, once.
// It is told by one goroutine. What came and went while the broker was away is told when it is back, deletions included.
type Watch struct {
	JS     jetstream.JetStream
	Bucket string
	Log    zerolog.Logger

	Put    func(key string, value []byte)  // a record is new, or another one
	Gone   func(key string)                // there is none any more; only told of keys that Put was told of
	Loaded func(ctx context.Context) error // all that is stored was told: at first, and after each loss. An error begins anew. nil = nothing

	known map[string]version
}

// version tells a record from the next one of its key. A broker that lost its last writes uses their revisions again.
type version struct {
	revision uint64
	at       time.Time
}

// rewatchPause is the pause before a lost watch is taken up: a broker that restarts is away for about a second.
const rewatchPause = 250 * time.Millisecond

// errWatchEnded says that the broker's client gave up a watch.
var errWatchEnded = errors.New("the watch ended")

// Run watches until ctx ends. A watch that is lost is made anew; so is every watch after a reconnect, because what the
// broker forgot in between would be missed.
func (w *Watch) Run(ctx context.Context) {
	nc := w.JS.Conn()
	reconnected := nc.StatusChanged(nats.CONNECTED)
	defer nc.RemoveStatusListener(reconnected)
	w.known = make(map[string]version)
	for ctx.Err() == nil {
		err := w.follow(ctx, reconnected)
		if err == nil || ctx.Err() != nil {
			continue
		}
		w.Log.Warn().Err(err).Str("bucket", w.Bucket).Msg("watch lost, taking it up again")
		select {
		case <-ctx.Done():
		case <-time.After(rewatchPause):
		}
	}
}

// follow watches until ctx ends or there is a reconnect (nil), or the watch is lost.
func (w *Watch) follow(ctx context.Context, reconnected <-chan nats.Status) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	kv, err := w.JS.KeyValue(ctx, w.Bucket)
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", w.Bucket, err)
	}
	updates, err := kv.WatchAll(ctx)
	if err != nil {
		return fmt.Errorf("watch bucket %s: %w", w.Bucket, err)
	}
	defer StopWatch(updates)
	loading := make(map[string]struct{}) // keys that are stored; nil when all were told
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-reconnected:
			if !ok {
				return nats.ErrConnectionClosed
			}
			return nil
		case e, ok := <-updates.Updates():
			switch {
			case !ok:
				return errWatchEnded
			case e != nil:
				w.take(e, loading)
			default:
				w.sweep(loading)
				loading = nil
				if err := w.loaded(ctx); err != nil {
					return err
				}
			}
		}
	}
}

func (w *Watch) take(e jetstream.KeyValueEntry, loading map[string]struct{}) {
	if e.Operation() != jetstream.KeyValuePut {
		w.forget(e.Key())
		return
	}
	if loading != nil {
		loading[e.Key()] = struct{}{}
	}
	if v := (version{e.Revision(), e.Created()}); w.known[e.Key()] != v {
		w.known[e.Key()] = v
		w.Put(e.Key(), e.Value())
	}
}

func (w *Watch) forget(key string) {
	if _, known := w.known[key]; known {
		delete(w.known, key)
		w.Gone(key)
	}
}

// sweep forgets what went without a trace.
func (w *Watch) sweep(stored map[string]struct{}) {
	for key := range w.known {
		if _, there := stored[key]; !there {
			w.forget(key)
		}
	}
}

func (w *Watch) loaded(ctx context.Context) error {
	if w.Loaded == nil {
		return nil
	}
	return w.Loaded(ctx)
}

// StopWatch stops a watch. What it still holds is taken out, because it waits for that before it lets go.
func StopWatch(w jetstream.KeyWatcher) {
	_ = w.Stop() // the connection may be gone
	enough := time.After(time.Second)
	for {
		select {
		case _, ok := <-w.Updates():
			if !ok {
				return
			}
		case <-enough:
			return
		}
	}
}
