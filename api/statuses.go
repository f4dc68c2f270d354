package api

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

// statusPatience is how long a look-up waits until all events that were accepted before it are in the index. Usually that
// takes less than a millisecond; while the scheduler changes it may take ten seconds.
const statusPatience = time.Second

// sourcePrefix is how the source of an event begins that a status source has emitted.
const sourcePrefix = "/sources/"

// statusView is what is known of a subject. Its last member is filled in by withEvent.
type statusView struct {
	Subject   string      `json:"subject"`
	Type      string      `json:"type"`
	Tenant    string      `json:"tenant"`
	Sequence  uint64      `json:"sequence" doc:"of the event: GET /v1/events/{sequence}, as long as that is kept"`
	Status    string      `json:"status" doc:"data.status of the event; a number or a truth value in its own spelling"`
	Time      Time        `json:"time" doc:"of the event; when it was accepted, if it has none"`
	Completed bool        `json:"completed" doc:"the status is among terminal of a lifecycle subscription that takes the event, or of the source that emitted it"`
	Event     *cloudEvent `json:"event"`
}

const statusText = "The newest event of the subject by its time (of two at the same time the one accepted last; without a time, acceptance counts) " +
	"that has a data.status: a string that is not empty, a number or a truth value. Every event that was accepted before the call is taken into " +
	"account; should the index be behind for more than a second, the answer is what it has, and 503 in place of 404. Statuses outlive their events: " +
	"they are kept as long as statuses.retention says."

func (a *API) statusRoutes() []route {
	about := []param{
		{name: "tenant", kind: kindID, text: "whose; default: the tenant of a partner key, else default"},
		{name: "type", text: "of this type only"},
	}
	answers := []answer{{status: 200, text: "the newest status", value: typeOf[statusView]()}}
	return []route{
		{
			method: "GET", path: "/v1/statuses", id: "findStatus", tag: "statuses", summary: "Look up the status of a subject", roles: managers,
			text:  statusText,
			query: append([]param{{name: "subject", text: "of the events, any text; required"}}, about...),
			codes: []Code{CodeNotFound},
			handle: func(c *call) error {
				if c.query.text("subject") == "" {
					return faulty(CodeInvalidParameter, events.Fault{Pointer: "subject", Detail: "is required"})
				}
				return a.getStatus(c, c.query.text("subject"))
			},
			answers: answers,
		},
		{
			method: "GET", path: "/v1/statuses/{subject}", rest: true, id: "getStatus", tag: "statuses", summary: "Look up the status of a subject",
			roles: managers, text: statusText, query: about,
			handle:  func(c *call) error { return a.getStatus(c, c.id) },
			answers: answers,
		},
	}
}

func (a *API) getStatus(c *call, subject string) error {
	if a.cfg.NoStatuses {
		return problem(CodeNotFound, "statuses are not kept here: statuses.retention is 0")
	}
	tenant, none := c.wants()
	if none {
		return errNoStatus()
	}
	tenant = cmp.Or(tenant, events.DefaultTenant)
	ctx := c.r.Context()
	var stale error // of what completed depends on: the broker is asked for that at the same time
	var refresh sync.WaitGroup
	refresh.Go(func() { stale = a.deps.Registry.Fresh(ctx) })
	patience, cancel := context.WithTimeout(ctx, statusPatience)
	name := stream.StatusName{Tenant: tenant, Subject: subject, Type: c.query.text("type")}
	s, behind := a.askStatus(patience, name)
	cancel()
	var err error
	if s == nil {
		s, err = a.status.Newest(ctx, name.Tenant, name.Subject, name.Type)
	}
	refresh.Wait()
	switch {
	case errors.Is(err, stream.ErrManyTypes):
		return faulty(CodeInvalidParameter, events.Fault{Pointer: "type", Detail: "is required for a subject with statuses of so many types"})
	case err != nil:
		return err
	case s == nil && behind != nil:
		a.sampled.Warn().Err(behind).Msg("status looked up while the index is behind")
		p := problem(CodeUnavailable, "no status is known, and the index is not up to date at this moment")
		p.RetryAfter = statusPatience
		return p
	case s == nil:
		return errNoStatus()
	}
	value := s.Value()
	completed, err := a.completes(ctx, s, value, stale)
	if err != nil {
		return err
	}
	b, err := withEvent(statusView{
		Subject: subject, Type: s.Event.Type(), Tenant: tenant, Sequence: s.Sequence, Status: value, Time: Time(s.At),
		Completed: completed,
	}, s.Event)
	if err != nil {
		return err
	}
	c.raw(http.StatusOK, append(b, '\n'))
	return nil
}

// askStatus asks who keeps the index: in this process, or by the broker.
func (a *API) askStatus(ctx context.Context, name stream.StatusName) (*stream.Status, error) {
	if a.deps.AskStatus != nil {
		if s, ok := a.deps.AskStatus(ctx, name); ok {
			return s, nil
		}
	}
	return a.status.Ask(ctx, name)
}

func errNoStatus() error {
	return problem(CodeNotFound, "no event with a data.status is known of this subject")
}

// everyVersion is a sequence that only subscriptions as they are now match.
const everyVersion = 1<<63 - 1

// completes reports whether nothing is to follow the status, as subscriptions and sources are now; stale says that what the
// subscriptions are is not known.
func (a *API) completes(ctx context.Context, s *stream.Status, value string, stale error) (bool, error) {
	if id, ok := strings.CutPrefix(s.Event.Source(), sourcePrefix); ok {
		if err := a.deps.Registry.FreshSources(ctx); err != nil {
			return false, err
		}
		from, ok := a.deps.Registry.Source(id)
		if ok && from.Source.Tenant == s.Event.Tenant() && from.Source.IsTerminal(value) {
			return true, nil
		}
	}
	if stale != nil {
		return false, stale
	}
	for _, m := range a.deps.Registry.Matched(s.Event, everyVersion, nil) {
		if m.Entry == nil || m.Entry.Subscription.Config.Lifecycle == nil {
			continue
		}
		l := m.Entry.Subscription.Config.Lifecycle
		if status, ok := l.StatusOf(s.Event); ok && slices.Contains(l.Terminal, status) {
			return true, nil
		}
	}
	return false, nil
}
