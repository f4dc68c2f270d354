package api

import (
	"context"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/auth/keys"
	"github.com/hookfleet/hookfleet/events/stream"
)

// operatorID is the id of the operator's key in the bucket, so that all API processes know it.
const operatorID = "operator"

// maxKeys bounds the keys of a fleet: each process holds all of them.
const maxKeys = 10_000

// KeyStore holds the API keys of the fleet: hashed in KV, watched into memory. The operator's key is known to it before
// there is a broker, because the embedded broker authenticates its clients with it. It is safe for concurrent use.
type KeyStore struct {
	operator OperatorKey
	hash     keys.Hash // of the operator's key
	log      zerolog.Logger
	table    keys.Table
	loaded   chan struct{}
	once     sync.Once

	mu     sync.Mutex
	js     jetstream.JetStream
	writer *stream.Writer
	known  map[string]*keys.Key
	whole  bool // the table has all that is known
	ended  func(id string)
}

// NewKeyStore returns a store that knows the operator's key alone. A store whose operator key has no text knows none.
func NewKeyStore(operator OperatorKey, log zerolog.Logger) *KeyStore {
	return &KeyStore{
		operator: operator, hash: keys.HashOf(operator.Text.Reveal()), log: log, loaded: make(chan struct{}),
		known: map[string]*keys.Key{}, ended: func(string) {},
	}
}

// OnEnd has ended called for each key that is deleted, once it is refused. It comes before Run.
func (s *KeyStore) OnEnd(ended func(id string)) { s.ended = ended }

// Attach gives it the broker, before Run. The writer must run as long as keys are created and deleted.
func (s *KeyStore) Attach(js jetstream.JetStream, writer *stream.Writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.js, s.writer = js, writer
}

// Loaded is closed when all stored keys are known.
func (s *KeyStore) Loaded() <-chan struct{} { return s.loaded }

// Lookup returns the key whose text this is.
func (s *KeyStore) Lookup(text string) (*keys.Key, bool) {
	if key, ok := s.table.Lookup(text); ok {
		return key, true
	}
	hash := keys.HashOf(text)
	if s.operator.Text.IsZero() || subtle.ConstantTimeCompare(hash[:], s.hash[:]) != 1 {
		return nil, false
	}
	return &keys.Key{ID: operatorID, Role: keys.Operator, Hash: s.hash}, true
}

// Run watches the bucket until ctx ends. It takes up a lost watch by itself.
func (s *KeyStore) Run(ctx context.Context) error {
	w := stream.Watch{JS: s.js, Bucket: stream.BucketKeys, Log: s.log, Put: s.apply, Gone: s.forget, Loaded: s.load}
	w.Run(ctx)
	return nil
}

// load makes all stored keys count at once: each by itself copies all before it.
func (s *KeyStore) load(ctx context.Context) error {
	s.once.Do(func() {
		s.mu.Lock()
		s.table.Replace(slices.Collect(maps.Values(s.known)))
		s.whole = true
		s.mu.Unlock()
		close(s.loaded)
	})
	return s.shareOperator(ctx)
}

func (s *KeyStore) apply(id string, value []byte) {
	key, err := parseKey(value)
	if err != nil { // the last good one stays in use
		s.log.Error().Err(err).Str("key", id).Msg("stored key cannot be read")
		return
	}
	s.remember(key)
}

func (s *KeyStore) remember(key *keys.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[key.ID] = key
	if s.whole {
		s.table.Put(key)
	}
}

func (s *KeyStore) forget(id string) {
	s.mu.Lock()
	delete(s.known, id)
	s.table.Remove(id)
	s.mu.Unlock()
	s.ended(id)
}

// shareOperator stores the operator's key for the other API processes: one from the environment always, so that a new
// one there ends the old one; one from a file only when there is none, so that processes with files of their own do not
// take it from each other.
func (s *KeyStore) shareOperator(ctx context.Context) error {
	if s.operator.Text.IsZero() {
		return nil
	}
	stored, ok := s.get(operatorID)
	if ok && (s.operator.Path != "" || stored.Hash == s.hash) {
		return nil
	}
	key := &keys.Key{ID: operatorID, Role: keys.Operator, Description: "made at the first start, or set by the environment", Hash: s.hash, CreatedAt: time.Now().UTC()}
	return s.Put(ctx, key)
}

func (s *KeyStore) get(id string) (*keys.Key, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key, ok := s.known[id]
	return key, ok
}

// list returns all keys, newest first.
func (s *KeyStore) list() []*keys.Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*keys.Key, 0, len(s.known))
	for _, key := range s.known {
		all = append(all, key)
	}
	slices.SortFunc(all, func(a, b *keys.Key) int {
		return compareNewest(a.CreatedAt, a.ID, b.CreatedAt, b.ID)
	})
	return all
}

// Put stores key, durably. It is valid here when Put returns, and in other processes milliseconds later.
func (s *KeyStore) Put(ctx context.Context, key *keys.Key) error {
	b, err := encodeKey(key)
	if err != nil {
		return fmt.Errorf("encode key %s: %w", key.ID, err)
	}
	if _, err := s.writer.Write(ctx, &nats.Msg{Subject: keySubject(key.ID), Data: b}, "KV_"+stream.BucketKeys); err != nil {
		return fmt.Errorf("store key %s: %w", key.ID, err)
	}
	s.remember(key)
	return nil
}

// Delete ends a key, durably. It is refused here when Delete returns, and in other processes milliseconds later.
func (s *KeyStore) Delete(ctx context.Context, id string) error {
	msg := &nats.Msg{Subject: keySubject(id), Header: nats.Header{"KV-Operation": []string{"DEL"}}}
	if _, err := s.writer.Write(ctx, msg, "KV_"+stream.BucketKeys); err != nil {
		return fmt.Errorf("delete key %s: %w", id, err)
	}
	s.forget(id)
	return nil
}

func keySubject(id string) string { return "$KV." + stream.BucketKeys + "." + id }

// storedKey is a key in its bucket: with its hash, which no answer has.
type storedKey struct {
	*keys.Key
	Hash string `json:"hash"`
}

func encodeKey(key *keys.Key) ([]byte, error) {
	return json.Marshal(storedKey{Key: key, Hash: hex.EncodeToString(key.Hash[:])})
}

func parseKey(b []byte) (*keys.Key, error) {
	stored := storedKey{Key: &keys.Key{}}
	if err := json.Unmarshal(b, &stored); err != nil {
		return nil, fmt.Errorf("decode key: %w", err)
	}
	hash, err := hex.DecodeString(stored.Hash)
	if err != nil || len(hash) != len(keys.Hash{}) {
		return nil, errors.New("decode key: its hash is not one")
	}
	stored.Key.Hash = keys.Hash(hash)
	return stored.Key, nil
}
