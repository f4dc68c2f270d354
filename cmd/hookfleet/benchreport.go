package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strconv"
	"time"
)

// benchReport is what a bench found: figures, and what must be known to read them.
type benchReport struct {
	Version string    `json:"version"`
	Go      string    `json:"go"`
	System  string    `json:"system"`
	Cores   int       `json:"cores"`
	At      time.Time `json:"at"`
	SyncMS  float64   `json:"syncms"` // median of writing and syncing 4 KiB where the stores lie
	Figures []figure  `json:"figures"`
	Notes   []string  `json:"notes"`

	progress io.Writer
	scenario string // of the figures that come
}

// figure is one number that was measured.
type figure struct {
	Scenario string   `json:"scenario"`
	Name     string   `json:"name"`
	Value    float64  `json:"value"`
	Unit     string   `json:"unit"`
	Required *float64 `json:"required,omitempty"`
	Aim      *float64 `json:"aim,omitempty"`
	AtMost   bool     `json:"atmost,omitempty"`  // the goals are upper bounds
	Verdict  string   `json:"verdict,omitempty"` // aim, required or short: which goal it meets
}

// goal is what a figure should be on a machine of two cores. The zero value is none.
type goal struct {
	required, aim float64
	atMost        bool
}

// The goals that the project set itself, for two cores with everything on one machine.
var (
	goalSingle     = goal{required: 0.22, aim: 0.35}
	goalBulk       = goal{required: 0.40, aim: 0.60}
	goalCPU        = goal{required: 120, aim: 70, atMost: true}
	goalMedian     = goal{required: 2, aim: 1, atMost: true}
	goalTail       = goal{required: 6, aim: 3, atMost: true}
	goalHanging    = goal{required: 1.5, aim: 1.2, atMost: true}
	goalStorm      = goal{required: 15, aim: 6, atMost: true}
	goalKill       = goal{required: 12, aim: 5, atMost: true}
	goalIdle       = goal{required: 80, aim: 50, atMost: true}
	goalPeak       = goal{required: 300, aim: 200, atMost: true}
	goalSign       = goal{required: 5, aim: 2, atMost: true}
	goalLane       = goal{required: 0.30, aim: 0.60}
	goalLaneMemory = goal{required: 100, aim: 60, atMost: true}
	goalLaneCPU    = goal{required: 3, aim: 1, atMost: true}
	goalCEL        = goal{required: 3, aim: 2, atMost: true}
	goalTemplate   = goal{required: 5, aim: 3, atMost: true}
	noGoal         = goal{}
)

// verdict says which goal a value meets.
func (g goal) verdict(v float64) string {
	meets := func(bound float64) bool { return v >= bound }
	if g.atMost {
		meets = func(bound float64) bool { return v <= bound }
	}
	switch {
	case g == noGoal:
		return ""
	case meets(g.aim):
		return "aim"
	case meets(g.required):
		return "required"
	default:
		return "short"
	}
}

func newReport(progress io.Writer) *benchReport {
	return &benchReport{
		Version: version(), Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH,
		Cores: runtime.GOMAXPROCS(0), At: time.Now().UTC().Truncate(time.Second), Figures: []figure{}, Notes: []string{}, progress: progress,
	}
}

// add notes a figure of the scenario that runs. What is no number is left out: nothing was measured.
func (r *benchReport) add(name string, value float64, unit string, g goal) {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return
	}
	f := figure{Scenario: r.scenario, Name: name, Value: value, Unit: unit, Verdict: g.verdict(value)}
	if g != noGoal {
		f.Required, f.Aim, f.AtMost = &g.required, &g.aim, g.atMost
	}
	r.Figures = append(r.Figures, f)
	r.say("%s: %s %s %s", r.scenario, name, number(value), unit)
}

// note keeps a remark for the end.
func (r *benchReport) note(format string, args ...any) {
	text := r.scenario + ": " + fmt.Sprintf(format, args...)
	r.Notes = append(r.Notes, text)
	r.say("%s", text)
}

// say tells who waits how far it is.
func (r *benchReport) say(format string, args ...any) {
	fmt.Fprintln(r.progress, "bench:", clean(fmt.Sprintf(format, args...)))
}

// writeJSON prints the report for programs.
func (r *benchReport) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// writeTable prints the report for people.
func (r *benchReport) writeTable(w io.Writer) error {

	fmt.Fprintf(w, "hookfleet %s, %s %s, %d cores, one write and sync %s ms; events of %d bytes, goals for 2 cores\n\n",
		r.Version, r.Go, r.System, r.Cores, number(r.SyncMS), benchEventBytes)
	t := newTable(w, "SCENARIO", "FIGURE", "VALUE", "UNIT", "REQUIRED", "AIM", "MEETS")
	for _, f := range r.Figures {
		t.row(f.Scenario, f.Name, number(f.Value), f.Unit, f.bound(f.Required), f.bound(f.Aim), f.Verdict)
	}
	if err := t.flush(); err != nil {
		return err
	}
	for i, n := range r.Notes {
		if i == 0 {
			fmt.Fprintln(w)
		}
		if _, err := fmt.Fprintf(w, "note: %s\n", clean(n)); err != nil {
			return err
		}
	}
	return nil
}

func (f *figure) bound(v *float64) string {
	switch {
	case v == nil:
		return ""
	case f.AtMost:
		return "<= " + number(*v)
	default:
		return ">= " + number(*v)
	}
}

// number shows three significant digits, and all of those before the point.
func number(v float64) string {
	switch size := math.Abs(v); {
	case v == math.Trunc(v), size >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case size >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case size >= 1:
		return strconv.FormatFloat(v, 'f', 2, 64)
	default:
		return strconv.FormatFloat(v, 'f', 3, 64)
	}
}

// quantile is the value below which the part q of sorted lies; NaN of nothing.
func quantile(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	at := int(math.Ceil(q*float64(len(sorted)))) - 1
	return float64(sorted[min(max(at, 0), len(sorted)-1)])
}

// addLatency notes median and 99th percentile in milliseconds.
func (r *benchReport) addLatency(name string, all []time.Duration, median, tail goal) {
	slices.Sort(all)
	const ms = float64(time.Millisecond)
	r.add(name+" p50", quantile(all, 0.50)/ms, "ms", median)
	r.add(name+" p99", quantile(all, 0.99)/ms, "ms", tail)
}
