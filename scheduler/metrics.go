package scheduler

import "github.com/prometheus/client_golang/prometheus"

// metrics are those of the scheduler that acts.
type metrics struct {
	replayed *prometheus.CounterVec
	replays  prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		replayed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hookfleet_replay_deliveries_total",
			Help: "Deliveries of replays: those that were made (sent), and how they ended; or were not made, because a replay had made them (skipped).",
		}, []string{"outcome"}),
		replays: prometheus.NewGauge(prometheus.GaugeOpts{Name: "hookfleet_replays", Help: "Replays that have not ended, paused ones included."}),
	}
	if r != nil {
		r.MustRegister(m.replayed, m.replays)
	}
	return m
}
