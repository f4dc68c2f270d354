package credential

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// Of three workers with fifty deliveries each, one fetches, once, and the next token too.
func TestOneFetchForAll(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}, 10), make(chan struct{})
	server := newTokenServer(t, func(n int, w http.ResponseWriter) {
		entered <- struct{}{}
		<-release
		gives("3600")(n, w)
	})
	store := newMemory()
	var workers []*Source
	for range 3 {
		workers = append(workers, source(t, clientSpec(server.url), store))
	}
	var asking sync.WaitGroup
	for _, w := range workers {
		for range 50 {
			asking.Go(func() {
				if got, err := w.Token(t.Context(), time.Minute); err != nil || !got.usable(time.Now()) {
					t.Error(got, err)
				}
			})
		}
	}
	<-entered
	close(release)
	asking.Wait()
	if n := server.fetches(); n != 1 {
		t.Errorf("%d fetches for 150 callers, want 1", n)
	}
	// All three are refused at once: one more fetch, and one more only.
	var refused sync.WaitGroup
	for _, w := range workers {
		old := token(t, w)
		for range 50 {
			refused.Go(func() {
				if got, err := w.Refused(t.Context(), old); err != nil || got == nil || got.serial != old.serial+1 {
					t.Error(got, err)
				}
			})
		}
	}
	refused.Wait()
	if n := server.fetches(); n != 2 {
		t.Errorf("%d fetches after all were refused, want 2", n)
	}
}

// A worker that starts anew takes the token that is there.
func TestTokenIsShared(t *testing.T) {
	t.Parallel()
	server, store := newTokenServer(t, gives("3600")), newMemory()
	first := token(t, source(t, clientSpec(server.url), store))
	second := token(t, source(t, clientSpec(server.url), store))
	if first.text != second.text || first.serial != second.serial || server.fetches() != 1 {
		t.Errorf("%d fetches, %s and %s", server.fetches(), first.text, second.text)
	}
	// A changed credential does not.
	changed := source(t, clientSpec(server.url), store, func(d *Deps) { d.Version = 2 })
	if third := token(t, changed); third.text == first.text || third.serial <= first.serial || server.fetches() != 2 {
		t.Errorf("%d fetches, %s", server.fetches(), third.text)
	}
	// And whoever still has the old one leaves it alone.
	late := source(t, clientSpec(server.url), store)
	if _, err := late.Token(t.Context(), 0); !errors.Is(err, ErrSuperseded) || server.fetches() != 2 {
		t.Errorf("%v, %d fetches", err, server.fetches())
	}
}

func TestTimes(t *testing.T) {
	t.Parallel()
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for life, want := range map[time.Duration][3]time.Duration{ // last renewal, first renewal, end
		time.Second:        {800 * time.Millisecond, 700 * time.Millisecond, 900 * time.Millisecond},
		time.Minute:        {49 * time.Second, 43 * time.Second, 55 * time.Second},
		time.Hour:          {3595*time.Second - 150*time.Second, 3595*time.Second - 300*time.Second, 3595 * time.Second},
		0:                  {maxLife - 155*time.Second, maxLife - 305*time.Second, maxLife - 5*time.Second},
		1000 * time.Hour:   {maxLife - 155*time.Second, maxLife - 305*time.Second, maxLife - 5*time.Second},
		20 * time.Second:   {16 * time.Second, 14 * time.Second, 18 * time.Second},
		-20 * time.Second:  {maxLife - 155*time.Second, maxLife - 305*time.Second, maxLife - 5*time.Second},
		time.Duration(100): {80, 70, 90},
	} {
		last, until := times(from, life, 0)
		first, _ := times(from, life, 1)
		if got := [3]time.Duration{last.Sub(from), first.Sub(from), until.Sub(from)}; got != want {
			t.Errorf("%v: %v, want %v", life, got, want)
		}
	}
}

// A token that is about to end is renewed by one caller, while the others use it; when that fails it is used to its end.
func TestRenewal(t *testing.T) {
	t.Parallel()
	server, store := newTokenServer(t, gives("3600")), newMemory()
	s := source(t, clientSpec(server.url), store)
	first := token(t, s)
	due := func() {
		now := time.Now()
		early := &Token{text: first.text, values: first.values, serial: first.serial, fetched: first.fetched, renew: now.Add(-time.Second), until: first.until}
		s.current.Store(early)
		store.change(t, func(e *shared) { e.Renew = early.renew })
	}
	due()
	server.say(refuses(500, ""))
	if got := token(t, s); got.serial != first.serial || server.fetches() != 2 {
		t.Errorf("token %d after %d fetches", got.serial, server.fetches())
	}
	if got := token(t, s); got.serial != first.serial || server.fetches() != 2 {
		t.Errorf("asked again at once: token %d after %d fetches", got.serial, server.fetches())
	}
	// Another worker does not ask either, and takes the token that there is.
	if got := token(t, source(t, clientSpec(server.url), store)); got.serial != first.serial || server.fetches() != 2 {
		t.Errorf("another worker: token %d after %d fetches", got.serial, server.fetches())
	}
	store.change(t, func(e *shared) { e.RetryAt = time.Now() })
	s.renewAfter.Store(0)
	var entered, release = make(chan struct{}), make(chan struct{})
	server.say(func(n int, w http.ResponseWriter) {
		close(entered)
		<-release
		gives("3600")(n, w)
	})
	var renewing sync.WaitGroup
	renewing.Go(func() {
		if got := token(t, s); got.serial != first.serial+1 {
			t.Errorf("renewed to %d", got.serial)
		}
	})
	<-entered
	if got := token(t, s); got.serial != first.serial {
		t.Errorf("token %d while it is renewed", got.serial)
	}
	close(release)
	renewing.Wait()
	if got := token(t, s); got.serial != first.serial+1 || server.fetches() != 3 {
		t.Errorf("token %d after %d fetches", got.serial, server.fetches())
	}
}

// A server that fails is not asked again before its time, by nobody, and then less and less often.
func TestFailing(t *testing.T) {
	t.Parallel()
	server, store := newTokenServer(t, refuses(503, `{"error":"canary"}`)), newMemory()
	var reports []Fetch
	report := func(d *Deps) { d.Report = func(f Fetch) { reports = append(reports, f) } }
	s, other := source(t, clientSpec(server.url), store, report), source(t, clientSpec(server.url), store)
	for failures := 1; failures <= 3; failures++ {
		before := time.Now()
		_, err := s.Token(t.Context(), 0)
		failing, ok := errors.AsType[*FailingError](err)
		if !ok || failing.Problem != "token server: answered 503 canary" {
			t.Fatalf("%v", err)
		}
		low, high := 800*time.Millisecond<<(failures-1), 1200*time.Millisecond<<(failures-1)
		if wait := failing.Until.Sub(before); wait < low || wait > high+time.Second {
			t.Errorf("after %d failures it waits %v", failures, wait)
		}
		for _, s := range []*Source{s, other} {
			again, _ := s.Token(t.Context(), 0)
			if again != nil || server.fetches() != failures {
				t.Errorf("%d fetches after %d failures", server.fetches(), failures)
			}
		}
		store.change(t, func(e *shared) { e.RetryAt = time.Now() })
	}
	server.say(gives("3600"))
	token(t, s)
	token(t, other)
	if n := server.fetches(); n != 4 || len(reports) != 4 || !reports[3].Again || reports[3].Outcome != OutcomeOK || reports[0].Outcome != OutcomeServerError {
		t.Errorf("%d fetches, reports %+v", n, reports)
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	for failures, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 6: 32 * time.Second, 7: time.Minute, 1000: time.Minute} {
		if got := backoff(failures, 0.5); got != want {
			t.Errorf("%d: %v", failures, got)
		}
	}
}

// A sink that refuses whatever it is shown costs its token server one fetch, not one a delivery.
func TestRefused(t *testing.T) {
	t.Parallel()
	server, store := newTokenServer(t, gives("3600")), newMemory()
	s, other := source(t, clientSpec(server.url), store), source(t, clientSpec(server.url), store)
	first := token(t, s)
	theirs := token(t, other)
	second, err := s.Refused(t.Context(), first)
	if err != nil || second.serial != 2 {
		t.Fatalf("%v %v", second, err)
	}
	// Another worker that is refused with the first takes the second, and so does one that is late.
	for _, w := range []*Source{other, s} {
		if got, err := w.Refused(t.Context(), theirs); err != nil || got.text != second.text {
			t.Errorf("%v %v", got, err)
		}
	}
	for _, w := range []*Source{other, s} {
		if got, err := w.Refused(t.Context(), token(t, w)); got != nil || err != nil {
			t.Errorf("refused again: %v %v", got, err)
		}
	}
	if n := server.fetches(); n != 2 {
		t.Errorf("%d fetches, want 2", n)
	}
	// It was taken meanwhile: then a refusal means something again, though not every millisecond.
	for n := uint64(3); n <= 5; n++ {
		second.Accepted()
		next, err := s.Refused(t.Context(), second)
		if err != nil || next == nil || next.serial != n {
			t.Fatalf("refused after it was taken: %v %v", next, err)
		}
		second = next
	}
	second.Accepted()
	if got, err := s.Refused(t.Context(), second); got != nil || err != nil {
		t.Errorf("refused for the fifth time within seconds: %v %v", got, err)
	}
	for i := range s.forced {
		s.forced[i] = s.forced[i].Add(-forcedWindow)
	}
	if got, err := s.Refused(t.Context(), second); err != nil || got == nil || got.serial != 6 {
		t.Errorf("refused later: %v %v", got, err)
	}
}

// While the server fails, a token that was refused is not taken up again, by nobody.
func TestRefusedWhileFailing(t *testing.T) {
	t.Parallel()
	server, store := newTokenServer(t, gives("3600")), newMemory()
	s := source(t, clientSpec(server.url), store)
	first := token(t, s)
	server.say(refuses(500, ""))
	_, err := s.Refused(t.Context(), first)
	if _, ok := errors.AsType[*FailingError](err); !ok {
		t.Fatal(err)
	}
	for _, w := range []*Source{s, source(t, clientSpec(server.url), store)} {
		if got, err := w.Token(t.Context(), 0); err == nil {
			t.Errorf("token %d", got.serial)
		}
	}
}

// The lease of a worker that died ends by itself.
func TestLeaseOfTheDead(t *testing.T) {
	t.Parallel()
	server, store := newTokenServer(t, gives("3600")), newMemory()
	until := time.Now().Add(300 * time.Millisecond)
	s := source(t, clientSpec(server.url), store)
	if _, err := s.save(t.Context(), &shared{Version: 1, Holder: "dead", Lease: until}, 0); err != nil {
		t.Fatal(err)
	}
	token(t, s)
	if time.Now().Before(until) || server.fetches() != 1 {
		t.Errorf("%d fetches", server.fetches())
	}
}

// A caller that gives up while it fetches does not cost the others their token, and is no failure of the server.
func TestCallerGivesUp(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}, 2), make(chan struct{})
	server := newTokenServer(t, func(n int, w http.ResponseWriter) {
		entered <- struct{}{}
		<-release
		gives("3600")(n, w)
	})
	s := source(t, clientSpec(server.url), newMemory())
	ctx, cancel := context.WithCancel(t.Context())
	var calling sync.WaitGroup
	calling.Go(func() {
		if _, err := s.Token(ctx, 0); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	<-entered
	if _, err := s.Token(t.Context(), time.Millisecond); !errors.Is(err, ErrBusy) {
		t.Errorf("who is not patient: %v", err)
	}
	cancel()
	calling.Wait()
	close(release)
	token(t, s)
}

// Of those who wait for a fetch there are never more than some.
func TestWaitersAreBounded(t *testing.T) {
	t.Parallel()
	s := source(t, clientSpec("http://127.0.0.1:1/"), newMemory())
	if _, first := s.join(); !first {
		t.Fatal("somebody fetches")
	}
	s.waiting = maxWaiting
	if _, err := s.Token(t.Context(), time.Minute); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
}

// Servers that mean harm: each is a failure with a bounded text, quickly, and nothing of it is followed.
func TestHostileServers(t *testing.T) {
	t.Parallel()
	var followed http.ResponseWriter
	evil := newTokenServer(t, func(n int, w http.ResponseWriter) { followed = w; gives("60")(n, w) })
	tests := map[string]struct {
		answer  func(int, http.ResponseWriter)
		outcome string
	}{
		"redirect": {func(_ int, w http.ResponseWriter) { w.Header().Set("Location", evil.url); w.WriteHeader(307) }, OutcomeRedirect},
		"5 MiB": {func(_ int, w http.ResponseWriter) {
			_, _ = io.WriteString(w, `{"access_token":"`+strings.Repeat("x", 5<<20)+`"}`)
		}, OutcomeInvalid},
		"5 MiB of space before the token": {func(_ int, w http.ResponseWriter) {
			_, _ = io.WriteString(w, strings.Repeat(" ", 5<<20)+`{"access_token":"t"}`)
		}, OutcomeInvalid},
		"deep":     {refuses(200, strings.Repeat("[", 60<<10)), OutcomeInvalid},
		"html":     {refuses(200, "<html>canary-secret</html>"), OutcomeInvalid},
		"hangs up": {func(int, http.ResponseWriter) { panic(http.ErrAbortHandler) }, "reset"},
	}
	for name, test := range tests {
		server := newTokenServer(t, test.answer)
		var got Fetch
		s := source(t, clientSpec(server.url), newMemory(), func(d *Deps) { d.Report = func(f Fetch) { got = f } })
		_, err := s.Token(t.Context(), 0)
		if err == nil || got.Outcome != test.outcome || len(err.Error()) > 200 || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %s, %v", name, got.Outcome, err)
		}
	}
	if followed != nil {
		t.Error("a redirect was followed")
	}
	blocked := source(t, clientSpec("http://169.254.169.254/token"), newMemory())
	if _, err := blocked.Token(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "blocked") {
		t.Errorf("metadata: %v", err)
	}
}
