package api_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/api"
	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/events/stream"
)

func TestEveryErrorBecomesAProblem(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, c := range []struct {
		err    error
		status int
		code   api.Code
		header string // name: value
	}{
		{registry.ErrNotFound, 404, api.CodeNotFound, ""},
		{registry.ErrTaken, 409, api.CodeIDTaken, ""},
		{registry.ErrConflict, 412, api.CodeRevisionConflict, ""},
		{registry.ErrBacklog, 503, api.CodeUnavailable, "Retry-After: 2"},
		{errForbidden, 403, api.CodeForbidden, ""},
		{nats.ErrNoResponders, 503, api.CodeUnavailable, "Retry-After: 2"},
		{nats.ErrTimeout, 503, api.CodeUnavailable, "Retry-After: 2"},
		{context.DeadlineExceeded, 503, api.CodeUnavailable, "Retry-After: 2"},
		{stream.ErrUnknown, 503, api.CodeUnavailable, "Retry-After: 2"},
		{stream.ErrBusy, 503, api.CodeUnavailable, "Retry-After: 2"},
		{stream.ErrRefusedFull, 503, api.CodeStorageFull, "Retry-After: 2"},
		{stream.ErrStorageFull, 503, api.CodeStorageFull, "Retry-After: 2"},
		{&http.MaxBytesError{Limit: 7}, 413, api.CodeTooLarge, ""},
		{&events.Invalid{Status: 422, Code: "invalid_event", Faults: []events.Fault{{Pointer: "/id", Detail: "is missing"}}}, 422, api.CodeInvalidEvent, ""},
		{errors.New("the secret is hunter2"), 500, api.CodeInternal, ""},
	} {
		w := httptest.NewRecorder()
		b.api.Fail(w, httptest.NewRequestWithContext(t.Context(), "GET", "/", nil), fmt.Errorf("tried something: %w", c.err))
		r := &reply{t, w.Code, w.Header(), w.Body.Bytes()}
		r.problem(c.status, c.code)
		if name, value, ok := strings.Cut(c.header, ": "); ok && r.header.Get(name) != value {
			t.Errorf("%v: %s is %q", c.err, name, r.header.Get(name))
		}
		if strings.Contains(string(r.body), "hunter2") || strings.Contains(string(r.body), "tried") {
			t.Errorf("%v: the answer tells what the log should: %s", c.err, r.body)
		}
		if c.status >= 500 && !errors.Is(c.err, registry.ErrBacklog) && r.header.Get("X-Request-Id") == "" {
			t.Errorf("%v: nothing says where to look in the log", c.err)
		}
	}
}

func TestCodesAreStableNames(t *testing.T) {
	t.Parallel()
	for code, status := range api.Codes() {
		if strings.Trim(string(code), "abcdefghijklmnopqrstuvwxyz_") != "" || status < 400 || http.StatusText(status) == "" {
			t.Errorf("%s: %d", code, status)
		}
	}
}
