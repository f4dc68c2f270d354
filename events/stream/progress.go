package stream

import (
	"container/list"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events"
)

// progressCache bounds the memory of the progress that is known without asking the broker. A key takes some 400 bytes:
// 80,000 of them, far more than the lanes of one worker have in hand at a time. Those beyond cost a read each.
const progressCache = 32 << 20

// Progresses keeps what was delivered for each key of the lifecycles: one record a key, for as long as the subscription
// is there, so that nothing is forgotten however long ago it was. Only the owner of a subscription's lane may use them
// for it. It is safe for concurrent use.
//
// A progress is to be stored before its delivery is recorded as made: then a crash between leaves a delivery that Last
// tells from a duplicate. The other way round it would leave a status that nobody knows was sent.
type Progresses struct {
	reader reader
	writer *Writer

	mu    sync.Mutex
	subs  map[string]*progressSet
	used  list.List // of *progressEntry, newest first
	bytes int
}

// progressSet is what is known of one subscription's keys, since its lane was taken up.
type progressSet struct{ keys map[string]*list.Element }

type progressEntry struct {
	set      *progressSet
	key      string
	progress *events.Progress
}

// progressRecord is how a progress is stored. Its key tells those apart whose hashes are the same.
type progressRecord struct {
	Key string `json:"key"`
	*events.Progress
}

// NewProgresses keeps records by writer, which must make them durable. js is for reading, over another connection than
// the writer's.
func NewProgresses(js jetstream.JetStream, writer *Writer) *Progresses {
	return &Progresses{reader: newReader(js), writer: writer, subs: map[string]*progressSet{}}
}

// Get returns what was delivered for a key, a copy that the caller may change. It is never nil but with an error.
func (s *Progresses) Get(ctx context.Context, subscription, key string) (*events.Progress, error) {
	set, known := s.known(subscription, key)
	if known != nil {
		return known, nil
	}
	m, err := s.reader.newest(ctx, "KV_"+BucketLifecycle, ProgressSubject(subscription, key))
	if err != nil {
		return nil, fmt.Errorf("read progress of a key of %s: %w", subscription, err)
	}
	p := &events.Progress{}
	if m != nil && len(m.Data) > 0 { // none: the marker of what was forgotten
		record := progressRecord{Progress: p}
		if err := json.Unmarshal(m.Data, &record); err != nil {
			return nil, fmt.Errorf("decode progress of a key of %s: %w", subscription, err)
		}
		if record.Key != key {
			p = &events.Progress{}
		}
	}
	s.keep(subscription, set, key, p)
	return p.Clone(), nil
}

// Put stores what was delivered for a key, and returns when it is durable. The caller must not change p any more. After an
// error either may be stored, what was or what is; the next Get tells.
func (s *Progresses) Put(ctx context.Context, subscription, key string, p *events.Progress) error {
	text, err := json.Marshal(progressRecord{key, p})
	if err != nil {
		return fmt.Errorf("encode progress of a key of %s: %w", subscription, err)
	}
	set := s.forgetKey(subscription, key)
	if _, err := s.writer.Write(ctx, &nats.Msg{Subject: ProgressSubject(subscription, key), Data: text}, "KV_"+BucketLifecycle); err != nil {
		return fmt.Errorf("store progress of a key of %s: %w", subscription, err)
	}
	s.keep(subscription, set, key, p)
	return nil
}

// Drop forgets what is in memory of a subscription. Who takes up its lane says so, because others have had it since.
func (s *Progresses) Drop(subscription string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set := s.subs[subscription]
	if set == nil {
		return
	}
	for _, element := range set.keys {
		s.remove(element)
	}
	delete(s.subs, subscription) // what is being read or stored for it meanwhile finds another set, and is not kept
}

// Forget deletes the progress of all keys of a subscription that is deleted.
func (s *Progresses) Forget(ctx context.Context, subscription string) error {
	s.Drop(subscription)
	return ForgetProgress(ctx, s.reader.js, subscription)
}

// ForgetProgress is Forget for who keeps none. Where nothing was ever kept there is nothing to forget.
func ForgetProgress(ctx context.Context, js jetstream.JetStream, subscription string) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	bucket, err := js.Stream(ctx, "KV_"+BucketLifecycle)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err == nil {
		err = bucket.Purge(ctx, jetstream.WithPurgeSubject(ProgressSubjects(subscription)))
	}
	if err != nil {
		return fmt.Errorf("forget progress of %s: %w", subscription, err)
	}
	return nil
}

// known returns a copy of what is in memory for a key; nil = nothing, and where to keep what is found.
func (s *Progresses) known(subscription, key string) (*progressSet, *events.Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set := s.set(subscription)
	element := set.keys[key]
	if element == nil {
		return set, nil
	}
	s.used.MoveToFront(element)
	return set, element.Value.(*progressEntry).progress.Clone()
}

// forgetKey drops a key of which something else may be stored soon.
func (s *Progresses) forgetKey(subscription, key string) *progressSet {
	s.mu.Lock()
	defer s.mu.Unlock()
	set := s.set(subscription)
	if element := set.keys[key]; element != nil {
		s.remove(element)
	}
	return set
}

func (s *Progresses) set(subscription string) *progressSet {
	set := s.subs[subscription]
	if set == nil {
		set = &progressSet{keys: map[string]*list.Element{}}
		s.subs[subscription] = set
	}
	return set
}

func (s *Progresses) keep(subscription string, set *progressSet, key string, p *events.Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.subs[subscription] != set || set.keys[key] != nil {
		return
	}
	e := &progressEntry{set: set, key: key, progress: p}
	set.keys[key] = s.used.PushFront(e)
	s.bytes += e.size()
	for s.bytes > progressCache {
		s.remove(s.used.Back())
	}
}

func (s *Progresses) remove(element *list.Element) {
	e := element.Value.(*progressEntry)
	s.used.Remove(element)
	delete(e.set.keys, e.key)
	s.bytes -= e.size()
}

// size is about what an entry takes: itself, its places in list and map, its key and its progress.
func (e *progressEntry) size() int {
	const around = 160
	return around + len(e.key) + e.progress.Size()
}
