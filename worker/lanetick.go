package worker

import (
	"math"
	"time"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

// sourceLook is how often a lane looks whether its source's poll is through.
const sourceLook = 100 * time.Millisecond

// laneTick is the schedule of a lane: first attempts go at its ticks alone.
type laneTick struct {
	scheduled bool
	ticks     events.Ticks
	source    string // whose ticks they are; "" = its own
	batch     int

	open      bool
	until     uint64 // events after it wait for the next tick
	left      int    // first attempts that may still begin
	remaining int    // events that are still to come, those that were asked for included
	running   int    // first attempts that are under way
	recount   bool   // remaining may be too high
}

// prepareTicks takes the schedule up where the last owner left it. A tick that it had begun goes on; how much of a batch
// it had sent is not known, so that of a batch goes no more.
func (t *tenure) prepareTicks() error {
	t.tick = laneTick{}
	if t.entry == nil || t.entry.Subscription.Config.Schedule == nil {
		return nil
	}
	s := t.entry.Subscription.Config.Schedule
	t.tick.scheduled, t.tick.source, t.tick.batch = true, s.Source, s.Batch
	if s.Source == "" {
		ticks, err := s.Ticks()
		if err != nil {
			return err
		}
		t.tick.ticks = ticks
	}
	if t.lease.Tick.IsZero() {
		t.lease.Tick, t.lease.Done = t.entry.UpdatedAt, true
	}
	if !t.lease.Done && s.Batch == 0 {
		t.begin(t.lease.Until)
	}
	return nil
}

// begin opens a tick for the events up to a sequence.
func (t *tenure) begin(until uint64) {
	k := &t.tick
	k.open, k.until, k.left, k.remaining, k.recount = true, until, math.MaxInt, math.MaxInt, true
	if k.batch > 0 {
		k.left = k.batch
	}
}

// ticking opens the tick whose time has come, and closes one that is through. A tick that is missed, because nobody ran or
// the last one took longer, is made up for once.
func (t *tenure) ticking(now time.Time) {
	k := &t.tick
	if !k.scheduled {
		return
	}
	if k.open && k.recount {
		t.countTick(now)
	}
	if k.open && t.through() {
		k.open = false
		t.lease.Done = true
		if err := t.record(); err != nil && t.ctx.Err() == nil {
			t.log().Warn().Err(err).Msg("end of a tick not noted; a worker that takes over goes on with it")
		}
	}
	if k.open {
		return
	}
	at, until, ok, err := t.dueTick(now)
	if ok && err == nil {
		before := t.lease
		t.lease.Tick, t.lease.Until, t.lease.Done = at, until, false
		if err = t.record(); err == nil {
			t.begin(until)
			t.countTick(now)
			return
		}
		t.lease = before // it is due still
	}
	if err != nil && t.ctx.Err() == nil {
		t.log().Warn().Err(err).Msg("tick not begun; trying again")
		t.wakeBy(now.Add(laneRetry))
	}
}

// dueTick is the newest tick that has come since the last one, and the sequence up to which it takes events. The lane is
// woken for the next one.
func (t *tenure) dueTick(now time.Time) (at time.Time, until uint64, ok bool, err error) {
	k := &t.tick
	if k.source != "" {
		t.wakeBy(now.Add(sourceLook))
		tick, through := t.w.sourceTicks.Last(k.source)
		return tick.At, tick.Until, through && tick.At.After(t.lease.Tick), nil
	}
	t.wakeBy(k.ticks.Next(now))
	if at = k.ticks.Last(now); !at.After(t.lease.Tick) {
		return at, 0, false, nil
	}
	until, err = t.lanes.store.LastEvent(t.ctx)
	return at, until, true, err
}

// passTick lets a tick pass that comes while the sink may not be sent to.
func (t *tenure) passTick(now time.Time) {
	if !t.tick.scheduled || t.tick.open {
		return
	}
	at, until, ok, err := t.dueTick(now)
	if !ok || err != nil {
		return
	}
	t.lease.Tick, t.lease.Until, t.lease.Done = at, until, true
	if err := t.record(); err != nil && t.ctx.Err() == nil {
		t.log().Warn().Err(err).Msg("a tick that passed was not noted")
	}
}

// countTick learns how many events are still to come. Those on their way to us would count as come already.
func (t *tenure) countTick(now time.Time) {
	if t.pull.asked > 0 {
		t.wakeBy(now.Add(lanePause))
		return
	}
	state, err := readConsumer(t.ctx, t.w.nc, stream.Events, t.pull.consumer)
	if err != nil {
		if t.ctx.Err() == nil {
			t.log().Warn().Err(err).Msg("events of a tick not counted; trying again")
			t.wakeBy(now.Add(laneRetry))
		}
		return
	}
	t.tick.recount = false
	t.tick.remaining = min(t.tick.remaining, int(min(state.NumPending, math.MaxInt32)))
	if state.Delivered.Stream >= t.tick.until {
		t.tick.remaining = 0
	}
}

// through reports whether all first attempts of the tick have ended. What is on its way to us or to HELD is still to be
// attempted.
func (t *tenure) through() bool {
	k := &t.tick
	if k.running > 0 {
		return false
	}
	return k.left == 0 || !k.recount && k.remaining == 0 && t.pull.asked+t.moving == 0 && !t.keys.hasTicked(k.until)
}

// next takes the next first attempt of the tick.
func (k *laneTick) next(keys *laneKeys, now time.Time) (*laneKey, *laneItem) {
	if !k.open || k.left == 0 {
		return nil, nil
	}
	key, it := keys.nextTicked(k.until, now)
	if it != nil {
		it.ticked = true
		k.left--
		k.running++
	}
	return key, it
}

// ended takes the end of an attempt; back = it was not made.
func (k *laneTick) ended(it *laneItem, back bool) {
	if !it.ticked {
		return
	}
	it.ticked = false
	k.running--
	if back && k.left != math.MaxInt {
		k.left++
	}
}

// wanted is how many more events the tick can use, when asked are on their way; all = it must know all of them.
func (k *laneTick) wanted(asked, waiting int, all bool) int {
	if !k.open || k.recount {
		return 0
	}
	if all {
		return k.remaining - asked
	}
	return min(k.remaining-asked, k.left-asked-waiting)
}

// came counts an event that came.
func (k *laneTick) came(sequence uint64) {
	if !k.open {
		return
	}
	k.remaining = max(0, k.remaining-1)
	if sequence >= k.until {
		k.remaining = 0
	}
}

// unsent says that the broker did not send all that was asked for.
func (k *laneTick) unsent() { k.recount = k.open }
