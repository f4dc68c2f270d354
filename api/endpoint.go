package api

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"path"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hookfleet/hookfleet/auth/keys"
)

// handlerTimeout bounds what one call may do, but for ingest, which has its own. Lists are bounded by work as well.
const handlerTimeout = 20 * time.Second

var errHandlerTimeout = errors.New("the call took too long")

// requests numbers what is logged, so that a caller can name it; the prefix tells processes apart.
var (
	requestPrefix = rand.Text()[:8] + "-"
	requests      atomic.Uint64
)

// Handler returns all routes, for a server of the caller's own or for Run's.
func (a *API) Handler() http.Handler {
	mux := http.NewServeMux()
	methods := map[string][]string{}
	for i := range a.routes {
		r := &a.routes[i]
		pattern := r.path
		if r.rest {
			pattern = strings.TrimSuffix(pattern, "}") + "...}"
		}
		mux.Handle(r.method+" "+pattern, a.endpoint(r))
		methods[pattern] = append(methods[pattern], r.method)
	}
	for path, known := range methods {
		mux.Handle(path, a.wrongMethod(known))
	}
	mux.Handle("/{$}", a.nothing())
	mux.Handle("/", a.nothing())
	return cleanPaths(mux, a.nothing(), a.routes)
}

// cleanPaths answers a path with empty or dot segments itself, where the mux would redirect: no id of ours has them, and
// a POST that is redirected loses its body in most clients. In the rest of a path they may be if they are escaped.
func cleanPaths(next, nothing http.Handler, routes []route) http.Handler {
	var free []string
	for i := range routes {
		if r := &routes[i]; r.rest {
			free = append(free, r.path[:strings.IndexByte(r.path, '{')])
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := r.URL.Path
		if slices.ContainsFunc(free, func(prefix string) bool { return strings.HasPrefix(p, prefix) }) {
			p = r.URL.EscapedPath()
		}
		if p != "/" && path.Clean(p) != strings.TrimSuffix(p, "/") {
			nothing.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// nothing answers for paths that are none of ours.
func (a *API) nothing() http.Handler {
	return a.endpoint(&route{path: "other", id: "other", handle: func(*call) error {
		return problem(CodeNotFound, "there is nothing at this path")
	}})
}

// wrongMethod answers for a path of ours that has no such method.
func (a *API) wrongMethod(known []string) http.Handler {
	if slices.Contains(known, http.MethodGet) {
		known = append(known, http.MethodHead)
	}
	slices.Sort(known)
	allow := strings.Join(known, ", ")
	return a.endpoint(&route{path: "other", id: "other", handle: func(c *call) error {
		p := problem(CodeMethodNotAllowed, "%.20s is not allowed here, only %s", c.r.Method, allow)
		p.Allow = allow
		return p
	}})
}

// endpoint is the route as a handler: authenticated, checked, counted, and with panics kept to the request.
func (a *API) endpoint(r *route) http.Handler {
	counted := a.metrics.of(r)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		start := time.Now()
		rec := &recorder{ResponseWriter: w}
		defer func() { counted.observe(rec.status, time.Since(start)) }()
		defer func() {
			if p := recover(); p != nil {
				a.panicked(rec, req, p)
			}
		}()
		key, err := a.serve(r, rec, req)
		if err != nil {
			a.refuse(rec, req, err)
		}
		if r.changes() && rec.status < http.StatusBadRequest {
			a.log.Info().Str("key", key.ID).Str("route", r.id).Str("path", req.URL.Path).Int("status", rec.status).Msg("changed by the API")
		}
	})
}

// serve returns whose call it was.
func (a *API) serve(r *route, w http.ResponseWriter, req *http.Request) (*keys.Key, error) {
	c := &call{w: w, r: req, route: r}
	if !r.public() {
		var err error
		if c.key, err = a.authenticate(req); err != nil {
			return nil, err
		}
		if !r.open(c.key.Role) {
			return c.key, problem(CodeForbidden, "a %s key may not do this", c.key.Role)
		}
	}
	if r.mount != nil {
		return c.key, r.mount(c)
	}
	return c.key, a.handle(c)
}

// handle checks the parameters of a call, and that it has a body only where one is taken, and has it answered.
func (a *API) handle(c *call) error {
	r, req := c.route, c.r
	ctx, cancel := context.WithTimeoutCause(req.Context(), handlerTimeout, errHandlerTimeout)
	defer cancel()
	c.r = req.WithContext(ctx)
	var err error
	if c.query, err = parseQuery(r, req.URL.RawQuery); err != nil {
		return err
	}
	if name := r.pathParam(); name != "" {
		c.id = req.PathValue(name)
	}
	if r.body == nil && req.Method != http.MethodGet && req.Method != http.MethodHead && r.id != "other" {
		if err := c.noBody(); err != nil {
			return err
		}
	}
	return r.handle(c)
}

// refuse answers with the problem of err. What the caller is not told is logged under an id that it is told. Who has gone gets no answer: net/http
// would make it 200, and who has closed its own half only would take that for an event that is stored.
func (a *API) refuse(w *recorder, r *http.Request, err error) {
	if r.Context().Err() != nil {
		w.status = statusClientGone
		panic(http.ErrAbortHandler)
	}
	p, told := a.asProblem(err)
	if !told {
		id := requestPrefix + strconv.FormatUint(requests.Add(1), 10)
		w.Header().Set("X-Request-Id", id)
		a.sampled.Error().Err(err).Str("request", id).Str("method", r.Method).Str("path", r.URL.Path).Int("status", p.Status).Msg("request failed")
	}
	if w.status != 0 { // the answer has begun, it cannot be taken back
		panic(http.ErrAbortHandler)
	}
	p.write(w)
}

// Fail answers with the problem of err: for Ingest.
func (a *API) Fail(w http.ResponseWriter, r *http.Request, err error) {
	rec, ok := w.(*recorder)
	if !ok {
		rec = &recorder{ResponseWriter: w}
	}
	a.refuse(rec, r, err)
}

// panicked keeps a panic to its request.
func (a *API) panicked(w *recorder, r *http.Request, p any) {
	if p == http.ErrAbortHandler { //nolint:errorlint // the very value, as net/http compares it
		panic(p)
	}
	a.log.Error().Str("panic", fmt.Sprint(p)).Bytes("stack", debug.Stack()).Str("method", r.Method).Str("path", r.URL.Path).Msg("request panicked")
	if w.status != 0 {
		panic(http.ErrAbortHandler)
	}
	problem(CodeInternal, "internal error").write(w)
}

// statusClientGone is what is counted when the caller went away before its answer, as nginx does.
const statusClientGone = 499

// recorder remembers the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController through.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
