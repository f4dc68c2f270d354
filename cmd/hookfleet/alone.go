package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hookfleet/hookfleet/config"
	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/events/stream/ids"
)

// alone is how the worker knows whether nobody else works with the broker: nil where that is never known, and where this process
// stores no events that it could be told of.
func (f *fleet) alone() func(leave func()) bool {
	if f.broker == nil || !f.cfg.Has(config.RoleAPI) {
		return nil
	}
	return f.broker.Alone
}

// mend removes what a crash has left of a batch, before anybody reads events, and begins to know the ids of events if that is ours.
func (f *fleet) mend(ctx context.Context) (err error) {
	deps := stream.TurnsDeps{
		Alone: f.broker.Inside, Quiet: f.quiet, Unseen: f.unseen, Recover: f.broker.Recover, Window: f.cfg.Events.Dedupe, Log: f.log,
	}
	if f.cfg.Events.Dedupe > stream.BrokerWindow {
		born, err := f.topology.Born(ctx, stream.Events)
		if err != nil {
			return err
		}
		f.ids, err = ids.Open(ids.Config{
			Dir: f.idsDir(), Window: f.cfg.Events.Dedupe, Stream: fmt.Sprint(born.Format(time.RFC3339Nano), f.cfg.Events.Dedupe, boot()),
		})
		if err != nil {
			return fmt.Errorf("open the index of ids: %w", err)
		}
		deps.Index = f.ids
	}
	turns := stream.NewTurns(f.js, f.front, deps)
	removed, err := turns.Mend(ctx)
	if err != nil {
		return err
	}
	if removed > 0 {
		f.log.Info().Int("events", removed).Msg("removed a part of a batch that nobody was told is stored")
	}
	if f.ownIDs {
		if err := turns.Know(ctx); err != nil {
			return fmt.Errorf("read the ids of events: %w", err)
		}
	}
	f.turns = turns
	f.support.run("ids", turns.Run)
	close(f.begun)
	return nil
}

func (f *fleet) idsDir() string { return filepath.Join(f.cfg.Data, "ids") }

// boot is which boot of the machine this is: files that were not synced are of no use after a loss of power. Where the system does not say,
// each start is one.
func boot() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return rand.Text()
	}
	return string(id)
}

// dedupe is how long the broker is to know the ids of events at first.
func (f *fleet) dedupe(ctx context.Context) (window time.Duration, err error) {
	if f.broker == nil {
		return f.cfg.Events.Dedupe, nil
	}
	window, f.ownIDs, err = stream.DedupeWindow(ctx, f.js, f.cfg.Events.Dedupe)
	return window, err
}

// shareTimeout bounds how long a client from outside waits for its turn to be let in. The server gives it 30 s.
const shareTimeout = 25 * time.Second

// share has the broker know the ids of events, before a client from outside may store any.
func (f *fleet) share() error {
	ctx, cancel := context.WithTimeout(f.base.ctx, shareTimeout)
	defer cancel()
	select {
	case <-f.begun:
		return f.turns.Share(ctx)
	case <-ctx.Done():
		return fmt.Errorf("the start takes long: %w", context.Cause(ctx))
	}
}

// quiet reports whether no client from outside, that may store events, is here or was for so long.
func (f *fleet) quiet(rest time.Duration) bool {
	left := f.broker.Left()
	return f.broker.Alone(nil) && (left.IsZero() || time.Since(left) > rest)
}

// Bounds of what only saves the fleet a wait: for so long the heartbeats of a killed process would count, and the broker wait for its
// acks, at most. A client from outside is let in within 2 s.
const (
	forgetTimeout   = 5 * time.Second
	takeBackTimeout = 1500 * time.Millisecond
)

// forgetKilled removes the heartbeats of the process that had the store before, if it was killed: this one would have half of the limits,
// and no lane of that one's, until they expire. What that one had in hand is taken back, if all was its own.
func (f *fleet) forgetKilled(ctx context.Context) {
	if f.broker == nil {
		return
	}
	asked, cancel := context.WithTimeout(ctx, forgetTimeout)
	defer cancel()
	killed, left, err := stream.ForgetKilled(asked, f.js)
	if killed > 0 {
		f.log.Info().Int("workers", killed).Msg("the process before did not sign off; what it did is taken over at once")
	}
	if err == nil && killed > 0 && left == 0 {
		f.broker.Inside(func() {
			asked, cancel := context.WithTimeout(ctx, takeBackTimeout)
			defer cancel()
			err = stream.TakeBack(asked, f.js)
		})
	}
	if err != nil && ctx.Err() == nil {
		f.log.Warn().Err(err).Msg("what a killed process did is not taken over yet; that comes when its heartbeats expire")
	}
}

// dropLeft removes what a scheduler in this process has left of statuses, now that there is none: nobody else uses it, and it can be made
// anew. The store is ours, so nobody is at work there.
func (f *fleet) dropLeft() {
	dir := f.statusesDir()
	if _, err := os.Stat(dir); f.cfg.Has(config.RoleScheduler) || errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err := os.RemoveAll(dir); err != nil {
		f.log.Warn().Err(err).Msg("the copy of statuses not removed, which only a scheduler in this process would use")
		return
	}
	f.log.Info().Str("directory", dir).Msg("removed the copy of statuses: only a scheduler in this process would use it")
}

// unseen runs do while nobody could see a part of a batch, or store events beside it: the worker takes events from memory, no lane reads
// them as they are stored, and nobody from outside does. Else it returns false.
func (f *fleet) unseen(do func()) bool {
	reads := f.registry.HasLanes() || f.worker != nil && !f.worker.Feeds()
	return !reads && f.broker.Inside(do)
}

// unsettled is how the API asks the worker of this process how many events are not settled; nil = there is no worker.
func (f *fleet) unsettled() func() (n uint64, ok bool) {
	if f.worker == nil {
		return nil
	}
	return f.worker.Unsettled
}

// stored tells of events that are durable.
func (f *fleet) stored(first uint64, evts []*events.Event, came time.Time) {
	if f.worker != nil {
		f.worker.Offer(first, evts, came)
	}
	f.tap.Offer(first, evts)
}
