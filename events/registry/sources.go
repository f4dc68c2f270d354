package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/auth/vault"
	"github.com/hookfleet/hookfleet/events"
)

// What a write of a source may be refused for, beside ErrConflict and an *events.LockedError.
var (
	ErrNoSource    = errors.New("no such source")
	ErrSourceTaken = errors.New("the source's id is taken")
)

// SourceEntry is a status source as it is now. It is immutable.
type SourceEntry struct {
	Source    *events.StatusSource // shared, must not be changed
	Revision  uint64               // the ETag: changes with every write but our own bookkeeping
	CreatedAt time.Time            // tells it from an earlier source of the same id
	UpdatedAt time.Time
	Locked    *events.LockedError // secrets that Source lacks because they do not open: nothing may be asked; nil = none

	stored uint64 // revision in the bucket
	stale  bool   // its secrets are not stored with the present key
}

// sourceNote is what is stored beside a source.
type sourceNote struct {
	CreatedAt time.Time `json:"createdat"`
	UpdatedAt time.Time `json:"updatedat"`
	ETag      uint64    `json:"etag,omitempty"` // 0 = the revision in the bucket
}

// Source returns a source as it is now; false when there is none.
func (r *Registry) Source(id string) (*SourceEntry, bool) {
	r.sourceMu.RLock()
	defer r.sourceMu.RUnlock()
	e, ok := r.sources[id]
	return e, ok
}

// Sources returns all sources, in no order.
func (r *Registry) Sources() []*SourceEntry {
	r.sourceMu.RLock()
	defer r.sourceMu.RUnlock()
	return slices.Collect(maps.Values(r.sources))
}

// ListSources is List for sources.
func (r *Registry) ListSources(tenant, after string, limit int) (page []*SourceEntry, next string) {
	from, some := parseCursor(after)
	all := slices.DeleteFunc(r.Sources(), func(e *SourceEntry) bool {
		return tenant != "" && e.Source.Tenant != tenant || some && comparePositions(e.position(), from) >= 0
	})
	slices.SortFunc(all, func(a, b *SourceEntry) int { return comparePositions(b.position(), a.position()) })
	if len(all) > limit {
		all = all[:limit]
		next = all[limit-1].position().String()
	}
	return all, next
}

func (e *SourceEntry) position() position { return position{e.CreatedAt.UnixNano(), e.Source.ID} }

// WatchSources is Watch for sources.
func (r *Registry) WatchSources() (changed <-chan string, cancel func()) {
	return r.sourceChanges.subscribe()
}

// FreshSources is Fresh for sources. Its calls are rare, and not shared.
func (r *Registry) FreshSources(ctx context.Context) error {
	if err := r.sourceBucket.wait(ctx); err != nil {
		return err
	}
	return r.catchUp(ctx, r.sourceBucket)
}

// PutSource stores s under its id, with the secrets of what it replaces where s has none. created tells whether it is
// new. ifMatch is the Revision that is to be replaced (ErrConflict when it is another); 0 = any, or none. An
// *events.Invalid says which secret must be sent.
func (r *Registry) PutSource(ctx context.Context, s *events.StatusSource, ifMatch uint64) (e *SourceEntry, created bool, err error) {
	for range maxTries {
		if err := r.FreshSources(ctx); err != nil {
			return nil, false, err
		}
		old, there := r.Source(s.ID)
		if ifMatch != 0 && (!there || old.Revision != ifMatch) {
			return nil, false, ErrConflict
		}
		next, note, err := replaceSource(s, old)
		if err != nil {
			return nil, false, err
		}
		e, err = r.storeSource(ctx, next, note, old)
		if !errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
			return e, !there, err
		}
		r.sourceBucket.forget(s.ID, r.sourceBucket.marker(s.ID))
	}
	r.sourceBucket.rewatch()
	return nil, false, fmt.Errorf("%w: others change it all the time", ErrConflict)
}

// replaceSource is what s becomes in the place of old, which may be nil.
func replaceSource(s *events.StatusSource, old *SourceEntry) (*events.StatusSource, sourceNote, error) {
	now := time.Now().UTC()
	note := sourceNote{CreatedAt: now, UpdatedAt: now}
	s = s.Clone()
	var before *events.StatusSource
	if old != nil {
		before, note.CreatedAt = old.Source, old.CreatedAt
		if old.Locked != nil {
			if err := s.Unlocked(old.Locked); err != nil {
				return nil, note, err
			}
		}
	}
	return s, note, s.KeepSecrets(before)
}

// CreateSource is PutSource for one that must not be there: ErrSourceTaken.
func (r *Registry) CreateSource(ctx context.Context, s *events.StatusSource) (*SourceEntry, error) {
	if err := r.FreshSources(ctx); err != nil {
		return nil, err
	}
	if _, there := r.Source(s.ID); there {
		return nil, ErrSourceTaken
	}
	s, note, err := replaceSource(s, nil)
	if err != nil {
		return nil, err
	}
	e, err := r.storeSource(ctx, s, note, nil)
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		return nil, ErrSourceTaken
	}
	return e, err
}

// storeSource writes s over old and waits until it is seen.
func (r *Registry) storeSource(ctx context.Context, s *events.StatusSource, note sourceNote, old *SourceEntry) (*SourceEntry, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	text, err := events.SealSource(s, note, r.sealer())
	if err != nil {
		return nil, err
	}
	over := r.sourceBucket.marker(s.ID)
	if old != nil {
		over = old.stored
	}
	stored, err := r.sourceBucket.kv.Load().Update(ctx, s.ID, text, over)
	if err != nil {
		return nil, fmt.Errorf("store source: %w", err)
	}
	if err := r.sync(r.sourceBucket); err != nil {
		return nil, err
	}
	if err := r.sourceBucket.tide.wait(ctx, stored); err != nil {
		r.sourceBucket.rewatch()
		return nil, err
	}
	return &SourceEntry{
		Source: s, Revision: cmp.Or(note.ETag, stored), CreatedAt: note.CreatedAt, UpdatedAt: note.UpdatedAt, stored: stored,
	}, nil
}

// sealer is nil without keys, and not a Vault that is nil.
func (r *Registry) sealer() events.Sealer {
	if r.cfg.Secrets == nil {
		return nil
	}
	return r.cfg.Secrets
}

// DeleteSource removes a source; ifMatch as for PutSource. ErrNoSource when there is none.
func (r *Registry) DeleteSource(ctx context.Context, id string, ifMatch uint64) error {
	if err := r.FreshSources(ctx); err != nil {
		return err
	}
	old, there := r.Source(id)
	switch {
	case !there:
		return ErrNoSource
	case ifMatch != 0 && old.Revision != ifMatch:
		return ErrConflict
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	err := r.sourceBucket.kv.Load().Purge(ctx, id, jetstream.LastRevision(old.stored))
	switch {
	case errors.Is(err, jetstream.ErrKeyRevisionMismatch):
		return ErrConflict
	case err != nil:
		return fmt.Errorf("remove source: %w", err)
	}
	if err := r.sync(r.sourceBucket); err != nil {
		return err
	}
	return r.FreshSources(ctx)
}

// sourceTable takes the records of sources into memory.
type sourceTable struct{ *Registry }

func (t sourceTable) set(e jetstream.KeyValueEntry) {
	entry, err := t.readSource(e)
	if err != nil {
		t.log.Error().Err(err).Str("source", e.Key()).Uint64("revision", e.Revision()).Msg("source cannot be read, the last good version stays in use")
		return
	}
	if entry.Locked != nil && !isMissingKey(entry.Locked) { // that is told by MissingKeys
		t.log.Error().Err(entry.Locked).Str("source", e.Key()).Msg("secrets cannot be opened, the source is not polled")
	}
	t.sourceMu.Lock()
	if old := t.sources[e.Key()]; old == nil || old.stored < entry.stored {
		t.sources[e.Key()] = entry
	}
	t.sourceMu.Unlock()
	t.sourceChanges.note(e.Key())
}

func isMissingKey(err error) bool {
	_, ok := errors.AsType[*vault.MissingKeyError](err)
	return ok
}

func (t sourceTable) readSource(e jetstream.KeyValueEntry) (*SourceEntry, error) {
	opener := events.Opener{Sealer: t.sealer()}
	s, text, err := opener.OpenSource(e.Value())
	if err != nil {
		return nil, err
	}
	var note sourceNote
	if err := json.Unmarshal(text, &note); err != nil {
		return nil, fmt.Errorf("decode note: %w", err)
	}
	if s.ID != e.Key() {
		return nil, fmt.Errorf("it says that it is %s", s.ID)
	}
	return &SourceEntry{
		Source: s, Revision: cmp.Or(note.ETag, e.Revision()), CreatedAt: note.CreatedAt, UpdatedAt: note.UpdatedAt,
		Locked: opener.Locked(), stored: e.Revision(), stale: opener.Stale(),
	}, nil
}

func (t sourceTable) remove(e jetstream.KeyValueEntry) { t.drop(e.Key(), e.Revision()) }

// drop removes what is known of id up to a revision.
func (t sourceTable) drop(id string, upto uint64) {
	t.sourceMu.Lock()
	if old := t.sources[id]; old != nil && old.stored <= upto {
		delete(t.sources, id)
	}
	t.sourceMu.Unlock()
	t.sourceChanges.note(id)
}

func (t sourceTable) sweep(keys map[string]struct{}, upto uint64) {
	for _, e := range t.Sources() {
		if _, there := keys[e.Source.ID]; !there {
			t.drop(e.Source.ID, upto)
		}
	}
}

// unsealedSources returns the sources to be stored anew with the present key, and those that cannot be.
func (r *Registry) unsealedSources() (stale []*SourceEntry, locked int) {
	for _, e := range r.Sources() {
		switch {
		case e.Locked != nil:
			locked++
		case e.stale:
			stale = append(stale, e)
		}
	}
	slices.SortFunc(stale, func(a, b *SourceEntry) int { return strings.Compare(a.Source.ID, b.Source.ID) })
	return stale, locked
}

// resealSource stores the secrets of a source anew, and changes nothing else; not one whose secrets it lacks. Somebody else's
// change goes first, and has sealed them.
func (r *Registry) resealSource(ctx context.Context, e *SourceEntry) (stored bool, err error) {
	if e.Locked != nil {
		return false, nil
	}
	note := sourceNote{CreatedAt: e.CreatedAt, UpdatedAt: e.UpdatedAt, ETag: e.Revision}
	_, err = r.storeSource(ctx, e.Source, note, e)
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		return false, nil
	}
	return err == nil, err
}
