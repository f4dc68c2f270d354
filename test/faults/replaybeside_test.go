package faults

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/test/fleettest"
)

// Live traffic beside a replay.
const (
	envReplayRate = "HOOKFLEET_REPLAY_RATE" // of the replay; none = its default
	envLiveRates  = "HOOKFLEET_LIVE_RATES"  // events a second, separated by commas
	envLivePairs  = "HOOKFLEET_LIVE_PAIRS"  // of windows; none = as many as there are within besideTime
	envLiveNull   = "HOOKFLEET_LIVE_NULL"   // pairs in which the replay rests in both; none = a third of the others, which tells the noise
	liveRates     = "100,500,1000"
	besideTime    = 150 * time.Second
	besideEvents  = 1000                   // live ones in a window, with the replay or without: ten are beyond its p99
	besideWindow  = 3 * time.Second        // the longest
	besideSettle  = 300 * time.Millisecond // before each: what was under way
	besideMost    = 1.2                    // what the p99 may be of that without
)

// windowAt is how long a window is at a rate of live events.
func windowAt(rate int) time.Duration {
	return min(besideWindow, besideEvents*time.Second/time.Duration(rate))
}

// TestReplayBesideLive: live events of another subscription and of the same one are published while a replay runs and while
// it is paused, in turn. Their p99 does not move by more than a fifth: neither in the median of the pairs of windows nor, because
// a machine has slow moments of its own, in the quieter half of them.
func TestReplayBesideLive(t *testing.T) {
	if os.Getenv(envLength) != "full" {
		t.Skip("the long form: twelve minutes")
	}
	s, sink := replayFleet(t, 50_000, `"old","live.same"`)
	c := s.Client()
	c.Subscribe(t, "other", fmt.Sprintf(`{"types":["live.other"],"sink":%q}`, c.Subscription(t, "old").Sink))
	for text := range strings.SplitSeq(cmp.Or(os.Getenv(envLiveRates), liveRates), ",") {
		rate, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("%s: %v", envLiveRates, err)
		}
		pairs := countOf(t, envLivePairs, int(besideTime/2/(windowAt(rate)+besideSettle)))
		t.Run(text, func(t *testing.T) { besideLive(t, s, sink, rate, pairs, countOf(t, envLiveNull, pairs/2)) })
	}
	s.MustStop(t)
}

// countOf reads a number from a variable.
func countOf(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		t.Fatalf("%s: %q", name, text)
	}
	return n
}

// besideLive compares the windows at one rate of live events.
func besideLive(t *testing.T, s *fleettest.Server, sink *tallySink, rate, pairs, null int) {
	c := s.Client()
	id := fmt.Sprintf("beside-%d", rate)
	body := fmt.Sprintf(`{"id":%q,"subscription":"old","from":"events","again":true,"filters":[{"exact":{"type":"old"}}]`, id)
	if own := os.Getenv(envReplayRate); own != "" {
		body += `,"rate":` + own
	}
	l := live(t, c, sink, rate)
	defer l.end()
	c.Replay(t, body+"}")
	comparisonOf(t, s, l, windowAt(rate), null, func(int) string { return "/v1/replays/" + id + "/pause" }).log(t, fmt.Sprintf("%d live/s, the replay rests in both", rate))
	found := comparisonOf(t, s, l, windowAt(rate), pairs, func(which int) string { return "/v1/replays/" + id + []string{"/resume", "/pause"}[which] })
	c.Do(t, http.MethodDelete, "/v1/replays/"+id, nil)
	c.AwaitReplay(t, id, "cancelled")
	found.log(t, fmt.Sprintf("%d live/s", rate))
	if len(found) == 0 {
		return
	}
	if median, quiet := found.median(), found.quiet(); !(median <= besideMost && quiet <= besideMost) { // nor NaN
		t.Errorf("live p99 beside the replay is %.2f of that without in the median of the pairs, and %.2f in the quieter half", median, quiet)
	}
}

// comparisonOf measures pairs of windows; wish is the request before the window, 0 = with the replay.
func comparisonOf(t *testing.T, s *fleettest.Server, l *liveLoad, window time.Duration, pairs int, wish func(which int) string) comparison {
	t.Helper()
	found := make(comparison, pairs)
	for pair := range found {
		for i := range 2 {
			which := (i + pair) % 2 // in turn first, so that what grows slower does not count
			s.Client().Must(t, http.StatusOK, http.MethodPost, wish(which), nil, nil)
			pass(t, besideSettle)
			l.window(t, 0)
			began := workNow(s, l.sink)
			found[pair][which].beside = l.window(t, window)
			found[pair][which].workOf = workNow(s, l.sink).minus(began)
		}
	}
	return found
}

// liveLoad publishes live events until end is called.
type liveLoad struct {
	end  func()
	sink *tallySink

	mu       sync.Mutex
	accepted []time.Duration
}

// window waits, and returns what the events of that time took.
func (l *liveLoad) window(t *testing.T, d time.Duration) beside {
	pass(t, d)
	l.mu.Lock()
	defer l.mu.Unlock()
	w := beside{l.accepted, l.sink.latencies()}
	l.accepted = nil
	return w
}

// live begins a load of rate events a second, evenly.
func live(t *testing.T, c *fleettest.Client, sink *tallySink, rate int) *liveLoad {
	ctx, cancel := context.WithCancel(t.Context())
	var publishing sync.WaitGroup
	l := &liveLoad{sink: sink, end: sync.OnceFunc(func() { cancel(); publishing.Wait() })}
	publishers := max(rate/25, 4)
	for p := range publishers {
		publishing.Go(func() {
			pass(t, time.Duration(p)*time.Second/time.Duration(rate)) // none at the same time as another
			tick := time.NewTicker(time.Duration(publishers) * time.Second / time.Duration(rate))
			defer tick.Stop()
			for i := 0; ; i++ {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				l.publish(ctx, c, fmt.Sprintf("%d-%d-%d", rate, p, i), []string{"live.other", "live.same"}[i%2])
			}
		})
	}
	return l
}

func (l *liveLoad) publish(ctx context.Context, c *fleettest.Client, id, kind string) {
	text := fmt.Sprintf(`{"specversion":"1.0","id":"live-%s","source":"/r","type":%q,"data":{"n":1}}`, id, kind)
	began := time.Now()
	l.sink.mu.Lock()
	l.sink.sent[id] = began
	l.sink.mu.Unlock()
	_, _ = c.Call(ctx, http.MethodPost, "/v1/events", http.Header{"Content-Type": {fleettest.Structured}}, []byte(text)) // what was not accepted is not delivered
	l.mu.Lock()
	l.accepted = append(l.accepted, time.Since(began))
	l.mu.Unlock()
}

// processorOf is the processor time that a process has used; 0 where the system does not say.
func processorOf(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, ok := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if err != nil || !ok || len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11]) // in hundredths of a second, and fields are counted from the third
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// pass lets time go by.
func pass(t *testing.T, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}

func quantile(took []time.Duration, q float64) time.Duration {
	if len(took) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(took))
	return sorted[int(q*float64(len(sorted)-1))].Round(10 * time.Microsecond)
}
