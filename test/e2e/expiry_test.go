package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

// expiring publishes an event with an expirytime.
func (f *flow) expiring(at string) fleettest.Receipt {
	f.t.Helper()
	return f.client.Publish(f.t, fmt.Sprintf(
		`{"specversion":"1.0","id":%q,"source":"/e2e","type":%q,"expirytime":%q,"data":1}`, unique("event"), f.name, at))
}

func in(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339Nano) }

// tooLate checks that a delivery was skipped for its event's age after so many attempts.
func (f *flow) tooLate(r fleettest.Receipt, attempts int) {
	f.t.Helper()
	d := f.await(r, "skipped")
	if d.Reason != "expired" || d.AttemptCount != attempts || d.EndedAt.IsZero() || !d.NextAt.IsZero() {
		f.t.Errorf("delivery %+v, want skipped, expired, after %d attempts", d, attempts)
	}
}

// testExpirytime: an event that has expired is not sent, whether at first, again, or after it was held.
func testExpirytime(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, `"retry":{"policy":"fixed","initial":"6s","jitter":0}`) // what expires before a retry is attempted once
	f.tooLate(f.expiring("2026-01-01T00:00:00Z"), 0)
	f.tooLate(f.expiring(in(-time.Second)), 0)
	if n := len(f.sink.Got(f.path)); n != 0 {
		t.Errorf("%d requests for what has expired", n)
	}
	for _, at := range []string{in(time.Hour), "2999-12-31t23:59:60z", "tomorrow", "1767225600"} {
		f.await(f.expiring(at), "delivered")
	}
	if body := string(f.sink.Got(f.path)[2].Body); !contains(body, `"expirytime":"tomorrow"`) {
		t.Errorf("the attribute was changed: %s", body)
	}
	f.sink.On(f.path, fails)
	f.tooLate(f.expiring(in(5*time.Second)), 1)
	if letters := f.client.DeadLetters(t, f.name); len(letters) != 0 {
		t.Errorf("skips left dead letters %+v", letters)
	}
	f.pause()
	held := f.expiring(in(soon))
	f.await(held, "held")
	f.tooLate(held, 0) // while it is paused
	f.resume()
	if waiting := f.client.AwaitState(t, f.name, "active").Status.Waiting; waiting != 0 {
		t.Errorf("%d wait", waiting)
	}
}

// testExpirytimeBatch: what has expired is left out of a batch, at first and when the batch is sent again.
func testExpirytimeBatch(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, "")
	f.sink.On(f.path, fails, sinktest.Answer{})
	f.client.Subscribe(t, f.name, fmt.Sprintf(`{"types":[%q],"sink":%q,"protocolsettings":{"contentmode":"batch","batch":{"linger":"300ms"}},
		"config":{"retry":{"policy":"fixed","initial":"6s","jitter":0}}}`, f.name, f.sink.URL(f.path)))
	past, soon, never := f.expiring(in(-time.Second)), f.expiring(in(5*time.Second)), f.expiring(in(time.Hour))
	f.tooLate(past, 0)
	f.await(never, "delivered")
	f.tooLate(soon, 1)
	got := f.sink.WaitAnswered(f.path, 2)
	if contains(string(got[0].Body), past.ID) || !contains(string(got[0].Body), soon.ID) || contains(string(got[1].Body), soon.ID) || !contains(string(got[1].Body), never.ID) {
		t.Errorf("batches %s and %s; %s had expired, then %s", got[0].Body, got[1].Body, past.ID, soon.ID)
	}
}

// testMaxage: what waits for longer than maxage is a dead letter, also while its subscription is paused or disabled and
// nobody resumes it, once, and it can be replayed.
func testMaxage(t *testing.T, s *fleettest.Server) {
	const maxage = 10 * time.Second // it is paused before the retry, and seen as held after that
	f := newFlow(t, s, `"retry":{"policy":"fixed","initial":"4s","jitter":0,"maxage":"10s"}`, fails)
	retried := f.publish()
	f.sink.WaitAnswered(f.path, 1)
	f.pause()
	f.await(retried, "held")
	accepted := time.Now()
	all := f.publishMany(20)
	f.awaitAll(all, "held")
	for _, d := range f.awaitAll(append(all, retried), "dead") {
		if d.Reason != "expired_retry" || d.EndedAt.IsZero() {
			t.Errorf("delivery %+v", d)
		}
		if d.EndedAt.Sub(d.CreatedAt) < maxage {
			t.Errorf("%s ended %s after it was accepted", d.ID, d.EndedAt.Sub(d.CreatedAt))
		}
	}
	t.Logf("all are dead %s after they were accepted", time.Since(accepted))
	letters := f.client.DeadLetters(t, f.name)
	if len(letters) != len(all)+1 {
		t.Errorf("%d dead letters, want %d", len(letters), len(all)+1)
	}
	for _, l := range letters {
		if want := strings.HasPrefix(l.ID, f.await(retried, "dead").ID); l.Reason != "expired_retry" || (l.LastAttempt != nil) != want || len(l.Event) == 0 {
			t.Errorf("dead letter %+v", l)
		}
	}
	if sub := f.client.Subscription(t, f.name); !sub.Paused || sub.Status.Waiting != 0 {
		t.Errorf("subscription %+v", sub)
	}
	if n := len(f.sink.Got(f.path)); n != 1 {
		t.Errorf("%d requests", n)
	}
	f.sink.On(f.path, sinktest.Answer{})
	f.resume()
	f.client.Must(t, http.StatusCreated, http.MethodPost, "/v1/dead-letters/"+letters[0].ID+"/replay", nil, nil)
	f.sink.WaitAnswered(f.path, 2)
}

// testMaxageOpen: also what a sink's rate holds.
func testMaxageOpen(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, `"retry":{"maxage":"6s"},"rate":{"permit":1,"per":"1h","burst":1}`)
	f.await(f.publish(), "delivered")
	for _, d := range f.awaitAll(f.publishMany(3), "dead") {
		if d.Reason != "expired_retry" || d.AttemptCount != 0 {
			t.Errorf("delivery %+v", d)
		}
	}
}

// testTracing: traceparent and tracestate are attributes as others are: they go out as they came in, and become no headers
// of HTTP by themselves.
func testTracing(t *testing.T, s *fleettest.Server) {
	const parent, state = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"
	for mode, check := range map[string]func(*sinktest.Request) bool{
		"structured": func(r *sinktest.Request) bool {
			return contains(string(r.Body), `"traceparent":"`+parent+`"`) && contains(string(r.Body), `"tracestate":"`+state+`"`)
		},
		"batch": func(r *sinktest.Request) bool {
			return contains(string(r.Body), `"traceparent":"`+parent+`"`) && contains(string(r.Body), `"tracestate":"`+state+`"`)
		},
		"binary": func(r *sinktest.Request) bool {
			return r.Header.Get("Ce-Traceparent") == parent && r.Header.Get("Ce-Tracestate") == state
		},
		"data": func(r *sinktest.Request) bool { return string(r.Body) == `{"n":1}` },
	} {
		for _, in := range []string{"structured", "binary"} {
			t.Run(in+" in, "+mode+" out", func(t *testing.T) {
				t.Parallel()
				f := newFlow(t, s, "")
				f.client.Subscribe(t, f.name, fmt.Sprintf(`{"types":[%q],"sink":%q,"protocolsettings":{"contentmode":%q}}`, f.name, f.sink.URL(f.path), mode))
				h, body := structuredHeader.Clone(), fmt.Sprintf(`{"specversion":"1.0","id":"1","source":"/%s","type":%q,"traceparent":%q,"tracestate":%q,"data":{"n":1}}`,
					f.name, f.name, parent, state)
				if in == "binary" {
					h, body = binary(f.name, f.name, "application/json"), `{"n":1}`
					h.Set("Ce-Traceparent", parent)
					h.Set("Ce-Tracestate", state)
				}
				h.Set("Traceparent", "00-ffffffffffffffffffffffffffffffff-00f067aa0ba902b7-01") // of the producer's hop: no attribute
				f.client.Send(t, http.MethodPost, "/v1/events", h, body).Must(t, http.StatusAccepted, nil)
				got := f.sink.Wait(f.path, 1)[0]
				if !check(got) || got.Header.Get("Traceparent") != "" || got.Header.Get("Tracestate") != "" {
					t.Errorf("%v %s", got.Header, got.Body)
				}
			})
		}
	}
}
