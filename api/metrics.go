package api

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics counts the API's own requests. Labels are bounded: routes of the table, and statuses that it can answer.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hookfleet_api_requests_total", Help: "Requests answered by the API.",
		}, []string{"route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "hookfleet_api_request_seconds", Help: "How long the API took to answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"route"}),
	}
	reg.MustRegister(m.requests, m.seconds)
	return m
}

// counted are the metrics of one route, looked up once: ingest is counted 20,000 times a second.
type counted struct {
	m       *metrics
	route   string
	seconds prometheus.Observer
	byCode  [600]atomic.Pointer[prometheus.Counter]
}

func (m *metrics) of(r *route) *counted {
	return &counted{m: m, route: r.id, seconds: m.seconds.WithLabelValues(r.id)}
}

func (c *counted) observe(status int, took time.Duration) {
	c.seconds.Observe(took.Seconds())
	if status < 0 || status >= len(c.byCode) {
		status = 0
	}
	if known := c.byCode[status].Load(); known != nil {
		(*known).Inc()
		return
	}
	counter := c.m.requests.WithLabelValues(c.route, strconv.Itoa(status))
	c.byCode[status].Store(&counter)
	counter.Inc()
}

// serveMetrics answers GET /metrics in Prometheus' format.
func (a *API) serveMetrics() func(*call) error {
	h := promhttp.HandlerFor(a.deps.Metrics, promhttp.HandlerOpts{
		ErrorLog:            promLog{a},
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 4, // a scrape costs requests to the broker; more at a time are somebody's mistake
	})
	return func(c *call) error {
		h.ServeHTTP(c.w, c.r)
		return nil
	}
}

type promLog struct{ a *API }

// Println implements promhttp.Logger.
func (l promLog) Println(v ...any) { l.a.log.Warn().Msgf("metrics: %v", v) }
