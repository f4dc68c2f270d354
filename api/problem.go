package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/events/stream"
)

// Code is what a program branches on: stable, in snake case, with exactly one status.
type Code string

// The codes of the API. Those of events (invalid_json, invalid_event, …) are made there and listed here.
const (
	CodeInvalidJSON         Code = "invalid_json"
	CodeInvalidHeader       Code = "invalid_header"
	CodeInvalidParameter    Code = "invalid_parameter"
	CodeInvalidBody         Code = "invalid_body"
	CodeBadLimit            Code = "bad_limit"
	CodeBadCursor           Code = "bad_cursor"
	CodeBadID               Code = "bad_id"
	CodeUnauthorized        Code = "unauthorized"
	CodeForbidden           Code = "forbidden"
	CodeNotFound            Code = "not_found"
	CodeMethodNotAllowed    Code = "method_not_allowed"
	CodeIDTaken             Code = "id_taken"
	CodeIDReuse             Code = "id_reuse"
	CodeEnded               Code = "ended"
	CodeHeld                Code = "held"
	CodeNotReplayable       Code = "not_replayable"
	CodeOperatorKey         Code = "operator_key"
	CodeSecretsLocked       Code = "secrets_locked"
	CodeUnsigned            Code = "unsigned"
	CodeRevisionConflict    Code = "revision_conflict"
	CodeBodyCut             Code = "body_cut"
	CodeTooLarge            Code = "too_large"
	CodeMediaType           Code = "unsupported_media_type"
	CodeInvalidEvent        Code = "invalid_event"
	CodeInvalidSubscription Code = "invalid_subscription"
	CodeInvalidSource       Code = "invalid_source"
	CodeInvalidItem         Code = "invalid_item"
	CodeInvalidKey          Code = "invalid_key"
	CodeInvalidReplay       Code = "invalid_replay"
	CodeTooManyReplays      Code = "too_many_replays"
	CodeTooManyFailures     Code = "too_many_failures"
	CodeInternal            Code = "internal"
	CodeUnavailable         Code = "unavailable"
	CodeStorageFull         Code = "storage_full"
)

// codes is the one table from code to status; the title is for people.
var codes = map[Code]struct {
	status int
	title  string
}{
	CodeInvalidJSON:         {400, "The body is not valid JSON"},
	CodeInvalidHeader:       {400, "A header is not valid"},
	CodeInvalidParameter:    {400, "A query parameter is not valid"},
	CodeInvalidBody:         {400, "The body is not what this takes"},
	CodeBodyCut:             {400, "The body is not whole"},
	CodeBadLimit:            {400, "The limit is not valid"},
	CodeBadCursor:           {400, "The cursor is not valid"},
	CodeBadID:               {400, "The id is not valid"},
	CodeUnauthorized:        {401, "No valid key"},
	CodeForbidden:           {403, "The key may not do this"},
	CodeNotFound:            {404, "Not found"},
	CodeMethodNotAllowed:    {405, "Method not allowed"},
	CodeIDTaken:             {409, "The id is taken"},
	CodeIDReuse:             {409, "The id was used for another event"},
	CodeEnded:               {409, "It has ended"},
	CodeHeld:                {409, "The sink may not be sent to now"},
	CodeNotReplayable:       {409, "The dead letter cannot be replayed"},
	CodeOperatorKey:         {409, "The operator key cannot be deleted"},
	CodeSecretsLocked:       {409, "The secrets of the subscription cannot be opened"},
	CodeUnsigned:            {409, "The subscription is not signed"},
	CodeRevisionConflict:    {412, "The resource has changed"},
	CodeTooLarge:            {413, "Too large"},
	CodeMediaType:           {415, "Unsupported media type"},
	CodeInvalidEvent:        {422, "The event is not valid"},
	CodeInvalidSubscription: {422, "The subscription is not valid"},
	CodeInvalidSource:       {422, "The source is not valid"},
	CodeInvalidItem:         {422, "The item is not valid"},
	CodeInvalidKey:          {422, "The key is not valid"},
	CodeInvalidReplay:       {422, "The replay is not valid"},
	CodeTooManyReplays:      {429, "Too many replays have not ended"},
	CodeTooManyFailures:     {429, "Too many failed authentications"},
	CodeInternal:            {500, "Internal error"},
	CodeUnavailable:         {503, "Unavailable"},
	CodeStorageFull:         {503, "Storage is nearly full"},
}

// Problem is an RFC 9457 problem, and the error of a handler that has chosen its answer.
type Problem struct {
	Type   string         `json:"type"   doc:"always about:blank; the code tells problems apart"`
	Title  string         `json:"title"  doc:"what went wrong, for people; the same for all problems of a code"`
	Status int            `json:"status" doc:"the HTTP status"`
	Detail string         `json:"detail,omitempty" doc:"what went wrong in this request, for people"`
	Code   Code           `json:"code"   doc:"stable, for programs"`
	Errors []events.Fault `json:"errors,omitempty" doc:"all faults of the input at once; pointer is a JSON pointer, or the name of a header or query parameter"`

	RetryAfter time.Duration `json:"-"`
	Allow      string        `json:"-"`
}

// Error implements error.
func (p *Problem) Error() string { return string(p.Code) + ": " + p.Detail }

// problem returns the problem with this code.
func problem(code Code, format string, args ...any) *Problem {
	c := codes[code]
	return &Problem{Type: "about:blank", Title: c.title, Status: c.status, Code: code, Detail: fmt.Sprintf(format, args...)}
}

// faulty returns the problem of an input with these faults.
func faulty(code Code, faults ...events.Fault) *Problem {
	p := problem(code, "")
	if len(faults) > 0 {
		p.Detail = faults[0].Detail
		if faults[0].Pointer != "" {
			p.Detail = faults[0].Pointer + ": " + p.Detail
		}
	}
	p.Errors = faults
	return p
}

// unavailableFor is after how long a caller should try again when the broker is away: a leader is elected in less.
const unavailableFor = 2 * time.Second

// asProblem turns any error into a problem. told is false for what only the log is told of.
func (a *API) asProblem(err error) (p *Problem, told bool) {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p, true
	}
	if inv, ok := errors.AsType[*events.Invalid](err); ok {
		return ofInvalid(inv), true
	}
	if tooLong, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return problem(CodeTooLarge, "the body may have at most %d bytes", tooLong.Limit), true
	}
	if locked, ok := errors.AsType[*events.LockedError](err); ok {
		return problem(CodeSecretsLocked, "%v; a PUT that sends its secrets anew may change it", locked), true
	}
	for target, code := range a.deps.Codes {
		if errors.Is(err, target) {
			return known(code, err), codes[code].status < http.StatusInternalServerError
		}
	}
	switch {
	case isFull(err):
		return known(CodeStorageFull, err), false
	case errors.Is(err, registry.ErrNotFound):
		return problem(CodeNotFound, "there is no such subscription"), true
	case errors.Is(err, registry.ErrTaken):
		return problem(CodeIDTaken, "a subscription with this id exists"), true
	case errors.Is(err, registry.ErrNoSource):
		return problem(CodeNotFound, "there is no such source"), true
	case errors.Is(err, registry.ErrSourceTaken):
		return problem(CodeIDTaken, "a source with this id exists"), true
	case errors.Is(err, registry.ErrConflict):
		return problem(CodeRevisionConflict, "it was changed since the revision in If-Match"), true
	case errors.Is(err, events.ErrUnsigned):
		return problem(CodeUnsigned, "there is no signing among its protocolsettings, and so no secret to rotate"), true
	case errors.Is(err, registry.ErrBacklog):
		return known(CodeUnavailable, err), true
	case isBrokerAway(err):
		return known(CodeUnavailable, err), false
	}
	return problem(CodeInternal, "internal error"), false
}

// known is the problem with this code for an error of ours, whose text is for people.
func known(code Code, err error) *Problem {
	if isFull(err) && code == CodeUnavailable {
		code = CodeStorageFull
	}
	p := problem(code, "%s", strings.ToLower(codes[code].title[:1])+codes[code].title[1:])
	if p.Status == http.StatusServiceUnavailable {
		p.Detail += "; try again"
		p.RetryAfter = unavailableFor
	}
	return p
}

// ofInvalid turns a refused input into a problem; its code decides the status where this package knows it.
func ofInvalid(inv *events.Invalid) *Problem {
	p := faulty(Code(inv.Code), inv.Faults...)
	if p.Status == 0 {
		p.Status, p.Title = inv.Status, http.StatusText(inv.Status)
	}
	return p
}

// isFull says whether err means that nothing more may be stored.
func isFull(err error) bool {
	return errors.Is(err, stream.ErrRefusedFull) || errors.Is(err, stream.ErrStorageFull)
}

// isBrokerAway says whether err means that the broker did not answer, rather than that it refused.
func isBrokerAway(err error) bool {
	for _, target := range []error{
		context.DeadlineExceeded, errHandlerTimeout, nats.ErrTimeout, nats.ErrNoResponders, nats.ErrConnectionClosed, nats.ErrConnectionDraining,
		nats.ErrDisconnected, nats.ErrReconnectBufExceeded, nats.ErrNoServers, nats.ErrStaleConnection,
		stream.ErrUnknown, stream.ErrBusy, jetstream.ErrNoStreamResponse, jetstream.ErrJetStreamNotEnabled,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// write answers with the problem.
func (p *Problem) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", problemType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	switch p.Status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="hookfleet"`)
	case http.StatusMethodNotAllowed:
		h.Set("Allow", p.Allow)
	}
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((p.RetryAfter+time.Second-1)/time.Second)))
	}
	body, err := json.Marshal(p)
	if err != nil { // cannot be: strings and numbers only
		body = []byte(`{"type":"about:blank","title":"Internal error","status":500,"code":"internal"}`)
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n')) // a client that went away is no fault of ours
}
