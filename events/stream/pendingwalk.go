package stream

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events"
)

const (
	// maxPendingSpan is how many sequences are read at a time where only lanes' events matter and those are rare.
	maxPendingSpan = 64 << 10
	// maxPendingHits bounds what is kept of that, of at most 1 MB each and usually 1 KB.
	maxPendingHits = 1024
)

// pendingWalk lists what is pending, from the newest event to the oldest.
type pendingWalk struct {
	*listing
	*positions
	settled map[string]bool // deliveries with records, of those that may have some
	size    uint64          // of a window in which only lanes' events matter
	began   time.Time
}

// spent reports whether the walk took as long as one call may.
func (w *pendingWalk) spent() bool {
	if w.began.IsZero() {
		w.began = time.Now()
	}
	return time.Since(w.began) >= maxWalk
}

// readSettled learns which deliveries have records. Where those are too many, nothing is listed that may have one.
func (w *pendingWalk) readSettled(ctx context.Context, state streamState) error {
	w.settled = map[string]bool{}
	records, err := w.state(ctx, Attempts)
	if err != nil {
		return err
	}
	from := uint64(math.MaxUint64)
	narrow := func(floor *uint64, taken uint64) error {
		if *floor >= taken || *floor >= state.Last {
			return nil
		}
		at, err := w.recordsSince(ctx, *floor+1, taken)
		switch {
		case err != nil:
			return err
		case at == 0: // nothing was recorded since
		case records.Last > at && records.Last-at > maxPendingRecords:
			*floor = taken
		default:
			from = min(from, at)
		}
		return nil
	}
	if err := narrow(&w.floor, w.delivered); err != nil {
		return err
	}
	looks := 0
	for _, versions := range w.lanes {
		for _, r := range versions {
			if r.floor >= r.taken || r.floor >= state.Last {
				continue
			}
			if looks++; looks > maxLookedUp {
				r.floor = r.taken
			} else if err := narrow(&r.floor, r.taken); err != nil {
				return err
			}
		}
	}
	if from > records.Last {
		return nil
	}
	_, err = w.SettledFrom(ctx, from, Settled{Record: func(id string, _ events.State, _ int, _ uint64) { w.settled[id] = true }})
	return err
}

// recordsSince is the first record after the first of the events in [sequence, to]; 0 = there is none.
func (w *pendingWalk) recordsSince(ctx context.Context, sequence, to uint64) (uint64, error) {
	e, err := w.leader(ctx, Events, getRequest{Sequence: sequence, Next: SubjectEvents + ">"})
	if e == nil || e.Sequence > to || err != nil {
		return 0, err
	}
	start, err := w.leader(ctx, Attempts, getRequest{StartTime: &e.Time})
	if start == nil || err != nil {
		return 0, err
	}
	return start.Sequence, nil
}

// first is the first sequence at which something may be pending.
func (w *pendingWalk) first(state streamState) uint64 {
	floor := w.floor
	for _, versions := range w.lanes {
		for _, r := range versions {
			floor = min(floor, r.floor)
		}
	}
	return max(floor+1, state.First)
}

// window reads the events before a sequence that may have something pending, in order, and tells from where on. Up to the
// workers' floor those are only events of lanes that are behind.
func (w *pendingWalk) window(ctx context.Context, first, before uint64) (window []*stored, from uint64, err error) {
	s := scan{stream: Events, to: before - 1}
	if w.floor+1 < before {
		s.from = max(first, w.floor+1, before-min(before, pendingWindow))
	} else {
		s.from = max(first, before-min(before, w.size))
		s.filters = w.subjects(s.from, before)
		if len(s.filters) == 0 {
			return nil, s.from, nil
		}
		if err := w.warm(ctx, Events, s.from, s.to); err != nil {
			return nil, 0, err
		}
	}
	err = w.read(ctx, s, func(sequence uint64, msg *nats.Msg) bool {
		at := time.Time{}
		if meta, err := msg.Metadata(); err == nil {
			at = meta.Timestamp
		}
		if len(window) == maxPendingHits { // dense all of a sudden: the newest are enough
			window = slices.Delete(window, 0, maxPendingHits/2)
			s.from = window[0].Sequence
		}
		window = append(window, &stored{msg.Subject, sequence, at, msg.Header, msg.Data})
		return true
	})
	if s.filters != nil {
		w.size = min(max(pendingWindow*(before-s.from)/uint64(len(window)+1), pendingWindow), maxPendingSpan)
	}
	return window, s.from, err
}

// maxFilters: of more subjects all is read, because the server compares each message with each of them.
const maxFilters = 64

// subjects are where the events of lanes are that have something in [from, before).
func (w *pendingWalk) subjects(from, before uint64) []string {
	var all []string
	for _, versions := range w.lanes {
		var behind []*laneReach
		for _, r := range versions {
			if r.floor+1 < before && from <= r.Until && (w.Tenant == "" || w.Tenant == r.Tenant) {
				behind = append(behind, r)
			}
		}
		if len(behind) > 0 {
			all = append(all, laneSubjects(behind)...)
		}
	}
	if len(all) > maxFilters {
		return []string{SubjectEvents + ">"}
	}
	return disjoint(all)
}

// show adds the pending deliveries of events, the newest first, that come after a delivery; "" = all. next is a cursor when
// the page is full.
func (w *pendingWalk) show(ctx context.Context, window []*stored, after string) (next string, err error) {
	for _, m := range slices.Backward(window) {
		expected, err := w.expectedOf(ctx, m)
		if err != nil {
			return "", err
		}
		slices.SortFunc(expected, func(a, b *events.Record) int { return newerFirst(a.ID, b.ID) })
		for _, r := range expected {
			pending, _ := w.of(r.Subscription, m.Sequence)
			if !pending || w.settled[r.ID] || !w.takes(r) || after != "" && newerFirst(r.ID, after) <= 0 {
				continue
			}
			if w.add(r); w.full() {
				return string(cursorPending) + r.ID, nil
			}
		}
	}
	return "", nil
}
