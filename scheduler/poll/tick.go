package poll

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/events/stream"
)

// tick is this process's part of the poll of one source at one tick.
type tick struct {
	*Poller
	entry    *registry.SourceEntry
	source   *events.StatusSource
	asker    *asker // nil: problem says why nothing can be asked
	problem  error
	poll     stream.Poll // as it was read or written last
	revision uint64

	flying  atomic.Int64  // requests
	freed   chan struct{} // one of them ended
	tallies tallies
}

// tallies are what came of the requests of this process.
type tallies struct {
	mu                                sync.Mutex
	asked, changed, completed, failed int
	problem                           string
}

// errOver says that the poll is another's by now: it is through, or the source has changed hands. Only steps of a tick
// return it.
var errOver = errors.New("the poll is over")

// maxTries bounds how often a change of a record begins anew because another process came first.
const maxTries = 100

// poll takes part in the source's poll, if there is one to take part in, and returns when to look again.
func (p *Poller) poll(ctx context.Context, e *registry.SourceEntry) (next time.Time, err error) {
	t := &tick{Poller: p, entry: e, source: e.Source, freed: make(chan struct{}, 1)}
	if ok, err := t.enter(ctx); err != nil || !ok {
		return t.next(), err
	}
	t.asker, t.problem = p.askerOf(e)
	err = t.work(ctx)
	if left := t.leave(ctx); err == nil || errors.Is(err, errOver) {
		err = left
	}
	return t.next(), err
}

// next is when to look at the source again.
func (t *tick) next() time.Time {
	if !t.poll.Done {
		return time.Now().Add(t.cfg.Look)
	}
	return t.source.Tick(t.poll.At).Add(time.Duration(t.source.Every))
}

// read reads the poll of this source; that of an earlier one under its id is none, nor is there one before the first tick.
func (t *tick) read(ctx context.Context) (err error) {
	t.poll, t.revision, err = t.polls.Get(ctx, t.source.ID)
	if err == nil && !t.poll.Of.Equal(t.entry.CreatedAt) {
		t.poll = stream.Poll{Of: t.entry.CreatedAt, At: t.entry.CreatedAt, Done: true}
	}
	return err
}

// enter begins the poll that is due, or joins the one that is under way. ok is false when there is nothing to do.
func (t *tick) enter(ctx context.Context) (ok bool, err error) {
	for range maxTries {
		if err := t.read(ctx); err != nil {
			return false, err
		}
		p := t.poll
		if at := t.source.Tick(time.Now()); p.Done && at.After(p.At) {
			if p, err = t.begin(ctx, at); err != nil {
				return false, err
			}
		}
		t.fleet.bury(&p)
		if p.Done || len(p.Busy) > 0 && (p.Taken() || t.share() == 0) {
			return false, nil
		}
		p.Join(t.id)
		if err := t.write(ctx, p); !errors.Is(err, stream.ErrMoved) {
			return err == nil, err
		}
	}
	return false, nil // others change it all the time: they poll
}

// begin is the poll of a tick, of which one that was missed meanwhile is not made up for.
func (t *tick) begin(ctx context.Context, at time.Time) (stream.Poll, error) {
	last, err := t.items.Last(ctx)
	now := time.Now().UTC()
	if err == nil {
		t.metrics.late.Observe(now.Sub(at).Seconds())
	}
	return stream.Poll{Of: t.entry.CreatedAt, At: at, Until: last, Next: 1, Began: now}, err
}

// write stores p over what was read.
func (t *tick) write(ctx context.Context, p stream.Poll) error {
	revision, err := t.polls.Put(ctx, t.source.ID, &p, t.revision)
	if err == nil {
		t.poll, t.revision = p, revision
	}
	return err
}

// share is how many requests this process may have in flight.
func (t *tick) share() int { return t.fleet.share(t.source.Concurrency) }

// work asks for items until all are taken, and waits for those that this process took.
func (t *tick) work(ctx context.Context) error {
	asking, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	// What is in flight when the process ends may go on for a while.
	defer context.AfterFunc(ctx, func() {
		select {
		case <-asking.Done():
		case <-time.After(t.cfg.Drain):
			stop()
		}
	})()
	var requests sync.WaitGroup
	defer requests.Wait()
	for ctx.Err() == nil && !t.poll.Taken() {
		page, more, err := t.items.Open(ctx, t.source.ID, t.poll.Next, t.poll.Until)
		if err != nil {
			return err
		}
		if err := t.ask(ctx, asking, page, more, &requests); err != nil {
			return err
		}
	}
	return nil
}

// ask asks for the items of a page that nobody else takes. more says that there are items behind it.
func (t *tick) ask(ctx, asking context.Context, page []*stream.StoredItem, more bool, requests *sync.WaitGroup) error {
	for {
		if t.await(ctx) != nil {
			return nil // the process ends; others, or the next start, go on
		}
		for len(page) > 0 && page[0].Revision < t.poll.Next {
			page = page[1:] // another process's
		}
		n := min(len(page), t.batch())
		upto := t.poll.Until
		switch {
		case n < len(page) || more && n > 0:
			upto = page[n-1].Revision
		case more:
			return nil
		}
		// Whoever claims first has them. When it was another, the page goes on behind what that one took.
		switch err := t.claim(ctx, upto); {
		case errors.Is(err, stream.ErrMoved):
			if t.poll.Taken() {
				return nil
			}
			continue
		case err != nil:
			return err
		}
		for _, item := range page[:n] {
			if t.await(ctx) != nil || !t.enterRoom(ctx) {
				return nil // they wait for the next tick
			}
			t.flying.Add(1)
			requests.Go(func() {
				defer t.free()
				t.visit(asking, item)
			})
		}
		if page = page[n:]; len(page) == 0 {
			return nil
		}
	}
}

// batch is how many items are claimed at a time: enough that a claim costs little beside the requests, and few enough
// that the death of a process makes few wait for the next tick.
func (t *tick) batch() int { return min(max(2*t.share(), 8), 256) }

// await returns when one more request of this source may be in flight.
func (t *tick) await(ctx context.Context) error {
	for int(t.flying.Load()) >= max(t.share(), 1) {
		select {
		case <-t.freed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return ctx.Err()
}

// enterRoom takes a place among the requests of this process.
func (t *tick) enterRoom(ctx context.Context) bool {
	select {
	case t.room <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// free gives the places of a request back.
func (t *tick) free() {
	<-t.room
	t.flying.Add(-1)
	select {
	case t.freed <- struct{}{}:
	default:
	}
}

// claim takes the items up to a revision, or ErrMoved when another process was first; then the poll is read again.
// errOver when there is nothing to be taken any more.
func (t *tick) claim(ctx context.Context, upto uint64) error {
	if now, ok := t.deps.Registry.Source(t.source.ID); !ok || !now.CreatedAt.Equal(t.entry.CreatedAt) {
		return errOver
	}
	p := t.poll
	p.Busy = append([]string(nil), p.Busy...)
	p.Next = upto + 1
	p.Join(t.id)
	err := t.write(ctx, p)
	if !errors.Is(err, stream.ErrMoved) {
		return err
	}
	at := t.poll.At
	if err := t.read(ctx); err != nil {
		return err
	}
	if t.poll.Done || !t.poll.At.Equal(at) {
		return errOver
	}
	return stream.ErrMoved
}

// leave hands in what this process has counted, and ends the poll when it is the last one and nothing is left.
func (t *tick) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.cfg.TTL)
	defer cancel()
	at := t.poll.At
	for range maxTries {
		if err := t.read(ctx); err != nil {
			return err
		}
		if t.poll.Done || !t.poll.At.Equal(at) {
			return nil // it was ended without us: we were taken for dead
		}
		p := t.poll
		t.tallies.add(&p)
		p.Leave(t.id)
		t.fleet.bury(&p)
		if p.Taken() && len(p.Busy) == 0 {
			if err := t.end(ctx, &p); err != nil {
				return err
			}
		}
		if err := t.write(ctx, p); !errors.Is(err, stream.ErrMoved) {
			return err
		}
	}
	return fmt.Errorf("leave the poll of %s: others change it all the time", t.source.ID)
}

// end tells that everything that was found at the tick is in EVENTS. It may be done twice.
func (t *tick) end(ctx context.Context, p *stream.Poll) error {
	last, err := t.items.LastEvent(ctx)
	if err != nil {
		return err
	}
	if err := stream.WriteSourceTick(ctx, t.deps.Writer, t.source.ID, stream.SourceTick{At: p.At, Until: last}); err != nil {
		return err
	}
	p.Done, p.Ended = true, time.Now().UTC()
	t.metrics.polls.Observe(p.Ended.Sub(p.Began).Seconds())
	level := zerolog.DebugLevel
	if p.Failed > 0 {
		level = zerolog.WarnLevel
	}
	t.log.WithLevel(level).Str("source", t.source.ID).Time("tick", p.At).Int("asked", p.Asked).Int("changed", p.Changed).
		Int("failed", p.Failed).Str("error", p.Error).Dur("took", p.Ended.Sub(p.Began)).Msg("source polled")
	return nil
}

func (t *tallies) add(p *stream.Poll) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.Asked += t.asked
	p.Changed += t.changed
	p.Completed += t.completed
	p.Failed += t.failed
	if t.problem != "" {
		p.Error = t.problem
	}
}
