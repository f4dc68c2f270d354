package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
)

// SourceTick says that a poll of a status source is through: everything that it found is in EVENTS, up to Until.
type SourceTick struct {
	At    time.Time `json:"at"`    // the tick
	Until uint64    `json:"until"` // last sequence of EVENTS when the poll was through
}

// SourceTicks knows the last tick of every source, by one watch that all who ask share.
type SourceTicks struct {
	js  jetstream.JetStream
	log zerolog.Logger

	mu       sync.Mutex
	last     map[string]SourceTick
	watchers map[string]map[*tickWatcher]struct{} // by source

	once   sync.Once
	loaded chan struct{}
}

// tickWatcher holds the newest tick that its owner has not taken yet.
type tickWatcher struct{ out chan SourceTick }

// NewSourceTicks returns a view that knows nothing before Run.
func NewSourceTicks(js jetstream.JetStream, log zerolog.Logger) *SourceTicks {
	return &SourceTicks{
		js: js, log: log, last: make(map[string]SourceTick), watchers: make(map[string]map[*tickWatcher]struct{}),
		loaded: make(chan struct{}),
	}
}

// Loaded is closed when everything that was stored at the start is known.
func (s *SourceTicks) Loaded() <-chan struct{} { return s.loaded }

// Last is the last tick of a source; false when none is through.
func (s *SourceTicks) Last(source string) (SourceTick, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.last[source]
	return t, ok
}

// Watch returns the ticks of a source from the last one on, until cancel is called. The channel holds one: who is slow
// gets the newest, whose Until covers those before. It is never closed.
func (s *SourceTicks) Watch(source string) (ticks <-chan SourceTick, cancel func()) {
	w := &tickWatcher{out: make(chan SourceTick, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watchers[source] == nil {
		s.watchers[source] = make(map[*tickWatcher]struct{})
	}
	s.watchers[source][w] = struct{}{}
	if t, ok := s.last[source]; ok {
		w.out <- t
	}
	return w.out, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers[source], w)
		if len(s.watchers[source]) == 0 {
			delete(s.watchers, source)
		}
	}
}

// Run watches until ctx ends. It takes up a lost watch by itself.
func (s *SourceTicks) Run(ctx context.Context) error {
	w := Watch{JS: s.js, Bucket: BucketSourceTicks, Log: s.log, Put: s.take, Gone: s.forget, Loaded: func(context.Context) error {
		s.once.Do(func() { close(s.loaded) })
		return nil
	}}
	w.Run(ctx)
	return nil
}

func (s *SourceTicks) take(source string, value []byte) {
	var t SourceTick
	if err := json.Unmarshal(value, &t); err != nil {
		s.log.Error().Err(err).Str("source", source).Msg("tick cannot be read")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last[source] = t
	for w := range s.watchers[source] {
		select {
		case <-w.out: // a newer one covers it
		default:
		}
		w.out <- t
	}
}

func (s *SourceTicks) forget(source string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.last, source)
}

// WriteSourceTick stores that a poll is through, durably.
func WriteSourceTick(ctx context.Context, w *Writer, source string, t SourceTick) error {
	text, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("encode tick of %s: %w", source, err)
	}
	msg := &nats.Msg{Subject: "$KV." + BucketSourceTicks + "." + source, Data: text}
	if _, err := w.Write(ctx, msg, "KV_"+BucketSourceTicks); err != nil {
		return fmt.Errorf("store tick of %s: %w", source, err)
	}
	return nil
}
