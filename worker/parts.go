package worker

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hookfleet/hookfleet/events/stream"
)

const (
	// joinGrace is how long a worker that comes waits for the others to make room for it: who does not answer is taken for
	// dead, although its heartbeat has not expired yet. The others answer within milliseconds.
	joinGrace = time.Second
	// maxOver bounds the sinks that a heartbeat names: who has more in excess makes no room yet.
	maxOver = 64
	// overLook is how often a worker looks whether what it has in excess has ended.
	overLook = 100 * time.Millisecond
)

// parts says whether this worker has its part of the limits, and for whom it has made room.
//
// A limit is kept while workers come because one that comes has no part of it before all others have said that they know
// it, which they do when theirs is no more than what is left beside it. A part never grows by a worker that comes, so
// whatever subset of the others each one knows beside those who use theirs, together they keep the limit.
type parts struct {
	// makeRoom lowers what this worker may use to its part, and returns the sinks where it has more in flight; ok is
	// false when those are too many.
	makeRoom func() (over []string, ok bool)
	changed  chan struct{} // there is something new to say
	joined   chan struct{} // closed when all have made room, for the first time

	once sync.Once

	mu    sync.Mutex
	whole bool            // all others have made room everywhere
	since time.Time       // when it began to wait for that; zero = it has not seen the others yet
	known bool            // all others know it, or are taken for dead
	not   map[string]bool // sinks where others have not made room yet

	seen  map[string]stream.Heartbeat
	alive []string // of seen, sorted
	knows []string // that it has made room for
	over  []string
}

func newParts() *parts {
	return &parts{
		makeRoom: func() ([]string, bool) { return nil, true }, changed: make(chan struct{}, 1), joined: make(chan struct{}),
	}
}

// has reports whether this worker may use its part of a sink's limit.
func (p *parts) has(subscription string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.whole || p.known && !p.not[subscription]
}

// set takes what the others say, and makes room for those that are new.
func (p *parts) set(own string, alive []string, seen map[string]stream.Heartbeat) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.alive, p.seen = alive, maps.Clone(seen)
	p.look(own)
}

// run looks again and again until ctx ends: what was in excess ends, and who does not answer is dead.
func (p *parts) run(ctx context.Context, own string) {
	tick := time.NewTicker(overLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			p.mu.Lock()
			p.look(own)
			p.mu.Unlock()
		}
	}
}

// look looks who has made room for this worker, and makes room for those that are new. The caller holds mu.
func (p *parts) look(own string) {
	p.join(own, time.Now())
	known := slices.Equal(p.alive, p.knows)
	if known && len(p.over) == 0 {
		return
	}
	if over, ok := p.makeRoom(); ok && (!known || !slices.Equal(over, p.over)) {
		p.knows, p.over = p.alive, over
		p.say()
	}
}

// join looks whether the others have made room for this worker. The caller holds mu.
func (p *parts) join(own string, now time.Time) {
	if p.whole || p.seen == nil {
		return
	}
	if p.since.IsZero() {
		p.since = now
	}
	p.known, p.not = true, map[string]bool{}
	for id, h := range p.seen {
		if id == own {
			continue
		}
		p.known = p.known && (slices.Contains(h.Knows, own) || now.Sub(p.since) > joinGrace)
		for _, subscription := range h.Over {
			p.not[subscription] = true
		}
	}
	p.whole = p.known && len(p.not) == 0
	if p.known {
		p.once.Do(func() { close(p.joined) })
	}
}

// expired says that the others have taken this worker for dead, and what it had for theirs.
func (p *parts) expired() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.whole, p.known, p.since = false, false, time.Time{}
}

// say has the next heartbeat sent at once. The caller holds mu.
func (p *parts) say() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// word is the heartbeat of now.
func (f *fleet) word(leaves bool, sender stream.Sender) stream.Heartbeat {
	p := f.parts
	p.mu.Lock()
	defer p.mu.Unlock()
	return stream.Heartbeat{At: time.Now().UTC(), Sender: sender, Broker: f.broker, Leaving: leaves, Knows: p.knows, Over: p.over}
}

// joinTimeout bounds the wait for the first look at the others. Without it nothing is sent until it comes.
const joinTimeout = 5 * time.Second

// await returns when this worker has its part, or soon.
func (p *parts) await(ctx context.Context) {
	timer := time.NewTimer(joinTimeout)
	defer timer.Stop()
	select {
	case <-p.joined:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// part is how many requests at a time this worker may have in flight to a sink.
func (w *Worker) part(subscription string, limit int) int {
	if !w.fleet.parts.has(subscription) {
		return 0
	}
	rank, n := w.fleet.rank(subscription)
	return share(limit, rank, n)
}

// limitOf is how many requests at a time this worker may have in flight to a delivery's sink: all that the sink takes for
// a lane, which has one owner.
func (w *Worker) limitOf(d *delivery) int {
	limit := d.entry.Subscription.Config.Concurrency
	if d.tenure != nil {
		return limit
	}
	return w.part(d.Subscription, limit)
}

// makeRoom lowers all gates to this worker's part of their limits.
func (w *Worker) makeRoom() (over []string, ok bool) {
	for id, g := range w.gates.each() {
		entry, ok := w.registry.Lookup(id)
		if !ok || entry.Subscription.Laned() { // a lane has one owner
			continue
		}
		rank, n := w.fleet.rank(id)
		if !g.lower(share(entry.Subscription.Config.Concurrency, rank, n)) {
			continue
		}
		if over = append(over, id); len(over) > maxOver {
			return nil, false
		}
	}
	slices.Sort(over)
	return over, true
}
