package worker_test

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
)

// arrivals are the times at which requests came.
type arrivals struct {
	mu  sync.Mutex
	all []time.Time
}

func (a *arrivals) add() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = append(a.all, time.Now())
	return len(a.all)
}

func (a *arrivals) got() []time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]time.Time(nil), a.all...)
}

// within is the most that came within any time d.
func within(all []time.Time, d time.Duration) (most int) {
	for i, j := 0, 0; j < len(all); j++ {
		for all[j].Sub(all[i]) >= d {
			i++
		}
		most = max(most, j-i+1)
	}
	return most
}

// slack is how much later than another a request may arrive on a loaded machine, beside how late a permit may be used.
const slack = 150 * time.Millisecond

// TestRateOverWorkers: three workers together keep a rate, and use it.
func TestRateOverWorkers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var got arrivals
	b.subscribe("paced", sink(t, func(http.ResponseWriter, *http.Request) { got.add() }), `{"rate":{"permit":20,"per":"1s","burst":10}}`)
	for range 3 {
		b.work()
	}
	const n = 100
	began := time.Now()
	for i := range n {
		b.publish(i)
	}
	eventually(t, "all arrive", func() bool { return len(got.got()) == n })
	all := got.got()
	// A request may arrive late, so that the next ones follow it closely. Three rates side by side are 30 at once.
	if most := within(all, time.Second/2); most > 20 {
		t.Errorf("%d requests within half a second, 20 are allowed within a whole one", most)
	}
	// Ten at once and then one each 50 ms, from when the ten are paid for. A third of the rate would take three times that.
	for i, at := range all[10:] {
		if earliest := began.Add(time.Duration(i+1) * 50 * time.Millisecond); at.Before(earliest) {
			t.Errorf("request %d came %v before its permit", i+10, earliest.Sub(at))
		}
	}
	if took, want := all[n-1].Sub(all[0]), (n-1)*50*time.Millisecond; took > want*5/2 {
		t.Errorf("%d requests took %v, the rate allows %v", n, took, want)
	}
}

// TestRateOutlivesWorkers: a rate lower than the number of workers, of workers that come and go.
func TestRateOutlivesWorkers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var got arrivals
	b.subscribe("slow", sink(t, func(http.ResponseWriter, *http.Request) { got.add() }), `{"rate":{"permit":1,"per":"1s"}}`)
	for i := range 6 {
		b.publish(i)
	}
	for len(got.got()) < 6 {
		stops := []func(){b.work(), b.work(), b.work()}
		before := len(got.got())
		eventually(t, "one more arrives", func() bool { return len(got.got()) > before })
		for _, stop := range stops {
			stop()
		}
	}
	for i, at := range got.got()[1:] {
		if gap := at.Sub(got.got()[i]); gap < time.Second-slack {
			t.Errorf("request %d came %v after the one before it", i+1, gap)
		}
	}
}

// TestBreakerOverWorkers: consecutive failures over three workers open the breaker; one probe a cooldown goes out, and
// the first that goes well lets out all that is held.
func TestBreakerOverWorkers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var got arrivals
	var well atomic.Bool
	b.subscribe("broken", sink(t, func(w http.ResponseWriter, _ *http.Request) {
		if got.add(); !well.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}), `{"concurrency":1,"breaker":{"failures":5,"cooldown":"1s"},"retry":{"policy":"fixed","initial":"1h"}}`)
	for range 3 {
		b.work()
	}
	const n = 60
	for i := range n {
		b.publish(i)
	}
	eventually(t, "the breaker opens", func() bool { h := b.registry.Health("broken"); return h.Broken() })
	eventually(t, "three probes", func() bool { return len(got.got()) >= 8 })
	well.Store(true)
	eventually(t, "the breaker closes", func() bool { return b.registry.Health("broken").State == registry.SinkActive })
	failures := 0
	eventually(t, "all but what failed arrive", func() bool {
		counts, err := b.waitlist.Count(t.Context(), "broken")
		failures = int(counts.Timers)
		return err == nil && counts.Held == 0 && len(got.got()) == n && !b.registry.Health("broken").Backlog
	})
	all := got.got()
	for i := 5; i < failures; i++ {
		if gap := all[i].Sub(all[i-1]); gap < time.Second-slack {
			t.Errorf("probe %d came %v after the request before it", i-4, gap)
		}
	}
	if h := b.registry.Health("broken"); h.ConsecutiveFailures != 0 {
		t.Errorf("health %+v", h)
	}
}

// TestPauseAfterFailures: what comes then waits until it is resumed, or becomes a dead letter.
func TestPauseAfterFailures(t *testing.T) {
	t.Parallel()
	for then, want := range map[string]events.State{"hold": events.StateHeld, "deadletter": events.StateDead} {
		t.Run(then, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			var got arrivals
			b.subscribe("pausing", sink(t, func(w http.ResponseWriter, _ *http.Request) {
				if got.add()%2 == 0 { // of any kind
					w.WriteHeader(http.StatusBadRequest)
				} else {
					w.WriteHeader(http.StatusInternalServerError)
				}
			}), `{"concurrency":1,"breaker":{"failures":0},"pause":{"after":4,"then":"`+then+`"},"retry":{"policy":"fixed","initial":"1h"}}`)
			b.work()
			b.work()
			for i := range 4 {
				b.publish(i)
			}
			eventually(t, "it pauses", func() bool { return b.registry.Health("pausing").State == registry.SinkPaused })
			sequence := b.publish(4)
			eventually(t, "what comes is "+string(want), func() bool {
				found, ok, err := b.history.Find(t.Context(), events.DeliveryID(sequence, "pausing", 0))
				return err == nil && ok && found.Record.State == want && found.Record.Reason == events.ReasonPaused
			})
			if h := b.registry.Health("pausing"); h.Reason != events.ReasonFailures || h.ConsecutiveFailures != 4 || len(got.got()) != 4 {
				t.Errorf("%+v after %d requests", h, len(got.got()))
			}
		})
	}
}
