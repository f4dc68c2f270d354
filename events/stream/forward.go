package stream

import (
	"context"
	"encoding/json"
	"fmt"
)

const (
	// walkBatch: the server shuts writers out while it answers, 20 µs a message.
	walkBatch = 64
	// walkBytes bounds an answer when events are large.
	walkBytes = 4 << 20
)

// batch returns the next messages of a stream at or after from, at most limit, and fewer when they are large; none at its
// end. filter is a subject; "" = all. It asks any replica, which may be a little behind.
func (r reader) batch(ctx context.Context, stream, filter string, from uint64, limit int) (batch []*stored, err error) {
	limit = min(limit, walkBatch)
	request, err := json.Marshal(struct {
		getRequest
		Batch    int `json:"batch"`
		MaxBytes int `json:"max_bytes"`
	}{getRequest{Sequence: max(from, 1), Next: filter}, limit, walkBytes})
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	return r.several(ctx, stream, request, limit)
}

// after returns the messages of a stream from a sequence on, at most limit and at most as far as through. The next call
// goes on at next; it is beyond through when nothing is left.
func (r reader) after(ctx context.Context, stream string, from, through uint64, limit int) (batch []*stored, next uint64, err error) {
	if from > through {
		return nil, from, nil
	}
	batch, err = r.batch(ctx, stream, "", from, limit)
	if err != nil {
		return nil, from, err
	}
	for i, m := range batch {
		if m.Sequence > through {
			return batch[:i], through + 1, nil
		}
		next = m.Sequence + 1
	}
	if len(batch) > 0 {
		return batch, next, nil
	}
	// The end, or a replica that is behind: the leader knows.
	m, err := r.leader(ctx, stream, getRequest{Sequence: from, Next: ">"})
	if err != nil {
		return nil, from, err
	}
	if m == nil || m.Sequence > through {
		return nil, through + 1, nil
	}
	return []*stored{m}, m.Sequence + 1, nil
}

// After returns the events from a sequence on, at most limit and at most as far as through, and where to go on: beyond
// through when nothing is left. It waits for a batch that is being stored as plain messages, and leaves out what was removed of it.
func (l *EventLog) After(ctx context.Context, from, through uint64, limit int) (page []*StoredEvent, next uint64, err error) {
	batch, next, err := l.after(ctx, Events, from, through, limit)
	if err != nil {
		return nil, from, fmt.Errorf("read events: %w", err)
	}
	var cut together // the batch that reaches beyond what was read: at most the last one
	there := true    // it is stored
	for _, m := range batch {
		e := &StoredEvent{m.Sequence, subjectTenant(m.Subject), m.Time, m.Header, m.Data}
		mark, marked := togetherOf(m.Header)
		if marked = marked && mark.last() >= next; marked && mark != cut {
			if there, err = l.isWhole(ctx, e, mark); err != nil {
				return nil, from, fmt.Errorf("read events: %w", err)
			}
			cut = mark
		}
		if there || !marked {
			page = append(page, e)
		}
	}
	return page, next, nil
}

// After returns the dead letters of a subscription of a tenant from a sequence on, in the order in which they were given
// up, and where to go on, as EventLog.After: limit is of the dead letters of all. What cannot be read is left out.
func (d *DeadList) After(ctx context.Context, tenant, subscription string, from, through uint64, limit int) (page []*Letter, next uint64, err error) {
	batch, next, err := d.after(ctx, DeadName, from, through, limit)
	if err != nil {
		return nil, from, fmt.Errorf("read dead letters: %w", err)
	}
	q := DeadQuery{Tenant: tenant, Subscription: subscription}
	for _, m := range batch {
		if !q.matches(m.Subject) {
			continue
		}
		if l, err := parseLetter(m); err == nil {
			page = append(page, l)
		}
	}
	return page, next, nil
}

// Bounds returns the first sequence that is stored, and the one that the next dead letter gets.
func (d *DeadList) Bounds(ctx context.Context) (first, end uint64, err error) {
	s, err := d.state(ctx, DeadName)
	return max(s.First, 1), s.Last + 1, err
}

// Remove removes a dead letter that was read; ok is false when it is not there any more.
func (d *DeadList) Remove(ctx context.Context, l *Letter) (ok bool, err error) {
	return d.remove(ctx, DeadName, l.Sequence)
}
