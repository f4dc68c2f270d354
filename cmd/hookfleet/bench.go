package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hookfleet/hookfleet/auth/secret"
)

// bench measures a fleet, its own or one that runs.
type bench struct {
	remote    remote
	scenarios []string
	scale     benchScale
	quick     bool
	dir       string // where the stores of its own fleets lie
	profiles  string // where profiles go; "" = none are taken

	key    secret.Text // of the running fleet
	report *benchReport
	sink   *sinkChild
}

// benchScale is how much is measured. Every run is bounded in time and in count.
type benchScale struct {
	raw, full, gentle, hanging, idle time.Duration
	events                           int // at most, of the loads at full rate
	backlog, timers                  int
}

// fullScale ends within 6 minutes, quickScale within one.
func fullScale() benchScale {
	return benchScale{
		raw: 3 * time.Second, full: 6 * time.Second, gentle: 20 * time.Second, hanging: 40 * time.Second,
		idle: 10 * time.Second, events: 1_000_000, backlog: 200_000, timers: 100_000,
	}
}

func quickScale() benchScale {
	return benchScale{
		raw: 700 * time.Millisecond, full: 1200 * time.Millisecond, gentle: 3 * time.Second, hanging: 5 * time.Second,
		idle: time.Second, events: 100_000, backlog: 10_000, timers: 5_000,
	}
}

// benchScenario is one thing that is measured.
type benchScenario struct {
	name, what string
	own        bool // needs a fleet of its own: starts and stops it, or looks into its process
	run        func(b *bench, ctx context.Context) error
}

// A scenario whose fleet has stopped is ended: the longest takes some 90 s, and a millisecond more for each event of a
// backlog that is larger than usual.
const (
	scenarioTimeout = 5 * time.Minute
	backlogTimeout  = time.Millisecond
)

// benchScenarios are all of them, in the order in which they run.
func benchScenarios() []benchScenario {
	return []benchScenario{
		{"raw", "what the machine gives: a net/http POST loop to the sink, a JetStream publish loop", false, (*bench).rawLimits},
		{"ingest", "one event a request, over 64 and 256 connections, no subscription", false, (*bench).ingestSingle},
		{"batch", "100 and 500 events a request, no subscription", false, (*bench).ingestBatch},
		{"single", "end to end, one event a request over 64 and 256 connections, one signed subscription", false, (*bench).endToEndSingle},
		{"bulk", "end to end, 100, 500 and 1,000 events a request, with a bounded backlog", false, (*bench).endToEndBulk},
		{"fanout", "end to end, each event to 100 subscriptions", false, (*bench).fanOut},
		{"drain", "a backlog of 200,000, by a process that starts and by a worker that joins", true, (*bench).drain},
		{"lanes", "a backlog of 10,000 keys in order beside a plain one, and what 1,000 idle lanes cost", true, (*bench).lanes},
		{"gentle", "100 events a second: how long from accept to arrival", false, (*bench).gentle},
		{"hanging", "300 events a second to ten sinks, without and with one that hangs 10 s", false, (*bench).hanging},
		{"storm", "100,000 retries due at one instant", true, (*bench).storm},
		{"kill", "SIGKILL with requests in flight, and a start", true, (*bench).kill},
		{"idle", "memory and CPU of a fleet that has nothing to do", true, (*bench).idle},
		{"features", "what modes, signatures, filters and credentials cost, each by itself in this process", false, (*bench).features},
	}
}

func newBench() *cobra.Command {
	b := &bench{scale: fullScale()}
	var duration time.Duration
	var events int
	var text strings.Builder
	text.WriteString(`Measure a fleet, and in the same run what the machine gives without one. Without --url it starts fleets of its own, one
for each scenario, each a process with a fresh store; with --url it measures one that runs on this machine, with
--egress-allow 127.0.0.0/8 --egress-plainhttp, as far as that can be seen from outside. All traffic stays on 127.0.0.1.

Scenarios:
`)
	for _, s := range benchScenarios() {
		fmt.Fprintf(&text, "  %-8s %s\n", s.name, s.what)
	}
	text.WriteString(`
Times are from accept (the answer 202 has come whole) to arrival (the sink has read the request); an arrival before the
answer counts as 0, and the time from the start of the request is given beside it. A slow result is no error.`)
	cmd := &cobra.Command{
		Use: "bench", Short: "Measure a fleet beside the raw limits of the machine", Long: text.String(), Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := b.configure(cmd, duration, events); err != nil {
				return err
			}
			return b.all(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&b.remote.url, "url", "", "the API of a running fleet on this machine (default: fleets of its own)")
	fs.StringVar(&b.remote.key, "key", "", "operator key of that fleet")
	fs.StringVarP(&b.remote.output, "output", "o", "table", "table for people, json for programs")
	fs.StringSliceVar(&b.scenarios, "scenario", nil, "only these, by name (default all)")
	fs.DurationVar(&duration, "duration", 0, "how long each load at full rate lasts")
	fs.IntVar(&events, "events", 0, "so many events in a backlog, and at most so many in a load at full rate or a storm")
	fs.BoolVar(&b.quick, "quick", false, "all of it in a minute: for a first look, not for comparing")
	fs.StringVar(&b.dir, "dir", os.TempDir(), "where the stores of its own fleets lie for the time: on the disk that is to be measured")
	fs.StringVar(&b.profiles, "profile-dir", "", "write CPU and allocation profiles of the fleet under full rate into this directory")
	return cmd
}

// configure checks the flags.
func (b *bench) configure(cmd *cobra.Command, duration time.Duration, events int) error {
	if b.remote.output != "table" && b.remote.output != "json" {
		return usagef("--output: %q is not one of table, json", b.remote.output)
	}
	for _, name := range b.scenarios {
		if !slices.ContainsFunc(benchScenarios(), func(s benchScenario) bool { return s.name == name }) {
			return usagef("--scenario: %q is none", name)
		}
	}
	if duration < 0 || duration > time.Hour || events < 0 || events > 10_000_000 {
		return usagef("--duration is at most 1h, --events at most 10000000")
	}
	if b.quick {
		b.scale = quickScale()
	}
	if duration > 0 {
		b.scale.full = duration
	}
	if events > 0 {
		b.scale.events, b.scale.backlog, b.scale.timers = events, events, min(events, b.scale.timers)
	}
	if b.remote.url == "" {
		return nil
	}
	if !cmd.Flags().Changed("url") || !isLoopback(b.remote.url) {
		return usagef("--url: %q is not on this machine's loopback, where the sink is", b.remote.url)
	}
	var err error
	b.key, err = b.remote.apiKey()
	return err
}

func isLoopback(text string) bool {
	u, err := url.Parse(text)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && addr.IsLoopback()
}

// all runs the scenarios and prints the report, also of what was measured before one failed.
func (b *bench) all(ctx context.Context, out, errs io.Writer) (err error) {
	b.report = newReport(errs)
	b.report.SyncMS = syncTime(b.dir)
	if b.sink, err = startSink(); err != nil {
		return err
	}
	defer b.sink.stop()
	var failed []error
	for _, s := range benchScenarios() {
		if len(b.scenarios) > 0 && !slices.Contains(b.scenarios, s.name) {
			continue
		}
		if err := b.one(ctx, s); err != nil {
			failed = append(failed, fmt.Errorf("scenario %s: %w", s.name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	write := b.report.writeTable
	if b.remote.output == "json" {
		write = b.report.writeJSON
	}
	return errors.Join(append(failed, write(out))...)
}

func (b *bench) one(ctx context.Context, s benchScenario) error {
	b.report.scenario = s.name
	if s.own && b.remote.url != "" {
		b.report.note("left out: it needs a fleet of its own")
		return nil
	}
	patience := scenarioTimeout + time.Duration(b.scale.backlog)*backlogTimeout
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not through after %s", patience))
	defer cancel()
	return s.run(b, ctx)
}

// syncTime is the median of writing and syncing 4 KiB in dir, in ms: what every group of events waits for.
func syncTime(dir string) float64 {
	f, err := os.CreateTemp(dir, "hookfleet-bench-")
	if err != nil {
		return 0
	}
	defer os.Remove(f.Name())
	defer f.Close()
	var took []time.Duration
	for range 50 {
		start := time.Now()
		if _, err := f.Write(make([]byte, 4<<10)); err != nil || f.Sync() != nil {
			return 0
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	return quantile(took, 0.5) / float64(time.Millisecond)
}
