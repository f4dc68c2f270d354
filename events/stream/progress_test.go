package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/hookfleet/hookfleet/events"
)

// progresses are two workers' over one broker, and which streams were synced.
type progresses struct {
	*fixture
	one, two *Progresses
	mu       sync.Mutex
	synced   []string
}

func setupProgress(t testing.TB) *progresses {
	t.Helper()
	p := &progresses{fixture: setup(t)}
	writer := NewWriter(p.nc, func(streams ...string) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.synced = append(p.synced, streams...)
		return nil
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running errgroup.Group
	running.Go(func() error { return writer.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		_ = running.Wait()
	})
	p.one, p.two = NewProgresses(p.read, writer), NewProgresses(p.read, writer)
	return p
}

func (p *progresses) get(of *Progresses, subscription, key string) *events.Progress {
	p.Helper()
	got, err := of.Get(p.Context(), subscription, key)
	if err != nil {
		p.Fatal(err)
	}
	return got
}

func (p *progresses) put(of *Progresses, subscription, key string, progress *events.Progress) {
	p.Helper()
	if err := of.Put(p.Context(), subscription, key, progress); err != nil {
		p.Fatal(err)
	}
}

func delivered(statuses ...string) *events.Progress {
	return &events.Progress{Statuses: statuses, Newest: time.Unix(7, 5).UTC(), Last: 9}
}

func TestProgresses(t *testing.T) {
	t.Parallel()
	p := setupProgress(t)
	for _, key := range []string{"order-1", "", "order 1/*.>", strings.Repeat("k", 512)} {
		if got := p.get(p.one, "a", key); !cmp.Equal(got, &events.Progress{}) {
			t.Errorf("%q: %+v", key, got)
		}
		p.put(p.one, "a", key, delivered("A", key))
		for _, by := range []*Progresses{p.one, p.two} {
			if diff := cmp.Diff(delivered("A", key), p.get(by, "a", key)); diff != "" {
				t.Errorf("%q: %s", key, diff)
			}
		}
		if got := p.get(p.one, "b", key); !cmp.Equal(got, &events.Progress{}) {
			t.Errorf("%q of another subscription: %+v", key, got)
		}
	}
	if len(p.synced) != 4 || p.synced[0] != "KV_hookfleet_lifecycle" {
		t.Errorf("synced: %v", p.synced)
	}
}

// What Get gives is the caller's: it may note what it will not deliver after all.
func TestProgressesGivesCopies(t *testing.T) {
	t.Parallel()
	p := setupProgress(t)
	p.put(p.one, "a", "k", delivered("A"))
	p.get(p.one, "a", "k").Statuses[0] = "B"
	p.get(p.two, "a", "k").Statuses[0] = "B"
	for _, by := range []*Progresses{p.one, p.two} {
		if diff := cmp.Diff(delivered("A"), p.get(by, "a", "k")); diff != "" {
			t.Error(diff)
		}
	}
}

func TestProgressesAfterATakeOver(t *testing.T) {
	t.Parallel()
	p := setupProgress(t)
	p.put(p.one, "a", "k", delivered("A"))
	p.put(p.one, "b", "k", delivered("A"))
	p.two.Drop("a")
	p.put(p.two, "a", "k", delivered("A", "B"))
	p.one.Drop("a")
	if diff := cmp.Diff(delivered("A", "B"), p.get(p.one, "a", "k")); diff != "" {
		t.Error(diff)
	}
	if _, known := p.one.known("b", "k"); known == nil {
		t.Error("another subscription was dropped too")
	}
}

// What is read or stored while the lane is given up and taken up again is not kept: another owner may have been there.
func TestProgressesKeepsNothingOverADrop(t *testing.T) {
	t.Parallel()
	p := setupProgress(t)
	set, _ := p.one.known("a", "k")
	p.one.Drop("a")
	p.one.keep("a", set, "k", delivered("A"))
	if _, known := p.one.known("a", "k"); known != nil {
		t.Errorf("%+v", known)
	}
}

func TestProgressesForget(t *testing.T) {
	t.Parallel()
	p := setupProgress(t)
	for _, subscription := range []string{"a", "a-b", "ab"} {
		p.put(p.one, subscription, "k", delivered("A"))
		p.put(p.one, subscription, "l", delivered("A"))
	}
	if err := p.one.Forget(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	for _, by := range []*Progresses{p.one, p.two} {
		for _, key := range []string{"k", "l"} {
			if got := p.get(by, "a", key); !cmp.Equal(got, &events.Progress{}) {
				t.Errorf("%s: %+v", key, got)
			}
			if got := p.get(by, "a-b", key); !cmp.Equal(got, delivered("A")) {
				t.Errorf("%s of another: %+v", key, got)
			}
		}
	}
}

func TestProgressesUnknownWrite(t *testing.T) {
	t.Parallel()
	p := setupProgress(t)
	p.put(p.one, "a", "k", delivered("A"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.one.Put(ctx, "a", "k", delivered("A", "B")); err != nil && !errors.Is(err, ErrUnknown) {
		t.Fatal(err)
	}
	p.put(p.one, "x", "y", delivered()) // behind it in the writer's queue
	if diff := cmp.Diff(delivered("A", "B"), p.get(p.one, "a", "k")); diff != "" {
		t.Error(diff)
	}
}

// Two keys of one hash cannot be made; a record that says another key is one.
func TestProgressesOfAnotherKey(t *testing.T) {
	t.Parallel()
	p := setupProgress(t)
	p.publish(&nats.Msg{Subject: ProgressSubject("a", "k"), Data: []byte(`{"key":"other","completed":true}`)})
	if got := p.get(p.one, "a", "k"); !cmp.Equal(got, &events.Progress{}) {
		t.Errorf("%+v", got)
	}
}

func TestProgressesMemoryIsBounded(t *testing.T) {
	t.Parallel()
	s := &Progresses{subs: map[string]*progressSet{}}
	set := s.set("a")
	for i := range 200_000 {
		s.keep("a", set, fmt.Sprint("order-", i), delivered("A", "B", "C"))
	}
	if s.bytes > progressCache || s.bytes < progressCache*9/10 || s.used.Len() != len(set.keys) {
		t.Errorf("%d bytes, %d entries, %d keys", s.bytes, s.used.Len(), len(set.keys))
	}
	if _, known := s.known("a", "order-199999"); known == nil {
		t.Error("the newest is gone")
	}
	if _, known := s.known("a", "order-0"); known != nil {
		t.Error("the oldest is there")
	}
	s.Drop("a")
	if s.bytes != 0 || s.used.Len() != 0 {
		t.Errorf("%d bytes and %d entries of nothing", s.bytes, s.used.Len())
	}
}

func BenchmarkProgresses(b *testing.B) {
	p := setupProgress(b)
	p.put(p.one, "a", "k", delivered("A"))
	run := func(name string, do func(i int) error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				if err := do(i); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	get := func(key string) error {
		_, err := p.one.Get(b.Context(), "a", key)
		return err
	}
	run("known", func(int) error { return get("k") })
	run("new", func(i int) error { return get(fmt.Sprint(i)) })
	run("put", func(i int) error { return p.one.Put(b.Context(), "a", fmt.Sprint(i), delivered("A")) })
	run("read", func(i int) error {
		p.one.Drop("a")
		return get("k")
	})
	run("forget nothing", func(i int) error { return p.one.Forget(b.Context(), "none") })
}
