package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/events/stream"
)

// Bounds of draining held deliveries.
const (
	maxDrains       = 64                     // sinks that one worker drains at a time: each costs a consumer
	drainLook       = 250 * time.Millisecond // how often the owner looks which gates have opened
	drainIdleLook   = 100 * time.Millisecond // how often a drain looks whether it is done
	drainInactivity = 30 * time.Second       // when the broker removes a drain's consumer that nobody uses
	drainPatience   = 24 * time.Hour         // the wait for a slow sink's turn ends with the drain, not by itself
	drainTurn       = 5 * time.Second        // how long a drain goes on while others wait for their turn
	// justHeld is how long a worker watches over the backlog mark after it held something: the owner may have cleared the
	// mark before it saw the message.
	justHeld = 10 * time.Second
)

// backlogs remembers for which subscriptions this worker held something just now.
type backlogs struct {
	mu   sync.Mutex
	last map[string]time.Time
}

func (b *backlogs) held(subscription string) {
	b.mu.Lock()
	b.last[subscription] = time.Now()
	b.mu.Unlock()
}

// recent returns the subscriptions that were held for lately, and forgets the others.
func (b *backlogs) recent(now time.Time) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var ids []string
	for id, at := range b.last {
		if now.Sub(at) > justHeld {
			delete(b.last, id)
		} else {
			ids = append(ids, id)
		}
	}
	return ids
}

// drainAll drains the held queues of the sinks that this worker owns, as their gates open, until ctx ends.
func (w *Worker) drainAll(ctx context.Context) error {
	var drains sync.WaitGroup
	defer drains.Wait()
	var mu sync.Mutex
	running := map[string]bool{}
	tick := time.NewTicker(drainLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		w.watchBacklogs(ctx)
		crowded := false
		for id := range w.registry.Backlogged() {
			mu.Lock()
			mend := w.mayMend(id)
			start := !running[id] && (mend || w.mayDrain(id))
			if start && len(running) >= maxDrains {
				start, crowded = false, true
			}
			if start {
				running[id] = true
			}
			mu.Unlock()
			if !start {
				continue
			}
			drains.Go(func() {
				if mend {
					w.mend(ctx, id)
				} else if err := w.drain(ctx, id); err != nil && ctx.Err() == nil {
					w.log.Warn().Err(err).Str(fieldSubscription, id).Msg("held deliveries not drained; trying again")
				}
				mu.Lock()
				delete(running, id)
				mu.Unlock()
			})
		}
		w.crowded.Store(crowded)
	}
}

// watchBacklogs marks again what this worker held lately and the owner cleared meanwhile.
func (w *Worker) watchBacklogs(ctx context.Context) {
	for _, id := range w.backlogs.recent(time.Now()) {
		if err := w.markBacklog(ctx, id); err != nil && ctx.Err() == nil {
			w.log.Warn().Err(err).Msg("backlog not marked; trying again")
		}
	}
}

// mayDrain reports whether this worker should drain a sink's held queue now. What belongs to a deleted subscription is
// drained too, into cancels.
func (w *Worker) mayDrain(id string) bool {
	if !w.fleet.owns(id) || w.registry.Laned(id) { // a lane takes what it held itself
		return false
	}
	entry, ok := w.registry.Lookup(id)
	if !ok {
		return true
	}
	if w.part(id, entry.Subscription.Config.Concurrency) == 0 {
		return false // a worker that is leaving, or has not made room yet, may be using all of the limit
	}
	return w.drains(entry) && !time.Now().Before(w.gates.of(id).closedUntil())
}

// maxHandedBack bounds handedBack, at 2 MB; what it forgets costs a look at the history.
const maxHandedBack = 1 << 16

// handedBack remembers which held messages this worker handed back unsent, by their sequence, and how often they had
// been handed out by then. A message that comes again for this reason alone needs no look at the history.
type handedBack struct {
	mu    sync.Mutex
	times map[uint64]int
}

func (h *handedBack) note(sequence uint64, times int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.times) >= maxHandedBack {
		clear(h.times)
	}
	h.times[sequence] = times
}

// take reports whether nobody had the message since this worker handed it back, and forgets it.
func (h *handedBack) take(from delivered) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	times, ok := h.times[from.Sequence]
	delete(h.times, from.Sequence)
	return ok && from.Times == times+1
}

// drain brings a sink's held deliveries back, oldest first, until there are none, the gate closes, another worker owns
// the sink, or ctx ends. It returns when all that it has in flight has ended.
//
// The consumer is one for all workers and nobody removes it: the next owner goes on with it while the last one's sends
// are in flight, which stay theirs, and a dead one's come again after their AckWait. Removing it would silently lose
// the acks that are still to come. The broker does when it is used no more: no pull, no ack and no word of the keeper's.
func (w *Worker) drain(ctx context.Context, id string) error {
	consumer, slots, by := stream.HeldConsumer(id), w.drainSlots(id), w.newAsides(id)
	_, err := w.js.CreateOrUpdateConsumer(ctx, stream.HeldName, jetstream.ConsumerConfig{
		Name: consumer, FilterSubject: stream.SubjectHeld + id + ".>", AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: ackWait, MaxDeliver: -1, MaxAckPending: slots, InactiveThreshold: drainInactivity,
	})
	if err != nil {
		return fmt.Errorf("make consumer %s: %w", consumer, err)
	}
	pull, stop := context.WithCancel(ctx)
	defer stop()
	p := w.newPuller(stream.HeldName, consumer, slots)
	end := func() {
		stop()
		<-p.idle // until then what is handed back would come back to us
	}
	p.handle = func(m *nats.Msg) {
		defer p.release()
		w.unhold(pull, m, id, by, end)
	}
	var watching sync.WaitGroup
	var empty bool
	watching.Go(func() { empty = w.watchDrain(pull, id, consumer, by, stop) })
	err = p.run(pull)
	stop()
	watching.Wait()
	if empty {
		err = errors.Join(err, w.clearBacklog(ctx, id))
	}
	return err
}

// drainSlots is how many held deliveries of a sink are in hand at a time: twice what may be sent, so that the next ones
// are here when a send ends.
func (w *Worker) drainSlots(id string) int {
	limit := cap(w.held.sends)
	if entry, ok := w.registry.Lookup(id); ok {
		slots := min(limit, 2*w.part(id, entry.Subscription.Config.Concurrency))
		soon := w.soon(entry)
		if batches(entry) {
			most := bounds(entry).MaxEvents // at least what one batch takes
			slots = min(slots*most, max(most, 2*cap(w.held.sends)))
			if soon > 1 { // requests; a probe is one delivery
				soon = max(soon, min(soon, maxGathered)*most)
			}
		}
		limit = min(slots, soon)
	}
	return max(limit, 1)
}

// unhold takes one held delivery through its next attempt. What may not be sent now is handed back, and ends the drain.
func (w *Worker) unhold(turn context.Context, m *nats.Msg, id string, by *asides, end func()) {
	from, ok := parseDelivered(m.Reply)
	if !ok {
		return
	}
	held := w.keeper.add(stream.HeldName, from.Sequence, m.Reply)
	if held == nil {
		return
	}
	times, err := from.Times, errReturned
	if w.handed.take(from) {
		from.Times = 1
	}
	if w.mayDrain(id) || w.goesOn(id, by) {
		err = w.resumeOne(w.sends, turn, m, from, w.held, by)
	}
	if errors.Is(err, errReturned) {
		end()
		w.handed.note(from.Sequence, times)
	}
	w.letGo(held, m, err)
}

// watchDrain ends a drain that is done (true) or may not go on (false).
func (w *Worker) watchDrain(ctx context.Context, id, consumer string, by *asides, stop func()) (empty bool) {
	defer stop()
	tick := time.NewTicker(drainIdleLook)
	defer tick.Stop()
	began := time.Now()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
		if !w.mayDrain(id) && !w.goesOn(id, by) || w.crowded.Load() && time.Since(began) > drainTurn {
			return false
		}
		look, cancel := context.WithTimeout(ctx, settleTimeout)
		state, err := readConsumer(look, w.nc, stream.HeldName, consumer)
		cancel()
		if err == nil && state.NumPending == 0 && state.NumAckPending == 0 {
			return true
		}
	}
}

// clearBacklog takes the mark off, and puts it back when something was held meanwhile.
func (w *Worker) clearBacklog(ctx context.Context, id string) error {
	err := w.registry.SetHealth(ctx, id, func(h *registry.Health) bool {
		changed := h.Backlog
		h.Backlog = false
		return changed
	})
	if err != nil {
		return fmt.Errorf("clear backlog of %s: %w", id, err)
	}
	left, err := w.waitlist.Count(ctx, id)
	if err != nil {
		return fmt.Errorf("count held of %s: %w", id, err)
	}
	if left.Held > 0 {
		return w.markBacklog(ctx, id)
	}
	return nil
}
