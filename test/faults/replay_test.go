package faults

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/test/fleettest"
	"github.com/hookfleet/hookfleet/test/sinktest"
)

// tallySink counts the requests of each webhook-id, and tells how long live events took.
type tallySink struct {
	mu    sync.Mutex
	got   map[string]map[string]int // by path and webhook-id
	sent  map[string]time.Time      // live events that are under way, by id
	took  []time.Duration
	total int
}

func (s *tallySink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at := time.Now()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.got[r.URL.Path] == nil {
		s.got[r.URL.Path] = map[string]int{}
	}
	s.got[r.URL.Path][r.Header.Get("Webhook-Id")]++
	s.total++
	if id, ok := strings.CutPrefix(string(body), `{"specversion":"1.0","id":"live-`); ok {
		id, _, _ = strings.Cut(id, `"`)
		if sent, ok := s.sent[id]; ok { // not a replay of it
			s.took = append(s.took, at.Sub(sent))
			delete(s.sent, id)
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *tallySink) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

// more counts the requests beyond `times` for each webhook-id of a path, and the ids that have fewer.
func (s *tallySink) more(path string, times int) (ids, extra, fewer int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.got[path] {
		extra += max(n-times, 0)
		if n < times {
			fewer++
		}
	}
	return len(s.got[path]), extra, fewer
}

// latencies returns what live events took since the last call.
func (s *tallySink) latencies() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	took := s.took
	s.took = nil
	return took
}

// replayFleet is a fleet with n events of a subscription that are delivered.
func replayFleet(t *testing.T, n int, types string) (*fleettest.Server, *tallySink) {
	t.Helper()
	if testing.Short() {
		t.Skip("a campaign")
	}
	sink := &tallySink{got: map[string]map[string]int{}, sent: map[string]time.Time{}}
	url := sinktest.Serve(t, sink)
	s := whole(t, fleettest.Options{})
	s.Client().Subscribe(t, "old", fmt.Sprintf(`{"types":[%s],"sink":%q}`, types, url+"/old"))
	for at := 0; at < n; at += 500 {
		all := make([]string, min(500, n-at))
		for i := range all {
			all[i] = fmt.Sprintf(`{"specversion":"1.0","id":"old-%d","source":"/r","type":"old","data":{"n":%d,"pad":%q}}`, at+i, at+i, strings.Repeat("x", 200))
		}
		s.Client().PublishBatch(t, "["+strings.Join(all, ",")+"]")
	}
	moving(t, "the events are delivered", func() int { return sink.count() }, n)
	return s, sink
}

// moving waits until count reaches n, as long as it moves.
func moving(t *testing.T, what string, count func() int, n int) {
	t.Helper()
	last, since := -1, time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		now := count()
		if now >= n {
			return
		}
		if now != last {
			last, since = now, time.Now()
		} else if time.Since(since) > progress {
			t.Fatalf("%s: at %d of %d for %v", what, now, n, progress)
		}
		<-tick.C
	}
}

// TestReplayKilled: the process with the scheduler is killed during a replay, again and again. Each event is delivered,
// none more often than what was in flight, and the counts are exact.
func TestReplayKilled(t *testing.T) {
	full := os.Getenv(envLength) == "full"
	n, kills := 2000, 3
	if full {
		n, kills = 20_000, 10
	}
	s, sink := replayFleet(t, n, `"old"`)
	r := s.Client().Replay(t, `{"subscription":"old","from":"events","rate":{"permit":1000,"per":"1s"}}`)
	for kill := 1; kill <= kills; kill++ {
		moving(t, "the replay goes on", sink.count, n+n*kill/(kills+1))
		s.Kill()
		s.Start(t)
	}
	moving(t, "everything is replayed", func() int { return endedOf(t, s, r.ID) }, 1)
	done := s.Client().AwaitReplay(t, r.ID, "done")
	ids, extra, fewer := sink.more("/old", 2)
	t.Logf("%d events, %d kills: %+v; %d requests more than the deliveries", n, kills, *done, extra)
	if done.Matched != n || done.Sent != n || done.Delivered != n || done.Dead+done.Skipped+done.Cancelled != 0 {
		t.Errorf("replay %+v, want %d", done, n)
	}
	if ids != n || fewer != 0 {
		t.Errorf("%d webhook-ids, of which %d were not replayed", ids, fewer)
	}
	if bound := kills * concurrency; extra > bound {
		t.Errorf("%d duplicates, at most %d were in flight at the kills", extra, bound)
	}
	again := s.Client().Replay(t, `{"subscription":"old","from":"events","rate":1000}`)
	if got := s.Client().AwaitReplay(t, again.ID, "done"); got.Skipped != n || got.Sent != 0 {
		t.Errorf("the same again: %+v", got)
	}
	s.MustStop(t)
}

// endedOf is 1 when the replay has ended.
func endedOf(t *testing.T, s *fleettest.Server, id string) int {
	t.Helper()
	var r fleettest.Replay
	s.Client().Must(t, http.StatusOK, http.MethodGet, "/v1/replays/"+id, nil, &r)
	if r.EndedAt.IsZero() {
		return -r.Sent - r.Delivered // moves
	}
	return 1
}
