package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

// replayCounts is what came of a replay, for comparing.
type replayCounts struct{ matched, sent, delivered, dead, skipped, cancelled int }

func countsOf(r *fleettest.Replay) replayCounts {
	return replayCounts{r.Matched, r.Sent, r.Delivered, r.Dead, r.Skipped, r.Cancelled}
}

// replayed waits for the end of a replay and checks its counts.
func (f *flow) replayed(body string, want replayCounts) *fleettest.Replay {
	f.t.Helper()
	r := f.client.AwaitReplay(f.t, f.client.Replay(f.t, body).ID, "done")
	if got := countsOf(r); got != want {
		f.t.Errorf("replay %s: %+v, want %+v", body, got, want)
	}
	return r
}

// testReplayEvents: what the subscription matches now, in order, once, and again when it is asked for.
func testReplayEvents(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, "")
	receipts := f.publishMany(30)
	f.awaitAll(receipts, "delivered")
	other := f.client.Publish(t, event(unique("event"), f.name+".other", `{"n":1}`))
	first := f.sink.WaitAnswered(f.path, 30)
	body := fmt.Sprintf(`{"subscription":%q,"from":"events"}`, f.name)
	dry := f.replayed(fmt.Sprintf(`{"subscription":%q,"from":"events","dryrun":true}`, f.name), replayCounts{matched: 30})
	if !dry.DryRun || len(f.sink.Got(f.path)) != 30 {
		t.Errorf("a dry run sent something: %+v", dry)
	}
	r := f.replayed(body, replayCounts{matched: 30, sent: 30, delivered: 30})
	if r.Tenant != "default" || r.From != "events" || r.Until.IsZero() || r.EndedAt.Before(r.CreatedAt) {
		t.Errorf("replay %+v", r)
	}
	second := f.sink.WaitAnswered(f.path, 60)[30:]
	if a, b := idsOf(first), idsOf(second); !slices.Equal(a, b) {
		t.Errorf("webhook-ids of the replay %v, want %v", b, a)
	}
	f.checkReplayed(receipts[0].Sequence, r.ID)
	// The same once more sends nothing, and neither does another range.
	f.replayed(body, replayCounts{matched: 30, skipped: 30})
	f.replayed(fmt.Sprintf(`{"subscription":%q,"from":"events","since":"2020-01-01T00:00:00Z"}`, f.name), replayCounts{matched: 30, skipped: 30})
	f.replayed(fmt.Sprintf(`{"subscription":%q,"from":"events","until":"2020-01-01T00:00:00Z"}`, f.name), replayCounts{})
	f.replayed(fmt.Sprintf(`{"subscription":%q,"from":"events","again":true,"rate":1000}`, f.name), replayCounts{matched: 30, sent: 30, delivered: 30})
	// What the subscription matches now, whatever it was.
	f.client.Subscribe(t, f.name, fmt.Sprintf(`{"types":[%q],"sink":%q}`, f.name+".other", f.sink.URL(f.path)))
	f.replayed(body, replayCounts{matched: 1, sent: 1, delivered: 1})
	if got := f.sink.Wait(f.path, 91)[90]; eventID(got.Body) != other.ID {
		t.Errorf("replayed %s, want %s", got.Body, other.ID)
	}
	if n := len(f.sink.Got(f.path)); n != 91 {
		t.Errorf("%d requests, want 91", n)
	}
}

func idsOf(requests []*sinktest.Request) []string {
	var ids []string
	for _, r := range requests {
		ids = append(ids, r.ID())
	}
	slices.Sort(ids)
	return ids
}

// checkReplayed checks the delivery that a replay made of an event.
func (f *flow) checkReplayed(sequence uint64, replay string) {
	f.t.Helper()
	found := 0
	for _, d := range fleettest.List[struct {
		fleettest.Delivery
		Replay string
	}](f.t, f.client, fmt.Sprintf("/v1/deliveries?event=%d", sequence)) {
		if d.Replay != replay {
			continue
		}
		if found++; d.State != "delivered" || d.AttemptCount != 1 || d.ReplayOf == "" || d.ReplayOf == d.ID {
			f.t.Errorf("delivery %+v", d)
		}
	}
	if found != 1 {
		f.t.Errorf("%d deliveries of event %d by replay %s", found, sequence, replay)
	}
}

// testReplayRange: since and until by acceptance, and filters.
func testReplayRange(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, "")
	var times []time.Time
	for i := range 3 {
		receipt := f.client.Publish(t, event(unique("event"), f.name, fmt.Sprintf(`{"n":%d}`, i)))
		times = append(times, f.await(receipt, "delivered").CreatedAt)
	}
	at := func(i int) string { return times[i].UTC().Format(time.RFC3339Nano) }
	f.replayed(fmt.Sprintf(`{"subscription":%q,"from":"events","since":%q,"until":%q,"dryrun":true}`, f.name, at(1), at(2)), replayCounts{matched: 1})
	f.replayed(fmt.Sprintf(`{"subscription":%q,"from":"events","since":%q,"dryrun":true}`, f.name, at(1)), replayCounts{matched: 2})
	f.replayed(fmt.Sprintf(`{"subscription":%q,"from":"events","filters":[{"cel":"data.n >= 1"},{"not":{"match":"n=2"}}]}`, f.name),
		replayCounts{matched: 1, sent: 1, delivered: 1})
	// The filters are beside the range: what they let through now was not made yet.
	f.replayed(fmt.Sprintf(`{"subscription":%q,"from":"events"}`, f.name), replayCounts{matched: 3, sent: 2, delivered: 2, skipped: 1})
	f.sink.WaitAnswered(f.path, 6)
}

// testReplayDeadLetters: each leaves the list, and dies as another one.
func testReplayDeadLetters(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, "", sinktest.Answer{Status: 400})
	receipts := f.publishMany(5)
	f.awaitAll(receipts, "dead")
	fleettest.Eventually(t, "there are dead letters", func() (bool, any) {
		all := f.client.DeadLetters(t, f.name)
		return len(all) == 5, all
	})
	body := fmt.Sprintf(`{"subscription":%q,"from":"dead-letters"}`, f.name)
	f.replayed(body[:len(body)-1]+`,"dryrun":true}`, replayCounts{matched: 5})
	f.replayed(body, replayCounts{matched: 5, sent: 5, dead: 5})
	letters := f.client.DeadLetters(t, f.name)
	if len(letters) != 5 || letters[0].AttemptCount != 1 {
		t.Errorf("dead letters of the replays: %+v", letters)
	}
	f.sink.On(f.path, sinktest.Answer{})
	f.replayed(body[:len(body)-1]+`,"filters":[{"exact":{"id":"`+receipts[0].ID+`"}}]}`, replayCounts{matched: 1, sent: 1, delivered: 1})
	f.replayed(body, replayCounts{matched: 4, sent: 4, delivered: 4})
	f.replayed(body, replayCounts{})
	if letters := f.client.DeadLetters(t, f.name); len(letters) != 0 {
		t.Errorf("dead letters that were replayed: %+v", letters)
	}
	if n := len(f.sink.WaitAnswered(f.path, 15)); n != 15 {
		t.Errorf("%d requests, want 15", n)
	}
}

// testReplayControl: pause, resume and cancel, at a rate.
func testReplayControl(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, "")
	f.awaitAll(f.publishMany(40), "delivered")
	id := unique("job")
	f.client.Replay(t, fmt.Sprintf(`{"id":%q,"subscription":%q,"from":"events","rate":{"permit":8,"per":"1s"}}`, id, f.name))
	f.client.Do(t, http.MethodPost, "/v1/replays", fmt.Sprintf(`{"id":%q,"subscription":%q,"from":"events"}`, id, f.name)).Refused(t, http.StatusConflict, "id_taken")
	f.sink.Wait(f.path, 43)
	path := "/v1/replays/" + id
	var r fleettest.Replay
	f.client.Must(t, http.StatusOK, http.MethodPost, path+"/pause", nil, &r)
	if r.State != "paused" {
		t.Errorf("replay %+v", r)
	}
	var still int
	fleettest.Eventually(t, "the replay rests", func() (bool, any) {
		f.client.Must(t, http.StatusOK, http.MethodGet, path, nil, &r)
		still = r.Sent
		return r.State == "paused" && r.Sent > 0 && r.Sent == r.Delivered && r.Sent == len(f.sink.Got(f.path))-40, r
	})
	if still == 40 {
		t.Error("it was through before it was paused")
	}
	// Another of the same subscription goes on meanwhile, and what it makes is not made twice.
	f.replayed(fmt.Sprintf(`{"subscription":%q,"from":"events","filters":[{"cel":"data.n >= 30"}]}`, f.name), replayCounts{matched: 10, sent: 10, delivered: 10})
	f.client.Must(t, http.StatusOK, http.MethodPost, path+"/resume", nil, &r)
	done := f.client.AwaitReplay(t, id, "done")
	if got := countsOf(done); got != (replayCounts{matched: 40, sent: 30, delivered: 30, skipped: 10}) {
		t.Errorf("replay %+v", got)
	}
	if took := done.EndedAt.Sub(done.CreatedAt); took < time.Second {
		t.Errorf("30 deliveries at 8 a second took %v", took)
	}
	for _, verb := range []string{"/pause", "/resume"} {
		f.client.Do(t, http.MethodPost, path+verb, nil).Refused(t, http.StatusConflict, "ended")
	}
	f.client.Do(t, http.MethodDelete, path, nil).Refused(t, http.StatusConflict, "ended")
	f.cancelReplay()
}

// cancelReplay: those that wait are cancelled too, and it stays visible.
func (f *flow) cancelReplay() {
	t := f.t
	t.Helper()
	f.do(http.StatusOK, http.MethodPost, "/v1/subscriptions/"+f.name+"/pause")
	r := f.client.Replay(t, fmt.Sprintf(`{"subscription":%q,"from":"events","again":true,"rate":50}`, f.name))
	fleettest.Eventually(t, "some of the replay is held", func() (bool, any) {
		n := f.client.Subscription(t, f.name).Status.Waiting
		return n >= 5, n
	})
	f.do(http.StatusNoContent, http.MethodDelete, "/v1/replays/"+r.ID)
	var now fleettest.Replay
	f.client.Must(t, http.StatusOK, http.MethodGet, "/v1/replays/"+r.ID, nil, &now)
	if now.State != "cancelled" {
		t.Errorf("replay %+v", now)
	}
	f.do(http.StatusNoContent, http.MethodDelete, "/v1/replays/"+r.ID)
	ended := f.client.AwaitReplay(t, r.ID, "cancelled")
	if ended.Sent < 5 || ended.Cancelled != ended.Sent || ended.Delivered != 0 {
		t.Errorf("cancelled replay %+v", ended)
	}
	if n := f.client.Subscription(t, f.name).Status.Waiting; n != 0 {
		t.Errorf("%d deliveries wait after the cancel", n)
	}
	f.do(http.StatusOK, http.MethodPost, "/v1/subscriptions/"+f.name+"/resume")
	list := fleettest.List[fleettest.Replay](t, f.client, "/v1/replays?state=cancelled&limit=1&subscription="+f.name)
	if len(list) != 1 || list[0].ID != r.ID {
		t.Errorf("cancelled replays %+v", list)
	}
}

// testReplayRetries: a replay has full retries of its own.
func testReplayRetries(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, `"retry":{"policy":"fixed","initial":"50ms","maxattempts":2}`)
	f.awaitAll(f.publishMany(4), "delivered")
	f.sink.OnFunc(f.path, func(r *sinktest.Request) sinktest.Answer {
		var e struct{ Data struct{ N int } }
		if err := json.Unmarshal(r.Body, &e); err == nil && e.Data.N == 0 {
			return sinktest.Answer{Status: 500}
		}
		if e.Data.N == 1 && r.Number < 9 {
			return sinktest.Answer{Status: 503}
		}
		return sinktest.Answer{}
	})
	r := f.client.AwaitReplay(t, f.client.Replay(t, fmt.Sprintf(`{"subscription":%q,"from":"events"}`, f.name)).ID, "done")
	if got := countsOf(r); got.matched != 4 || got.sent != 4 || got.delivered+got.dead != 4 || got.dead < 1 || got.delivered < 2 {
		t.Errorf("replay %+v", got)
	}
	for _, l := range f.client.DeadLetters(t, f.name) {
		if l.AttemptCount != 2 || l.Reason != "exhausted" {
			t.Errorf("dead letter %+v", l)
		}
	}
}

// testRefusedReplays: all faults at once.
func testRefusedReplays(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, "")
	for body, want := range map[string][]string{
		`{"subscription":"nobody-here","from":"else","since":"yesterday","until":1,"filters":[{"cel":"data.("}],"rate":{"permit":0},"dryrun":1,"again":"no","id":"A","x":1}`: {
			"/again", "/dryrun", "/filters/0/cel", "/from", "/id", "/rate/permit", "/since", "/subscription", "/until", "/x",
		},
		`{}`: {"/from", "/subscription"},
		`{"subscription":"` + f.name + `","from":"events","since":"2026-01-02T00:00:00Z","until":"2026-01-01T00:00:00Z","rate":0}`: {"/rate", "/until"},
		`{"subscription":"` + f.name + `","from":"events","rate":"fast"}`:                                                          {"/rate"},
	} {
		p := f.client.Do(t, http.MethodPost, "/v1/replays", body).Refused(t, http.StatusUnprocessableEntity, "invalid_replay")
		var got []string
		for _, e := range p.Errors {
			got = append(got, e.Pointer)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: faults at %v, want %v", body, got, want)
		}
	}
	f.client.Do(t, http.MethodPost, "/v1/replays", `{"subscription":"nobody-here","from":"events"}`).Refused(t, http.StatusNotFound, "not_found")
	f.client.Do(t, http.MethodGet, "/v1/replays/nobody-here", nil).Refused(t, http.StatusNotFound, "not_found")
}

// testReplayCommand: create, list, get, pause, resume and cancel.
func testReplayCommand(t *testing.T, s *fleettest.Server) {
	f := newFlow(t, s, "")
	f.awaitAll(f.publishMany(6), "delivered")
	id := unique("job")
	s.CLI(t, "", "replay", "create", "--subscription", f.name, "--since", "1h", "--dry-run", "--wait").Says(t, 0, "done", "matched:")
	s.CLI(t, "", "replay", "create", "--id", id, "--subscription", f.name, "--filter", `{"cel":"data.n < 4"}`, "--rate", "1").Says(t, 0, "replay/"+id+" running")
	s.CLI(t, "", "replay", "pause", id).Says(t, 0, "replay/"+id+" paused")
	s.CLI(t, "", "replay", "list", "--subscription", f.name).Says(t, 0, id, "paused", "done")
	s.CLI(t, "", "replay", "resume", id).Says(t, 0, "resumed")
	s.CLI(t, "", "replay", "cancel", id).Says(t, 0, "cancelled")
	s.CLI(t, "", "replay", "get", id).Says(t, 0, "state:", "cancelled")
	s.CLI(t, "", "replay", "create", "--subscription", "nobody-here").Says(t, 1, "404")
	s.CLI(t, "", "replay", "create", "--subscription", f.name, "--since", "sometime").Says(t, 2, "--since")
	s.CLI(t, "", "replay", "create", "--subscription", f.name, "--filter", "x").Says(t, 2, "--filter")
	s.CLI(t, "", "replay", "create", "--subscription", f.name, "--again", "--wait").Says(t, 0, "done")
}
