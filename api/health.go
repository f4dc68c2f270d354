package api

import "net/http"

// Check says why the process cannot accept or deliver now; "" when it can. It is called for each request of /readyz and
// must answer at once.
type Check func() (name, problem string)

// readiness is what /readyz answers.
type readiness struct {
	Ready    bool             `json:"ready"`
	Problems []readinessFault `json:"problems" doc:"every reason why not"`
}

type readinessFault struct {
	Name   string `json:"name"`
	Detail string `json:"detail"`
}

// health is what /healthz answers.
type health struct {
	Status string `json:"status" doc:"ok"`
}

// processRoutes are what needs no key.
func (a *API) processRoutes() []route {
	return []route{
		{
			method: "GET", path: "/healthz", id: "health", tag: "process", summary: "Does the process live?",
			text:    "Says nothing of the broker: a process that cannot reach it is not helped by a restart.",
			handle:  func(c *call) error { return c.json(http.StatusOK, health{Status: "ok"}) },
			answers: []answer{{status: 200, text: "it does", value: typeOf[health]()}},
		},
		{
			method: "GET", path: "/readyz", id: "ready", tag: "process", summary: "Can the process accept and deliver?",
			handle: a.serveReady,
			answers: []answer{
				{status: 200, text: "it can", value: typeOf[readiness]()},
				{status: 503, text: "it cannot; says why", value: typeOf[readiness]()},
			},
		},
		{
			method: "GET", path: "/metrics", id: "metrics", tag: "process", summary: "Metrics for Prometheus", handle: a.serveMetrics(),
			answers: []answer{{status: 200, text: "Prometheus' text format", media: "text/plain"}},
		},
		{
			method: "GET", path: "/openapi.json", id: "openapi", tag: "process", summary: "This document", handle: a.serveDocument,
			answers: []answer{{status: 200, text: "OpenAPI 3.1", media: jsonType}},
		},
	}
}

// ready asks all checks.
func (a *API) ready() readiness {
	r := readiness{Problems: []readinessFault{}}
	for _, check := range append([]Check{a.registryLoaded, a.keysLoaded}, a.deps.Checks...) {
		if name, problem := check(); problem != "" {
			r.Problems = append(r.Problems, readinessFault{name, problem})
		}
	}
	r.Ready = len(r.Problems) == 0
	return r
}

func (a *API) registryLoaded() (name, problem string) {
	return "subscriptions", unlessClosed(a.deps.Registry.Loaded(), "are not loaded yet")
}

func (a *API) keysLoaded() (name, problem string) {
	return "keys", unlessClosed(a.deps.Keys.Loaded(), "are not loaded yet")
}

func unlessClosed(done <-chan struct{}, problem string) string {
	select {
	case <-done:
		return ""
	default:
		return problem
	}
}

func (a *API) serveReady(c *call) error {
	r := a.ready()
	status := http.StatusOK
	if !r.Ready {
		status = http.StatusServiceUnavailable
		c.w.Header().Set("Retry-After", "1")
	}
	return c.json(status, r)
}

// serveDocument answers GET /openapi.json. The document does not change while the process runs.
func (a *API) serveDocument(c *call) error {
	c.raw(http.StatusOK, a.text)
	return nil
}
