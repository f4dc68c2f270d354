package registry

import (
	"context"
	"time"

	"github.com/hookfleet/hookfleet/events"
)

// Rotate replaces the secret that a subscription's requests are signed with; ifMatch as for Put. ErrNotFound when there is no such
// subscription, events.ErrUnsigned when it is not signed, an *events.Invalid when the secret is none for its scheme.
func (r *Registry) Rotate(ctx context.Context, id string, rotation *events.Rotation, ifMatch uint64) (*Entry, error) {
	var made bool
	e, err := r.write(ctx, id, func(rec *record, old *Entry) (err error) {
		switch {
		case old == nil:
			return ErrNotFound
		case ifMatch != 0 && old.Revision != ifMatch:
			return ErrConflict
		case old.Locked != nil:
			return old.Locked
		}
		s := old.Subscription.Clone()
		now := time.Now()
		if made, err = s.Rotate(rotation, now); err != nil {
			return err
		}
		if s.ProtocolSettings.Signing.Secret == old.Subscription.ProtocolSettings.Signing.Secret {
			return errUnchanged
		}
		rec.subscription, rec.UpdatedAt = s, now.UTC()
		return nil
	})
	return shown(e, made), err
}
