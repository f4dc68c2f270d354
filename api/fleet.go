package api

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hookfleet/hookfleet/events/stream"
)

const (
	// fleetFresh is how long a look at the fleet is used again: several scrapers cost no more than one.
	fleetFresh = 3 * time.Second
	// fleetTimeout bounds a look; a scrape is given up by Prometheus after 10 s.
	fleetTimeout = 4 * time.Second
)

// fleetMetrics are the metrics of the whole fleet (API.md 7), looked up when somebody asks. Every API process has them.
// While the broker is away they are absent, not stale.
type fleetMetrics struct {
	backlog *stream.Backlog
	storage func() float64 // nil = not known

	pending, oldest, used *prometheus.Desc

	mu    sync.Mutex
	state stream.State
	at    time.Time
}

func newFleetMetrics(b *stream.Backlog, storage func() float64) *fleetMetrics {
	return &fleetMetrics{
		backlog: b, storage: storage,
		pending: prometheus.NewDesc("hookfleet_backlog",
			"What is not settled: events (pending; one counts once for all subscriptions without a lane that it is for, and once for each lane that has it before it), and deliveries (retrying, held).",
			[]string{"state"}, nil),
		oldest: prometheus.NewDesc("hookfleet_oldest_undelivered_seconds",
			"Age of the oldest event or replay that is not settled, of those that have waited longest in each state and in the lanes that are farthest behind; 0 = there is none.", nil, nil),
		used: prometheus.NewDesc("hookfleet_storage_used_ratio",
			"Part of the broker's store that is in use; ingest is refused at 0.9.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (f *fleetMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- f.pending
	ch <- f.oldest
	ch <- f.used
}

// Collect implements prometheus.Collector.
func (f *fleetMetrics) Collect(ch chan<- prometheus.Metric) {
	if f.storage != nil {
		ch <- prometheus.MustNewConstMetric(f.used, prometheus.GaugeValue, f.storage())
	}
	s, err := f.look()
	if err != nil {
		return // absent says it, and /readyz says why
	}
	for state, n := range map[string]uint64{"pending": s.Pending, "retrying": s.Retrying, "held": s.Held} {
		ch <- prometheus.MustNewConstMetric(f.pending, prometheus.GaugeValue, float64(n), state)
	}
	age := 0.0
	if !s.Oldest.IsZero() {
		age = max(time.Since(s.Oldest).Seconds(), 0)
	}
	ch <- prometheus.MustNewConstMetric(f.oldest, prometheus.GaugeValue, age)
}

func (f *fleetMetrics) look() (stream.State, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.at) < fleetFresh {
		return f.state, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), fleetTimeout)
	defer cancel()
	s, err := f.backlog.State(ctx)
	if err != nil {
		return s, err
	}
	f.state, f.at = s, time.Now()
	return s, nil
}
