package scheduler

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events/stream"
)

const (
	// storeAtOnce is how many statuses are stored side by side: who asks for one waits for no more than these, a millisecond.
	storeAtOnce = 32
	// lastSave bounds storing what is left and the last word on it; else some seconds are read again.
	lastSave = 2 * time.Second
)

// tight reports whether the store is: then nothing waits, because events are kept until it is saved that they are in the index.
func (x *indexer) tight() bool { return x.Storage.Ratio() >= stream.StorageTight }

// write stores what was found, now and then and when it is much, until ctx ends, and then once more.
func (x *indexer) write(ctx context.Context) error {
	tick := time.NewTicker(min(tightTrim, x.cfg.SaveIndex))
	defer tick.Stop()
	settled := time.Now()
	var drain <-chan time.Time // nil = nothing waits on the disk
	if x.backlog.waits() > 0 {
		drain = time.After(0)
	}
	for {
		select {
		case <-drain:
			rest, err := x.drain(ctx)
			if err != nil && ctx.Err() == nil {
				return err
			}
			if drain = nil; x.backlog.waits() > 0 {
				drain = time.After(rest)
			}
			continue
		case <-x.intake.much:
			if (drain != nil || x.intake.crowded()) && x.parks() {
				if err := x.parkAll(ctx); err != nil {
					return err
				}
				if drain == nil {
					drain = time.After(0)
				}
				continue
			}
			if due := settled.Add(x.cfg.SaveIndex); time.Now().Before(due) {
				x.relieve(ctx, due)
				continue
			}
		case <-tick.C:
		case <-ctx.Done():
			return x.end(ctx)
		}
		lasting := x.cfg.SaveIndex / 2
		if x.tight() {
			lasting = 0
		} else if time.Since(settled) < x.cfg.SaveIndex {
			continue
		}
		settled = time.Now()
		if drain != nil { // which says how far it is
			if !x.parks() {
				continue
			}
			if err := x.parkAll(ctx); err != nil {
				return err
			}
			continue
		}
		if err := x.settle(ctx, lasting); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// end stores what there is, for as long as there is time.
func (x *indexer) end(ctx context.Context) error {
	if errors.Is(context.Cause(ctx), errLost) {
		return nil // the next one may have stored newer ones, and reads again what waits here
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastSave)
	defer cancel()
	if x.backlog.waits() > 0 && x.backlog.kept { // it waits for the next process
		return x.park(ctx)
	}
	for x.backlog.waits() > 0 && ctx.Err() == nil {
		if rest, err := x.drain(ctx); err != nil {
			return err
		} else if rest == indexAgain {
			pause(ctx)
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	err := x.settle(ctx, 0)
	x.settled.Store(err == nil && x.intake.count() == 0)
	return err
}

// settle stores everything that there is, and then saves how far that is. It takes its time, so that what else there is to
// do does not notice. What is not stored now will be the next time.
func (x *indexer) settle(ctx context.Context, lasting time.Duration) error {
	through := x.intake.done.now() // and then last: whatever status is up to here, is up to there
	if through == x.saved.Load() {
		return nil
	}
	last := x.intake.last()
	rest := lasting * storeAtOnce / time.Duration(max(x.intake.count(), 1))
	for {
		more, err := x.storeNext(ctx, last)
		if err != nil {
			if ctx.Err() == nil {
				x.Log.Warn().Err(err).Msg("statuses not stored; trying again")
			}
			return nil
		}
		if !more {
			if rest == 0 { // there was much, and what came since may still be
				signal(x.intake.much)
			}
			return x.save(ctx, through)
		}
		select {
		case <-time.After(rest):
		case <-x.intake.much:
			if x.intake.crowded() && x.parks() {
				signal(x.intake.much)
				return nil
			}
			rest = 0
		case <-ctx.Done():
			return nil
		}
	}
}

// relieve makes room until it is to be saved how far the index is, which else would not happen for as long as much comes in.
func (x *indexer) relieve(ctx context.Context, due time.Time) {
	for ctx.Err() == nil && x.intake.over() && time.Now().Before(due) {
		if x.intake.crowded() && x.parks() { // more comes than can be stored
			signal(x.intake.much)
			return
		}
		if _, err := x.storeNext(ctx, math.MaxUint64); err != nil && ctx.Err() == nil {
			x.Log.Warn().Err(err).Msg("statuses not stored; trying again")
			pause(ctx)
		}
	}
}

// storeNext stores some of what came first, up to a number. It returns whether there may be more.
func (x *indexer) storeNext(ctx context.Context, last uint64) (more bool, err error) {
	x.storing.Lock()
	defer x.storing.Unlock()
	taken := x.intake.take(storeAtOnce, last)
	return len(taken) == storeAtOnce, x.storeTaken(ctx, taken, nil)
}

// storeOf stores what there is of some names.
func (x *indexer) storeOf(ctx context.Context, names []stream.StatusName) error {
	if !slices.ContainsFunc(names, x.intake.has) && !slices.ContainsFunc(names, x.backlog.has) {
		return nil
	}
	x.storing.Lock()
	defer x.storing.Unlock()
	parked, err := x.backlog.ofNames(names)
	if err != nil {
		return err
	}
	if err := x.storeTaken(ctx, x.intake.takeOf(names), parked); err != nil {
		return err
	}
	x.backlog.take(parked)
	return nil
}

// storeTaken stores statuses that were taken, and some that wait on the disk, unless newer ones are there already.
func (x *indexer) storeTaken(ctx context.Context, taken []*pending, parked []parked) error {
	if len(taken)+len(parked) == 0 {
		return nil
	}
	statuses, err := unsavedOf(taken)
	if err == nil {
		for _, p := range parked {
			statuses = addNewest(statuses, p.unsaved)
		}
		err = x.tryStore(ctx, statuses)
	}
	if err != nil {
		x.intake.back()
		return err
	}
	x.intake.stored()
	return nil
}

// addNewest adds a status, of which there may be an older one, or a newer one that stands for both.
func addNewest(statuses []*unsaved, s *unsaved) []*unsaved {
	i := slices.IndexFunc(statuses, func(o *unsaved) bool { return o.subject == s.subject })
	switch {
	case i < 0:
		return append(statuses, s)
	case s.mark.After(statuses[i].mark):
		statuses[i] = s
	}
	return statuses
}

// tryStore is store, where there is room.
func (x *indexer) tryStore(ctx context.Context, statuses []*unsaved) error {
	if x.Storage.Exhausted() {
		return errRoom
	}
	return x.store(ctx, statuses)
}

var errRoom = errors.New("there is no room")

// store stores statuses side by side. Those that the broker will never take are given up, with a word in the log: else they
// would stop the index.
func (x *indexer) store(ctx context.Context, statuses []*unsaved) error {
	var mu sync.Mutex // of failed, and of what is known of stored
	var failed []error
	var stored []*stream.StoredStatus
	fail := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		failed = append(failed, err)
	}
	var all sync.WaitGroup
	at := time.Now()
	for _, u := range statuses {
		newer, err := x.isNewer(ctx, u.subject, u.mark)
		if err != nil {
			fail(err)
		}
		if err != nil || !newer {
			continue
		}
		msg := &nats.Msg{Subject: u.subject, Header: u.header, Data: u.data}
		all.Add(1)
		err = x.IndexWriter.Submit(msg, "", func(ack stream.Ack, err error) {
			defer all.Done()
			switch {
			case err == nil:
				x.recent.note(ack.Sequence, u.subject, u.mark)
				mu.Lock()
				defer mu.Unlock()
				stored = append(stored, &stream.StoredStatus{Subject: u.subject, Sequence: ack.Sequence, At: at, Header: u.header, Data: u.data})
			case errors.Is(err, stream.ErrUnknown), errors.Is(err, stream.ErrBusy), errors.Is(err, stream.ErrRefusedFull):
				fail(err)
			default:
				x.Log.Error().Err(err).Uint64("sequence", u.mark.Sequence).Msg("status of an event refused by the broker; left out")
			}
		})
		if err != nil {
			all.Done()
			fail(err)
		}
	}
	all.Wait()
	x.copyStored(stored)
	return errors.Join(failed...)
}

func (x *indexer) isNewer(ctx context.Context, subject string, m stream.Mark) (bool, error) {
	if newer, sure := x.recent.judge(subject, m); sure {
		return newer, nil
	}
	have, ok, err := x.markOf(ctx, subject)
	if err != nil {
		return false, fmt.Errorf("look for a newer status: %w", err)
	}
	if !ok {
		return true, nil
	}
	x.recent.note(0, subject, have)
	return m.After(have), nil
}

// markOf is which event is stored at a subject; ok is false when there is none.
func (x *indexer) markOf(ctx context.Context, subject string) (m stream.Mark, ok bool, err error) {
	if s := x.copied.at(subject); s != nil {
		m, err = s.Mark()
		return m, err == nil, err
	}
	return x.statuses.Mark(ctx, subject)
}
