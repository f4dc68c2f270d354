package worker

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events/stream"
)

// laneLook is how often a worker looks which lanes are its own, where it knows of a change: of workers, or that a tenure has ended. It looks at
// laneLookAll anyway. To look at a thousand lanes takes 2 ms.
const (
	laneLook    = 200 * time.Millisecond
	laneLookAll = time.Second
)

// lanes runs the lanes that this worker owns. A lane has one owner: who has its lease and is alive. It is the only one
// that sends for the lane.
type lanes struct {
	w       *Worker
	store   *stream.Lanes
	pool    pool
	serving sync.WaitGroup // of tenures, which have no goroutine while they have nothing to do

	ended atomic.Bool // a tenure has, since the last look

	mu      sync.RWMutex
	tenures map[string]*tenure // by subscription
}

func newLanes(w *Worker, store *stream.Lanes) *lanes {
	return &lanes{w: w, store: store, pool: pool{work: make(chan func())}, tenures: map[string]*tenure{}}
}

// run takes up and gives up lanes until ctx ends, and returns when all are given up.
func (l *lanes) run(ctx context.Context) error {
	told, err := l.store.HeldFor(l.heldFor)
	if err != nil {
		return err
	}
	defer func() { _ = told.Unsubscribe() }() // the connection may be gone
	back := l.w.nc.StatusChanged(nats.CONNECTED)
	defer l.w.nc.RemoveStatusListener(back)
	changed, end := l.w.registry.Watch()
	defer end()
	defer l.pool.wait()
	defer l.serving.Wait()
	defer l.endAll()
	tick := time.NewTicker(laneLook)
	defer tick.Stop()
	var fleet uint64
	var looked time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			if !l.ended.Load() && fleet == l.w.fleet.changes.Load() && now.Sub(looked) < laneLookAll {
				continue
			}
		case id := <-changed:
			l.tell(id, (*tenure).reload)
		case <-back:
			l.endAll() // the broker may have forgotten what it handed out
		}
		l.ended.Store(false)
		fleet, looked = l.w.fleet.changes.Load(), time.Now()
		l.look(ctx)
	}
}

// look begins what is ours and ends what is not.
func (l *lanes) look(ctx context.Context) {
	for id := range l.w.registry.Lanes() {
		if !l.w.fleet.owns(id) || l.of(id) != nil {
			continue
		}
		l.begin(ctx, id)
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	for id, t := range l.tenures {
		if !l.w.fleet.owns(id) || !l.w.registry.Laned(id) {
			t.quit()
		}
	}
}

func (l *lanes) begin(ctx context.Context, id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := newTenure(ctx, l, id)
	l.tenures[id] = t
	l.serving.Add(1)
	l.pool.do(t.serve)
}

// over hears that a tenure has ended.
func (l *lanes) over(t *tenure) {
	l.mu.Lock()
	delete(l.tenures, t.id)
	l.mu.Unlock()
	l.ended.Store(true)
	l.serving.Done()
}

func (l *lanes) endAll() {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, t := range l.tenures {
		t.quit()
	}
}

// of returns this worker's tenure of a lane; nil = it has none.
func (l *lanes) of(id string) *tenure {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.tenures[id]
}

// tell has do done by the tenure of a lane, if this worker has it.
func (l *lanes) tell(id string, do func(*tenure)) {
	if t := l.of(id); t != nil {
		t.mail.put(func() { do(t) })
	}
}

// heldFor hears that another worker has held a delivery for a lane.
func (l *lanes) heldFor(subscription, delivery string) {
	l.tell(subscription, func(t *tenure) { t.find(delivery) })
}

// poolRest is how long a goroutine of a pool waits for more work.
const poolRest = time.Second

// pool does work on goroutines that are used again: their stacks have grown to what a delivery needs. Who gives the
// work bounds it.
type pool struct {
	all  sync.WaitGroup
	work chan func()
}

func (c *pool) do(f func()) {
	select {
	case c.work <- f:
	default:
		c.all.Go(func() { c.handle(f) })
	}
}

func (c *pool) handle(f func()) {
	rest := time.NewTimer(poolRest)
	defer rest.Stop()
	for {
		f()
		rest.Reset(poolRest)
		select {
		case f = <-c.work:
		case <-rest.C:
			return
		}
	}
}

func (c *pool) wait() { c.all.Wait() }
