package poll

import (
	"context"
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
	msg := &nats.Msg{
		Subject: f.subject(), Header: nats.Header{jetstream.MsgTTLHeader: {f.cfg.TTL.String()}},
		Data: stream.Heartbeat{At: time.Now().UTC(), Broker: f.cfg.Broker}.Text(),
	}
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

// watch keeps the list of live processes.
func (f *fleet) watch(ctx context.Context) {
	w := stream.Watch{
		JS: f.js, Bucket: stream.BucketPollers, Log: f.log,
		Put:  func(id string, _ []byte) { f.note(id, true) },
		Gone: func(id string) { f.note(id, false) },
		Loaded: func(context.Context) error {
			f.once.Do(func() { close(f.loaded) })
			return nil
		},
	}
	w.Run(ctx)
}

// note takes note that a process lives, or does not. This one does.
func (f *fleet) note(id string, lives bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i, there := slices.BinarySearch(f.live, id)
	switch {
	case lives && !there:
		f.live = slices.Insert(f.live, i, id)
	case !lives && there && id != f.id:
		f.live = slices.Delete(f.live, i, i+1)
	}
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
