package registry

import (
	"errors"
	"maps"
	"slices"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/auth/vault"
)

// subscriptionTable takes the records of subscriptions into memory and the index.
type subscriptionTable struct{ *Registry }

func (t subscriptionTable) set(e jetstream.KeyValueEntry) {
	id := e.Key()
	if t.revisionOf(id) >= e.Revision() {
		return
	}
	it, err := readRecord(&t.opener, id, e.Value(), e.Revision())
	if err != nil {
		t.mu.Lock()
		t.broken[id] = fault{e.Revision(), err.Error()}
		t.mu.Unlock()
		t.log.Error().Err(err).Str("subscription", id).Uint64("revision", e.Revision()).Msg("record cannot be read, the last good version stays in use")
		return
	}
	t.logLocked(it)
	t.replace(id, it)
	t.changes.note(id)
}

// logLocked says why a subscription is held. A missing key is told once for all that need it, by MissingKeys.
func (t subscriptionTable) logLocked(it *item) {
	if it.Locked == nil {
		return
	}
	level := zerolog.ErrorLevel
	if _, missing := errors.AsType[*vault.MissingKeyError](it.Locked); missing {
		level = zerolog.DebugLevel
	}
	t.log.WithLevel(level).Err(it.Locked).Str("subscription", it.id).Msg("secrets cannot be opened, the subscription is held")
}

// revisionOf is the revision of the newest record of id that was taken; 0 = none.
func (t subscriptionTable) revisionOf(id string) uint64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if it := t.items[id]; it != nil {
		return it.revision
	}
	return 0
}

// replace puts it in the place of what is known of id; nil removes it.
func (t subscriptionTable) replace(id string, it *item) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.items[id]; old != nil {
		t.index.remove(old)
		t.order.remove(old)
	}
	delete(t.items, id)
	delete(t.aged, id)
	delete(t.broken, id)
	delete(t.stale, id)
	delete(t.locked, id)
	delete(t.lanes, id)
	if it == nil {
		return
	}
	if it.stale {
		t.stale[it.id] = struct{}{}
	}
	if it.Locked != nil {
		t.locked[it.id] = it.Locked
	}
	t.index.add(it)
	if it.laned() {
		t.lanes[it.id] = struct{}{}
	}
	t.items[it.id] = it
	t.order.add(it)
	if !it.live() || it.history != nil {
		t.aged[it.id] = struct{}{}
	}
}

func (t subscriptionTable) remove(e jetstream.KeyValueEntry) {
	t.replace(e.Key(), nil)
	t.changes.note(e.Key())
}

func (t subscriptionTable) sweep(keys map[string]struct{}, upto uint64) {
	t.mu.Lock()
	t.order.sort(t.items)
	t.mu.Unlock()
	t.mu.RLock()
	gone := slices.DeleteFunc(slices.Collect(maps.Keys(t.items)), func(id string) bool {
		_, there := keys[id]
		return there || t.items[id].revision > upto
	})
	t.mu.RUnlock()
	for _, id := range gone {
		t.replace(id, nil)
		t.changes.note(id)
	}
}
