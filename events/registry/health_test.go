package registry

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/test/natstest"
)

func setHealth(t *testing.T, r *Registry, id string, change func(h *Health)) {
	t.Helper()
	if err := r.SetHealth(t.Context(), id, func(h *Health) bool { change(h); return true }); err != nil {
		t.Fatal(err)
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	js := fleet(t)
	r := start(t, js)
	put(t, r, toType(t, "a", "order"))
	if got := r.Health("a"); got != (Health{State: SinkActive}) {
		t.Errorf("%+v", got)
	}
	want := Health{
		State: SinkHeld, Reason: events.ReasonThrottled, Since: time.Now().UTC().Round(0), Until: time.Now().Add(time.Hour).UTC().Round(0),
		ConsecutiveFailures: 3, Backlog: true,
	}
	setHealth(t, r, "a", func(h *Health) { *h = want })
	for _, reg := range []*Registry{r, start(t, js)} {
		if diff := cmp.Diff(want, reg.Health("a")); diff != "" {
			t.Error(diff)
		}
		if got := slices.Collect(reg.Backlogged()); !slices.Equal(got, []string{"a"}) {
			t.Error(got)
		}
	}
	before := revision(t, js, "a")
	if err := r.SetHealth(t.Context(), "a", func(*Health) bool { return false }); err != nil || revision(t, js, "a") != before {
		t.Error("something was written", err)
	}
	setHealth(t, r, "a", func(h *Health) { h.Backlog = false })
	if got := slices.Collect(r.Backlogged()); len(got) != 0 {
		t.Error(got)
	}
}

// revision is that of the stored health; 0 = none.
func revision(t *testing.T, js jetstream.JetStream, id string) uint64 {
	t.Helper()
	kv, err := js.KeyValue(t.Context(), stream.BucketSinks)
	if err != nil {
		t.Fatal(err)
	}
	e, err := kv.Get(t.Context(), id)
	if err != nil {
		return 0
	}
	return e.Revision()
}

func TestHealthOfSeveralWriters(t *testing.T) {
	t.Parallel()
	js := fleet(t)
	regs := []*Registry{start(t, js), start(t, js), start(t, js)}
	put(t, regs[0], toType(t, "a", "order"))
	for _, r := range regs {
		if err := r.Fresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for _, r := range regs {
		wg.Go(func() {
			for range 20 {
				setHealth(t, r, "a", func(h *Health) { h.ConsecutiveFailures++ })
			}
		})
	}
	wg.Wait()
	for _, r := range regs {
		natstest.Eventually(t, patience, func() bool { return r.Health("a").ConsecutiveFailures == 60 })
	}
}

func TestHealthGoesWithItsSubscription(t *testing.T) {
	t.Parallel()
	js := fleet(t)
	r := start(t, js)
	for _, id := range []string{"empty", "backlog"} {
		put(t, r, toType(t, id, "order"))
		setHealth(t, r, id, func(h *Health) { h.State, h.Backlog = SinkDisabled, id == "backlog" })
		if err := r.Delete(t.Context(), id, 0); err != nil {
			t.Fatal(err)
		}
	}
	if revision(t, js, "empty") != 0 || r.Health("empty").State != SinkActive {
		t.Error("stays without a backlog")
	}
	if got := r.Health("backlog"); got != (Health{State: SinkActive, Backlog: true}) {
		t.Errorf("the backlog is forgotten: %+v", got)
	}
	setHealth(t, r, "backlog", func(h *Health) { h.Backlog = false })
	if revision(t, js, "backlog") != 0 {
		t.Error("stays when the backlog is gone")
	}
	setHealth(t, r, "backlog", func(h *Health) { h.State = SinkHeld })
	if revision(t, js, "backlog") != 0 {
		t.Error("is made for what is not there")
	}
}

func TestHealthStartsAnewWithANamesake(t *testing.T) {
	t.Parallel()
	js := fleet(t)
	r := start(t, js)
	put(t, r, toType(t, "a", "order"))
	setHealth(t, r, "a", func(h *Health) { h.State, h.Backlog = SinkDisabled, true })
	if err := r.Delete(t.Context(), "a", 0); err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), stream.BucketSinks)
	if err != nil {
		t.Fatal(err)
	}
	// A late worker.
	if _, err := kv.Put(t.Context(), "a", []byte(`{"state":"disabled","backlog":true}`)); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, patience, func() bool { return r.Health("a").State == SinkDisabled })
	put(t, r, toType(t, "a", "order"))
	if got := r.Health("a"); got != (Health{State: SinkActive, Backlog: true}) {
		t.Errorf("%+v", got)
	}
}

func TestPruneRemovesOrphans(t *testing.T) {
	t.Parallel()
	js := fleet(t)
	r := start(t, js)
	kv, err := js.KeyValue(t.Context(), stream.BucketSinks)
	if err != nil {
		t.Fatal(err)
	}
	for id, text := range map[string]string{"late": `{"state":"held"}`, "backlog": `{"state":"held","backlog":true}`, "x": "garbage"} {
		if _, err := kv.Put(t.Context(), id, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	natstest.Eventually(t, patience, func() bool { return r.Health("late").State == SinkHeld && r.Health("backlog").Backlog })
	if err := r.Prune(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if revision(t, js, "late") != 0 || revision(t, js, "backlog") == 0 {
		t.Error("the wrong ones are left")
	}
	setHealth(t, r, "x", func(h *Health) { h.Backlog = true }) // over what cannot be read
	if !r.Health("x").Backlog {
		t.Error("not replaced")
	}
}
