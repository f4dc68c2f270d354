package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/auth/credential"
)

// tokenRetention is when the broker forgets a token that nobody renewed: an hour after it is not used any more.
const tokenRetention = 25 * time.Hour

// Sealer encrypts what must not be read off a disk, each for its place (aad). It is a vault.
type Sealer interface {
	Seal(text []byte, aad string) string
	Open(sealed, aad string) ([]byte, error)
}

// Tokens is where the fleet shares the tokens that it fetched: a KV bucket.
type Tokens struct {
	js     jetstream.JetStream
	sealer Sealer
}

// NewTokens returns the store of tokens. Without a sealer (nil) they are stored as they are.
func NewTokens(js jetstream.JetStream, sealer Sealer) *Tokens { return &Tokens{js: js, sealer: sealer} }

// Load implements credential.Store. What does not open is there, and empty: it is fetched anew.
func (t *Tokens) Load(ctx context.Context, key string) (text []byte, revision uint64, err error) {
	kv, err := t.js.KeyValue(ctx, BucketTokens)
	if err != nil {
		return nil, 0, fmt.Errorf("open bucket %s: %w", BucketTokens, err)
	}
	entry, err := kv.Get(ctx, key)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return nil, 0, nil
	case err != nil:
		return nil, 0, fmt.Errorf("read bucket %s: %w", BucketTokens, err)
	case t.sealer == nil:
		return entry.Value(), entry.Revision(), nil
	}
	if text, err = t.sealer.Open(string(entry.Value()), tokenPlace(key)); err != nil {
		text = nil
	}
	return text, entry.Revision(), nil
}

// Save implements credential.Store.
func (t *Tokens) Save(ctx context.Context, key string, text []byte, revision uint64) (uint64, error) {
	kv, err := t.js.KeyValue(ctx, BucketTokens)
	if err != nil {
		return 0, fmt.Errorf("open bucket %s: %w", BucketTokens, err)
	}
	if t.sealer != nil {
		text = []byte(t.sealer.Seal(text, tokenPlace(key)))
	}
	if revision == 0 {
		revision, err = kv.Create(ctx, key, text)
	} else {
		revision, err = kv.Update(ctx, key, text, revision)
	}
	switch {
	case errors.Is(err, jetstream.ErrKeyExists), errors.Is(err, jetstream.ErrKeyRevisionMismatch):
		return 0, credential.ErrConflict
	case err != nil:
		return 0, fmt.Errorf("write bucket %s: %w", BucketTokens, err)
	}
	return revision, nil
}

// Forget removes what is stored under key.
func (t *Tokens) Forget(ctx context.Context, key string) error {
	kv, err := t.js.KeyValue(ctx, BucketTokens)
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", BucketTokens, err)
	}
	if err := kv.Purge(ctx, key); err != nil {
		return fmt.Errorf("remove from bucket %s: %w", BucketTokens, err)
	}
	return nil
}

// tokenPlace is what a token is sealed for.
func tokenPlace(key string) string { return BucketTokens + "/" + key }
