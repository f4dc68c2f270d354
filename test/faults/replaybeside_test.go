package faults

import (
	"context"
	"fmt"
	"math"
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
	envLivePairs  = "HOOKFLEET_LIVE_PAIRS"  // of windows; none = besidePairs
	liveRates     = "100,500,1000"
	besidePairs   = 20
	besideWindow  = 3 * time.Second        // with the replay, and without
	besideSettle  = 500 * time.Millisecond // before each: what was under way
)

// beside is what live events took in one window.
type beside struct{ accepted, delivered []time.Duration }

// TestReplayBesideLive: live events of another subscription and of the same one are published while a replay runs and while
// it is paused, in turn. Their p99 does not move by more than a fifth: the median of the pairs of windows tells, because a
// machine has slow moments of its own.
func TestReplayBesideLive(t *testing.T) {
	if os.Getenv(envLength) != "full" {
		t.Skip("the long form: eight minutes")
	}
	s, sink := replayFleet(t, 50_000, `"old","live.same"`)
	c := s.Client()
	c.Subscribe(t, "other", fmt.Sprintf(`{"types":["live.other"],"sink":%q}`, c.Subscription(t, "old").Sink))
	rates := os.Getenv(envLiveRates)
	if rates == "" {
		rates = liveRates
	}
	for text := range strings.SplitSeq(rates, ",") {
		rate, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("%s: %v", envLiveRates, err)
		}
		t.Run(text, func(t *testing.T) { besideLive(t, s, sink, rate) })
	}
	s.MustStop(t)
}

// besideLive compares the windows at one rate of live events.
func besideLive(t *testing.T, s *fleettest.Server, sink *tallySink, rate int) {
	c := s.Client()
	id := fmt.Sprintf("beside-%d", rate)
	body := fmt.Sprintf(`{"id":%q,"subscription":"old","from":"events","again":true,"filters":[{"exact":{"type":"old"}}]`, id)
	if own := os.Getenv(envReplayRate); own != "" {
		body += `,"rate":` + own
	}
	l := live(t, c, sink, rate)
	defer l.end()
	c.Replay(t, body+"}")
	var ratios []float64
	var all [2]beside
	var work [2]struct {
		used time.Duration
		sent int
	}
	pairs := besidePairs
	if text := os.Getenv(envLivePairs); text != "" {
		var err error
		if pairs, err = strconv.Atoi(text); err != nil || pairs < 1 {
			t.Fatalf("%s: %q", envLivePairs, text)
		}
	}
	for pair := range pairs {
		var p99 [2]time.Duration
		for i := range 2 {
			which := (i + pair) % 2 // 0 = with the replay. In turn first, so that what grows slower does not count
			c.Must(t, http.StatusOK, http.MethodPost, "/v1/replays/"+id+[]string{"/resume", "/pause"}[which], nil, nil)
			pass(t, besideSettle)
			l.window(t, 0)
			used, sent := processorOf(s.PID()), sink.count()
			w := l.window(t, besideWindow)
			used, sent = processorOf(s.PID())-used, sink.count()-sent
			p99[which] = quantile(w.delivered, 0.99)
			work[which].used, work[which].sent = work[which].used+used, work[which].sent+sent
			all[which].accepted = append(all[which].accepted, w.accepted...)
			all[which].delivered = append(all[which].delivered, w.delivered...)
			t.Logf("%-8s 202 p50 %v p99 %v, delivered p50 %v p99 %v of %d; %.0f deliveries/s, %.2f of a core", []string{"replay", "paused"}[which],
				quantile(w.accepted, 0.5), quantile(w.accepted, 0.99), quantile(w.delivered, 0.5), p99[which], len(w.delivered),
				float64(sent)/besideWindow.Seconds(), used.Seconds()/besideWindow.Seconds())
		}
		ratios = append(ratios, float64(p99[0])/float64(p99[1]))
	}
	c.Do(t, http.MethodDelete, "/v1/replays/"+id, nil)
	c.AwaitReplay(t, id, "cancelled")
	slices.Sort(ratios)
	median := ratios[len(ratios)/2]
	for i, name := range []string{"replay", "paused"} {
		t.Logf("all %s: 202 p50 %v p99 %v, delivered p50 %v p99 %v p99.9 %v", name, quantile(all[i].accepted, 0.5), quantile(all[i].accepted, 0.99),
			quantile(all[i].delivered, 0.5), quantile(all[i].delivered, 0.99), quantile(all[i].delivered, 0.999))
	}
	t.Logf("%d live/s: ratio of p99 in %d pairs: median %.2f, middle half %.2f to %.2f; all together %.2f", rate, len(ratios), median,
		ratios[len(ratios)/4], ratios[len(ratios)*3/4], float64(quantile(all[0].delivered, 0.99))/float64(quantile(all[1].delivered, 0.99)))
	if more := work[0].sent - work[1].sent; more > 0 {
		t.Logf("%d live/s: %v of processor time a replayed delivery", rate, ((work[0].used - work[1].used) / time.Duration(more)).Round(time.Microsecond))
	}
	if math.IsNaN(median) || median > 1.2 {
		t.Errorf("live p99 beside the replay is %.2f of that without", median)
	}
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
