package worker

import (
	"context"
	"errors"
	"time"

	"github.com/hookfleet/hookfleet/events/stream"
)

const (
	// joinWait is how long the feed waits, when pulling has ended, until the broker counts nothing in anybody's hands but what is in ours.
	// What is acknowledged meanwhile takes a millisecond; nothing new is begun so long.
	joinWait = 250 * time.Millisecond
	joinLook = 5 * time.Millisecond
)

// errMoved: the broker does not know that we have what we have. It will give us that once more, and what we settled as well.
var errMoved = errors.New("the consumer of events was made again, or moved")

// begin turns the feed on, if nobody else works with the broker, and no event is in the hands of others: who pulled it may be sending it,
// also when we have lost sight of who that is. What this worker has pulled itself and has in hand stays there, and the feed
// waits for its end. Nothing may be pulled meanwhile. wait is how long that may take.
func (f *feed) begin(ctx context.Context, wait time.Duration) (bool, error) {
	if !f.turnOn() {
		return false, nil
	}
	if !f.alone(f.leave) {
		f.end()
		return false, nil
	}
	next, last, ours, err := f.join(ctx, time.Now().Add(wait))
	if err == nil && ours {
		err = f.place.Set(ctx, f.floorBefore(next))
	}
	if err != nil || !ours {
		f.release()
		f.end()
		return false, err
	}
	f.mu.Lock()
	f.next, f.top, f.past, f.over = next, max(f.top, last), 0, nil
	f.mu.Unlock()
	f.poke()
	return true, nil
}

// turnOn has the feed told of what is stored, unless something is in hand from the feed before: the broker may have given that to others
// since.
func (f *feed) turnOn() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hand.count > 0 {
		return false
	}
	f.on, f.leaves, f.leaving, f.left, f.empty = true, false, make(chan struct{}), make(chan struct{}), make(chan struct{})
	f.next, f.top, f.again, f.offers = unknown, 0, nil, offers{all: map[uint64]offered{}}
	return true
}

// join takes over what this worker has pulled and not settled, until that is all that the broker counts as in somebody's hands: then
// all below next is settled or in our hands.
func (f *feed) join(ctx context.Context, until time.Time) (next, last uint64, ours bool, err error) {
	for {
		floor, last, open, err := f.place.Look(ctx)
		if err != nil {
			return 0, 0, false, err
		}
		// What we had in hand after the broker counted is part of what it counted: its acks come when it is not in hand any more.
		switch ours, highest := f.adopt(); {
		case open < ours || floor < highest:
			return 0, 0, false, errMoved
		case open == ours:
			return floor + 1, last, true, nil
		}
		if time.Now().After(until) {
			return 0, 0, false, nil
		}
		select {
		case <-ctx.Done():
			return 0, 0, false, ctx.Err()
		case <-f.leaving:
			return 0, 0, false, nil
		case <-time.After(joinLook):
		}
	}
}

// adopt takes in hand what this worker has pulled, and returns how many that are, and the last of them.
func (f *feed) adopt() (n int, highest uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, sequence := range f.w.keeper.of(stream.Events) {
		if f.pulled[sequence] == nil {
			one := &fed{from: delivered{Sequence: sequence, Times: 2}}
			f.pulled[sequence] = one
			f.hand.add(one)
		}
	}
	return f.hand.count, f.hand.highest()
}

// floorBefore is the sequence up to which all is settled, of what lies below next.
func (f *feed) floorBefore(next uint64) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if lowest := f.hand.lowest(); lowest != nil {
		return lowest.from.Sequence - 1
	}
	return next - 1
}

// settlePulled is settle for an event that was pulled. It is to be called when the keeper does not have it any more, and before
// the broker is answered.
func (f *feed) settlePulled(sequence uint64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if one := f.pulled[sequence]; one != nil { // else it was settled before a feed began
		delete(f.pulled, sequence)
		f.endOf(one, err)
	}
}

// newTurn ends the wait of what was pulled for its turn, once the feed has taken that over and is left: whoever comes begins it. What is pulled from here on
// waits for as long as the worker runs.
func (f *feed) newTurn() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.endTurn != nil {
		f.endTurn()
	}
	f.pullTurn, f.endTurn = context.WithCancel(f.w.turns)
}

// turnOfPulled is the context of newTurn.
func (f *feed) turnOfPulled() context.Context {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pullTurn
}

// release gives up what was taken over, when the feed does not begin: the broker is answered about it as always. If the consumer was moved
// nevertheless, it comes again.
func (f *feed) release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over == nil {
		f.over = map[uint64]struct{}{}
	}
	for sequence, one := range f.pulled {
		f.over[sequence] = struct{}{}
		f.hand.remove(one)
	}
	for _, one := range f.again {
		f.over[one.from.Sequence] = struct{}{}
		f.hand.remove(one)
	}
	clear(f.pulled)
}
