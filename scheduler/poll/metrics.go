package poll

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/auth/credential"
)

// The outcomes of asking for an item.
const (
	outcomeSame    = "same"
	outcomeChanged = "changed"
	outcomeFailed  = "failed"
)

type metrics struct {
	asked  *prometheus.CounterVec
	polls  prometheus.Histogram
	late   prometheus.Histogram
	tokens *prometheus.CounterVec
}

// seconds are the buckets of both histograms.
var seconds = []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		asked: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hookfleet_source_requests_total", Help: "Items of status sources that were asked for: same, changed, failed (no status: it is asked for again at the next tick).",
		}, []string{"outcome"}),
		polls: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hookfleet_source_poll_seconds", Help: "How long the polls of sources took, of those that this process ended.", Buckets: seconds,
		}),
		late: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hookfleet_source_tick_delay_seconds", Help: "From the tick to the beginning of its poll.", Buckets: seconds,
		}),
		tokens: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hookfleet_source_token_fetches_total", Help: "Requests to the token servers of sources, by what came of them.",
		}, []string{"outcome"}),
	}
	r.MustRegister(m.asked, m.polls, m.late, m.tokens)
	for _, outcome := range []string{outcomeSame, outcomeChanged, outcomeFailed} {
		m.asked.WithLabelValues(outcome)
	}
	return m
}

// fetched reports requests to token servers.
func (m *metrics) fetched(log zerolog.Logger) func(credential.Fetch) {
	return func(f credential.Fetch) {
		m.tokens.WithLabelValues(f.Outcome).Inc()
		if f.Err != nil {
			log.Warn().Err(f.Err).Str("token", f.Key).Time("retry_at", f.RetryAt).Msg("no token for a source")
		}
	}
}
