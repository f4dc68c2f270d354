package worker

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

const (
	// feedBatch is how many events are taken for one look whether the registry is as new as they are.
	feedBatch = 256
	// feedGap is how long an event may be missing in memory when a later one is here, before it is read from the stream: who stores
	// single events at the same time tells of them in any order, within this.
	feedGap = 5 * time.Millisecond
	// feedPause is how long after a failure it is tried again.
	feedPause = 500 * time.Millisecond
	// leaveWait bounds the wait for what is in hand when the feed is left. Deliveries take milliseconds; what takes longer may be
	// begun once more by another worker.
	leaveWait = time.Second
	// leaveTimeout bounds how long whoever makes us leave waits. The broker gives a client 2 s to be let in.
	leaveTimeout = 1800 * time.Millisecond
	// maxAgain bounds what failed to settle and waits to be tried again: then nothing new is taken.
	maxAgain = 4096
)

// unknown is the sequence of nothing: what is offered lies below it.
const unknown = math.MaxUint64

// feed takes the events that this process stores from memory straight to their deliveries, while nobody else works with
// its broker. Else each goes through the broker's consumer, is parsed once more and acknowledged, a quarter of what a delivery
// costs. What memory has not is read from the stream: what came before a start, by other ways, or while ingest was far ahead.
//
// The consumer is kept where all below is settled, so that it tells how far the worker is as if it had handed out the
// messages, and whoever takes over goes on there. What lies above and is settled is known from the history, as after a kill.
type feed struct {
	w     *Worker
	log   *stream.EventLog
	place *stream.DispatchPlace
	alone func(leave func()) bool
	room  chan struct{} // a place for each event in hand that occupies a goroutine

	wake chan struct{} // something was offered

	turn context.Context //nolint:containedctx // of what is in hand: the wait for its turn ends when the feed is left

	mu       sync.Mutex
	pullTurn context.Context //nolint:containedctx // the same of what is pulled
	endTurn  context.CancelFunc

	on      bool
	leaving chan struct{} // closed: it is to be left
	leaves  bool
	left    chan struct{} // closed: it was left
	empty   chan struct{} // closed, while it is left, when nothing is in hand
	next    uint64        // the first event that was not taken yet; unknown = nothing is taken
	top     uint64        // the newest event that is known of
	offers  offers
	hand    inHand
	again   []*fed              // of hand: what failed to settle
	past    uint64              // the feed had taken what lies below when it was left last, and settled all but over
	over    map[uint64]struct{} // what was in hand when the feed was left last: its end was recorded after that
	pulled  map[uint64]*fed     // of hand: what had been pulled before the feed began
}

// newFeed returns nil where others always work with the broker.
func newFeed(w *Worker, deps *Deps, slots int) *feed {
	if deps.Alone == nil {
		return nil
	}
	f := &feed{
		w: w, log: stream.NewEventLog(deps.JS), place: stream.NewDispatchPlace(deps.JS), alone: deps.Alone,
		room: make(chan struct{}, slots), wake: make(chan struct{}, 1), next: unknown, pulled: map[uint64]*fed{},
	}
	f.hand.init()
	return f
}

// Offer says that events are durable, the first at a sequence and the others behind it, which came at a time and were stored shortly after.
// It waits for nothing, and is to be called for all that this process stores; what it is not told of is found within a second.
func (w *Worker) Offer(first uint64, evts []*events.Event, came time.Time) {
	if w.feed != nil {
		w.feed.offer(first, evts, came)
	}
}

// Feeds reports whether events go from memory to their deliveries at this time.
func (w *Worker) Feeds() bool {
	if w.feed == nil {
		return false
	}
	_, known := w.feed.settled()
	return known
}

// Unsettled is how many events are not settled, among those that the feed knows of. ok is false when it does not feed: then the consumer
// says how many. Else that counts what was settled since the oldest that is not.
func (w *Worker) Unsettled() (n uint64, ok bool) {
	f := w.feed
	if f == nil {
		return 0, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.next == unknown {
		return 0, false
	}
	return uint64(f.hand.count) + f.top + 1 - f.next, true
}

func (f *feed) offer(first uint64, evts []*events.Event, came time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.on || len(evts) == 0 {
		return
	}
	f.top = max(f.top, first+uint64(len(evts))-1)
	for i, e := range evts {
		f.offers.put(first+uint64(i), f.next, offered{e, came})
	}
	f.poke()
}

func (f *feed) poke() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// end turns the feed off, and lets those go on who waited for it.
func (f *feed) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.on, f.next, f.again, f.offers = false, unknown, nil, offers{}
	close(f.left)
}

// finish notes how far the worker is, when all that was in hand has ended, and turns the feed off.
func (f *feed) finish(ctx context.Context) error {
	f.mu.Lock()
	on, floor, known := f.on, f.floor(), f.next != unknown
	f.mu.Unlock()
	if !on {
		return nil
	}
	defer f.end()
	if !known {
		return nil
	}
	return f.place.Set(ctx, floor)
}

// leave has the feed left, and returns when it was, or soon.
func (f *feed) leave() {
	f.mu.Lock()
	if !f.on {
		f.mu.Unlock()
		return
	}
	if !f.leaves {
		f.leaves = true
		close(f.leaving)
		f.tellEmpty()
	}
	left := f.left
	f.mu.Unlock()
	select {
	case <-left:
	case <-time.After(leaveTimeout):
	}
}

// tellEmpty says that nothing is in hand, if somebody waits for that. The caller holds mu.
func (f *feed) tellEmpty() {
	if !f.leaves || f.hand.count > len(f.again) {
		return
	}
	select {
	case <-f.empty:
	default:
		close(f.empty)
	}
}

// run takes events until ctx ends, after which finish is to be called, or the feed is to be left: then it is off, and the consumer
// stands where it goes on. The handlers may have some in hand still.
func (f *feed) run(ctx context.Context, handlers *handlers[*fed]) error {
	taking, stop := context.WithCancel(ctx)
	defer stop()
	f.turn = taking
	var beside sync.WaitGroup
	beside.Go(func() {
		select {
		case <-f.leaving:
			stop()
		case <-taking.Done():
		}
	})
	beside.Go(func() { f.keep(taking, stop) })
	f.takeAll(taking, handlers)
	stop()
	beside.Wait()
	if ctx.Err() != nil {
		return nil
	}
	defer f.end()
	return f.handOver(ctx)
}

// takeAll takes events as they come until ctx ends.
func (f *feed) takeAll(ctx context.Context, handlers *handlers[*fed]) {
	var missing uint64  // what memory does not have
	var since time.Time // when that was first seen
	timer := time.NewTimer(feedPause)
	defer timer.Stop()
	for ctx.Err() == nil {
		f.tryAgain(ctx, handlers)
		batch, behind := f.take()
		if len(batch) > 0 {
			f.handOut(ctx, handlers, batch)
			continue
		}
		wait := time.Hour // nothing needs it
		if behind > 0 {
			if behind != missing {
				missing, since = behind, time.Now()
			}
			if wait = feedGap - time.Since(since); wait <= 0 {
				missing = 0
				f.catchUp(ctx, handlers)
				continue
			}
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
		case <-f.wake:
		case <-timer.C:
		}
	}
}

// take takes what memory has of the next events. behind is the first of them, if there is one and memory does not have it; else 0.
func (f *feed) take() (batch []*fed, behind uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.full() || f.next == unknown {
		return nil, 0
	}
	for len(batch) < feedBatch {
		one, ok := f.offers.take(f.next)
		if !ok {
			break
		}
		batch = append(batch, f.hold(&fed{from: delivered{Sequence: f.next, Times: 1, Stored: one.at}, event: one.event}))
	}
	if len(batch) == 0 && f.next <= f.top {
		behind = f.next
	}
	return batch, behind
}

// full reports whether nothing more is to be taken in hand: when the feed is left, all that is is waited for. The caller holds mu.
func (f *feed) full() bool { return f.leaves || len(f.again) >= maxAgain }

// hold takes an event in hand. The caller holds mu.
func (f *feed) hold(one *fed) *fed {
	f.hand.add(one)
	f.next = one.from.Sequence + 1
	return one
}

// handOut hands events to the handlers, once the registry is as new as they are.
func (f *feed) handOut(ctx context.Context, handlers *handlers[*fed], batch []*fed) {
	err := f.w.registry.Fresh(ctx)
	for _, one := range batch {
		if err != nil || !occupy(ctx, f.room) {
			f.settle(one, errReturned)
			continue
		}
		handlers.give(one)
	}
}

// handle is what its handlers do.
func (f *feed) handle(one *fed) {
	defer func() { <-f.room }()
	f.w.dispatchFed(f.turn, one)
}

// settle says that all deliveries of an event are settled, or why not: then it is tried again later, unless the feed was left
// and another way leads to it.
func (f *feed) settle(one *fed, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.endOf(one, err)
}

// endOf is settle for a caller that holds mu.
func (f *feed) endOf(one *fed, err error) {
	if err != nil && f.on {
		one.due, one.event, one.stored = time.Now().Add(ackWait), nil, nil
		f.again = append(f.again, one)
		f.tellEmpty()
		return
	}
	f.hand.remove(one)
	if one.kept != nil {
		f.w.keeper.remove(one.kept)
	}
	f.tellEmpty()
}

// straggled reports whether an event was in hand when the feed was left: what was known of it then may be out of date.
func (f *feed) straggled(sequence uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.over[sequence]
	return ok
}

// settledIt reports whether an event, which the consumer hands out now, was settled before the feed was left: the consumer
// goes on at the oldest that was not. What became of it later, as of a dead letter that was deleted, is not to be undone.
func (f *feed) settledIt(sequence uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, over := f.over[sequence]
	return sequence < f.past && !over
}

// floor is the sequence up to which all is settled. The caller holds mu.
func (f *feed) floor() uint64 {
	if lowest := f.hand.lowest(); lowest != nil {
		return lowest.from.Sequence - 1
	}
	return f.next - 1
}
