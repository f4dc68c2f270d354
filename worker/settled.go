package worker

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

// settledMargin is read before the time from which records matter: clocks of stored messages are the broker's own, so
// this only covers what was under way.
const settledMargin = 30 * time.Second

// settledIdle is how long the set is kept after it was last asked. It is large only while something went wrong.
const settledIdle = time.Minute

// heldMemory is how far back the history is read for a held message that came again, which may have been stored long ago:
// what a dead worker had in hand is taken up within seconds, or the drain's consumer is gone.
const heldMemory = time.Minute

// mark is what the history says of a delivery: its newest record.
type mark struct {
	state    events.State
	attempts int
	record   uint64
}

// settled knows what was recorded of deliveries whose messages came again. The broker writes its consumers' state every
// 100 ms, so a kill gives back what was acknowledged last, most of it not flagged as redelivered. The history tells what
// of that is settled, and it is not sent again.
type settled struct {
	history *stream.History
	seed    maphash.Seed

	mu     sync.Mutex
	seen   map[uint64]mark              // by hash of the delivery's id: a clash of 64 bits among some millions is neglected
	lists  map[uint64]*stream.BatchList // by the same: the batch that a delivery was last about to be sent in
	from   time.Time                    // records since then are in seen; zero = none
	next   uint64                       // first ATTEMPTS sequence that is not read yet
	read   time.Time                    // when the last reading began
	used   time.Time
	fences map[string]uint64 // by stream: what lay at or below when we connected is looked up
	before span              // what was recorded before we connected and may matter
	known  bool              // before is in seen
}

// span is a part of the history: from a time to a sequence.
type span struct {
	from time.Time
	to   uint64
}

func newSettled(h *stream.History) *settled {
	return &settled{history: h, seed: maphash.MakeSeed(), seen: map[uint64]mark{}, lists: map[uint64]*stream.BatchList{}, fences: map[string]uint64{}}
}

// fence says that every message of the stream up to sequence may have been settled before we came.
func (s *settled) fence(streamName string, sequence uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fences[streamName] = max(s.fences[streamName], sequence)
}

// suspect reports whether a message may have been settled before.
func (s *settled) suspect(streamName string, from delivered) bool {
	if from.Times > 1 {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return from.Sequence <= s.fences[streamName]
}

// load reads the history since from, for everything that is asked for later.
func (s *settled) load(ctx context.Context, from time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.cover(ctx, from, time.Now()); err != nil {
		return err
	}
	s.before, s.known = span{from, s.next - 1}, true
	return nil
}

// recall reads again what load had read, when that was forgotten. The caller holds mu.
func (s *settled) recall(ctx context.Context) error {
	s.used = time.Now()
	if s.known {
		return nil
	}
	if _, err := s.history.SettledUntil(ctx, s.before.from.Add(-settledMargin), s.before.to, stream.Settled{Record: s.add, Batch: s.addList}); err != nil {
		return fmt.Errorf("read the history: %w", err)
	}
	s.known = true
	return nil
}

// cover extends what is in memory back to from, and forward to the time it was asked for. The caller holds mu: who else
// asks needs it too, and is content with a reading that began after that. When much comes again at once, one reading
// for each would take so long that more comes again.
func (s *settled) cover(ctx context.Context, from, asked time.Time) error {
	s.used = time.Now()
	back := s.from.IsZero() || from.Before(s.from)
	if !back && s.read.After(asked) {
		return nil
	}
	began := s.used
	var last uint64
	var err error
	if back {
		last, err = s.history.SettledSince(ctx, from.Add(-settledMargin), stream.Settled{Record: s.add, Batch: s.addList})
		s.from = from
	} else {
		last, err = s.history.SettledFrom(ctx, s.next, stream.Settled{Record: s.add, Batch: s.addList})
	}
	if err != nil {
		s.from = time.Time{}
		return fmt.Errorf("read the history: %w", err)
	}
	s.next, s.read = max(s.next, last+1), began
	return nil
}

func (s *settled) add(id string, state events.State, attempts int, record uint64) {
	key := maphash.String(s.seed, id)
	if record > s.seen[key].record { // parts of the history are not read in order
		s.seen[key] = mark{state, attempts, record}
	}
}

func (s *settled) addList(l *stream.BatchList) {
	for _, id := range l.Members {
		s.lists[maphash.String(s.seed, id)] = l
	}
}

// listOf returns the batch that a delivery was last about to be sent in, as far as lookup has read for it; nil = none.
func (s *settled) listOf(id string) *stream.BatchList {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lists[maphash.String(s.seed, id)]
}

// lookup returns the newest record of a delivery whose message came again. since is when the delivery began.
func (s *settled) lookup(ctx context.Context, id string, since time.Time, again bool) (mark, bool, error) {
	asked := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	// Below the fence only what was recorded before we connected matters, and that is loaded. A message that is handed
	// out again may have been recorded by a worker that died just now: read on.
	if again || s.from.IsZero() || since.Before(s.from) {
		if err := s.cover(ctx, earlier(since, s.from), asked); err != nil {
			return mark{}, false, err
		}
	}
	s.used = time.Now()
	m, ok := s.seen[maphash.String(s.seed, id)]
	return m, ok, nil
}

// lookupHeld is lookup for a message of HELD. Those lie there for days, while the history since then is long: only what
// was recorded before we connected is read, and what is recent.
func (s *settled) lookupHeld(ctx context.Context, id string, from delivered) (mark, bool, error) {
	asked := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if from.Sequence <= s.fences[stream.HeldName] {
		if err := s.recall(ctx); err != nil {
			return mark{}, false, err
		}
	}
	if from.Times > 1 {
		since := asked.Add(-heldMemory)
		if from.Stored.After(since) {
			since = from.Stored
		}
		if err := s.cover(ctx, since, asked); err != nil {
			return mark{}, false, err
		}
	}
	m, ok := s.seen[maphash.String(s.seed, id)]
	return m, ok, nil
}

func earlier(a, b time.Time) time.Time {
	if b.IsZero() || a.Before(b) {
		return a
	}
	return b
}

// shrink frees the memory when nobody has asked for a while.
func (s *settled) shrink(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.seen)+len(s.lists) > 0 && now.Sub(s.used) > settledIdle {
		s.seen, s.lists, s.from, s.known = map[uint64]mark{}, map[uint64]*stream.BatchList{}, time.Time{}, false
	}
}

// resumed settles a delivery whose message came again, as far as it is settled. done says that nothing is left to do for
// this message. What is recorded and lacks its timer, held message or dead letter gets it: we were killed between.
func (w *Worker) resumed(ctx context.Context, d *delivery, from delivered, first bool) (done bool, err error) {
	m, ok, err := w.newest(ctx, d, from)
	if err != nil || !ok {
		return false, err
	}
	if !first && (m.record <= d.Record || m.attempts <= d.Attempts && !m.state.Ended() && m.state != events.StateHeld) {
		return false, nil // the record that made this very message
	}
	return w.restore(ctx, d, m, from)
}

// newest returns the newest record of a delivery whose message came again. It was recorded shortly before its message was
// acknowledged, never before that was stored.
func (w *Worker) newest(ctx context.Context, d *delivery, from delivered) (mark, bool, error) {
	if d.tenure != nil { // what its last owner settled, and did not let go of
		return w.settled.lookup(ctx, d.ID, d.tenure.since, false)
	}
	if d.slots == w.held {
		return w.settled.lookupHeld(ctx, d.ID, from)
	}
	return w.settled.lookup(ctx, d.ID, from.Stored, from.Times > 1)
}

// restore makes whole what the newest record m of a delivery says, as far as a kill left it undone.
func (w *Worker) restore(ctx context.Context, d *delivery, m mark, from delivered) (done bool, err error) {
	d.Attempts, d.Record, d.state = m.attempts, m.record, m.state
	switch m.state {
	case events.StateDelivered, events.StateCancelled, events.StateSkipped:
		return true, nil
	case events.StateDead:
		return true, w.restoreDead(ctx, d)
	default:
		return w.restoreWaiting(ctx, d, m, from)
	}
}

// restoreWaiting makes sure that a delivery which is recorded as retrying or held waits somewhere.
func (w *Worker) restoreWaiting(ctx context.Context, d *delivery, m mark, from delivered) (done bool, err error) {
	if m.state == events.StateHeld && d.slots.place == stream.PlaceDue {
		// It was held, and its ack was lost: who drains what is held has it, perhaps at this moment.
		parked, ok, err := w.waitlist.Held(ctx, d.Subscription, d.ID)
		if err != nil {
			return false, fmt.Errorf("look for %s: %w", d, err)
		}
		if ok && parked.Delivery.Attempts >= m.attempts {
			return true, nil
		}
	}
	parked, ok, err := w.waitlist.Find(ctx, d.Subscription, d.ID)
	if err != nil {
		return false, fmt.Errorf("look for %s: %w", d, err)
	}
	if ok && parked.Place != d.slots.place {
		return true, nil
	}
	if ok && d.slots.place != "" {
		return false, nil // it waits right here: go on with it
	}
	// It waits nowhere: it was never set, or its timer fired and it went on since m was read. Its record tells, which is
	// written before its place is given up.
	from.Times = max(from.Times, 2) // read on
	newest, ok, err := w.newest(ctx, d, from)
	if err != nil {
		return false, err
	}
	if ok && newest.record != m.record {
		return w.restore(ctx, d, newest, from)
	}
	return true, w.restoreTimer(ctx, d, m)
}

// restoreTimer sets the timer that the record at m asks for. The message that came again is older than the record: what
// the attempt changed is in the record alone.
func (w *Worker) restoreTimer(ctx context.Context, d *delivery, m mark) error {
	r, err := w.settled.history.Record(ctx, m.record, d.ID)
	if err != nil {
		return fmt.Errorf("read the record of %s: %w", d, err)
	}
	if r != nil {
		d.Delivery = r.Delivery
		d.Record = m.record
	}
	if d.NextAt.IsZero() {
		d.NextAt = time.Now()
	}
	return w.setTimer(ctx, d)
}

// restoreDead makes sure that a delivery which is recorded as dead has its dead letter.
func (w *Worker) restoreDead(ctx context.Context, d *delivery) error {
	found, ok, err := w.settled.history.Find(ctx, d.ID)
	if err != nil {
		return fmt.Errorf("look for %s: %w", d, err)
	}
	if !ok || found.Record.State != events.StateDead {
		return nil // replayed or deleted since
	}
	d.Delivery = found.Record.Delivery
	var last *events.Attempt
	if n := len(found.Attempts); n > 0 {
		last = &found.Attempts[n-1]
	}
	return w.bury(ctx, d, last)
}
