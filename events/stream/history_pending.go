package stream

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events"
)

const (
	// pendingWindow is how many events are looked at at a time, of at most 1 MB each and usually 1 KB.
	pendingWindow = 128
	// maxPendingEvents bounds the events that one call matches.
	maxPendingEvents = 4096
	// maxPendingRecords bounds the messages of records that one call reads to tell which events on their way have some.
	maxPendingRecords = 16 << 10
	// eventRecords is how many records after an event are looked at for deliveries of it that nothing else tells of:
	// replays, and those of subscriptions that are gone.
	eventRecords = 8192
	// maxLookedUp bounds the deliveries that one call looks up by id, at half a millisecond each.
	maxLookedUp = 1000
)

// dispatched is how far the workers are with EVENTS.
type dispatched struct {
	floor     uint64 // all up to it is settled
	delivered uint64 // all after it has not been taken by a worker
}

func (h *History) dispatched(ctx context.Context) (d dispatched, ok bool, err error) {
	var answer struct {
		dispatchFloors
		Waiting    int `json:"num_waiting"`
		AckPending int `json:"num_ack_pending"`
	}
	err = h.call(ctx, "CONSUMER.INFO."+Events+"."+ConsumerDispatch, struct{}{}, &answer)
	if e, isAPI := errors.AsType[*jetstream.APIError](err); isAPI && e.ErrorCode == jetstream.JSErrCodeConsumerNotFound {
		return d, false, nil
	}
	d = dispatched{answer.Floor.Stream, answer.Delivered.Stream}
	if answer.Waiting == 0 && answer.AckPending == 0 {
		d.delivered = anywhere // it may be that a worker takes events by another way, and moves the consumer behind it
	}
	return d, err == nil, err
}

// anywhere is above all sequences.
const anywhere = 1 << 62

// dispatchFloors are what a consumer says of how far it is.
type dispatchFloors struct {
	Delivered struct {
		Stream uint64 `json:"stream_seq"`
	} `json:"delivered"`
	Floor struct {
		Stream uint64 `json:"stream_seq"`
	} `json:"ack_floor"`
}

// pendingPage lists deliveries that have no record yet: events after the floors of the workers and of lanes, the newest
// first. Of those that were taken it lists none where too many records were written since: they are found by id and by event.
func (l *listing) pendingPage(ctx context.Context) (next string, err error) {
	state, err := l.state(ctx, Events)
	if err != nil {
		return "", err
	}
	before, after, err := l.pendingBefore(state)
	if err != nil || l.match == nil {
		return "", err
	}
	p, err := l.positions(ctx, l.Subscription, state.Last)
	if err != nil {
		return "", err
	}
	w := &pendingWalk{listing: l, positions: p, size: pendingWindow}
	if err := w.readSettled(ctx, state); err != nil {
		return "", err
	}
	first := w.first(state)
	for looked := 0; before > first && looked < maxPendingEvents && !w.spent(); {
		window, from, err := w.window(ctx, first, before)
		if err != nil {
			return "", err
		}
		if next, err := w.show(ctx, window, after); next != "" || err != nil {
			return next, err
		}
		before, looked = from, looked+max(len(window), pendingWindow)
	}
	if before <= first {
		return "", nil
	}
	return formatCursor(cursorPending, before), nil
}

// pendingBefore reads the cursor of what is pending: the sequence before which to go on, or a delivery's id: then with
// its event's deliveries after it. Such an id has a dash, which no sequence has.
func (l *listing) pendingBefore(state streamState) (before uint64, after string, err error) {
	before = state.Last + 1
	if l.Cursor == "" {
		return before, "", nil
	}
	if sequence, _, _, ok := events.ParseDeliveryID(l.Cursor[1:]); ok {
		return min(before, sequence+1), l.Cursor[1:], nil
	}
	_, at, ok := parseCursor(l.Cursor)
	if !ok {
		return 0, "", ErrCursor
	}
	return min(before, at), "", nil
}

// waitingKind says how to list what is in a state of waiting: from where it waits when that is little, else from its
// records, among which it is then not rare.
func (l *listing) waitingKind(ctx context.Context) (byte, error) {
	var counts Counts
	var err error
	if l.Subscription == "" {
		counts, err = l.waiting.Total(ctx)
	} else {
		counts, err = l.waiting.Count(ctx, l.Subscription)
	}
	n := counts.Timers
	if l.State == events.StateHeld {
		n = counts.Held
	}
	if n > fewNames {
		return cursorRecords, err
	}
	return cursorWaiting, err
}

// waitingPage lists deliveries in the order of their events from the names of the messages by which they wait.
func (l *listing) waitingPage(ctx context.Context) (next string, err error) {
	ids, err := l.waitingIDs(ctx)
	if err != nil {
		return "", err
	}
	start := 0
	if l.Cursor != "" {
		after := l.Cursor[1:]
		if _, _, _, ok := events.ParseDeliveryID(after); !ok {
			return "", ErrCursor
		}
		at, found := slices.BinarySearchFunc(ids, after, newerFirst)
		if start = at; found {
			start++
		}
	}
	for i := start; i < len(ids); i++ {
		if l.full() || i-start >= maxLookedUp {
			return string(cursorWaiting) + ids[i-1], nil
		}
		_, subscription, _, _ := events.ParseDeliveryID(ids[i])
		p, ok, err := l.waiting.Find(ctx, subscription, ids[i])
		if err != nil {
			return "", err
		}
		if !ok {
			continue
		}
		if r := (&events.Record{Delivery: p.Delivery, State: p.State()}); l.takes(r) {
			l.add(r)
		}
	}
	return "", nil
}

// waitingIDs are the ids of what waits in the state asked for, the newest event first.
func (l *listing) waitingIDs(ctx context.Context) ([]string, error) {
	var ids []string
	for _, q := range queues(orAny(l.Subscription)) {
		if (q.place == PlaceHeld) != (l.State == events.StateHeld) {
			continue
		}
		names, err := l.subjects(ctx, q.stream, q.subject)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			id := name[strings.LastIndexByte(name, '.')+1:]
			if _, _, _, ok := events.ParseDeliveryID(id); ok {
				ids = append(ids, id)
			}
		}
	}
	slices.SortFunc(ids, newerFirst)
	return slices.Compact(ids), nil
}

// newerFirst orders ids of deliveries by event, the newest first, and then by replay and subscription.
func newerFirst(a, b string) int {
	as, _, ar, _ := events.ParseDeliveryID(a)
	bs, _, br, _ := events.ParseDeliveryID(b)
	switch {
	case as != bs && as > bs, as == bs && ar > br:
		return -1
	case as != bs || ar != br:
		return 1
	default:
		return strings.Compare(a, b)
	}
}

// ofEvent lists the deliveries of one event: those that it asks for, and those that have a record soon after it.
func (l *listing) ofEvent(ctx context.Context) (next string, err error) {
	expected, err := l.expected(ctx, l.Event)
	if err != nil {
		return "", err
	}
	ids := map[string]bool{}
	for _, r := range expected {
		ids[r.ID] = true
	}
	if l.Subscription != "" {
		ids[events.DeliveryID(l.Event, l.Subscription, 0)] = true
	}
	if err := l.recordedOf(ctx, ids); err != nil {
		return "", err
	}
	after, ok := strings.CutPrefix(l.Cursor, string(cursorEvent))
	if l.Cursor != "" && !ok {
		return "", ErrCursor
	}
	looked := 0
	for _, id := range slices.SortedFunc(maps.Keys(ids), newerFirst) {
		if after != "" && newerFirst(id, after) <= 0 {
			continue
		}
		if _, subscription, _, _ := events.ParseDeliveryID(id); l.Subscription != "" && l.Subscription != subscription {
			continue
		}
		if l.full() || looked >= maxLookedUp {
			return next, nil
		}
		looked++
		f, ok, err := l.Find(ctx, id)
		if err != nil {
			return "", err
		}
		if ok && l.takes(f.Record) {
			l.add(f.Record)
		}
		next = string(cursorEvent) + id
	}
	return "", nil
}

// recordedOf adds the ids of the event's deliveries among the records that follow it.
func (l *listing) recordedOf(ctx context.Context, ids map[string]bool) error {
	e, err := l.leader(ctx, Events, getRequest{Sequence: l.Event})
	if e == nil || err != nil {
		return err
	}
	start, err := l.leader(ctx, Attempts, getRequest{StartTime: &e.Time})
	if start == nil || err != nil {
		return err
	}
	state, err := l.state(ctx, Attempts)
	if err != nil {
		return err
	}
	s := scan{stream: Attempts, from: start.Sequence, to: min(start.Sequence+eventRecords, state.Last)}
	return l.read(ctx, s, func(_ uint64, msg *nats.Msg) bool {
		for r := range recordsOf(msg.Data) {
			id := recordID(r)
			if sequence, _, _, ok := events.ParseDeliveryID(id); ok && sequence == l.Event {
				ids[id] = true
			}
		}
		return true
	})
}
