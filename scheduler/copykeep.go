package scheduler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hookfleet/hookfleet/events/stream"
)

const (
	// copyFew statuses that were stored by others are read while nothing is stored, which takes some milliseconds.
	copyFew = 256
	// copyPart is how many statuses are put at a time while all are read, of copyBuffer together.
	copyPart = 256
	// copyStint is how long it works before it rests.
	copyStint = 20 * time.Millisecond
	// copyRoom is the part of the broker's disk that may be in use when a copy is begun. It is given up at StorageTight.
	copyRoom = 0.75
	// copyFree is the most that must be free on its disk, and as much as it takes where that is less.
	copyFree = 1 << 30
)

// copying is how far the copy is. Who reads or changes it holds indexer.storing.
type copying struct {
	through uint64    // everything in the stream up to here was put
	created time.Time // when that stream was; zero = nothing is known of it
	until   time.Time // there is none before
	told    bool      // that there is none
}

var (
	errRewritten = errors.New("the stream of statuses is not what it was")
	errTight     = errors.New("there is little room on the disk")
	errDamaged   = errors.New("what was read is not what was written")
	errCopy      = errors.New("its files cannot be used")
)

// keepCopy keeps the copy of what is stored until ctx ends: reads all there is, compares the two now and then, and gives it up
// for a while when it cannot be, in favour of the broker. What it had before is still good for the next time.
func (x *indexer) keepCopy(ctx context.Context) {
	tick := time.NewTicker(x.cfg.CopyLook)
	defer tick.Stop()
	for {
		err := x.copyLook(ctx)
		if errors.Is(err, errRewritten) || errors.Is(err, errTight) || errors.Is(err, errDamaged) || errors.Is(err, errCopy) {
			x.giveCopyUp(err) // else the broker is away, which others tell
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// leaveCopy leaves it to the next process, if all of it is there.
func (x *indexer) leaveCopy() {
	x.leaveBacklog()
	if err := x.noteCopy(x.settled.Load()); err != nil {
		x.Log.Warn().Err(err).Msg("the next process copies the statuses anew")
		x.copied.drop()
		return
	}
	if x.copied.checked == nil {
		x.copied.drop()
		return
	}
	x.copied.leaveBehind()
}

// noteCopy writes down how far the copy is, for the next process; durable says that the broker has all of it for good.
func (x *indexer) noteCopy(durable bool) error {
	if !x.copied.kept {
		return nil
	}
	x.storing.Lock()
	p := checkpoint{Through: x.copying.through, Created: x.copying.created, Durable: durable}
	x.storing.Unlock()
	if err := x.copied.note(p); err != nil {
		return fmt.Errorf("%w: %w", errCopy, err)
	}
	return nil
}

// doubtCopy is for the time until it has what another may have stored since it was kept. Of one that has nothing what is put
// from now on is the newest of its name, but there may be other types.
func (x *indexer) doubtCopy() {
	x.copied.set(func(c *statusCopy) {
		c.trusted = len(c.first) == 0
		c.complete = c.complete && !c.trusted
	})
}

// giveCopyUp is for all of it: what is missing is not known.
func (x *indexer) giveCopyUp(err error) {
	x.storing.Lock()
	defer x.storing.Unlock()
	x.dropCopy(err)
}

func (x *indexer) dropCopy(err error) {
	x.copied.drop()
	x.copying.through, x.copying.created, x.copying.until = 0, time.Time{}, time.Now().Add(x.cfg.CopyRest)
	if !x.copying.told {
		x.copying.told = true
		x.Log.Warn().Err(err).Msg("there is no copy of the statuses for now, so that a look-up may take some milliseconds longer")
	}
}

// copyLook has the copy follow the stream, and looks after it.
func (x *indexer) copyLook(ctx context.Context) error {
	for {
		says := x.copied.says()
		switch {
		case says.damaged:
			return errDamaged
		case x.copyTight(says.bytes):
			return errTight
		}
		behind, err := x.followCopy(ctx, says.certain)
		if err != nil {
			return err
		}
		if behind == nil {
			break
		}
		if err := x.fillCopy(ctx, *behind); err != nil {
			return err
		}
	}
	if err := x.noteCopy(false); err != nil {
		return err
	}
	if err := x.copied.tidy(ctx); err != nil {
		return fmt.Errorf("%w: %w", errCopy, err)
	}
	return nil
}

// lag is a range of the stream of statuses that is to be put.
type lag struct {
	from, to   uint64
	generation uint64 // of the copy
}

// followCopy puts what others have stored, so that the copy has everything that is stored at this moment. If that is much it
// returns what it is, and puts nothing.
func (x *indexer) followCopy(ctx context.Context, certain uint64) (*lag, error) {
	x.storing.Lock()
	defer x.storing.Unlock()
	if x.resting() {
		return nil, nil
	}
	extent, err := x.statuses.Extent(ctx)
	if err != nil {
		return nil, err
	}
	if anew := !x.copying.created.IsZero() && !extent.Created.Equal(x.copying.created); anew || x.copying.through > 0 && (extent.Last < x.copying.through || extent.Messages < certain) {
		return nil, errRewritten
	}
	if x.copying.through == 0 && !x.copyFits(int64(extent.Bytes)) {
		return nil, errTight
	}
	x.copying.created = extent.Created
	x.copied.set(func(c *statusCopy) { c.floor, c.keep = extent.First, extent.Keep })
	behind := lag{max(x.copying.through+1, extent.First), extent.Last, x.copied.generation}
	if behind.to >= behind.from+copyFew {
		return &behind, nil
	}
	if behind.from <= behind.to {
		if err := x.copyRange(ctx, behind, &x.copying.through); err != nil || x.copying.through < behind.to {
			return nil, err // a replica may be behind
		}
	}
	if x.copied.says().certain > extent.Messages {
		return nil, errRewritten
	}
	x.copying.through = extent.Last
	x.copied.set(func(c *statusCopy) {
		if !c.complete {
			x.Log.Info().Int("subjects", len(c.first)).Msg("the copy of the statuses is complete")
		}
		c.complete, c.trusted = true, true
	})
	x.copying.told = false
	return nil, nil
}

// resting reports whether there is no copy at this moment, and none may be begun.
func (x *indexer) resting() bool { return x.copying.through == 0 && time.Now().Before(x.copying.until) }

// fillCopy puts much, while more is being stored.
func (x *indexer) fillCopy(ctx context.Context, behind lag) error {
	through := uint64(0)
	if err := x.copyRange(ctx, behind, &through); err != nil {
		return err
	}
	x.storing.Lock()
	defer x.storing.Unlock()
	if x.copied.generation == behind.generation {
		x.copying.through = max(x.copying.through, through)
	}
	return nil
}

// copyRange reads a range of the stream into the copy, resting half as long as it works, and says how far it has come.
func (x *indexer) copyRange(ctx context.Context, behind lag, through *uint64) error {
	var part []*stream.StoredStatus
	var wrong error
	began, bytes := time.Now(), 0
	put := func() bool {
		if err := x.copied.put(behind.generation, part...); err != nil {
			wrong = fmt.Errorf("%w: %w", errCopy, err)
			return false
		}
		*through = part[len(part)-1].Sequence
		part, bytes = slices.Delete(part, 0, len(part)), 0
		if took := time.Since(began); took > copyStint {
			if x.copyTight(x.copied.says().bytes) {
				wrong = errTight
				return false
			}
			rest(ctx, took/2)
			began = time.Now()
		}
		return true
	}
	err := stream.NewStatuses(x.Replays).Stored(ctx, behind.from, behind.to, func(s *stream.StoredStatus) bool {
		part, bytes = append(part, s), bytes+len(s.Data)
		return len(part) < copyPart && bytes < copyBuffer || put()
	})
	if err == nil && wrong == nil && len(part) > 0 {
		put()
	}
	return cmp.Or(wrong, err)
}

// copyFits reports whether there is room for a copy of so many bytes.
func (x *indexer) copyFits(bytes int64) bool {
	bytes += bytes / 4 // tidying
	spare, ours := x.Storage.Spare(copyRoom)
	free, err := stream.DiskFree(x.copied.dir)
	return err == nil && bytes <= free/2 && (!ours || bytes <= spare)
}

// copyTight reports whether a copy of so many bytes must go.
func (x *indexer) copyTight(bytes int64) bool {
	if bytes == 0 {
		return false
	}
	spare, ours := x.Storage.Spare(stream.StorageTight)
	free, err := stream.DiskFree(x.copied.dir)
	return err != nil || free < min(bytes, copyFree) || ours && spare <= 0
}

// copyStored puts what was stored; who calls it holds storing.
func (x *indexer) copyStored(statuses []*stream.StoredStatus) {
	if len(statuses) == 0 || x.resting() {
		return
	}
	if err := x.copied.put(x.copied.generation, statuses...); err != nil {
		x.dropCopy(err)
		return
	}
	slices.SortFunc(statuses, func(a, b *stream.StoredStatus) int { return cmp.Compare(a.Sequence, b.Sequence) })
	for _, s := range statuses {
		if s.Sequence == x.copying.through+1 {
			x.copying.through++
		}
	}
}
