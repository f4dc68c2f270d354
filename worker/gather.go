package worker

import (
	"context"
	"sync"
	"time"

	"github.com/hookfleet/hookfleet/events"
)

// Bounds of what waits in a worker for its batch to fill or to be answered. It occupies neither slots nor hands, so that
// a sink which takes batches holds up no other.
const (
	maxGathered      = 4096     // deliveries, each with a message that the broker keeps for us
	maxGatheredBytes = 64 << 20 // of their texts
)

// gatherer gathers deliveries of the same subscription into batches.
type gatherer struct {
	send func(*batch)

	mu      sync.Mutex
	open    map[gatherKey]*batch // that may still grow
	count   int                  // deliveries gathered and not settled
	bytes   int                  // of their texts
	closed  bool
	sending sync.WaitGroup
}

// gatherKey tells batches apart. What was held is not mixed with what comes now: each has slots of its own.
type gatherKey struct {
	subscription string
	slots        *slots
}

func newGatherer(send func(*batch)) *gatherer {
	return &gatherer{send: send, open: map[gatherKey]*batch{}}
}

// limit is how many deliveries of one subscription may be gathered and not settled: a share of what is free, as with
// the slots of a way.
func (g *gatherer) limit() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.bytes >= maxGatheredBytes {
		return 1
	}
	return max(1, greed*(maxGathered-g.count))
}

// add puts a delivery into the open batch of its subscription, which goes as soon as one of its bounds is reached. It
// returns false when there is nobody any more to send it. Otherwise m.done is called when the delivery is settled.
func (g *gatherer) add(m *member, bounds events.Batch) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.count++
	g.bytes += len(m.text)
	key := gatherKey{m.Subscription, m.slots}
	if bodySize(m) > bounds.MaxBytes { // it goes alone, and those that wait go on waiting
		g.start(&batch{slots: m.slots, members: []*member{m}})
		return true
	}
	b := g.open[key]
	if b != nil && b.size+bodySize(m)-1 > bounds.MaxBytes {
		g.seal(key, b)
		b = nil
	}
	if b == nil {
		b = &batch{slots: m.slots}
		g.open[key] = b
		b.linger = time.AfterFunc(time.Duration(bounds.Linger), func() { g.lingered(key, b) })
	}
	b.add(m)
	if len(b.members) >= bounds.MaxEvents || b.size >= bounds.MaxBytes {
		g.seal(key, b)
	}
	return true
}

// flush sends what is gathered for a subscription: more of it has no place.
func (g *gatherer) flush(key gatherKey) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if b := g.open[key]; b != nil {
		g.seal(key, b)
	}
}

// lingered sends a batch whose time is over, if it is still open.
func (g *gatherer) lingered(key gatherKey, b *batch) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open[key] == b {
		g.seal(key, b)
	}
}

// seal closes an open batch and sends it. The caller holds mu.
func (g *gatherer) seal(key gatherKey, b *batch) {
	b.linger.Stop()
	delete(g.open, key)
	g.start(b)
}

// start sends a batch. The caller holds mu, and the gatherer is not closed.
func (g *gatherer) start(b *batch) {
	count, bytes := len(b.members), 0
	for _, m := range b.members {
		bytes += len(m.text)
	}
	g.sending.Go(func() {
		g.send(b)
		g.mu.Lock()
		g.count -= count
		g.bytes -= bytes
		g.mu.Unlock()
	})
}

// handBack hands back what is gathered for slots and was not sent.
func (g *gatherer) handBack(slots *slots) {
	var open []*batch
	g.mu.Lock()
	for key, b := range g.open {
		if key.slots != slots {
			continue
		}
		delete(g.open, key)
		b.linger.Stop()
		open = append(open, b)
		g.count -= len(b.members)
		for _, m := range b.members {
			g.bytes -= len(m.text)
		}
	}
	g.mu.Unlock()
	for _, b := range open {
		b.settled(errReturned)
	}
}

// run gathers until ctx ends. Then it hands back what no batch was sent of, and returns when all that was is settled.
func (g *gatherer) run(ctx context.Context) error {
	<-ctx.Done()
	g.mu.Lock()
	g.closed = true
	open := g.open
	g.open = map[gatherKey]*batch{}
	g.mu.Unlock()
	for _, b := range open {
		b.linger.Stop()
		b.settled(errReturned)
	}
	g.sending.Wait()
	return nil
}
