package api

import (
	"context"
	"sync"
	"time"

	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/events/stream"
)

// A count of what is pending that had to read a large backlog is used again for reuseFactor times as long as it took, so
// that asking for the status all the time costs at most a fifth of a core. Without a backlog it takes a millisecond.
const (
	largeBacklog = 5_000 // events
	reuseFactor  = 4
)

// maxCounts bounds the counts that are kept; each is of one question.
const maxCounts = 256

// pendingCounts counts pending deliveries, one scan at a time for each question.
type pendingCounts struct {
	backlog *stream.Backlog

	mu   sync.Mutex
	kept map[string]*pendingCount
}

type pendingCount struct {
	mu     sync.Mutex
	counts map[string]uint64
	until  time.Time
}

func newPendingCounts(b *stream.Backlog) *pendingCounts {
	return &pendingCounts{backlog: b, kept: map[string]*pendingCount{}}
}

// of returns the counts by subscription: of one, when subscription is not "", else of all.
func (p *pendingCounts) of(ctx context.Context, tenant, subscription string) (map[string]uint64, error) {
	c := p.slot(tenant + "/" + subscription)
	c.mu.Lock()
	defer c.mu.Unlock()
	start := time.Now()
	if start.Before(c.until) {
		return c.counts, nil
	}
	counts, looked, err := p.backlog.Pending(ctx, tenant, subscription)
	if err != nil {
		return nil, err
	}
	if looked > largeBacklog {
		c.counts, c.until = counts, start.Add((1+reuseFactor)*time.Since(start))
	}
	return counts, nil
}

func (p *pendingCounts) slot(question string) *pendingCount {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c, ok := p.kept[question]; ok {
		return c
	}
	if len(p.kept) >= maxCounts {
		clear(p.kept) // whoever counts in one now finishes with it
	}
	c := &pendingCount{}
	p.kept[question] = c
	return c
}

// countWaiting returns how many deliveries of a subscription are accepted and not ended: those without a record yet,
// and those that wait for a retry or in HELD.
func (a *API) countWaiting(ctx context.Context, e *registry.Entry, pending map[string]uint64) (uint64, error) {
	s := e.Subscription
	if pending == nil {
		var err error
		if pending, err = a.pending.of(ctx, s.Tenant, s.ID); err != nil {
			return 0, err
		}
	}
	parked, err := a.waiting.Count(ctx, s.ID)
	if err != nil {
		return 0, err
	}
	return pending[s.ID] + parked.Timers + parked.Held, nil
}
