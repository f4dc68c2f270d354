package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/test/natstest"
)

// told is what a Watch told.
type told struct {
	mu    sync.Mutex
	all   []string
	fails int // how often Loaded fails
}

func (w *told) add(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, fmt.Sprintf(format, args...))
}

// next waits until the last thing told is last, and returns what was told since the last time, sorted.
func (w *told) next(t *testing.T, last string) (all []string) {
	t.Helper()
	natstest.Eventually(t, patience, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		all = slices.Clone(w.all)
		return slices.Contains(all, last)
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	all, w.all = w.all, nil
	slices.Sort(all)
	return all
}

// watch runs a Watch of a bucket until the test ends.
func (w *told) watch(t *testing.T, js jetstream.JetStream, bucket string) {
	t.Helper()
	watch := Watch{
		JS: js, Bucket: bucket, Log: zerolog.Nop(),
		Put:  func(key string, value []byte) { w.add("%s is %s", key, value) },
		Gone: func(key string) { w.add("%s is gone", key) },
		Loaded: func(context.Context) error {
			w.add("loaded")
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.fails--; w.fails >= 0 {
				return errors.New("not yet")
			}
			return nil
		},
	}
	run(t, func(ctx context.Context) error {
		watch.Run(ctx)
		return nil
	})
}

func keyValue(t *testing.T, js jetstream.JetStream) jetstream.KeyValue {
	t.Helper()
	kv, err := js.CreateOrUpdateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "watched"})
	must(t, err)
	return kv
}

func put(t *testing.T, kv jetstream.KeyValue, key, value string) {
	t.Helper()
	_, err := kv.PutString(t.Context(), key, value)
	must(t, err)
}

func TestWatchTellsEachChangeOnce(t *testing.T) {
	t.Parallel()
	_, js := natstest.Start(t)
	kv := keyValue(t, js)
	put(t, kv, "a", "1")
	put(t, kv, "b", "1")
	put(t, kv, "never", "1")
	must(t, kv.Delete(t.Context(), "never"))
	w := told{fails: 2} // it begins anew, and does not tell again
	w.watch(t, js, "watched")
	natstest.Eventually(t, patience, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.fails < 0
	})
	if diff := cmp.Diff([]string{"a is 1", "b is 1", "loaded", "loaded", "loaded"}, w.next(t, "loaded")); diff != "" {
		t.Error(diff)
	}
	put(t, kv, "a", "2")
	must(t, kv.Delete(t.Context(), "b"))
	put(t, kv, "c", "1")
	if diff := cmp.Diff([]string{"a is 2", "b is gone", "c is 1"}, w.next(t, "c is 1")); diff != "" {
		t.Error(diff)
	}
	must(t, kv.Purge(t.Context(), "c"))
	must(t, kv.Delete(t.Context(), "never"))
	put(t, kv, "end", "1")
	if diff := cmp.Diff([]string{"c is gone", "end is 1"}, w.next(t, "end is 1")); diff != "" {
		t.Error(diff)
	}
}

// A broker that restarts forgets its consumers. What changed meanwhile is told, also what went without a trace, and what
// did not change is not told again.
func TestWatchIsTakenUpAfterTheBroker(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := natstest.Server(t, dir)
	own, js := natstest.Connect(t, first)
	kv := keyValue(t, js)
	for _, key := range []string{"changed", "deleted", "lost", "stays"} {
		put(t, kv, key, "1")
	}
	own.Close()
	var broker natstest.Successive
	broker.Use(first)
	_, far := broker.Connect(t)
	var w told
	w.watch(t, far, "watched")
	w.next(t, "loaded")

	broker.Use(nil)
	natstest.Stop(first)
	second := natstest.Server(t, dir)
	_, js = natstest.Connect(t, second)
	kv = keyValue(t, js)
	put(t, kv, "changed", "2")
	put(t, kv, "new", "1")
	must(t, kv.Delete(t.Context(), "deleted"))
	s, err := js.Stream(t.Context(), "KV_watched")
	must(t, err)
	must(t, s.Purge(t.Context(), jetstream.WithPurgeSubject("$KV.watched.lost")))
	broker.Use(second)
	if diff := cmp.Diff([]string{"changed is 2", "deleted is gone", "loaded", "lost is gone", "new is 1"}, w.next(t, "loaded")); diff != "" {
		t.Error(diff)
	}
	put(t, kv, "end", "1")
	w.next(t, "end is 1")
}

// A bucket that is not there yet is waited for.
func TestWatchOfABucketThatComesLater(t *testing.T) {
	t.Parallel()
	_, js := natstest.Start(t)
	var w told
	w.watch(t, js, "watched")
	put(t, keyValue(t, js), "a", "1")
	w.next(t, "a is 1")
}
