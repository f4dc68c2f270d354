package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/hookfleet/hookfleet/config"
	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

// alone is how the worker knows whether nobody else works with the broker: nil where that is never known, and where this process
// stores no events that it could be told of.
func (f *fleet) alone() func(leave func()) bool {
	if f.broker == nil || !f.cfg.Has(config.RoleAPI) {
		return nil
	}
	return f.broker.Alone
}

// mend removes what a crash has left of a batch, before anybody reads events.
func (f *fleet) mend(ctx context.Context) error {
	f.turns = stream.NewTurns(f.js, f.front, stream.TurnsDeps{Alone: f.unseen, Forget: f.broker.Restart})
	removed, recent, err := f.turns.Mend(ctx)
	if f.recent = recent; !recent.Whole(time.Now(), f.cfg.Events.Dedupe) {
		f.sure = time.Now().Add(f.cfg.Events.Dedupe)
	}
	if removed > 0 {
		f.log.Info().Int("events", removed).Msg("removed a part of a batch that nobody was told is stored")
	}
	return err
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
// them as they are stored, and nobody from outside does, or has lately stored some whose ids we do not know. Else it returns false.
func (f *fleet) unseen(do func()) bool {
	now, left := time.Now(), f.broker.Left()
	strange := !left.IsZero() && now.Before(left.Add(f.cfg.Events.Dedupe))
	reads := f.registry.HasLanes() || f.worker != nil && !f.worker.Feeds()
	return !strange && !now.Before(f.sure) && !reads && f.broker.Inside(do)
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
