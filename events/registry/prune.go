package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events/stream"
)

// markerAge is how long the marker of a deleted key stays. Every watch has long seen it by then, and one that was cut
// off reads everything anew.
const markerAge = time.Hour

// Prune forgets the versions and tombstones that only matter for events up to floor, the highest EVENTS sequence up to
// which everything is settled, and what else the deleted leave behind. One process calls it now and then; it is no
// harm when several do.
func (r *Registry) Prune(ctx context.Context, floor uint64) error {
	r.floor.Store(max(floor, r.floor.Load()))
	if err := r.Fresh(ctx); err != nil {
		return err
	}
	for _, id := range r.prunable(floor) {
		rec, old, revision := r.current(id)
		if rec.locked != nil || r.isBroken(id) || !rec.prune(floor) { // broken: what is known of it is older
			continue
		}
		if old != nil {
			rec.ETag = old.Revision
		} else if err := stream.ForgetProgress(ctx, r.js, id); err != nil {
			return err
		}
		// Somebody else's change goes first, the next Prune finds what it leaves.
		if _, err := r.store(ctx, id, &rec, revision); err != nil && !errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
			return err
		}
	}
	return errors.Join(r.pruneHealth(ctx), r.pruneMarkers(ctx, r.subscriptions), r.pruneMarkers(ctx, r.sinks), r.pruneMarkers(ctx, r.sourceBucket))
}

func (r *Registry) prunable(floor uint64) (ids []string) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for id := range r.aged {
		for _, v := range r.items[id].past() {
			if v.Until <= floor {
				ids = append(ids, id)
				break
			}
		}
	}
	return ids
}

// pruneMarkers deletes the markers of keys that were deleted long ago: without it a fleet whose subscriptions come and
// go would gather them for ever.
func (r *Registry) pruneMarkers(ctx context.Context, b *bucket) error {
	old := b.oldMarkers()
	if len(old) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	s, err := r.js.Stream(ctx, b.stream())
	if err != nil {
		return fmt.Errorf("open bucket: %w", err)
	}
	for key, revision := range old {
		// Up to the marker only: a record that came after it stays.
		err := s.Purge(ctx, jetstream.WithPurgeSubject(b.subject(key)), jetstream.WithPurgeSequence(revision+1))
		if err != nil {
			return fmt.Errorf("remove marker: %w", err)
		}
		b.forget(key, revision)
	}
	return nil
}

// pruneHealth removes the health of sinks whose subscription is gone: a late worker may have stored it after the
// deletion.
func (r *Registry) pruneHealth(ctx context.Context) error {
	var orphans []string
	r.healthMu.RLock()
	for id, h := range r.health {
		if !h.Backlog {
			orphans = append(orphans, id)
		}
	}
	r.healthMu.RUnlock()
	for _, id := range orphans {
		if _, there := r.Lookup(id); there {
			continue
		}
		if err := r.resetHealth(ctx, id); err != nil {
			return err
		}
	}
	return nil
}
