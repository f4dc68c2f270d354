package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/hookfleet/hookfleet/auth/vault"
	"github.com/hookfleet/hookfleet/events/stream"
)

const (
	// resealers is how many records are stored at a time: they share the syncs of the broker.
	resealers = 64
	// maxNamed bounds the subscriptions, and the keys and sources, that a message names.
	maxNamed = 5
)

// Resealed says how far Reseal has come.
type Resealed struct {
	Key    string // names the first key; "" without keys
	Done   int    // subscriptions and sources whose secrets were stored with the present key by this call
	Left   int    // those that are left for the next
	Locked int    // those whose secrets do not open, and stay as they are
}

// Reseal stores secrets that are not stored with the first key anew, of at most limit subscriptions. It changes nothing
// else, not even an ETag, and may run in several processes at a time. When nothing is left, no key but the first is
// needed any more, and Run goes on to see that the store's files have nothing of what was stored before.
func (r *Registry) Reseal(ctx context.Context, limit int) (Resealed, error) {
	if r.cfg.Secrets == nil {
		return Resealed{}, nil
	}
	if err := r.Fresh(ctx); err != nil {
		return Resealed{}, err
	}
	ids, _ := r.unsealed()
	var mu sync.Mutex
	var done int
	g, writing := errgroup.WithContext(ctx)
	g.SetLimit(resealers)
	for _, id := range ids[:min(limit, len(ids))] {
		g.Go(func() error {
			stored, err := r.reseal(writing, id)
			mu.Lock()
			defer mu.Unlock()
			if stored {
				done++
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return Resealed{}, err
	}
	n, err := r.resealSources(ctx, limit-min(limit, len(ids)))
	if err != nil {
		return Resealed{}, err
	}
	done += n
	left, locked := r.allUnsealed()
	if left == 0 && locked == 0 {
		if err := r.storeMark(ctx); err != nil {
			return Resealed{}, err
		}
		r.askToScrub()
	}
	return Resealed{Key: r.cfg.Secrets.KeyID(), Done: done, Left: left, Locked: locked}, nil
}

// resealSources is Reseal for at most limit sources.
func (r *Registry) resealSources(ctx context.Context, limit int) (done int, err error) {
	if err := r.FreshSources(ctx); err != nil {
		return 0, err
	}
	stale, _ := r.unsealedSources()
	for _, e := range stale[:min(limit, len(stale))] {
		stored, err := r.resealSource(ctx, e)
		if err != nil {
			return done, err
		}
		if stored {
			done++
		}
	}
	return done, nil
}

// allUnsealed counts the subscriptions and sources that are to be stored anew, and those that cannot be.
func (r *Registry) allUnsealed() (left, locked int) {
	ids, lockedSubscriptions := r.unsealed()
	stale, lockedSources := r.unsealedSources()
	return len(ids) + len(stale), lockedSubscriptions + lockedSources
}

// Unsealed is how many subscriptions and sources Reseal has something to do for.
func (r *Registry) Unsealed() int {
	left, _ := r.allUnsealed()
	return left
}

// unsealed returns the subscriptions to be stored anew, and how many cannot be: those whose secrets do not open, and those
// whose newest record cannot be read, with whatever key its secrets are stored.
func (r *Registry) unsealed() (ids []string, locked int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for id := range r.broken {
		if r.locked[id] == nil {
			locked++
		}
	}
	for id := range r.stale {
		if _, broken := r.broken[id]; !broken && r.locked[id] == nil {
			ids = append(ids, id)
		}
	}
	return ids, locked + len(r.locked)
}

// reseal stores the record of id as it is, its secrets with the present key. One that cannot be read stays: what is known of it
// is older.
func (r *Registry) reseal(ctx context.Context, id string) (stored bool, err error) {
	rec, old, revision := r.current(id)
	if old == nil && len(rec.Past) == 0 || rec.locked != nil || r.isBroken(id) {
		return false, nil
	}
	if old != nil {
		rec.ETag = old.Revision
	}
	_, err = r.store(ctx, id, &rec, revision)
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) { // somebody else's change goes first, and has sealed it
		return false, nil
	}
	return err == nil, err
}

// MissingKeys says which keys the stored secrets need and this process does not have, for people; "" = none.
func (r *Registry) MissingKeys() string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	missing := make(map[string][]string)
	for id, locked := range r.locked {
		if m, ok := errors.AsType[*vault.MissingKeyError](locked); ok {
			missing[m.ID] = append(missing[m.ID], id)
		}
	}
	var all []string
	for _, key := range slices.Sorted(maps.Keys(missing)) {
		all = append(all, fmt.Sprintf("key %s is missing, with which secrets of %s are encrypted", key, named(missing[key])))
	}
	for _, e := range r.Sources() {
		if e.Locked == nil {
			continue
		}
		if m, ok := errors.AsType[*vault.MissingKeyError](e.Locked); ok {
			all = append(all, fmt.Sprintf("key %s is missing, with which secrets of source %s are encrypted", m.ID, e.Source.ID))
		}
	}
	return strings.Join(all[:min(len(all), maxNamed)], "; ")
}

// named counts subscriptions and names the first.
func named(ids []string) string {
	slices.Sort(ids)
	names, noun := strings.Join(ids[:min(len(ids), maxNamed)], ", "), "subscriptions"
	if len(ids) == 1 {
		noun = "subscription"
	}
	if len(ids) > maxNamed {
		names += ", …"
	}
	return fmt.Sprintf("%d %s (%s)", len(ids), noun, names)
}

// The mark is a text in the store that the fleet's key opens. It tells a process with another key before there is a
// secret, when the two would go on to lock each other out.
const (
	markText  = "hookfleet"
	markPlace = "fleet/" + stream.KeySecrets
)

func readMark(ctx context.Context, js jetstream.JetStream) (jetstream.KeyValue, jetstream.KeyValueEntry, error) {
	kv, err := js.KeyValue(ctx, stream.BucketFleet)
	if err != nil {
		return nil, nil, fmt.Errorf("open bucket %s: %w", stream.BucketFleet, err)
	}
	entry, err := kv.Get(ctx, stream.KeySecrets)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return kv, nil, nil
	case err != nil:
		return nil, nil, fmt.Errorf("read the mark of the secrets' key: %w", err)
	}
	return kv, entry, nil
}

// EnsureMark leaves the mark of the first key where there is none. When there is one of a key that this process does not
// have, it is replaced if replace says so, else the error is a *vault.MissingKeyError.
func (r *Registry) EnsureMark(ctx context.Context, replace bool) error {
	_, entry, err := readMark(ctx, r.js)
	if err != nil {
		return err
	}
	if entry == nil {
		return r.createMark(ctx)
	}
	_, err = r.cfg.Secrets.Open(string(entry.Value()), markPlace)
	if err != nil && replace {
		return r.storeMark(ctx)
	}
	return err
}

func (r *Registry) createMark(ctx context.Context) error {
	kv, _, err := readMark(ctx, r.js)
	if err != nil {
		return err
	}
	_, err = kv.Create(ctx, stream.KeySecrets, []byte(r.cfg.Secrets.Seal([]byte(markText), markPlace)))
	switch {
	case errors.Is(err, jetstream.ErrKeyExists):
		return r.EnsureMark(ctx, false)
	case err != nil:
		return fmt.Errorf("store the mark of the secrets' key: %w", err)
	}
	return r.syncFleet()
}

// storeMark leaves the mark of the first key.
func (r *Registry) storeMark(ctx context.Context) error {
	kv, entry, err := readMark(ctx, r.js)
	if err != nil || entry != nil && r.cfg.Secrets.Current(string(entry.Value())) {
		return err
	}
	if _, err := kv.Put(ctx, stream.KeySecrets, []byte(r.cfg.Secrets.Seal([]byte(markText), markPlace))); err != nil {
		return fmt.Errorf("store the mark of the secrets' key: %w", err)
	}
	return r.syncFleet()
}

func (r *Registry) syncFleet() error {
	if r.cfg.Sync == nil {
		return nil
	}
	if err := r.cfg.Sync("KV_" + stream.BucketFleet); err != nil {
		return fmt.Errorf("sync the mark of the secrets' key: %w", err)
	}
	return nil
}
