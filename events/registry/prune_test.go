package registry

import (
	"iter"
	"slices"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events/stream"
)

func TestPrune(t *testing.T) {
	t.Parallel()
	js := fleet(t)
	r := start(t, js)
	ctx := t.Context()
	put(t, r, toType(t, "a", "order"))
	put(t, r, toType(t, "gone", "order"))
	first := accept(t, js)
	a := put(t, r, toType(t, "a", "refund"))
	if err := r.Delete(ctx, "gone", 0); err != nil {
		t.Fatal(err)
	}
	second := accept(t, js)

	if err := r.Prune(ctx, first-1); err != nil {
		t.Fatal(err)
	}
	wantMatches(t, r, "order", first, "a gone!")
	if err := r.Prune(ctx, first); err != nil {
		t.Fatal(err)
	}
	wantMatches(t, r, "order", first, "")
	wantMatches(t, r, "refund", second, "a")
	if len(r.aged) != 0 || r.items["gone"] != nil {
		t.Errorf("left: %v", r.aged)
	}
	// Our bookkeeping does not show.
	after, _ := r.Lookup("a")
	if after.Revision != a.Revision || !after.UpdatedAt.Equal(a.UpdatedAt) {
		t.Errorf("%+v became %+v", a, after)
	}
	b, _, err := r.Put(ctx, toType(t, "a", "order"), a.Revision)
	if err != nil {
		t.Fatal(err)
	}
	if b.Revision == a.Revision {
		t.Error("a change kept the revision")
	}
}

func TestPruneRemovesOldMarkers(t *testing.T) {
	t.Parallel()
	js := fleet(t)
	r, other := start(t, js), start(t, js)
	ctx := t.Context()
	put(t, r, toType(t, "a", "order"))
	if err := r.Delete(ctx, "a", 0); err != nil {
		t.Fatal(err)
	}
	if err := other.Fresh(ctx); err != nil {
		t.Fatal(err)
	}
	r.subscriptions.markerMu.Lock()
	m := r.subscriptions.markers["a"]
	m.at = m.at.Add(-2 * markerAge)
	r.subscriptions.markers["a"] = m
	r.subscriptions.markerMu.Unlock()
	if err := r.Prune(ctx, 0); err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(ctx, r.subscriptions.stream())
	if err != nil || s.CachedInfo().State.Msgs != 0 {
		t.Fatalf("%v, %v", s.CachedInfo().State, err)
	}
	// Neither Fresh nor a writer that still knows the marker minds.
	if err := r.Fresh(ctx); err != nil {
		t.Error(err)
	}
	put(t, other, toType(t, "a", "order"))
}

// What was delivered to a subscription that is deleted does not count for a namesake, also when it is noted late.
func TestLifecycleEndsWithTheSubscription(t *testing.T) {
	t.Parallel()
	js := fleet(t)
	r := start(t, js)
	bucket, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: stream.BucketLifecycle})
	if err != nil {
		t.Fatal(err)
	}
	note := func() {
		for _, id := range []string{"a", "a-b"} {
			if _, err := js.Publish(t.Context(), stream.ProgressSubject(id, "order-1"), []byte("{}")); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := func(when string, n int) {
		t.Helper()
		lister, err := bucket.ListKeys(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if keys := slices.Collect(channel(lister.Keys())); len(keys) != n {
			t.Errorf("%s: %v", when, keys)
		}
	}
	put(t, r, toType(t, "a", "order"))
	put(t, r, toType(t, "a-b", "order"))
	note()
	accept(t, js)
	want("before", 2)
	if err := r.Delete(t.Context(), "a", 0); err != nil {
		t.Fatal(err)
	}
	want("deleted", 1)
	note()
	put(t, r, toType(t, "a", "order"))
	want("made again", 1)
	note()
	put(t, r, toType(t, "a", "refund"))
	want("changed", 2)
	last := accept(t, js)
	if err := r.Delete(t.Context(), "a", 0); err != nil {
		t.Fatal(err)
	}
	note()
	if err := r.Prune(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	want("pruned", 1)
}

func channel[T any](c <-chan T) iter.Seq[T] {
	return func(yield func(T) bool) {
		for v := range c {
			if !yield(v) {
				return
			}
		}
	}
}
