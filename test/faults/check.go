package faults

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Kill is the violent end of something that sends, or a time in which what it sent could not be recorded.
type Kill struct {
	At       time.Time
	Until    time.Time // zero = it was a moment
	InFlight int       // at most so many attempts were in flight, in all
}

// end is the last moment of k.
func (k *Kill) end() time.Time {
	if k.Until.IsZero() {
		return k.At
	}
	return k.Until
}

// How near to a kill a first request must be for its repetition to be explained by it: the attempt was still in flight,
// or it was answered and its record on the way. What was settled before is not sent again.
const (
	flightBefore = 3 * time.Second // the longest answer of the sinks here, and settling on a loaded machine
	flightAfter  = time.Second     // bytes that the kernel still delivers for a process that is gone
)

// Verdict is what the ledgers say. Faults are named by their event and sink, the first maxNamed of them.
type Verdict struct {
	Accepted   int // events
	Owed       int // deliveries that they make
	Requests   int
	Duplicates int   // requests that a sink took although it had taken the same delivery before
	PerKill    []int // duplicates that each kill explains

	Missing     []string // accepted and never taken
	Unexplained []string // taken twice, with no kill that explains it
	TooMany     []string // kills that explain more duplicates than were in flight
	Altered     []string // came with other bytes than were published
	Renamed     []string // came with another webhook-id than before
	Strange     []string // came and was never accepted
}

// Check compares what was accepted with what was received. What unanswered says was published and never answered, may
// have been stored: it is no stranger.
func (l *Ledger) Check(kills []Kill, unanswered func(id string) bool) *Verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &check{v: &Verdict{Accepted: len(l.accepted), Requests: len(l.received), PerKill: make([]int, len(kills))}, kills: kills}
	c.group(l.received)
	for i := range l.accepted {
		a := &l.accepted[i]
		for _, sink := range a.Sinks {
			c.v.Owed++
			c.delivery(a, sink)
		}
	}
	for d := range c.came {
		if _, owed := l.owed[d]; !owed && (unanswered == nil || !unanswered(d.id)) {
			c.v.Strange = append(c.v.Strange, d.id+" at "+d.sink)
		}
	}
	for i, n := range c.v.PerKill {
		if n > kills[i].InFlight {
			c.v.TooMany = append(c.v.TooMany, fmt.Sprintf("kill %d explains %d duplicates, at most %d were in flight", i, n, kills[i].InFlight))
		}
	}
	return c.v
}

// check is one run of the checker.
type check struct {
	v     *Verdict
	kills []Kill
	came  map[delivery][]*Received
}

func (c *check) group(received []Received) {
	c.came = make(map[delivery][]*Received, len(received))
	for i := range received {
		r := &received[i]
		d := delivery{r.ID, r.Sink}
		c.came[d] = append(c.came[d], r)
	}
}

// delivery checks what came of one event at one sink.
func (c *check) delivery(a *Accepted, sink string) {
	name := fmt.Sprintf("%s (%d) at %s", a.ID, a.Sequence, sink)
	came := c.came[delivery{a.ID, sink}]
	slices.SortStableFunc(came, func(x, y *Received) int { return x.At.Compare(y.At) })
	var took *Received
	for _, r := range came {
		if r.Sum != a.Sum {
			c.v.Altered = append(c.v.Altered, name)
		}
		if r.Webhook != came[0].Webhook || r.Webhook == "" {
			c.v.Renamed = append(c.v.Renamed, name)
		}
		if took != nil {
			c.v.Duplicates++
			c.explain(name, took, r)
		}
		if r.OK() {
			took = r
		}
	}
	if took == nil {
		c.v.Missing = append(c.v.Missing, name)
	}
}

// explain finds the kill at which the first request was in flight, and after which it came again: the nearest one, of those
// that have not explained all that was in flight yet. Kills that follow each other closely may all explain a request.
func (c *check) explain(name string, first, again *Received) {
	best, bestFree, bestAway := -1, false, time.Duration(0)
	for i, k := range c.kills {
		if !first.At.Before(k.end().Add(flightAfter)) || !first.At.After(k.At.Add(-flightBefore)) || !again.At.After(k.At) {
			continue
		}
		free, away := c.v.PerKill[i] < k.InFlight, k.At.Sub(first.At).Abs()
		if best < 0 || free && !bestFree || free == bestFree && away < bestAway {
			best, bestFree, bestAway = i, free, away
		}
	}
	if best >= 0 {
		c.v.PerKill[best]++
		return
	}
	c.v.Unexplained = append(c.v.Unexplained, fmt.Sprintf("%s: taken at %s, again at %s", name, first.At.Format(time.StampMicro), again.At.Format(time.StampMicro)))
}

// maxNamed bounds what a failure prints.
const maxNamed = 20

// Faults names everything that may not be; empty = all is as it must be.
func (v *Verdict) Faults() []string {
	var faults []string
	for _, f := range []struct {
		what  string
		names []string
	}{
		{"accepted and lost", v.Missing}, {"sent again without a reason", v.Unexplained}, {"duplicates beyond what was in flight", v.TooMany},
		{"altered", v.Altered}, {"another webhook-id", v.Renamed}, {"never accepted", v.Strange},
	} {
		if len(f.names) > 0 {
			slices.SortFunc(f.names, cmp.Compare)
			faults = append(faults, fmt.Sprintf("%s: %d:\n\t%s", f.what, len(f.names), strings.Join(f.names[:min(len(f.names), maxNamed)], "\n\t")))
		}
	}
	return faults
}

// String is the verdict in one line.
func (v *Verdict) String() string {
	return fmt.Sprintf("%d events accepted, %d deliveries owed, %d requests; missing %d, duplicates %d (per kill %v), unexplained %d, altered %d, renamed %d, strange %d",
		v.Accepted, v.Owed, v.Requests, len(v.Missing), v.Duplicates, v.PerKill, len(v.Unexplained), len(v.Altered), len(v.Renamed), len(v.Strange))
}
