package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events"
)

// SinkState says whether a subscription's sink may be sent to.
type SinkState string

// The states of a sink (API.md 3, status).
const (
	SinkActive     SinkState = "active"
	SinkHeld       SinkState = "held"
	SinkPaused     SinkState = "paused"
	SinkDisabled   SinkState = "disabled"
	SinkUnverified SinkState = "unverified" // never stored: it follows from what is known of the handshake
)

// Health is the state of one subscription's sink. What is absent is an active sink.
type Health struct {
	State               SinkState     `json:"state"`
	Reason              events.Reason `json:"reason,omitempty"`
	Since               time.Time     `json:"since,omitzero"`
	Until               time.Time     `json:"until,omitzero"`                // held: when it is released; by the breaker: when a probe is due
	ConsecutiveFailures int           `json:"consecutivefailures,omitempty"` // attempts of any kind
	RetryableFailures   int           `json:"retryablefailures,omitempty"`   // consecutive ones, which the breaker counts
	Backlog             bool          `json:"backlog,omitempty"`             // HELD has deliveries of it
	Consent             *Consent      `json:"consent,omitempty"`             // nil = it was not asked
}

// Reset makes the sink active from now on: what is known of its failures is forgotten, not that HELD has something. One
// that was gone must consent again to what it is sent (AP-9).
func (h *Health) Reset(now time.Time) {
	consent := h.Consent
	if h.State == SinkDisabled {
		consent = nil
	}
	*h = Health{State: SinkActive, Since: now.UTC(), Backlog: h.Backlog, Consent: consent}
}

// Broken reports whether the breaker holds the sink.
func (h *Health) Broken() bool { return h.State == SinkHeld && h.Reason == events.ReasonBreaker }

// storedHealth is a Health and the revision it has in the bucket.
type storedHealth struct {
	Health
	revision uint64
}

// Health returns the health of a subscription's sink; active when nothing is stored.
func (r *Registry) Health(id string) Health {
	r.healthMu.RLock()
	defer r.healthMu.RUnlock()
	if h, ok := r.health[id]; ok {
		return h.Health
	}
	return Health{State: SinkActive}
}

// Backlogged yields the ids of subscriptions that have held deliveries. The loop may call the registry.
func (r *Registry) Backlogged() iter.Seq[string] {
	return func(yield func(string) bool) {
		r.healthMu.RLock()
		ids := slices.Collect(maps.Keys(r.backlogged))
		r.healthMu.RUnlock()
		for _, id := range ids {
			if !yield(id) {
				return
			}
		}
	}
}

// SetHealth changes the health of a subscription's sink by change, which may be called several times and returns false
// to leave it as it is. It returns when the change is durable and visible here. When there is no such subscription,
// only a Backlog is kept.
func (r *Registry) SetHealth(ctx context.Context, id string, change func(h *Health) bool) error {
	if err := r.sinks.wait(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	r.healthMu.RLock()
	was := r.health[id]
	r.healthMu.RUnlock()
	for range maxTries {
		h := was.Health
		if h.State == "" {
			h.State = SinkActive
		}
		if !change(&h) {
			return nil
		}
		err := r.storeHealth(ctx, id, storedHealth{h, was.revision})
		if !errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
			return err
		}
		if was, err = r.readHealth(ctx, id); err != nil {
			return err
		}
	}
	return fmt.Errorf("health of %s: others change it all the time", id)
}

// storeHealth writes h over the revision it has.
func (r *Registry) storeHealth(ctx context.Context, id string, h storedHealth) error {
	kv := r.sinks.kv.Load()
	if _, there := r.Lookup(id); !there && !h.Backlog {
		if h.revision == 0 {
			return nil
		}
		if err := kv.Purge(ctx, id, jetstream.LastRevision(h.revision)); err != nil {
			return fmt.Errorf("remove health: %w", err)
		}
		r.setHealth(id, storedHealth{revision: h.revision}, false)
		return r.sync(r.sinks)
	}
	text, err := json.Marshal(h.Health)
	if err != nil {
		return fmt.Errorf("encode health: %w", err)
	}
	if h.revision, err = kv.Update(ctx, id, text, h.revision); err != nil {
		return fmt.Errorf("store health: %w", err)
	}
	r.setHealth(id, h, true)
	return r.sync(r.sinks)
}

// readHealth reads what the leader has, for a writer that was late.
func (r *Registry) readHealth(ctx context.Context, id string) (storedHealth, error) {
	m, err := r.last(ctx, r.sinks, r.sinks.subject(id))
	if err != nil || m == nil {
		return storedHealth{}, err
	}
	h := storedHealth{revision: m.Sequence}
	if len(m.Data) > 0 { // else the marker of a deletion
		if err := json.Unmarshal(m.Data, &h.Health); err != nil {
			r.log.Error().Err(err).Str("subscription", id).Msg("health cannot be read and is replaced")
		}
	}
	return h, nil
}

// resetHealth forgets what was known of a sink but its backlog.
func (r *Registry) resetHealth(ctx context.Context, id string) error {
	r.healthMu.RLock()
	_, known := r.health[id]
	r.healthMu.RUnlock()
	if !known {
		return nil
	}
	return r.SetHealth(ctx, id, func(h *Health) bool {
		*h = Health{State: SinkActive, Backlog: h.Backlog}
		return true
	})
}

// setHealth takes h into memory unless there is something newer. there is false for a removal.
func (r *Registry) setHealth(id string, h storedHealth, there bool) {
	r.healthMu.Lock()
	if r.health[id].revision > h.revision {
		r.healthMu.Unlock()
		return
	}
	delete(r.health, id)
	delete(r.backlogged, id)
	if there {
		r.health[id] = h
		if h.Backlog {
			r.backlogged[id] = struct{}{}
		}
	}
	r.healthMu.Unlock()
	r.changes.note(id)
}

// healthTable takes the health of sinks into memory.
type healthTable struct{ *Registry }

func (t healthTable) set(e jetstream.KeyValueEntry) {
	h := storedHealth{revision: e.Revision()}
	if err := json.Unmarshal(e.Value(), &h.Health); err != nil {
		t.log.Error().Err(err).Str("subscription", e.Key()).Msg("health cannot be read, the last good one stays in use")
		return
	}
	t.setHealth(e.Key(), h, true)
}

func (t healthTable) remove(e jetstream.KeyValueEntry) {
	t.setHealth(e.Key(), storedHealth{revision: e.Revision()}, false)
}

func (t healthTable) sweep(keys map[string]struct{}, upto uint64) {
	t.healthMu.RLock()
	gone := slices.DeleteFunc(slices.Collect(maps.Keys(t.health)), func(id string) bool {
		_, there := keys[id]
		return there || t.health[id].revision > upto
	})
	t.healthMu.RUnlock()
	for _, id := range gone {
		t.setHealth(id, storedHealth{revision: upto}, false)
	}
}
