package poll

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/events/stream"
)

// fleet knows the processes that poll, by their heartbeats.
type fleet struct {
	js  jetstream.JetStream
	cfg Config
	log zerolog.Logger
	id  string

	mu     sync.Mutex
	live   []string // sorted; this one included
	loaded chan struct{}
	once   sync.Once
}

func newFleet(js jetstream.JetStream, cfg Config, log zerolog.Logger, id string) *fleet {
	return &fleet{js: js, cfg: cfg, log: log, id: id, live: []string{id}, loaded: make(chan struct{})}
}

// run sends heartbeats and watches the others' until ctx ends; then it signs off.
func (f *fleet) run(ctx context.Context) {
	var watching sync.WaitGroup
	watching.Go(func() { f.watch(ctx) })
	defer watching.Wait()
	tick := time.NewTicker(f.cfg.Heartbeat)
	defer tick.Stop()
	for {
		f.beat(ctx)
		select {
		case <-ctx.Done():
			f.signOff(ctx)
			return
		case <-tick.C:
		}
	}
}

func (f *fleet) subject() string { return "$KV." + stream.BucketPollers + "." + f.id }

func (f *fleet) beat(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.TTL)
	defer cancel()
	msg := &nats.Msg{Subject: f.subject(), Header: nats.Header{jetstream.MsgTTLHeader: {f.cfg.TTL.String()}}}
	if _, err := f.js.PublishMsg(ctx, msg); err != nil && ctx.Err() == nil {
		f.log.Warn().Err(err).Msg("heartbeat of a poller not stored")
	}
}

func (f *fleet) signOff(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	msg := &nats.Msg{Subject: f.subject(), Header: nats.Header{"KV-Operation": {"DEL"}, jetstream.MsgTTLHeader: {f.cfg.TTL.String()}}}
	if _, err := f.js.PublishMsg(ctx, msg); err != nil {
		f.log.Debug().Err(err).Msg("sign-off not stored; the heartbeat expires")
	}
}

// watch keeps the list of live processes, and takes up a lost watch again.
func (f *fleet) watch(ctx context.Context) {
	for ctx.Err() == nil {
		if err := f.follow(ctx); err != nil && ctx.Err() == nil {
			f.log.Warn().Err(err).Msg("watch of the pollers broke off")
		}
		select {
		case <-ctx.Done():
		case <-time.After(f.cfg.Heartbeat):
		}
	}
}

var errWatchEnded = errors.New("the watch ended")

func (f *fleet) follow(ctx context.Context) error {
	kv, err := f.js.KeyValue(ctx, stream.BucketPollers)
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", stream.BucketPollers, err)
	}
	w, err := kv.WatchAll(ctx)
	if err != nil {
		return fmt.Errorf("watch the pollers: %w", err)
	}
	defer func() { _ = w.Stop() }() // the connection may be gone
	seen, loading := map[string]bool{f.id: true}, true
	for {
		select {
		case <-ctx.Done():
			return nil
		case entry, ok := <-w.Updates():
			switch {
			case !ok:
				return errWatchEnded
			case entry == nil:
				loading = false
			case entry.Operation() == jetstream.KeyValuePut:
				seen[entry.Key()] = true
			case entry.Key() != f.id:
				delete(seen, entry.Key())
			}
			if !loading {
				f.set(seen)
			}
		}
	}
}

func (f *fleet) set(seen map[string]bool) {
	live := make([]string, 0, len(seen))
	for id := range seen {
		live = append(live, id)
	}
	slices.Sort(live)
	f.mu.Lock()
	f.live = live
	f.mu.Unlock()
	f.once.Do(func() { close(f.loaded) })
}

// share is this process's part of a limit over the fleet; 0 = it has none.
func (f *fleet) share(limit int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(f.live)
	part := limit / n
	if slices.Index(f.live, f.id) < limit%n {
		part++
	}
	return part
}

// bury takes the dead off the list of those that work on a poll.
func (f *fleet) bury(p *stream.Poll) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p.Busy = slices.DeleteFunc(p.Busy, func(id string) bool {
		_, lives := slices.BinarySearch(f.live, id)
		return !lives
	})
}
