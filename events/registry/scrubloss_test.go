package registry

import (
	"errors"
	"testing"

	"github.com/hookfleet/hookfleet/auth/vault"
	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/test/natstest"
)

// A record of a later release, which this one cannot read, was written over with the last one that it could read.
func TestScrubLeavesRecordsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	_, js := natstest.Connect(t, natstest.Server(t, t.TempDir()))
	topology(t, js)
	r, stop := runWith(t, js, keysOf(t, vault.NewKey()))
	defer stop()
	put(t, r, signed(t, "a", ""))
	kv, err := js.KeyValue(t.Context(), stream.BucketSubscriptions)
	if err != nil {
		t.Fatal(err)
	}
	const later = `{"of":"a later release"}`
	revision, err := kv.Put(t.Context(), "a", []byte(later))
	if err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, patience, func() bool { return r.Broken()["a"] != "" })
	if err := r.scrub(t.Context()); err == nil {
		t.Error("it says that nothing of before is left")
	}
	e, err := kv.Get(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if e.Revision() != revision || string(e.Value()) != later {
		t.Errorf("rolled back to %s", e.Value())
	}
}

// A source that another process had stored with a key that this one lacks lost its secrets.
func TestScrubLeavesSourcesThatAreLocked(t *testing.T) {
	t.Parallel()
	_, js := natstest.Connect(t, natstest.Server(t, t.TempDir()))
	topology(t, js)
	theirs := keysOf(t, vault.NewKey())
	r, stop := runWith(t, js, keysOf(t, vault.NewKey()))
	defer stop()
	other, stopOther := runWith(t, js, theirs)
	defer stopOther()
	if _, err := other.CreateSource(t.Context(), source("a", "acme", "opensesame")); err != nil {
		t.Fatal(err)
	}
	if err := r.FreshSources(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.scrub(t.Context()); err == nil {
		t.Error("it says that nothing of before is left")
	}
	if err := other.FreshSources(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e, _ := other.Source("a"); e.Locked != nil || e.Source.Credential.AccessToken.Reveal() != "opensesame" {
		t.Errorf("its token is lost: %+v", e)
	}
}

// Prune did the same to a record of a later release.
func TestPruneLeavesRecordsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	js := fleet(t)
	r := start(t, js)
	put(t, r, toType(t, "a", "order"))
	if _, err := js.Publish(t.Context(), stream.SubjectEvents+"default.x", nil); err != nil {
		t.Fatal(err)
	}
	put(t, r, toType(t, "a", "other")) // so that it has a past
	kv, err := js.KeyValue(t.Context(), stream.BucketSubscriptions)
	if err != nil {
		t.Fatal(err)
	}
	revision, err := kv.Put(t.Context(), "a", []byte("of a later release"))
	if err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, patience, func() bool { return r.Broken()["a"] != "" })
	if err := r.Prune(t.Context(), 100); err != nil {
		t.Fatal(err)
	}
	if e, err := kv.Get(t.Context(), "a"); err != nil || e.Revision() != revision {
		t.Errorf("rolled back: %v, %v", e, err)
	}
}

// Nine megabytes of markers, and all records once more, went to a disk that was nearly full, which stops the broker.
func TestScrubLeavesAFullStoreAlone(t *testing.T) {
	t.Parallel()
	_, js := natstest.Connect(t, natstest.Server(t, t.TempDir()))
	topology(t, js)
	r, stop := runWith(t, js, keysOf(t, vault.NewKey()))
	defer stop()
	before := put(t, r, signed(t, "a", "")).Revision
	r.cfg.Admit = func(int) error { return stream.ErrStorageFull }
	if err := r.scrub(t.Context()); !errors.Is(err, stream.ErrStorageFull) {
		t.Error(err)
	}
	s, err := js.Stream(t.Context(), "KV_"+stream.BucketSubscriptions)
	if err != nil {
		t.Fatal(err)
	}
	if last := s.CachedInfo().State.LastSeq; last != before {
		t.Errorf("%d messages were stored", last-before)
	}
}
