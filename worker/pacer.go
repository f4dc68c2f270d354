package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hookfleet/hookfleet/events/stream"
)

const (
	// paceWait is how long a delivery waits for its sink's next permit before it goes to HELD: longer, and sinks at their
	// limits would take the places in hand from others.
	paceWait = 100 * time.Millisecond
	// paceDrainWait is how long one that is drained does, of which there are only as many as may be sent in that time. It is
	// longer, so that what came first goes first.
	paceDrainWait = 2 * time.Second
	// maxLate is how late a permit may be used: later ones are lost. It is by how much a rate may be exceeded: at most by
	// the permits of that time, once.
	maxLate = 100 * time.Millisecond
	// maxReserveTries bounds how often a reservation begins anew because another worker's came first.
	maxReserveTries = 32
)

// pacers keep the rates of all sinks over the whole fleet: each permit is reserved in a record that all workers share,
// so that neither their number nor one's end matters, and a restart brings no second burst. A permit that was reserved
// by a worker that dies is lost.
type pacers struct {
	store *stream.Paces

	mu  sync.Mutex
	all map[string]*pacer
}

func newPacers(store *stream.Paces) *pacers { return &pacers{store: store, all: map[string]*pacer{}} }

func (p *pacers) of(subscription string) *pacer {
	p.mu.Lock()
	defer p.mu.Unlock()
	one, ok := p.all[subscription]
	if !ok {
		one = &pacer{subscription: subscription, store: p.store, turn: make(chan struct{}, 1)}
		p.all[subscription] = one
	}
	return one
}

func (p *pacers) forget(subscription string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.all, subscription)
}

// pacer is this worker's part in keeping one sink's rate.
type pacer struct {
	subscription string
	store        *stream.Paces
	turn         chan struct{} // who holds it reserves, for all who want

	mu       sync.Mutex
	ledger   ledger // as it was seen last: the truth may be later, never earlier
	revision uint64
	ready    []time.Time // permits that are reserved and not used, in order
	wanting  int
}

// take waits for a permit, and returns the time from which on it holds; false at once when there is none within patience,
// or when ctx ends before. The permit holds for maxLate.
func (p *pacer) take(ctx context.Context, at pace, patience time.Duration) (permit time.Time, ok bool, err error) {
	p.want(1)
	defer p.want(-1)
	for {
		now := time.Now()
		permit, ok, none := p.pick(at, now, now.Add(patience))
		switch {
		case ok:
			return permit, p.await(ctx, permit), nil
		case none:
			return time.Time{}, false, nil
		}
		if err := p.reserve(ctx, at, patience); err != nil {
			return time.Time{}, false, err
		}
	}
}

func (p *pacer) want(n int) {
	p.mu.Lock()
	p.wanting += n
	p.mu.Unlock()
}

// pick takes a reserved permit that holds by upto. none says that there can be no other before.
func (p *pacer) pick(at pace, now, upto time.Time) (permit time.Time, ok, none bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ready = slices.DeleteFunc(p.ready, func(r time.Time) bool { return now.Sub(r) > maxLate })
	if len(p.ready) > 0 && !p.ready[0].After(upto) {
		permit, p.ready = p.ready[0], p.ready[1:]
		return permit, true, false
	}
	return time.Time{}, false, len(p.ready) > 0 || p.ledger.next(at, now).After(upto)
}

// await waits until the permit holds. When ctx ends before, it gives the permit back.
func (p *pacer) await(ctx context.Context, permit time.Time) bool {
	early := time.Until(permit)
	if early <= 0 {
		return true
	}
	timer := time.NewTimer(early)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		p.giveBack(permit)
		return false
	}
}

// minIdle is the least that idle waits: a permit that was taken from under our nose is no reason to spin.
const minIdle = 10 * time.Millisecond

// idle waits until the next permit is no further away than a drain waits for. It returns false when ctx ends before.
func (p *pacer) idle(ctx context.Context, at pace) bool {
	now := time.Now()
	timer := time.NewTimer(max(p.next(at, now).Sub(now)-paceDrainWait, minIdle))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// giveBack returns a permit that was not used.
func (p *pacer) giveBack(permit time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, _ := slices.BinarySearchFunc(p.ready, permit, time.Time.Compare)
	p.ready = slices.Insert(p.ready, i, permit)
}

// next is when the next permit may be had, as far as this worker knows.
func (p *pacer) next(at pace, now time.Time) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := p.ledger.next(at, now)
	if len(p.ready) > 0 && p.ready[0].Before(next) {
		next = p.ready[0]
	}
	return next
}

// reserve reserves permits for all who want one, unless another has just done so.
func (p *pacer) reserve(ctx context.Context, at pace, patience time.Duration) error {
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-p.turn }()
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	for range maxReserveTries {
		if p.served(patience) {
			return nil
		}
		err := p.write(ctx, at, patience)
		if !errors.Is(err, stream.ErrMoved) {
			return err
		}
		if err := p.read(ctx); err != nil {
			return err
		}
	}
	return fmt.Errorf("pace of %s: others change it all the time", p.subscription)
}

// served reports whether there is a permit for us: who had the turn before has reserved for all.
func (p *pacer) served(patience time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	return slices.ContainsFunc(p.ready, func(r time.Time) bool {
		return now.Sub(r) <= maxLate && r.Sub(now) <= patience
	})
}

// write reserves by what was seen last.
func (p *pacer) write(ctx context.Context, at pace, patience time.Duration) error {
	p.mu.Lock()
	is, revision, n := p.ledger, p.revision, p.wanting-len(p.ready)
	p.mu.Unlock()
	now := time.Now()
	permits := is.give(at, max(n, 1), now, now.Add(patience))
	if len(permits) == 0 {
		return nil
	}
	record, err := json.Marshal(is)
	if err != nil {
		return fmt.Errorf("encode pace of %s: %w", p.subscription, err)
	}
	revision, err = p.store.Write(ctx, p.subscription, record, revision, is.rested(at).Sub(now))
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ledger, p.revision = is, revision
	p.ready = append(p.ready, permits...)
	slices.SortFunc(p.ready, time.Time.Compare)
	return nil
}

// read sees what others have reserved.
func (p *pacer) read(ctx context.Context) error {
	record, revision, err := p.store.Read(ctx, p.subscription)
	if err != nil {
		return err
	}
	var is ledger
	if len(record) > 0 {
		if err := json.Unmarshal(record, &is); err != nil {
			return fmt.Errorf("decode pace of %s: %w", p.subscription, err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ledger, p.revision = is, revision
	return nil
}
