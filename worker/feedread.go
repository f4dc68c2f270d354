package worker

import (
	"context"
	"time"

	"github.com/hookfleet/hookfleet/events/stream"
)

// catchUp reads events from the stream until memory has the next one, or nothing is left.
func (f *feed) catchUp(ctx context.Context, handlers *handlers[*fed]) {
	err := f.read(ctx, handlers)
	if err == nil || ctx.Err() != nil {
		return
	}
	f.w.log.Warn().Err(err).Msg("events not read; trying again")
	select {
	case <-ctx.Done():
	case <-time.After(feedPause):
	}
}

func (f *feed) read(ctx context.Context, handlers *handlers[*fed]) error {
	f.mu.Lock()
	next, top := f.next, f.top
	f.mu.Unlock()
	first, err := f.log.Ahead(ctx, next-1)
	if err != nil {
		return err
	}
	if first == 0 || first > top { // what was there is gone
		f.pass(top + 1)
		return nil
	}
	var batch []*fed
	defer func() { f.handOut(ctx, handlers, batch) }()
	return f.log.Follow(ctx, first, func(e *stream.StoredEvent, behind uint64) bool {
		one, more := f.found(e)
		if one != nil {
			batch = append(batch, one)
		}
		// What comes with more behind it is not the last for long.
		if more = more && behind > 0 && ctx.Err() == nil; !more || len(batch) == feedBatch {
			f.handOut(ctx, handlers, batch)
			batch = batch[:0]
		}
		return more
	})
}

// pass goes on at next: before it is nothing.
func (f *feed) pass(next uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.next < next {
		f.next = next
		f.offers.forget(next)
	}
}

// found takes an event in hand that was read. more is false when memory has what follows.
func (f *feed) found(e *stream.StoredEvent) (one *fed, more bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e.Sequence < f.next || f.full() {
		return nil, false
	}
	f.offers.take(e.Sequence)
	one = f.hold(&fed{from: delivered{Sequence: e.Sequence, Times: 1, Stored: e.At}, stored: e})
	f.top = max(f.top, e.Sequence)
	return one, !f.offers.has(f.next)
}
