package registry

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/hookfleet/hookfleet/events"
)

// Metrics are the registry's, to be registered.
func (r *Registry) Metrics() (all []prometheus.Collector) {
	for _, l := range []events.Language{events.LanguageSQL, events.LanguageCEL, events.LanguageMatch} {
		all = append(all, prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "hookfleet_filter_errors_total", Help: "Filters that failed at run time, and counted as false.",
			ConstLabels: prometheus.Labels{"kind": string(l)},
		}, func() float64 { return float64(r.index.filters.Failures(l)) }))
	}
	return all
}
