package scheduler

import (
	"context"
	"errors"
	"time"
)

const (
	// drainRest is how long what waits on the disk rests, in parts of the time that storing some of it took: nobody waits for it.
	drainRest = 1
	// While somebody asks for statuses, what stores takes turns with what is asked for: fewer are stored at once, and with longer rests, as
	// it needs the processor and makes garbage.
	drainAsked, drainRestAsked = 8, 16
	// drainCalm is how long nobody has asked when nobody asks.
	drainCalm = 100 * time.Millisecond
	// drainMany subjects do not rest: where more and more come, for long, that must end.
	drainMany = 1 << 20
	// maxDrainRest is how long it rests at most, should the broker be slow.
	maxDrainRest = 50 * time.Millisecond
)

// parks reports whether what waits may be moved to the disk.
func (x *indexer) parks() bool {
	return !x.tight() && time.Now().After(x.parkAgain) && x.backlog.room() && x.copyFits(copySegment)
}

// parkAll moves what waits to the disk, and stores for as long as that took, so that it ends however much comes. Where it cannot be
// moved, it is stored from memory for a while.
func (x *indexer) parkAll(ctx context.Context) error {
	began := time.Now()
	err := x.park(ctx)
	switch {
	case errors.Is(err, errBacklog):
		return err
	case err != nil:
		x.Log.Warn().Err(err).Msg("statuses wait in memory for now, so that the index may fall behind")
		x.parkAgain = time.Now().Add(x.cfg.CopyRest)
	}
	for enough := time.Now().Add(time.Since(began)); x.backlog.waits() > 0 && time.Now().Before(enough) && ctx.Err() == nil; {
		if _, err := x.drain(ctx); err != nil {
			return err
		}
	}
	return nil
}

// park moves what waits in memory to the disk, so that there is room for what comes.
func (x *indexer) park(ctx context.Context) error {
	through := x.intake.done.now() // and then last, as in settle
	last := x.intake.last()
	for more := true; more && ctx.Err() == nil; {
		var err error
		if more, err = x.parkNext(last); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	x.storing.Lock()
	x.backlog.goals = append(x.backlog.goals, goal{through, x.backlog.pushed})
	x.storing.Unlock()
	return x.noteBacklog(through)
}

// noteBacklog writes down up to which event everything waits on the disk, or is stored.
func (x *indexer) noteBacklog(through uint64) error {
	if !x.backlog.kept {
		return nil
	}
	x.storing.Lock()
	p := checkpoint{Through: through, Created: x.copying.created, Saved: x.saved.Load()}
	x.storing.Unlock()
	if p.Created.IsZero() { // of which stream is not known yet
		return nil
	}
	return x.backlog.note(p)
}

// resume goes on with what the process before has left to be stored, and returns up to which event that is, 0 = it is nothing: of
// another stream, or of events that are not there, or that are to be read again.
func (x *indexer) resume(ctx context.Context, saved, end uint64) (through uint64, err error) {
	left := x.backlog.noted
	if left.Through == 0 {
		x.backlog.forget()
		return 0, nil
	}
	extent, err := x.statuses.Extent(ctx)
	if err != nil {
		return 0, err
	}
	if !extent.Created.Equal(left.Created) || left.Saved > saved || left.Through >= end {
		x.backlog.forget()
		return 0, nil
	}
	x.backlog.resume()
	return left.Through, nil
}

func (x *indexer) parkNext(last uint64) (more bool, err error) {
	x.storing.Lock()
	defer x.storing.Unlock()
	taken := x.intake.take(parkAtOnce, last)
	statuses, err := unsavedOf(taken)
	if err == nil {
		err = x.backlog.park(statuses)
	}
	if err != nil {
		x.intake.back()
		return false, err
	}
	x.intake.stored()
	return len(taken) == parkAtOnce, nil
}

// drain stores some of what waits on the disk, and returns how long to rest before the next.
func (x *indexer) drain(ctx context.Context) (rest time.Duration, err error) {
	began := time.Now()
	most, factor := storeAtOnce, time.Duration(drainRest)
	if began.Sub(time.Unix(0, x.asked.Load())) < drainCalm {
		most, factor = drainAsked, drainRestAsked
	}
	reached, err := x.drainNext(ctx, most)
	switch {
	case errors.Is(err, errBacklog):
		return 0, err
	case err != nil:
		if ctx.Err() == nil {
			x.Log.Warn().Err(err).Msg("statuses not stored; trying again")
		}
		return indexAgain, nil
	}
	if saved := x.saved.Load(); reached > saved && (x.tight() || x.backlog.waits() == 0) || time.Since(x.savedAt) > x.cfg.SaveIndex/10 {
		x.savedAt = time.Now()
		if err := x.save(ctx, max(reached, saved)); err != nil { // also of what was stored, which the next process reads else
			return 0, err
		}
	}
	if err := x.giveBack(); err != nil {
		return 0, err
	}
	if x.tight() || x.backlog.waits() > drainMany {
		return 0, nil
	}
	return min(time.Since(began)*factor, maxDrainRest), nil
}

// drainNext stores some of what waits on the disk. It returns up to which event everything is stored.
func (x *indexer) drainNext(ctx context.Context, most int) (reached uint64, err error) {
	x.storing.Lock()
	defer x.storing.Unlock()
	found, keys, err := x.backlog.first(most)
	if err != nil {
		return 0, err
	}
	statuses := make([]*unsaved, len(found))
	for i, p := range found {
		statuses[i] = p.unsaved
	}
	if err := x.tryStore(ctx, statuses); err != nil {
		return 0, err
	}
	x.backlog.take(found)
	x.reached = max(x.reached, x.backlog.pop(keys))
	return x.reached, nil
}

// giveBack gives back the room of what was stored.
func (x *indexer) giveBack() error {
	if x.backlog.waits() == 0 {
		x.storing.Lock()
		defer x.storing.Unlock()
		x.backlog.forget()
		return nil
	}
	for _, s := range x.backlog.empty() {
		if err := x.backlog.giveUp(s); err != nil {
			return errors.Join(errBacklog, err)
		}
	}
	return nil
}

// leaveBacklog leaves what waits to the next process, if it waits there.
func (x *indexer) leaveBacklog() {
	if x.backlog.waits() == 0 || x.backlog.checked == nil {
		x.backlog.forget()
		return
	}
	x.backlog.leaveBehind()
}
