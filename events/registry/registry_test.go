package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/test/natstest"
)

// patience is how long a test waits for something that takes milliseconds.
const patience = time.Minute

// fleet is a broker with what the registry needs of it.
func fleet(t testing.TB) jetstream.JetStream {
	t.Helper()
	_, js := natstest.Start(t)
	topology(t, js)
	return js
}

func topology(t testing.TB, js jetstream.JetStream) {
	t.Helper()
	ctx := t.Context()
	for _, name := range []string{stream.BucketSubscriptions, stream.BucketSinks, stream.BucketSources} {
		cfg := jetstream.KeyValueConfig{Bucket: name, History: 1, Storage: jetstream.FileStorage}
		if _, err := js.CreateOrUpdateKeyValue(ctx, cfg); err != nil {
			t.Fatal(err)
		}
	}
	cfg := jetstream.StreamConfig{Name: stream.Events, Subjects: []string{stream.SubjectEvents + ">"}}
	if _, err := js.CreateOrUpdateStream(ctx, cfg); err != nil {
		t.Fatal(err)
	}
}

// start runs a registry until the test ends.
func start(t testing.TB, js jetstream.JetStream) *Registry {
	t.Helper()
	r, stop := run(t, js)
	t.Cleanup(stop)
	return r
}

func testLog(t testing.TB) zerolog.Logger {
	return zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel)
}

func run(t testing.TB, js jetstream.JetStream) (r *Registry, stop func()) {
	t.Helper()
	return runWith(t, js, nil)
}

// runWith is run with keys for secrets.
func runWith(t testing.TB, js jetstream.JetStream, secrets Vault) (r *Registry, stop func()) {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Secrets = secrets
	r, err := New(js, cfg, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	select {
	case <-r.Loaded():
	case <-time.After(patience):
		t.Fatal("not loaded")
	}
	return r, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// accept stores an event and returns its sequence.
func accept(t testing.TB, js jetstream.JetStream) uint64 {
	t.Helper()
	ack, err := js.Publish(t.Context(), stream.SubjectEvents+"default.order", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	return ack.Sequence
}

func subscription(t testing.TB, text string) *events.Subscription {
	t.Helper()
	unchecked := func(events.Language, string) string { return "" } // a hundred thousand take a while to compile
	s, err := events.DecodeSubscription([]byte(text), "", events.SinkPolicy{WrongFilter: unchecked})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// toType is a subscription of one type.
func toType(t testing.TB, id, typ string) *events.Subscription {
	return subscription(t, fmt.Sprintf(`{"id":%q,"types":[%q],"sink":"https://partner.example/hook"}`, id, typ))
}

func event(t testing.TB, typ string) *events.Event {
	t.Helper()
	e, err := events.ParseStructured([]byte(fmt.Sprintf(`{"specversion":"1.0","id":"1","source":"/s","type":%q}`, typ)))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func put(t testing.TB, r *Registry, s *events.Subscription) *Entry {
	t.Helper()
	e, _, err := r.Put(t.Context(), s, 0)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// matches are the ids that an event of the type goes to at sequence; "!" marks those that are cancelled.
func matches(t testing.TB, r *Registry, typ string, sequence uint64) string {
	t.Helper()
	var ids []string
	for _, m := range r.Match(event(t, typ), sequence, nil) {
		if m.Entry == nil {
			m.ID += "!"
		}
		ids = append(ids, m.ID)
	}
	slices.Sort(ids)
	return strings.Join(ids, " ")
}

func wantMatches(t testing.TB, r *Registry, typ string, sequence uint64, want string) {
	t.Helper()
	if got := matches(t, r, typ, sequence); got != want {
		t.Errorf("%s at %d: got %q, want %q", typ, sequence, got, want)
	}
}

func TestChangeAppliesToEventsAcceptedAfterIt(t *testing.T) {
	t.Parallel()
	js := fleet(t)
	r := start(t, js)

	before := accept(t, js)
	put(t, r, toType(t, "a", "order"))
	asOrder := accept(t, js)
	put(t, r, toType(t, "a", "refund"))
	asRefund := accept(t, js)
	if err := r.Delete(t.Context(), "a", 0); err != nil {
		t.Fatal(err)
	}
	deleted := accept(t, js)

	for _, reg := range []*Registry{r, start(t, js)} { // as written, and as read back
		for typ, want := range map[string][4]string{"order": {"", "a!", "", ""}, "refund": {"", "", "a!", ""}} {
			for i, seq := range []uint64{before, asOrder, asRefund, deleted} {
				wantMatches(t, reg, typ, seq, want[i])
			}
		}
		if e, ok := reg.Lookup("a"); ok {
			t.Errorf("deleted, and there is %v", e)
		}
	}

	// The namesake takes nothing over.
	again := put(t, r, toType(t, "a", "order"))
	asOrderAgain := accept(t, js)
	for i, want := range map[uint64]string{before: "", asOrder: "a!", asRefund: "", deleted: "", asOrderAgain: "a"} {
		wantMatches(t, r, "order", i, want)
	}
	old := &events.Delivery{Subscription: "a", Event: events.EventRef{Sequence: asOrder}}
	if again.Owns(old) || !again.Owns(&events.Delivery{Event: events.EventRef{Sequence: asOrderAgain}}) {
		t.Error("owns the wrong deliveries")
	}
}

func TestMatchGivesThePresentSubscription(t *testing.T) {
	t.Parallel()
	js := fleet(t)
	r := start(t, js)
	put(t, r, toType(t, "a", "order"))
	sequence := accept(t, js)
	s := toType(t, "a", "refund")
	s.Sink = "https://partner.example/other"
	want := put(t, r, s)
	got := r.Match(event(t, "order"), sequence, nil)
	if len(got) != 1 || got[0].Entry.Revision != want.Revision || got[0].Entry.Subscription.Sink != s.Sink {
		t.Errorf("%+v", got)
	}
}

func TestPutThatMatchesAlikeKeepsTheVersion(t *testing.T) {
	t.Parallel()
	js := fleet(t)
	r := start(t, js)
	first := put(t, r, toType(t, "a", "order"))
	accept(t, js)
	s := toType(t, "a", "order")
	s.Description, s.Config.Concurrency = "other", 5
	second := put(t, r, s)
	if first.From != second.From || first.Revision == second.Revision || !second.CreatedAt.Equal(first.CreatedAt) ||
		!second.UpdatedAt.After(first.UpdatedAt) {
		t.Errorf("%+v\n%+v", first, second)
	}
	if past := r.items["a"].past(); len(past) != 0 {
		t.Errorf("past %+v", past)
	}
}

func TestVersionsWithoutEventsLeaveNoTrace(t *testing.T) {
	t.Parallel()
	js := fleet(t)
	r := start(t, js)
	accept(t, js)
	for i := range 2 * maxPast {
		put(t, r, toType(t, "a", fmt.Sprint("type", i)))
	}
	if past := r.items["a"].past(); len(past) != 0 {
		t.Errorf("past %+v", past)
	}
	if err := r.Delete(t.Context(), "a", 0); err != nil {
		t.Fatal(err)
	}
	if len(r.items) != 0 {
		t.Errorf("a deletion that no event knows of leaves %+v", r.items)
	}
	put(t, r, toType(t, "a", "order")) // over the marker
}

func TestTooManyVersionsAreRefused(t *testing.T) {
	t.Parallel()
	js := fleet(t)
	r := start(t, js)
	var err error
	for i := range maxPast + 2 {
		_, _, err = r.Put(t.Context(), toType(t, "a", fmt.Sprint("type", i)), 0)
		if i <= maxPast && err != nil {
			t.Fatal(i, err)
		}
		accept(t, js)
	}
	if !errors.Is(err, ErrBacklog) {
		t.Fatalf("got %v", err)
	}
	wantMatches(t, r, fmt.Sprint("type", maxPast), 1<<40, "a")
	if err := r.Prune(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	put(t, r, toType(t, "a", "order"))
}

func TestWritesAreChecked(t *testing.T) {
	t.Parallel()
	js := fleet(t)
	r := start(t, js)
	ctx := t.Context()

	made, err := r.Create(ctx, subscription(t, `{"sink":"https://a.example"}`))
	if err != nil || !events.IsID(made.Subscription.ID) {
		t.Fatalf("%+v, %v", made, err)
	}
	a, err := r.Create(ctx, toType(t, "a", "order"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Create(ctx, toType(t, "a", "order")); !errors.Is(err, ErrTaken) {
		t.Error(err)
	}
	if _, _, err := r.Put(ctx, toType(t, "a", "order"), a.Revision+1); !errors.Is(err, ErrConflict) {
		t.Error(err)
	}
	if _, _, err := r.Put(ctx, toType(t, "new", "order"), a.Revision); !errors.Is(err, ErrConflict) {
		t.Error(err)
	}
	b, created, err := r.Put(ctx, toType(t, "a", "order"), a.Revision)
	if err != nil || created || b.Revision <= a.Revision {
		t.Errorf("%+v, %v, %v", b, created, err)
	}
	if _, created, err := r.Put(ctx, toType(t, "b", "order"), 0); err != nil || !created {
		t.Error(created, err)
	}
	if err := r.Delete(ctx, "a", a.Revision); !errors.Is(err, ErrConflict) {
		t.Error(err)
	}
	if err := r.Delete(ctx, "a", b.Revision); err != nil {
		t.Error(err)
	}
	if err := r.Delete(ctx, "a", 0); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if _, err := r.SetPaused(ctx, "a", true); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if err := r.Delete(ctx, "../a", 0); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

func TestSetPaused(t *testing.T) {
	t.Parallel()
	js := fleet(t)
	r := start(t, js)
	first := put(t, r, toType(t, "a", "order"))
	paused, err := r.SetPaused(t.Context(), "a", true)
	if err != nil || !paused.Subscription.Paused || paused.Revision == first.Revision || paused.From != first.From {
		t.Fatalf("%+v, %v", paused, err)
	}
	if first.Subscription.Paused {
		t.Error("an entry that was handed out has changed")
	}
	again, err := r.SetPaused(t.Context(), "a", true)
	if err != nil || again.Revision != paused.Revision {
		t.Errorf("%+v, %v", again, err)
	}
	if put(t, r, toType(t, "a", "order")).Subscription.Paused {
		t.Error("a PUT that does not say so leaves it paused")
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	js := fleet(t)
	r := start(t, js)
	signed := func(secret string) *events.Subscription {
		return subscription(t, `{"id":"a","sink":"https://a.example","protocolsettings":{"signing":{`+secret+`}}}`)
	}
	first := put(t, r, signed(``))
	text := first.Subscription.ProtocolSettings.Signing.Secret.Reveal()
	if !first.SecretMade || !strings.HasPrefix(text, "whsec_") {
		t.Fatalf("%+v", first)
	}
	stored, _ := r.Lookup("a")
	if stored.SecretMade {
		t.Error("the secret would be shown again")
	}
	for _, s := range []*events.Subscription{signed(``), signed(`"secret":"••••abcd"`)} {
		e := put(t, r, s)
		if e.SecretMade || e.Subscription.ProtocolSettings.Signing.Secret.Reveal() != text {
			t.Errorf("%+v", e)
		}
	}
	if e, _ := start(t, js).Lookup("a"); e.Subscription.ProtocolSettings.Signing.Secret.Reveal() != text {
		t.Error("not read back")
	}
	moved := signed(``)
	moved.Sink = "https://b.example"
	_, _, err := r.Put(t.Context(), moved, 0)
	if invalid, ok := errors.AsType[*events.Invalid](err); !ok || invalid.Status != 422 {
		t.Errorf("%v", err)
	}
	// A namesake does not inherit.
	if err := r.Delete(t.Context(), "a", 0); err != nil {
		t.Fatal(err)
	}
	if e := put(t, r, signed(``)); !e.SecretMade || e.Subscription.ProtocolSettings.Signing.Secret.Reveal() == text {
		t.Error("the secret of the deleted subscription lives on")
	}
}

func TestBrokenRecordStopsNothingElse(t *testing.T) {
	t.Parallel()
	js := fleet(t)
	r := start(t, js)
	kv, err := js.KeyValue(t.Context(), stream.BucketSubscriptions)
	if err != nil {
		t.Fatal(err)
	}
	good := put(t, r, toType(t, "a", "order"))
	for _, text := range []string{"garbage", `{}`, `{"subscription":{"id":"other","tenant":"b","sink":"https://a.example","config":{},"protocolsettings":{}},"note":{}}`, `{"note":{}}`, ""} {
		if _, err := kv.Put(t.Context(), "a", []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := kv.Put(t.Context(), "x", []byte(`null`)); err != nil {
		t.Fatal(err)
	}
	put(t, r, toType(t, "b", "order"))
	wantMatches(t, r, "order", 1, "a b")
	if got, ok := r.Lookup("a"); !ok || got.Revision != good.Revision {
		t.Errorf("the last good version is not in use: %v", got)
	}
	if broken := r.Broken(); len(broken) != 2 || broken["a"] == "" || broken["x"] == "" {
		t.Errorf("%v", broken)
	}
	other := start(t, js)
	wantMatches(t, other, "order", 1, "b")

	put(t, r, toType(t, "a", "order"))
	if err := r.Delete(t.Context(), "x", 0); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	put(t, r, toType(t, "x", "order"))
	if broken := r.Broken(); len(broken) != 0 {
		t.Errorf("%v", broken)
	}
	if err := other.Fresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantMatches(t, other, "order", 1, "a b x")
}

func TestWatch(t *testing.T) {
	t.Parallel()
	js := fleet(t)
	r, stop := run(t, js)
	changed, cancel := r.Watch()
	other, cancelOther := r.Watch()
	put(t, r, toType(t, "a", "order"))
	next(t, changed, "a")
	if err := r.SetHealth(t.Context(), "a", func(h *Health) bool { h.State = SinkHeld; return true }); err != nil {
		t.Fatal(err)
	}
	next(t, changed, "a")
	for i := range 20 {
		put(t, r, toType(t, fmt.Sprint("b", i%2), "order"))
	}
	seen := map[string]bool{}
	for len(seen) < 3 { // nobody has read this one yet
		seen[<-other] = true
	}
	cancelOther()
	cancelOther()
	for range other {
	}
	defer cancel()
	stop()
	for range changed {
	}
	ended, _ := r.Watch()
	if _, ok := <-ended; ok {
		t.Error("a watch of what has ended")
	}
}

func next(t *testing.T, changed <-chan string, want string) {
	t.Helper()
	select {
	case id := <-changed:
		if id != want {
			t.Fatalf("got %s, want %s", id, want)
		}
	case <-time.After(patience):
		t.Fatalf("no change of %s", want)
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	js := fleet(t)
	r := start(t, js)
	var want []string
	for i := range 25 {
		s := toType(t, fmt.Sprintf("s%02d", i), "order")
		if i%5 == 0 {
			s.Tenant = "acme"
		} else {
			want = append([]string{s.ID}, want...)
		}
		put(t, r, s)
	}
	put(t, r, toType(t, "s01", "refund")) // a change does not move it
	var got []string
	after := ""
	for {
		page, next := r.List("default", after, 7)
		for _, e := range page {
			got = append(got, e.Subscription.ID)
		}
		if next == "" {
			break
		}
		if !IsCursor(next) || len(page) != 7 {
			t.Fatal(next, len(page))
		}
		if after = next; len(got) == 7 {
			// A deletion on the way loses nothing else.
			if err := r.Delete(t.Context(), got[6], 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	if page, next := r.List("acme", "", 5); len(page) != 5 || next != "" {
		t.Error(len(page), next)
	}
	if page, _ := r.List("", "", 1000); len(page) != 24 {
		t.Error(len(page))
	}
	for _, s := range []string{"", "x", "!.a", "1.A", "."} {
		if IsCursor(s) {
			t.Errorf("%q is a cursor", s)
		}
	}
}
