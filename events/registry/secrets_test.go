package registry

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/auth/secret"
	"github.com/hookfleet/hookfleet/auth/vault"
	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/test/natstest"
)

func keysOf(t testing.TB, keys ...secret.Text) Vault {
	t.Helper()
	v, err := vault.New(keys)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func bucketFleet(t testing.TB, js jetstream.JetStream) {
	t.Helper()
	cfg := jetstream.KeyValueConfig{Bucket: stream.BucketFleet, History: 1, Storage: jetstream.FileStorage}
	if _, err := js.CreateOrUpdateKeyValue(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
}

const planted = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func signed(t testing.TB, id, more string) *events.Subscription {
	t.Helper()
	return subscription(t, fmt.Sprintf(`{"id":%q,"sink":"https://partner.example/hook","protocolsettings":{"signing":{"secret":%q}}%s}`, id, planted, more))
}

// recordText is the record of id as it is in the store.
func recordText(t testing.TB, js jetstream.JetStream, id string) string {
	t.Helper()
	kv, err := js.KeyValue(t.Context(), stream.BucketSubscriptions)
	if err != nil {
		t.Fatal(err)
	}
	e, err := kv.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return string(e.Value())
}

// secretOf is the signing secret that r has of id; "locked" when it does not open.
func secretOf(t testing.TB, r *Registry, id string) string {
	t.Helper()
	if err := r.Fresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	e, ok := r.Lookup(id)
	switch {
	case !ok:
		t.Fatal("no subscription", id)
	case e.Locked != nil:
		return "locked"
	}
	return e.Subscription.ProtocolSettings.Signing.Secret.Reveal()
}

// A store of plain secrets, one of an older key, and the way to another: nothing but the encryption changes.
func TestReseal(t *testing.T) {
	t.Parallel()
	js, older, newer := fleet(t), vault.NewKey(), vault.NewKey()
	bucketFleet(t, js)
	plain, stop := run(t, js)
	first := put(t, plain, signed(t, "plain", ""))
	put(t, plain, toType(t, "unsigned", "order"))
	if text := recordText(t, js, "plain"); !strings.Contains(text, planted) {
		t.Fatal("a store without keys encrypts", text)
	}
	stop()
	old, stopOld := runWith(t, js, keysOf(t, older))
	defer stopOld()
	if got := secretOf(t, old, "plain"); got != planted {
		t.Errorf("what was plain reads as %s", got)
	}
	put(t, old, signed(t, "old", ""))
	both, stopBoth := runWith(t, js, keysOf(t, newer, older))
	defer stopBoth()
	for _, round := range []Resealed{{Done: 1, Left: 1}, {Done: 1}, {}} {
		round.Key = both.cfg.Secrets.KeyID()
		if got, err := both.Reseal(t.Context(), 1); err != nil || got != round {
			t.Errorf("%+v, %v, want %+v", got, err, round)
		}
	}
	alone, stopAlone := runWith(t, js, keysOf(t, newer))
	defer stopAlone()
	for _, id := range []string{"plain", "old"} {
		if text := recordText(t, js, id); strings.Contains(text, planted) || !strings.Contains(text, "v1."+keysOf(t, newer).KeyID()) {
			t.Errorf("%s is stored as %s", id, text)
		}
		for _, r := range []*Registry{both, alone} {
			if got := secretOf(t, r, id); got != planted {
				t.Errorf("%s reads as %s", id, got)
			}
		}
		if got := secretOf(t, old, id); got != "locked" {
			t.Errorf("without the new key %s reads as %s", id, got)
		}
	}
	e, _ := both.Lookup("plain")
	if e.Revision != first.Revision || !e.UpdatedAt.Equal(first.UpdatedAt) {
		t.Errorf("it was %+v, and is %+v", first, e)
	}
	if why := old.MissingKeys(); !strings.Contains(why, keysOf(t, newer).KeyID()) || !strings.Contains(why, "2 subscriptions (old, plain)") {
		t.Errorf("missing: %q", why)
	}
	if why := alone.MissingKeys() + both.MissingKeys(); why != "" {
		t.Errorf("missing: %q", why)
	}
}

// What is locked is matched, and is never written over: not by a change, a pause, Prune or Reseal.
func TestLockedIsKept(t *testing.T) {
	t.Parallel()
	js, key := fleet(t), vault.NewKey()
	bucketFleet(t, js)
	owner, stop := runWith(t, js, keysOf(t, key))
	defer stop()
	put(t, owner, signed(t, "a", `,"types":["order"]`))
	accept(t, js)
	put(t, owner, signed(t, "a", `,"types":["order","refund"]`)) // leaves a version for Prune
	put(t, owner, signed(t, "b", ""))
	before := recordText(t, js, "a")
	lost, stopLost := runWith(t, js, keysOf(t, vault.NewKey()))
	defer stopLost()
	if got := secretOf(t, lost, "a"); got != "locked" {
		t.Errorf("reads as %s", got)
	}
	wantMatches(t, lost, "refund", 2, "a b")
	ctx := t.Context()
	if _, err := lost.Rotate(ctx, "a", &events.Rotation{}, 0); !isLocked(err) {
		t.Errorf("rotated without the secret: %v", err)
	}
	if _, err := lost.SetPaused(ctx, "a", true); !isLocked(err) {
		t.Errorf("pause: %v", err)
	}
	for _, text := range []string{`{}`, `{"secret":"••••LaSw"}`} {
		_, _, err := lost.Put(ctx, subscription(t, `{"id":"a","sink":"https://partner.example/hook","protocolsettings":{"signing":`+text+`}}`), 0)
		invalid, ok := errors.AsType[*events.Invalid](err)
		if !ok || len(invalid.Faults) != 1 || invalid.Faults[0].Pointer != "/protocolsettings/signing/secret" {
			t.Errorf("put %s: %v", text, err)
		}
	}
	if err := lost.Prune(ctx, 1<<40); err != nil {
		t.Error(err)
	}
	if got, err := lost.Reseal(ctx, 10); err != nil || got.Done+got.Left != 0 || got.Locked != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	if after := recordText(t, js, "a"); after != before {
		t.Errorf("was %s, is %s", before, after)
	}
	if got := secretOf(t, owner, "a"); got != planted {
		t.Errorf("the owner reads %s", got)
	}
	put(t, lost, signed(t, "a", "")) // anew
	if err := lost.Delete(ctx, "b", 0); err != nil {
		t.Error(err)
	}
	if got := secretOf(t, lost, "a"); got != planted || lost.MissingKeys() != "" {
		t.Errorf("sent anew it reads as %s; %s", got, lost.MissingKeys())
	}
}

func isLocked(err error) bool {
	_, ok := errors.AsType[*events.LockedError](err)
	return ok
}

// A record that was changed in the store locks its subscription alone.
func TestTamperedRecord(t *testing.T) {
	t.Parallel()
	js := fleet(t)
	r, stop := runWith(t, js, keysOf(t, vault.NewKey()))
	defer stop()
	put(t, r, signed(t, "a", ""))
	put(t, r, signed(t, "b", ""))
	kv, err := js.KeyValue(t.Context(), stream.BucketSubscriptions)
	if err != nil {
		t.Fatal(err)
	}
	// b's secret in the place of a's: the same tenant, key and member.
	if _, err := kv.PutString(t.Context(), "a", strings.ReplaceAll(recordText(t, js, "b"), `"id":"b"`, `"id":"a"`)); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, patience, func() bool { return secretOf(t, r, "a") == "locked" })
	if got := secretOf(t, r, "b"); got != planted || r.MissingKeys() != "" {
		t.Errorf("b reads as %s; %s", got, r.MissingKeys())
	}
}

// A process with another key finds out before there is a secret.
func TestMark(t *testing.T) {
	t.Parallel()
	js, older, newer := fleet(t), vault.NewKey(), vault.NewKey()
	bucketFleet(t, js)
	start := func(keys ...secret.Text) *Registry {
		r, stop := runWith(t, js, keysOf(t, keys...))
		t.Cleanup(stop)
		return r
	}
	mark := func(want string) {
		t.Helper()
		got := ""
		_, e, err := readMark(t.Context(), js)
		if e != nil {
			got = vault.KeyOf(string(e.Value()))
		}
		if err != nil || got != want {
			t.Errorf("mark of %q, want %q, %v", got, want, err)
		}
	}
	mark("")
	first, second, both := start(older), start(newer), start(newer, older)
	for range 2 {
		if err := first.EnsureMark(t.Context(), false); err != nil {
			t.Error(err)
		}
	}
	mark(keysOf(t, older).KeyID())
	if missing, ok := errors.AsType[*vault.MissingKeyError](second.EnsureMark(t.Context(), false)); !ok || missing.ID != keysOf(t, older).KeyID() {
		t.Errorf("another key is taken: %v", missing)
	}
	if err := both.EnsureMark(t.Context(), false); err != nil {
		t.Error(err)
	}
	if _, err := both.Reseal(t.Context(), 10); err != nil {
		t.Error(err)
	}
	mark(keysOf(t, newer).KeyID())
	if err := second.EnsureMark(t.Context(), false); err != nil {
		t.Error(err)
	}
	if err := first.EnsureMark(t.Context(), false); err == nil {
		t.Error("a key that is not in use is taken")
	}
	if err := first.EnsureMark(t.Context(), true); err != nil {
		t.Error(err)
	}
	mark(keysOf(t, older).KeyID())
}
