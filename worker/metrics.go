package worker

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/events"
)

// metrics are the worker's part of API.md 7.
type metrics struct {
	attempts *prometheus.CounterVec
	letters  *prometheus.CounterVec
	delivery prometheus.Histogram
	attempt  prometheus.Histogram
	tokens   *prometheus.CounterVec
}

// delays are the buckets of both histograms: from a loopback sink to the longest retry that is still worth a bucket.
var delays = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 36000}

func newMetrics(r prometheus.Registerer, w *Worker) *metrics {
	m := &metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hookfleet_attempts_total", Help: "Attempts, by what they led to.",
		}, []string{"outcome", "reason"}),
		letters: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hookfleet_dead_letters_total", Help: "Deliveries given up, by reason.",
		}, []string{"reason"}),
		delivery: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hookfleet_delivery_seconds", Help: "From acceptance to a 2xx answer.", Buckets: delays,
		}),
		attempt: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hookfleet_attempt_seconds", Help: "From connecting to the last byte of the answer.", Buckets: delays,
		}),
	}
	m.tokens = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "hookfleet_token_fetches_total", Help: "Requests to token servers, by what came of them.",
	}, []string{"outcome"})
	r.MustRegister(m.attempts, m.letters, m.delivery, m.attempt, m.tokens)
	for _, s := range []*slots{w.first, w.due, w.held} {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "hookfleet_worker_saturation", Help: "Part of this worker's slots that is in use.",
			ConstLabels: prometheus.Labels{"slots": s.name},
		}, s.saturation))
	}
	return m
}

// settled counts what a verdict is about to be carried out for.
func (m *metrics) settled(d *delivery, v events.Verdict, a *events.Attempt) {
	if a != nil {
		m.attempts.WithLabelValues(string(v.Outcome), string(a.Reason)).Inc()
		m.attempt.Observe(a.DurationMS / 1000)
		if v.Outcome == events.Delivered {
			m.delivery.Observe(time.Since(d.CreatedAt).Seconds())
		}
	}
	if v.Outcome == events.Dead {
		m.dead(v.Reason)
	}
}

func (m *metrics) dead(reason events.Reason) { m.letters.WithLabelValues(string(reason)).Inc() }

// report writes the one line per attempt. What went well is at debug level: thousands a second.
func (w *Worker) report(d *delivery, v events.Verdict, a *events.Attempt) {
	level := zerolog.DebugLevel
	if v.Outcome == events.Dead {
		level = zerolog.WarnLevel
	}
	line := w.log.WithLevel(level)
	if w.log.GetLevel() > level || !line.Enabled() {
		return
	}
	line = line.Str(fieldDelivery, d.ID).Str(fieldSubscription, d.Subscription).Uint64("sequence", d.Event.Sequence).
		Str("outcome", string(v.Outcome)).Str("reason", string(v.Reason))
	if a != nil {
		line = line.Int("attempt", a.Number).Int("status", a.Status).Float64("ms", a.DurationMS)
	}
	if v.Outcome == events.Retry {
		line = line.Time("next_at", v.NextAt)
	}
	line.Msg("attempt")
}
