package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/hookfleet/hookfleet/events"
)

const (
	// itemRetention is how long a completed item is kept: as long as a delivery's history, with which it is looked at. Until
	// then it is not watched anew when it is added once more.
	itemRetention = historyRetention
	// itemPage is how many items are in memory at a time, with 300 bytes each.
	itemPage = 8192
	// itemAdders is how many items one call adds at a time: they share the syncs of the writer.
	itemAdders = 128
)

// StoredItem is an item and what it lies under.
type StoredItem struct {
	events.Item
	Revision uint64 // sequence in ITEMS
}

// ItemStore keeps the items of sources: one message each, open and completed ones apart, so that a poll reads no
// completed ones. It is safe for concurrent use and holds nothing.
type ItemStore struct {
	reader
	writer *Writer
}

// NewItemStore reads through js, whose connection should not be one that publishes much, and stores by writer.
func NewItemStore(js jetstream.JetStream, writer *Writer) *ItemStore {
	return &ItemStore{newReader(js), writer}
}

func itemSubject(state events.ItemState, source, key string) string {
	return SubjectItems + string(state) + "." + source + "." + events.ItemHash(key)
}

// itemSubjects matches the items of a source in a state; "" = any.
func itemSubjects(state events.ItemState, source string) string {
	return SubjectItems + orAny(string(state)) + "." + source + ".*"
}

// Add begins to watch items at a status, and returns them in order. One that is watched already, or was and is not
// forgotten yet, stays as it is. It returns when they are durable.
func (s *ItemStore) Add(ctx context.Context, source string, keys []string, status string) ([]StoredItem, error) {
	now := time.Now().UTC().Truncate(time.Millisecond)
	items := make([]StoredItem, len(keys))
	adding, ctx := errgroup.WithContext(ctx)
	adding.SetLimit(itemAdders)
	for i, key := range keys {
		adding.Go(func() error {
			items[i].Item = events.Item{Key: key, Status: status, AddedAt: now}
			return s.addOne(ctx, source, &items[i])
		})
	}
	if err := adding.Wait(); err != nil {
		return nil, err
	}
	return items, nil
}

// addOne looks for a completed item on any replica: one that it misses is taken away again when it is asked for.
func (s *ItemStore) addOne(ctx context.Context, source string, item *StoredItem) error {
	if there, err := s.find(ctx, s.direct, events.ItemCompleted, source, item); there || err != nil {
		return err
	}
	err := s.put(ctx, source, item, 0, "")
	if !errors.Is(err, ErrMoved) {
		return err
	}
	for _, state := range []events.ItemState{events.ItemOpen, events.ItemCompleted} {
		if there, err := s.find(ctx, s.leader, state, source, item); there || err != nil {
			return err
		}
	}
	return nil // it was completed and forgotten, or its source deleted, in between
}

// find replaces item by the one of its key that is stored, if there is one.
func (s *ItemStore) find(ctx context.Context, get getter, state events.ItemState, source string, item *StoredItem) (bool, error) {
	m, err := get(ctx, Items, getRequest{Last: itemSubject(state, source, item.Key)})
	if m == nil || err != nil {
		return false, err
	}
	found, err := parseItem(m.Sequence, m.Data)
	if err == nil {
		*item = *found
	}
	return err == nil, err
}

// getter is reader.direct or reader.leader.
type getter func(ctx context.Context, stream string, req getRequest) (*stored, error)

func parseItem(sequence uint64, data []byte) (*StoredItem, error) {
	item := &StoredItem{Revision: sequence}
	if err := json.Unmarshal(data, &item.Item); err != nil {
		return nil, fmt.Errorf("decode item %d: %w", sequence, err)
	}
	return item, nil
}

// put stores an item over the message of this revision, 0 = none, and notes its new one. ErrMoved when there is another.
// ttl "" = it is kept.
func (s *ItemStore) put(ctx context.Context, source string, item *StoredItem, over uint64, ttl string) error {
	text, err := json.Marshal(&item.Item)
	if err != nil {
		return fmt.Errorf("encode item: %w", err)
	}
	h := nats.Header{jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(over, 10)}}
	if ttl != "" {
		h[jetstream.MsgTTLHeader] = []string{ttl}
	}
	ack, err := s.writer.Write(ctx, &nats.Msg{Subject: itemSubject(item.State(), source, item.Key), Header: h, Data: text}, Items)
	if err != nil {
		return fmt.Errorf("store item: %w", err)
	}
	item.Revision = ack.Sequence
	return nil
}

// Update stores an open item over what it was read as. ErrMoved when somebody else has changed it.
func (s *ItemStore) Update(ctx context.Context, source string, item *StoredItem) error {
	return s.put(ctx, source, item, item.Revision, "")
}

// Complete stores an item as completed, to be forgotten after the retention, and takes it away from the open ones. It may
// be done twice.
func (s *ItemStore) Complete(ctx context.Context, source string, item *StoredItem) error {
	open := item.Revision
	err := s.put(ctx, source, item, 0, itemRetention.String())
	if err != nil && !errors.Is(err, ErrMoved) { // which says that it was completed before
		return err
	}
	_, err = s.remove(ctx, Items, open)
	return err
}

// IsCompleted reports whether an item is completed, whatever else is stored of it.
func (s *ItemStore) IsCompleted(ctx context.Context, source, key string) (bool, error) {
	return s.find(ctx, s.leader, events.ItemCompleted, source, &StoredItem{Item: events.Item{Key: key}})
}

// Drop takes an open item away that is completed: a crash left both.
func (s *ItemStore) Drop(ctx context.Context, item *StoredItem) error {
	_, err := s.remove(ctx, Items, item.Revision)
	return err
}

// Last is the sequence of what was stored last.
func (s *ItemStore) Last(ctx context.Context) (uint64, error) {
	state, err := s.state(ctx, Items)
	return state.Last, err
}

// LastEvent is the sequence of the event that was accepted last.
func (s *ItemStore) LastEvent(ctx context.Context) (uint64, error) {
	state, err := s.state(ctx, Events)
	return state.Last, err
}

// Open returns the open items of a source with revisions in [from, to], oldest first. It is not all of them when it is a
// full page: more says so.
func (s *ItemStore) Open(ctx context.Context, source string, from, to uint64) (items []*StoredItem, more bool, err error) {
	var wrong error
	sc := scan{stream: Items, filter: itemSubjects(events.ItemOpen, source), from: from, to: to}
	err = s.read(ctx, sc, func(sequence uint64, msg *nats.Msg) bool {
		item, err := parseItem(sequence, msg.Data)
		if err != nil { // it is skipped, and told
			wrong = err
			return true
		}
		items = append(items, item)
		return len(items) < itemPage
	})
	return items, len(items) == itemPage, errors.Join(err, wrong)
}

// Count is how many items of a source are in a state.
func (s *ItemStore) Count(ctx context.Context, source string, state events.ItemState) (uint64, error) {
	return s.count(ctx, Items, itemSubjects(state, source))
}

// Forget removes all items of a source.
func (s *ItemStore) Forget(ctx context.Context, source string) error {
	req := struct {
		Filter string `json:"filter"`
	}{itemSubjects("", source)}
	if err := s.call(ctx, "STREAM.PURGE."+Items, req, &struct{}{}); err != nil {
		return fmt.Errorf("remove items of %s: %w", source, err)
	}
	return nil
}

// ItemQuery asks for a page of a source's items.
type ItemQuery struct {
	Source string
	State  events.ItemState // "" = any
	Limit  int
	Before uint64 // revision; 0 = from the newest
}

// List returns items, those that changed last first, and before which revision to go on; 0 when that were all. A page may
// have fewer items than its limit and still a next one.
func (s *ItemStore) List(ctx context.Context, q ItemQuery) (page []*StoredItem, next uint64, err error) {
	state, err := s.state(ctx, Items)
	if err != nil {
		return nil, 0, err
	}
	before := state.Last + 1
	if q.Before != 0 {
		before = min(before, q.Before)
	}
	limit := pageSize(q.Limit)
	filter := itemSubjects(q.State, q.Source)
	w := backward{reader: s.reader, stream: Items, filter: filter, matches: func(subject string) bool { return q.matches(subject) }}
	w.visit = func(sequence uint64, msg *nats.Msg) bool {
		if item, err := parseItem(sequence, msg.Data); err == nil {
			page = append(page, item)
		}
		return len(page) < limit
	}
	first := max(state.First, 1)
	at, err := w.walk(ctx, first, before)
	if err != nil {
		return nil, 0, fmt.Errorf("list items of %s: %w", q.Source, err)
	}
	if at > first {
		next = at
	}
	return page, next, nil
}

// matches is the subject filter of a query, for what is read whole.
func (q *ItemQuery) matches(subject string) bool {
	state, rest, _ := strings.Cut(strings.TrimPrefix(subject, SubjectItems), ".")
	source, _, _ := strings.Cut(rest, ".")
	return source == q.Source && (q.State == "" || state == string(q.State))
}
