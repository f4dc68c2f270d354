package registry

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/hookfleet/hookfleet/auth/secret"
	"github.com/hookfleet/hookfleet/auth/vault"
	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

// source is one that is asked with a token.
func source(id, tenant, token string) *events.StatusSource {
	s := &events.StatusSource{
		ID: id, Tenant: tenant, URL: "https://internal.example/${key}", Every: events.Duration(events.MinEvery), Status: "status",
		Type: "order.status", Initial: "Booked", Concurrency: 1, Timeout: events.Duration(events.MinTimeout),
	}
	if token != "" {
		s.Credential = &events.Credential{Type: events.CredentialBearer, AccessToken: secret.New(token)}
	}
	return s
}

func ids(page []*SourceEntry) string {
	var all []string
	for _, e := range page {
		all = append(all, e.Source.ID)
	}
	return strings.Join(all, " ")
}

func TestSources(t *testing.T) {
	t.Parallel()
	js := fleet(t)
	r, other := start(t, js), start(t, js)
	changed, cancel := other.WatchSources()
	defer cancel()
	first, created, err := r.PutSource(t.Context(), source("a", "acme", "opensesame"), 0)
	if err != nil || !created {
		t.Fatal(created, err)
	}
	if id := <-changed; id != "a" {
		t.Errorf("%s has changed", id)
	}
	if _, err := r.CreateSource(t.Context(), source("a", "other", "")); !errors.Is(err, ErrSourceTaken) {
		t.Errorf("an id that is taken: %v", err)
	}
	// Without a token it keeps its own, also where another process made it.
	keep := source("a", "acme", "")
	keep.Credential, keep.Concurrency = &events.Credential{Type: events.CredentialBearer}, 2
	second, created, err := other.PutSource(t.Context(), keep, first.Revision)
	if err != nil || created || second.Revision <= first.Revision || !second.CreatedAt.Equal(first.CreatedAt) {
		t.Fatalf("%+v, %v, %v", second, created, err)
	}
	if _, _, err := r.PutSource(t.Context(), keep, first.Revision); !errors.Is(err, ErrConflict) {
		t.Errorf("a stale revision: %v", err)
	}
	if e, ok := r.Source("a"); !ok || e.Source.Credential.AccessToken.Reveal() != "opensesame" || e.Source.Concurrency != 2 {
		t.Errorf("it is %+v", e)
	}
	for _, s := range []*events.StatusSource{source("b", "other", ""), source("c", "acme", "")} {
		if _, err := r.CreateSource(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	page, next := r.ListSources("", "", 2)
	if got := ids(page); got != "c b" || next == "" {
		t.Errorf("first page %s, %q", got, next)
	}
	if page, next = r.ListSources("", next, 2); ids(page) != "a" || next != "" {
		t.Errorf("second page %s, %q", ids(page), next)
	}
	if page, _ := r.ListSources("acme", "", 9); ids(page) != "c a" {
		t.Errorf("of acme: %s", ids(page))
	}
	if err := r.DeleteSource(t.Context(), "a", first.Revision); !errors.Is(err, ErrConflict) {
		t.Errorf("deleting a stale revision: %v", err)
	}
	if err := r.DeleteSource(t.Context(), "a", 0); err != nil {
		t.Fatal(err)
	}
	if err := other.DeleteSource(t.Context(), "a", 0); !errors.Is(err, ErrNoSource) {
		t.Errorf("deleting what is gone: %v", err)
	}
	if again, err := other.CreateSource(t.Context(), source("a", "acme", "")); err != nil || again.CreatedAt.Equal(first.CreatedAt) {
		t.Errorf("the id is free again: %+v, %v", again, err)
	}
}

func TestResealSources(t *testing.T) {
	t.Parallel()
	js, older, newer := fleet(t), vault.NewKey(), vault.NewKey()
	bucketFleet(t, js)
	text := func() string {
		kv, err := js.KeyValue(t.Context(), stream.BucketSources)
		if err != nil {
			t.Fatal(err)
		}
		e, err := kv.Get(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		return string(e.Value())
	}
	r, stop := runWith(t, js, keysOf(t, older))
	first, err := r.CreateSource(t.Context(), source("a", "acme", "opensesame"))
	if err != nil {
		t.Fatal(err)
	}
	if sealed := text(); strings.Contains(sealed, "opensesame") {
		t.Errorf("stored %s", sealed)
	}
	stop()
	r, stop = runWith(t, js, keysOf(t, newer, older))
	if n := r.Unsealed(); n != 1 {
		t.Errorf("%d to be sealed anew", n)
	}
	if done, err := r.Reseal(t.Context(), 10); err != nil || done.Done != 1 || done.Left != 0 || done.Locked != 0 {
		t.Errorf("resealed %+v, %v", done, err)
	}
	stop()
	r, stop = runWith(t, js, keysOf(t, newer))
	defer stop()
	e, ok := r.Source("a")
	if !ok || e.Locked != nil || e.Revision != first.Revision || e.Source.Credential.AccessToken.Reveal() != "opensesame" {
		t.Errorf("with the new key alone: %+v", e)
	}
	lost, stopLost := runWith(t, js, keysOf(t, vault.NewKey()))
	defer stopLost()
	if e, ok := lost.Source("a"); !ok || e.Locked == nil || !strings.Contains(lost.MissingKeys(), "source a") {
		t.Errorf("without the key: %+v, %q", e, lost.MissingKeys())
	}
	masked := source("a", "acme", "")
	masked.Credential = &events.Credential{Type: events.CredentialBearer}
	_, _, err = lost.PutSource(t.Context(), masked, 0)
	if invalid, ok := errors.AsType[*events.Invalid](err); !ok || !slices.ContainsFunc(invalid.Faults, func(f events.Fault) bool { return f.Pointer == "/credential/accesstoken" }) {
		t.Errorf("a change without the secret: %v", err)
	}
	if e, _, err := lost.PutSource(t.Context(), source("a", "acme", "another"), 0); err != nil || e.Locked != nil {
		t.Errorf("a change with the secret: %v", err)
	}
}
