// Package bench drives hookfleet bench as a user does. It promises that the figures are there and add up, and says
// nothing about how good they are: that depends on the machine, and is what the command is for.
package bench

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hookfleet/hookfleet/test/fleettest"
)

func TestMain(m *testing.M) { os.Exit(fleettest.Main(m)) }

// report is what the command prints for programs.
type report struct {
	Cores   int    `json:"cores"`
	Go      string `json:"go"`
	Figures []struct {
		Scenario string   `json:"scenario"`
		Name     string   `json:"name"`
		Value    float64  `json:"value"`
		Unit     string   `json:"unit"`
		Required *float64 `json:"required"`
		Aim      *float64 `json:"aim"`
	} `json:"figures"`
	Notes []string `json:"notes"`
}

// run runs the command and gives its report.
func run(t *testing.T, args ...string) *report {
	t.Helper()
	if testing.Short() {
		t.Skip("it starts processes and loads the machine for some seconds")
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), fleettest.Binary(t), append([]string{"bench", "--output", "json", "--dir", dir}, args...)...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	r := &report{}
	if err := json.Unmarshal(out, r); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	return r
}

// value is the one figure of that scenario and name.
func (r *report) value(t *testing.T, scenario, name string) float64 {
	t.Helper()
	for _, f := range r.Figures {
		if f.Scenario == scenario && f.Name == name {
			return f.Value
		}
	}
	t.Errorf("no figure %q of %s in %+v", name, scenario, r.Figures)
	return 0
}

// nothingLost fails when the report says that something accepted did not arrive.
func (r *report) nothingLost(t *testing.T) {
	t.Helper()
	for _, n := range r.Notes {
		if strings.Contains(n, "DID NOT ARRIVE") || strings.Contains(n, "more than once") || strings.Contains(n, "not signed") {
			t.Error(n)
		}
	}
}

func TestEndToEnd(t *testing.T) {
	t.Parallel()
	r := run(t, "--scenario", "single,idle", "--quick", "--events", "500")
	r.nothingLost(t)
	if r.Cores < 1 || r.Go == "" {
		t.Errorf("the machine: %d cores, %q", r.Cores, r.Go)
	}
	for _, conns := range []string{"64 connections", "256 connections"} {
		raw, rate := r.value(t, "single", conns+", raw POST just before"), r.value(t, "single", conns)
		ratio := r.value(t, "single", conns+", to raw POST")
		if raw <= 0 || rate <= 0 || ratio < 0.99*rate/raw || ratio > 1.01*rate/raw {
			t.Errorf("%s: %v deliveries/s beside %v posts/s, ratio %v", conns, rate, raw, ratio)
		}
		if bytes := r.value(t, "single", conns+", fleet allocates"); bytes < 1024 {
			t.Errorf("%s: %v bytes allocated for a delivery of 1024", conns, bytes)
		}
	}
	if mib := r.value(t, "idle", "memory"); mib < 5 {
		t.Errorf("idle with %v MiB", mib)
	}
}

// Retries and what a kill interrupted come again, and the bench sees it.
func TestStormAndKill(t *testing.T) {
	t.Parallel()
	r := run(t, "--scenario", "storm,kill", "--quick", "--events", "500")
	r.nothingLost(t)
	if s := r.value(t, "storm", "due to the last arrival"); s <= 0 {
		t.Errorf("retries that were all sent after %v s", s)
	}
	if n := r.value(t, "kill", "requests in flight"); n != 200 {
		t.Errorf("%v requests in flight", n)
	}
	if s := r.value(t, "kill", "SIGKILL to the last sent again"); s <= 0 {
		t.Errorf("sent again after %v s", s)
	}
}

// A fleet that runs already is measured from outside, and its subscriptions are taken away again.
func TestRunningFleet(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it starts processes and loads the machine for some seconds")
	}
	f := fleettest.Start(t, fleettest.Options{})
	r := run(t, "--url", f.API, "--key", f.Key, "--scenario", "single,drain", "--quick", "--events", "200")
	r.nothingLost(t)
	if rate := r.value(t, "single", "64 connections"); rate <= 0 {
		t.Errorf("%v deliveries/s", rate)
	}
	if !strings.Contains(strings.Join(r.Notes, "\n"), "drain: left out") {
		t.Errorf("notes: %q", r.Notes)
	}
}
