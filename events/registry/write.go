package registry

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

// maxTries bounds how often a write begins anew because another one came first. Each time one of them succeeds.
const maxTries = 32

// change turns the record of an id into the next one. old is the subscription as it is, nil when there is none; etag its
// Revision. It returns errUnchanged to leave everything as it is. It may be called several times.
type change func(rec *record, old *Entry) error

// errUnchanged ends a write that has nothing to write.
var errUnchanged = errors.New("unchanged")

// Create stores a new subscription, and makes up its id if it has none. ErrTaken when there is one with this id.
func (r *Registry) Create(ctx context.Context, s *events.Subscription) (*Entry, error) {
	s = s.Clone()
	if s.ID == "" {
		s.ID = "sub_" + strings.ToLower(rand.Text())
	}
	var made bool
	e, err := r.write(ctx, s.ID, func(rec *record, old *Entry) (err error) {
		if old != nil {
			return ErrTaken
		}
		made, err = r.place(ctx, rec, s.Clone(), nil)
		return err
	})
	return r.created(ctx, e, made, err)
}

// Put stores s under its id, with the secrets of what it replaces where s has none. created tells whether it is new.
// ifMatch is the Revision that is to be replaced (ErrConflict when it is another); 0 = any, or none. An *events.Invalid
// says which secret must be sent.
func (r *Registry) Put(ctx context.Context, s *events.Subscription, ifMatch uint64) (e *Entry, created bool, err error) {
	var made bool
	e, err = r.write(ctx, s.ID, func(rec *record, old *Entry) (err error) {
		if ifMatch != 0 && (old == nil || old.Revision != ifMatch) {
			return ErrConflict
		}
		created = old == nil
		made, err = r.place(ctx, rec, s.Clone(), old)
		return err
	})
	if created {
		e, err = r.created(ctx, e, made, err)
		return e, err == nil, err
	}
	return shown(e, made), false, err
}

// Delete removes a subscription; ifMatch as for Put. ErrNotFound when there is none.
func (r *Registry) Delete(ctx context.Context, id string, ifMatch uint64) error {
	_, err := r.write(ctx, id, func(rec *record, old *Entry) error {
		switch {
		case old == nil:
			return ErrNotFound
		case ifMatch != 0 && old.Revision != ifMatch:
			return ErrConflict
		}
		sequence, err := r.lastEvent(ctx, rec)
		if err != nil {
			return err
		}
		rec.remove(sequence)
		return nil
	})
	if err != nil {
		return err
	}
	return errors.Join(r.resetHealth(ctx, id), stream.ForgetProgress(ctx, r.js, id))
}

// SetPaused pauses or resumes a subscription.
func (r *Registry) SetPaused(ctx context.Context, id string, paused bool) (*Entry, error) {
	return r.write(ctx, id, func(rec *record, old *Entry) error {
		switch {
		case old == nil:
			return ErrNotFound
		case old.Subscription.Paused == paused:
			return errUnchanged
		}
		s := old.Subscription.Clone()
		s.Paused = paused
		rec.subscription, rec.UpdatedAt = s, time.Now().UTC()
		return nil
	})
}

// place makes s the present subscription of rec. Its versions change only when what it matches does.
func (r *Registry) place(ctx context.Context, rec *record, s *events.Subscription, old *Entry) (made bool, err error) {
	now := time.Now().UTC()
	var before *events.Subscription
	if old != nil {
		before = old.Subscription
	}
	if rec.locked != nil {
		if err := s.Unlocked(rec.locked); err != nil {
			return false, err
		}
		rec.locked = nil
	}
	if err := s.KeepSecrets(before); err != nil {
		return false, err
	}
	made = s.MakeSecrets()
	if before == nil || !sameMatch(before, s) {
		sequence, err := r.lastEvent(ctx, rec)
		if err != nil {
			return false, err
		}
		rec.close(sequence)
		rec.From = sequence
	}
	if before == nil {
		// A delivery that was under way when a namesake was deleted may have been noted after that.
		if len(rec.Past) > 0 {
			if err := stream.ForgetProgress(ctx, r.js, s.ID); err != nil {
				return false, err
			}
		}
		rec.Since, rec.CreatedAt, rec.Deleted = rec.From, now, false
	}
	rec.subscription, rec.UpdatedAt = s, now
	return made, nil
}

// created ends the creation of a subscription: what was stored of a deleted namesake's sink does not count for it.
func (r *Registry) created(ctx context.Context, e *Entry, made bool, err error) (*Entry, error) {
	if err == nil {
		err = r.resetHealth(ctx, e.Subscription.ID)
	}
	if err != nil {
		return nil, err
	}
	return shown(e, made), nil
}

// shown is what a write answers.
func shown(e *Entry, made bool) *Entry {
	if e == nil || !made {
		return e
	}
	e = new(*e)
	e.SecretMade = true
	return e
}

// lastEvent returns the last sequence of EVENTS: what is accepted from now on is behind it.
func (r *Registry) lastEvent(ctx context.Context, rec *record) (uint64, error) {
	last, err := r.lastSequence(ctx, stream.Events)
	return max(last, rec.From), err
}

// write changes the record of id. It returns when the change is durable and this registry has seen it.
func (r *Registry) write(ctx context.Context, id string, apply change) (*Entry, error) {
	if !events.IsID(id) {
		return nil, ErrNotFound
	}
	for range maxTries {
		if err := r.Fresh(ctx); err != nil {
			return nil, err
		}
		rec, old, revision := r.current(id)
		if err := apply(&rec, old); errors.Is(err, errUnchanged) {
			return old, nil
		} else if err != nil {
			return nil, err
		}
		rec.ETag = 0
		e, err := r.store(ctx, id, &rec, revision)
		if !errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
			return e, err
		}
		r.subscriptions.forget(id, revision) // it may have been a marker that was pruned
	}
	r.subscriptions.rewatch()
	return nil, fmt.Errorf("%w: others change it all the time", ErrConflict)
}

// current returns what is stored under id now: a copy of the record to change, and the revision to replace.
func (r *Registry) current(id string) (rec record, old *Entry, revision uint64) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	it := r.items[id]
	revision = r.subscriptions.marker(id)
	rec.Deleted = true
	if it != nil {
		rec, revision = it.record(), it.revision
		if it.live() {
			old = &it.Entry
		}
	}
	return rec, old, max(revision, r.broken[id].revision)
}

// store writes rec over revision and waits until it is seen. What has nothing left to remember is purged.
func (r *Registry) store(ctx context.Context, id string, rec *record, revision uint64) (*Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	rec.prune(r.floor.Load())
	kv := r.subscriptions.kv.Load()
	if rec.Deleted && len(rec.Past) == 0 {
		if err := kv.Purge(ctx, id, jetstream.LastRevision(revision)); err != nil {
			return nil, fmt.Errorf("remove subscription: %w", err)
		}
		if err := r.sync(r.subscriptions); err != nil {
			return nil, err
		}
		return nil, r.Fresh(ctx)
	}
	text, err := rec.text(r.opener.Sealer)
	if err != nil {
		return nil, err
	}
	stored, err := kv.Update(ctx, id, text, revision)
	if err != nil {
		return nil, fmt.Errorf("store subscription: %w", err)
	}
	if err := r.sync(r.subscriptions); err != nil {
		return nil, err
	}
	if err := r.subscriptions.tide.wait(ctx, stored); err != nil {
		r.subscriptions.rewatch()
		return nil, err
	}
	if rec.Deleted {
		return nil, nil
	}
	return new(rec.entry(stored)), nil
}

func (r *Registry) sync(b *bucket) error {
	if r.cfg.Sync == nil {
		return nil
	}
	if err := r.cfg.Sync(b.stream()); err != nil {
		return fmt.Errorf("sync %s: %w", b.name, err)
	}
	return nil
}
