package faults

import (
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/test/fleettest"
)

// A replay at its own rate with nothing beside it.
const (
	costSettle = 5 * time.Second  // what was loaded is collected, and the heap's limits follow
	costWindow = 20 * time.Second // of each: at 50/s a thousand deliveries
	costTurns  = 2
)

// TestReplayCost measures what a replayed delivery costs in processor time: a process that replays, less the same one that
// rests, in turn.
func TestReplayCost(t *testing.T) {
	if os.Getenv(envLength) != "full" {
		t.Skip("the long form: two minutes")
	}
	s, sink := replayFleet(t, 5_000, `"old"`)
	c := s.Client()
	body := `{"id":"cost","subscription":"old","from":"events","again":true`
	if own := os.Getenv(envReplayRate); own != "" {
		body += `,"rate":` + own
	}
	c.Replay(t, body+"}")
	var work [2]workOf
	for range costTurns {
		for which, wish := range []string{"resume", "pause"} {
			c.Must(t, http.StatusOK, http.MethodPost, "/v1/replays/cost/"+wish, nil, nil)
			pass(t, costSettle)
			began := workNow(s, sink)
			pass(t, costWindow)
			work[which] = work[which].plus(workNow(s, sink).minus(began))
		}
	}
	made := work[0].sent - work[1].sent
	if made == 0 {
		t.Fatal("nothing was replayed")
	}
	replaying, resting := work[0].used, work[1].used
	t.Logf("%d replayed deliveries: %v of processor time beside the %v of a process at rest in as long: %v each", made,
		(replaying - resting).Round(time.Millisecond), resting.Round(time.Millisecond), ((replaying - resting) / time.Duration(made)).Round(time.Microsecond))
	c.Do(t, http.MethodDelete, "/v1/replays/cost", nil)
	c.AwaitReplay(t, "cost", "cancelled")
	s.MustStop(t)
}

// workOf is what a process has done.
type workOf struct {
	used time.Duration // of processors
	sent int           // deliveries
}

func workNow(s *fleettest.Server, sink *tallySink) workOf {
	return workOf{processorOf(s.PID()), sink.count()}
}

func (w workOf) plus(o workOf) workOf  { return workOf{w.used + o.used, w.sent + o.sent} }
func (w workOf) minus(o workOf) workOf { return workOf{w.used - o.used, w.sent - o.sent} }
