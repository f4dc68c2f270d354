package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Looks of the bench at its sink, and how long it waits for what does not come.
const (
	arrivalLook  = 20 * time.Millisecond
	arrivalQuiet = 30 * time.Second // nothing has come for so long: nothing will
	settleWait   = 300 * time.Millisecond
)

// benchStage is one fleet and one run of events at the sink.
type benchStage struct {
	*bench
	fleet  *benchFleet // nil = it is not ours
	dir    string      // of the fleet's data
	client *client
	run    string
	subs   []string
}

// stage starts a fleet with a fresh store, or takes the one that runs.
func (b *bench) stage(ctx context.Context, args ...string) (*benchStage, error) {
	s := &benchStage{bench: b, run: strings.ToLower(rand.Text()[:8])}
	if b.remote.url != "" {
		s.client = newClient(b.remote.url, b.key)
		return s, nil
	}
	var err error
	if s.dir, err = os.MkdirTemp(b.dir, "hookfleet-bench-"); err != nil {
		return nil, fmt.Errorf("make a directory for the store: %w", err)
	}
	if err := s.start(ctx, args...); err != nil {
		_ = os.RemoveAll(s.dir)
		return nil, err
	}
	return s, nil
}

// start starts the fleet on the stage's store.
func (s *benchStage) start(ctx context.Context, args ...string) error {
	if len(args) == 0 {
		args = []string{"--nats-listen", ""}
	}
	if s.profiles != "" {
		args = append(args, "--pprof-listen", "127.0.0.1:0")
	}
	var err error
	if s.fleet, err = startFleet(ctx, s.dir, args...); err != nil {
		return err
	}
	key, err := s.fleet.key()
	s.client = newClient(s.fleet.api, key)
	return err
}

// end stops the fleet, and leaves nothing behind.
func (s *benchStage) end() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, id := range s.subs {
		if s.fleet != nil {
			break // it goes with its store
		}
		if _, err := s.client.do(ctx, http.MethodDelete, subscriptions+path(id), "", nil); err != nil {
			s.report.note("subscription %s is left behind: %v", id, err)
		}
	}
	if s.fleet != nil {
		if err := s.fleet.stop(); err != nil {
			s.report.note("%v", err)
		}
		s.complain(s.fleet)
		_ = os.RemoveAll(s.dir) // as far as it can
	}
}

// complain notes what a fleet logged: at level warn it should have been nothing.
func (s *benchStage) complain(f *benchFleet) {
	if lines := f.log.lines(); len(lines) > 0 {
		s.report.note("the fleet logged %d lines at level warn and above, the last: %s", len(lines), lines[len(lines)-1])
	}
}

// benchSubscription is what a scenario wants of its subscriptions.
type benchSubscription struct {
	Concurrency int
	Retry       map[string]any
	Ordered     bool // by subject
}

// typ is the type of the events for hook k.
func (s *benchStage) typ(k int) string { return "hookfleet.bench." + s.run + "." + strconv.Itoa(k) }

// subscribe makes n signed subscriptions, of which number k posts to hook k. Either each takes events of its own type,
// or all take the same.
func (s *benchStage) subscribe(ctx context.Context, n int, same bool, want benchSubscription) error {
	for k := range n {
		typ := s.typ(k)
		if same {
			typ = s.typ(0)
		}
		config := map[string]any{"breaker": map[string]any{"failures": 0}} // what fails is meant to
		if want.Concurrency > 0 {
			config["concurrency"] = want.Concurrency
		}
		if want.Retry != nil {
			config["retry"] = want.Retry
		}
		if want.Ordered {
			config["ordering"] = map[string]any{"key": "subject"}
		}
		id := "bench-" + s.run + "-" + strconv.Itoa(k)
		body, err := json.Marshal(map[string]any{
			"id": id, "description": "hookfleet bench", "types": []string{typ}, "sink": s.sink.hook(k), "config": config,
			"protocolsettings": map[string]any{"signing": map[string]any{"scheme": "standardwebhooks"}},
		})
		if err != nil {
			return fmt.Errorf("subscription: %w", err)
		}
		if _, err := s.client.do(ctx, http.MethodPost, subscriptions, "application/json", body); err != nil {
			return fmt.Errorf("make a subscription: %w", err)
		}
		s.subs = append(s.subs, id)
	}
	return nil
}

// load is one that publishes to the stage's fleet, events of type 0 if nothing else is said.
func (s *benchStage) load(conns, batch int) *benchLoad {
	return &benchLoad{
		url: s.client.base + eventsPath, key: s.client.key, conns: conns, batch: batch, run: s.run, types: []string{s.typ(0)},
		limit: s.scale.events, lasting: s.scale.full,
	}
}

// awaitCounts waits until enough says that the sink has seen enough, or until nothing comes any more.
func (s *benchStage) awaitCounts(ctx context.Context, enough func(benchCounts) bool) error {
	var last benchCounts
	moved := time.Now()
	for {
		c, err := s.sink.counts(ctx)
		if err != nil || enough(c) {
			return err
		}
		if c != last {
			last, moved = c, time.Now()
		}
		if time.Since(moved) > arrivalQuiet {
			s.report.note("nothing has come for %s: the sink has %d deliveries, %d requests", arrivalQuiet, c.Arrived, c.Requests)
			return nil
		}
		if !waitFor(ctx, arrivalLook) {
			return context.Cause(ctx)
		}
	}
}

// benchMark is a moment, and what had been used until then.
type benchMark struct {
	at                         time.Time
	fleet, sink, self, machine time.Duration // CPU
	idle                       time.Duration // that nobody used
	peak, rss                  float64       // bytes, of the fleet; NaN = cannot be seen
	allocated                  float64       // bytes, of the fleet; NaN = cannot be seen
}

// mark looks at all processes.
func (s *benchStage) mark(ctx context.Context, more ...*benchFleet) benchMark {
	m := benchMark{at: time.Now(), sink: usageOf(s.sink.pid()).cpu, self: selfCPU(), allocated: math.NaN()}
	m.machine, m.idle = machineTimes()
	metrics := s.metrics(ctx)
	if v, ok := metrics["go_memstats_alloc_bytes_total"]; ok {
		m.allocated = v
	}
	if s.fleet == nil {
		m.fleet = time.Duration(metrics["process_cpu_seconds_total"] * float64(time.Second))
		m.peak, m.rss = math.NaN(), metrics["process_resident_memory_bytes"]
		return m
	}
	pids := []int{s.fleet.pid()}
	for _, f := range more {
		pids = append(pids, f.pid())
	}
	u := usageOf(pids...)
	m.fleet, m.peak, m.rss = u.cpu, float64(u.peak), float64(u.rss)
	return m
}

// since is what was used from the mark to now.
func (m benchMark) since(now benchMark) benchMark {
	return benchMark{
		at: now.at, fleet: now.fleet - m.fleet, sink: now.sink - m.sink, self: now.self - m.self, machine: now.machine - m.machine, idle: now.idle - m.idle,
		peak: now.peak, rss: now.rss, allocated: now.allocated - m.allocated,
	}
}

// others is the part of the machine that was used by none of ours, 0 to 1, over the time from start to the mark.
func (m benchMark) others(start time.Time) float64 {
	all := m.at.Sub(start).Seconds() * float64(runtime.NumCPU())
	return max(0, (m.machine-m.fleet-m.sink-m.self).Seconds()/all)
}

func selfCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// metrics are the fleet's own figures without labels; none when it does not answer.
func (s *benchStage) metrics(ctx context.Context) map[string]float64 {
	all := map[string]float64{}
	a, err := s.client.do(ctx, http.MethodGet, "/metrics", "", nil)
	if err != nil {
		return all
	}
	lines := bufio.NewScanner(bytes.NewReader(a.body))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			all[name] = v
		}
	}
	return all
}
