package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// BrokerWindow is how long the broker knows the ids of events while the process that has it embedded knows them itself, in an index: for
// the whole window the broker would have 130 bytes and three objects of the heap an id, a gigabyte after some minutes of full rate, and
// half of the CPU would go into looking through them. It is not less so that a purge of its list comes once a second.
const BrokerWindow = time.Second

// shareRest is how long the broker goes on knowing all ids after the last other process has left: who comes each minute, as a monitor does,
// is not to have all ids read each time.
const shareRest = time.Minute

// knowInterval is between two looks whether the ids may be ours again.
const knowInterval = time.Second

// catchUpNear is how many events may be left to be read in a turn, for which all others wait: a few milliseconds. At full rate there may be
// some more.
const catchUpNear = 512

// maxCatchUps bounds how often the index is brought up before that is given up: each time more events have come.
const maxCatchUps = 16

// DedupeWindow is how long the broker is to know ids when the process that has it embedded starts, of the window in which an id is a
// duplicate. own = the ids are this process's to know (Turns.Know).
func DedupeWindow(ctx context.Context, js jetstream.JetStream, window time.Duration) (broker time.Duration, own bool, err error) {
	if window <= BrokerWindow {
		return window, false, nil
	}
	s, err := js.Stream(ctx, Events)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return BrokerWindow, true, nil
	case err != nil:
		return 0, false, fmt.Errorf("look at stream %s: %w", Events, err)
	}
	if info := s.CachedInfo(); info.State.LastSeq == 0 || info.Config.Duplicates < window {
		return BrokerWindow, true, nil // what a kill between two windows, or a shorter one of another configuration, has left too
	}
	return window, false, nil // the broker has read them all, and goes on
}

// Know begins to know the ids of all events within the window, in place of the broker. It is to be called before anybody stores events.
func (t *Turns) Know(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.trust(ctx); err != nil {
		return err
	}
	if err := t.catchUp(ctx); err != nil {
		return err
	}
	t.own, t.short = true, true
	return nil
}

// trust drops what the index knows if it is not of what the stream holds, as after a part of the store was lost.
func (t *Turns) trust(ctx context.Context) error {
	last := t.deps.Index.Last()
	if last == 0 {
		return nil
	}
	state, err := t.state(ctx, Events)
	if err != nil {
		return err
	}
	if last <= state.Last {
		m, err := t.certain(ctx, Events, getRequest{Sequence: last})
		if err != nil {
			return err
		}
		if m != nil { // else it was removed or trimmed, and nothing proves it
			id := headerValue(m.Header, nats.MsgIdHdr)
			at, known, err := t.deps.Index.Find(id, m.Time)
			if err != nil || known && at == last {
				return err
			}
		}
	}
	return t.deps.Index.Reset(0)
}

// catchUp has the index know all ids of the stream within the window.
func (t *Turns) catchUp(ctx context.Context) error {
	for range maxCatchUps {
		left, err := t.approach(ctx)
		if err != nil || left == 0 {
			return err
		}
	}
	return fmt.Errorf("%w: more events come than their ids are read", ErrUnknown)
}

// approach brings the index up to the last event there is when it begins, and returns how many it has read.
func (t *Turns) approach(ctx context.Context) (n uint64, err error) {
	x := t.deps.Index
	state, err := t.state(ctx, Events)
	if err == nil && state.Last < x.Last() { // the store has lost its end
		err = x.Reset(0)
	}
	if err != nil || state.Last <= x.Last() {
		return 0, err
	}
	begin, err := t.since(ctx, Events, time.Now().Add(-t.deps.Window), state)
	if err != nil {
		return 0, err
	}
	if x.Last() == 0 {
		if err := x.Reset(begin - 1); err != nil {
			return 0, err
		}
	}
	x.Skip(max(begin-1, x.Last()))
	for x.Last() < state.Last {
		before := x.Last()
		if err := t.readIDs(ctx, state.Last); err != nil {
			return 0, err
		}
		if x.Last() == before {
			return 0, fmt.Errorf("%w for the ids of events after %d", ErrUnknown, before)
		}
		n += x.Last() - before
	}
	return n, nil
}

// readIDs reads ids of events up to last. It may end before that.
func (t *Turns) readIDs(ctx context.Context, last uint64) error {
	x := t.deps.Index
	var wrong error
	s := scan{stream: Events, from: x.Last() + 1, to: last, headersOnly: true}
	err := t.read(ctx, s, func(sequence uint64, msg *nats.Msg) bool {
		var at time.Time
		if at, wrong = storedAt(msg); wrong != nil {
			return false
		}
		x.Add(headerValue(msg.Header, nats.MsgIdHdr), sequence, at)
		return true
	})
	if err = errors.Join(err, wrong, x.Save()); err != nil {
		return err
	}
	next, err := t.certain(ctx, Events, getRequest{Sequence: x.Last() + 1, Next: ">"})
	if err != nil {
		return err
	}
	end := last // of what is removed
	if next != nil {
		end = min(end, next.Sequence-1)
	}
	x.Skip(max(end, x.Last()))
	return nil
}

// Run takes over from the broker to know the ids while no other process can store events, until ctx ends.
func (t *Turns) Run(ctx context.Context) error {
	tick := time.NewTicker(knowInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := t.takeOver(ctx); err != nil && ctx.Err() == nil {
			t.deps.Log.Warn().Err(err).Msg("the broker goes on knowing the ids of all events, which takes memory; that is tried again")
		}
	}
}

// takeOver takes over, if that may be.
func (t *Turns) takeOver(ctx context.Context) error {
	t.mu.Lock()
	own, short := t.own, t.short
	t.mu.Unlock()
	if t.deps.Index == nil || own && short || !t.deps.Quiet(shareRest) {
		return nil
	}
	if own {
		return t.shorten(ctx)
	}
	return t.prepare(ctx)
}

// prepare reads what others have stored meanwhile, most of it without a turn, and has it ours.
func (t *Turns) prepare(ctx context.Context) error {
	if err := t.trust(ctx); err != nil {
		return err
	}
	for range maxCatchUps { // at full rate some come while it is asked how many there are
		n, err := t.approach(ctx)
		if err != nil {
			return err
		}
		if n < catchUpNear {
			break
		}
	}
	if err := t.take(); err != nil {
		return err
	}
	defer t.give()
	var err error
	t.deps.Alone(func() {
		if err = t.catchUp(ctx); err == nil {
			t.own = true
		}
	})
	return err
}

// shorten has the broker forget all but the newest ids, now that it need not know them. It is told twice: v2.15.2 begins to look through
// its list before it has taken the new window, and then only once the old one is over.
func (t *Turns) shorten(ctx context.Context) error {
	if err := t.take(); err != nil {
		return err
	}
	defer t.give()
	if !t.own {
		return nil
	}
	for _, window := range []time.Duration{2 * BrokerWindow, BrokerWindow} {
		if err := t.setWindow(ctx, window); err != nil {
			return err
		}
	}
	t.short = true
	return nil
}

// setWindow says how long the broker is to know ids.
func (t *Turns) setWindow(ctx context.Context, window time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	s, err := t.js.Stream(ctx, Events)
	if err != nil {
		return fmt.Errorf("look at stream %s: %w", Events, err)
	}
	cfg := s.CachedInfo().Config
	cfg.Duplicates = window
	if _, err := t.js.UpdateStream(ctx, cfg); err != nil {
		return fmt.Errorf("set the window of duplicates of %s to %s: %w", Events, window, err)
	}
	return nil
}

// Share has the broker know the ids of all events within the window, before another process may store any. It returns when it does. What has begun
// is brought to its end whatever becomes of ctx: who comes next need not wait.
func (t *Turns) Share(ctx context.Context) error {
	if err := t.take(); err != nil {
		return err
	}
	defer t.give()
	if !t.own {
		return nil
	}
	t.short = false // or it may be
	if err := t.setWindow(ctx, t.deps.Window); err != nil {
		return err
	}
	if err := t.deps.Recover(ctx); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	if err := t.reach(ctx); err != nil {
		return err
	}
	if _, err := t.state(ctx, Events); err != nil { // a stream that cannot be read the server only logs
		return err
	}
	t.own = false
	return nil
}

// errTwin: the same id was stored a moment ago, or is in the same group. Who wrote it asks again.
var errTwin = fmt.Errorf("%w: %w", ErrUnknown, errInProcess)

// eventID is the id of a message, if it is an event.
func eventID(m *nats.Msg) (id string, event bool) {
	return headerValue(m.Header, nats.MsgIdHdr), strings.HasPrefix(m.Subject, SubjectEvents)
}

// fresh settles the writes of a group whose ids are known, and returns the others. The caller has the turn. The same id twice in a group is
// written once, and then asked for again.
func (t *Turns) fresh(group []*write) []*write {
	if !t.own {
		return group
	}
	clear(t.seen)
	now := time.Now()
	fresh := make([]*write, 0, len(group))
	for _, w := range group {
		id, event := eventID(w.msg)
		if !event || id == "" {
			fresh = append(fresh, w)
			continue
		}
		sequence, known, err := t.deps.Index.Find(id, now)
		switch {
		case err != nil:
			w.err, w.settled = fmt.Errorf("%w: %w", ErrUnknown, err), true
		case known:
			w.ack, w.settled = Ack{sequence, true}, true
		case t.again(id):
			w.err, w.settled = errTwin, true
		default:
			fresh = append(fresh, w)
		}
	}
	return fresh
}

// again reports whether an id has been seen in this turn.
func (t *Turns) again(id string) bool {
	_, again := t.seen[id]
	t.seen[id] = struct{}{}
	return again
}

// noteWrites notes what was stored of a group. The caller has the turn, and nobody answers the writes any more.
func (t *Turns) noteWrites(group []*write) {
	if !t.own {
		return
	}
	now := time.Now()
	for _, w := range group {
		id, event := eventID(w.msg)
		switch {
		case !event || !w.settled:
		case w.err != nil:
			t.late = t.late || errors.Is(w.err, ErrUnknown)
		case w.ack.Duplicate: // somebody stored it whom we know nothing of; or it was removed, and the broker will soon have forgotten it
			w.err, t.late = errTwin, true
		default:
			t.note(id, w.ack.Sequence, now)
		}
	}
	t.save()
}

// note notes an event. One that does not follow on what is known means that others have stored some: these are read first.
func (t *Turns) note(id string, sequence uint64, at time.Time) {
	if t.late = t.late || sequence != t.deps.Index.Last()+1; !t.late {
		t.deps.Index.Add(id, sequence, at)
	}
}

// save writes down what was noted. An index that cannot be written goes on in memory, and is read anew at the next start.
func (t *Turns) save() {
	if err := t.deps.Index.Save(); err != nil {
		t.deps.Log.Warn().Err(err).Msg("the ids of events are not written down; the next start reads them from the store")
	}
}

// knows reports whether the id of some entry is known, or stands twice among them. The caller has the turn.
func (t *Turns) knows(group []*batch) (bool, error) {
	clear(t.seen)
	now := time.Now()
	for _, one := range group {
		for i := range one.entries {
			id := one.entries[i].id()
			if id == "" {
				continue
			}
			_, known, err := t.deps.Index.Find(id, now)
			if err != nil {
				return false, fmt.Errorf("%w: %w", ErrUnknown, err)
			}
			if known || t.again(id) {
				return true, nil
			}
		}
	}
	return false, nil
}

// noteBatches notes what was stored of a group. The caller has the turn.
func (t *Turns) noteBatches(group []*batch, first uint64) {
	now := time.Now()
	for _, one := range group {
		for i := range one.entries {
			t.note(one.entries[i].id(), first, now)
			first++
		}
	}
	t.save()
}

// find asks for entries where they are stored already; own = false: the broker is to be asked.
func (t *Turns) find(entries []Entry) (sequences []uint64, own bool, err error) {
	if err := t.take(); err != nil {
		return nil, false, err
	}
	defer t.give()
	if !t.own {
		return nil, false, nil
	}
	now := time.Now()
	sequences = make([]uint64, len(entries))
	for i := range entries {
		sequence, known, err := t.deps.Index.Find(entries[i].id(), now)
		if err != nil {
			return nil, true, fmt.Errorf("%w: %w", ErrUnknown, err)
		}
		if known {
			sequences[i] = sequence
		}
	}
	return sequences, true, nil
}
