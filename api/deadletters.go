package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

// deadLetterChunk is how many dead letters are in memory at a time while a page is made: each holds a whole event.
const deadLetterChunk = 64

// deadLetterView is a dead letter. Its last member is filled in by withEvent.
type deadLetterView struct {
	ID           string        `json:"id" doc:"the delivery's"`
	Subscription string        `json:"subscription" doc:"empty for what was stored and is no valid event"`
	Tenant       string        `json:"tenant"`
	Reason       events.Reason `json:"reason"`
	AttemptCount int           `json:"attemptcount"`
	LastAttempt  *attemptView  `json:"lastattempt,omitempty"`
	CreatedAt    Time          `json:"createdat"`
	DeadAt       Time          `json:"deadat"`
	ReplayOf     string        `json:"replayof,omitempty"`
	Sequence     uint64        `json:"sequence" doc:"of the event"`
	Raw          []byte        `json:"raw,omitempty" doc:"base64 of what was stored and is no valid event"`
	Event        *cloudEvent   `json:"event" null:"true" doc:"the whole event; null for what is no valid event"`
}

func (a *API) deadLetterRoutes() []route {
	return []route{
		{
			method: "GET", path: "/v1/dead-letters", id: "listDeadLetters", tag: "dead letters", summary: "List dead letters", roles: managers,
			query: append([]param{
				{name: "subscription", kind: kindID, text: "only this subscription's"},
				{name: "tenant", kind: kindID, text: "only this tenant's"},
				{name: "reason", text: "only those with this reason"},
				{name: "since", kind: kindTime, text: "dead since this time"},
			}, pageParams...),
			handle:  a.listDeadLetters,
			answers: []answer{{status: 200, text: "a page of dead letters; it ends early after some 4 MiB", value: typeOf[page[deadLetterView]]()}},
		},
		{
			method: "GET", path: "/v1/dead-letters/{id}", id: "getDeadLetter", tag: "dead letters", summary: "Read a dead letter", roles: managers,
			handle: a.getDeadLetter, answers: []answer{{status: 200, text: "the dead letter", value: typeOf[deadLetterView]()}},
		},
		{
			method: "DELETE", path: "/v1/dead-letters/{id}", id: "deleteDeadLetter", tag: "dead letters", summary: "Delete a dead letter", roles: managers,
			text: "The delivery stays in the history as dead.", handle: a.deleteDeadLetter,
			answers: []answer{{status: 204, text: "it is gone"}},
		},
		{
			method: "POST", path: "/v1/dead-letters/{id}/replay", id: "replayDeadLetter", tag: "dead letters", summary: "Deliver a dead letter once more", roles: managers,
			text: "Makes a new delivery (replayof) with the same webhook-id and the subscription's full retries, and takes the dead letter off the " +
				"list. Calling it again, when an answer was lost, answers with the same delivery and makes no second one. Refused with not_replayable " +
				"for what is no valid event, and when the subscription is gone.",
			codes: []Code{CodeNotReplayable}, handle: a.replayDeadLetter,
			answers: []answer{{status: 201, text: "the new delivery", value: typeOf[deliveryView](), headers: []string{"Location"}}},
		},
	}
}

func viewLetter(l *stream.Letter) ([]byte, error) {
	v := deadLetterView{
		ID: l.ID, Subscription: l.Subscription, Tenant: l.Tenant, Reason: l.Reason, AttemptCount: l.Attempts,
		CreatedAt: Time(l.CreatedAt), DeadAt: Time(l.DeadAt), ReplayOf: l.ReplayOf, Sequence: l.Event.Sequence,
	}
	if l.LastAttempt != nil {
		v.LastAttempt = new(viewAttempt(l.LastAttempt))
	}
	if l.Payload == nil {
		v.Raw = l.Raw
	}
	return withEvent(v, l.Payload)
}

func (a *API) listDeadLetters(c *call) error {
	_, cursor, _, err := c.query.at(c.tenant(), 0)
	if err != nil {
		return err
	}
	var p rawPage
	tenant, none := c.wants()
	if none {
		return p.write(c)
	}
	q := stream.DeadQuery{
		Subscription: c.query.text("subscription"), Tenant: tenant, Reason: events.Reason(c.query.text("reason")),
		Since: c.query.time("since"), Cursor: cursor,
	}
	for {
		q.Limit = min(c.query.limit-len(p.items), deadLetterChunk)
		letters, next, err := a.dead.List(c.r.Context(), q)
		if errors.Is(err, stream.ErrCursor) {
			return badCursor()
		}
		if err != nil {
			return err
		}
		for _, l := range letters {
			item, err := viewLetter(l)
			if err != nil {
				return err
			}
			p.add(item)
		}
		if q.Cursor = next; next == "" || p.full(c.query.limit) || len(letters) < q.Limit { // fewer: it has done as much as a call may
			break
		}
	}
	if q.Cursor != "" {
		p.next = c.query.cursor(c.tenant(), q.Cursor)
	}
	return p.write(c)
}

// letter returns the dead letter in the path, if the caller may see it; nil when there is none.
func (a *API) letter(c *call) (*stream.Letter, error) {
	l, ok, err := a.dead.Find(c.r.Context(), c.id)
	if err != nil || !ok || c.hidden(l.Tenant) {
		return nil, err
	}
	return l, nil
}

func errNoLetter() error { return problem(CodeNotFound, "there is no such dead letter") }

func (a *API) getDeadLetter(c *call) error {
	l, err := a.letter(c)
	if err != nil {
		return err
	}
	if l == nil {
		return errNoLetter()
	}
	b, err := viewLetter(l)
	if err != nil {
		return err
	}
	c.raw(http.StatusOK, append(b, '\n'))
	return nil
}

func (a *API) deleteDeadLetter(c *call) error {
	l, err := a.letter(c)
	if err != nil {
		return err
	}
	if l == nil {
		return errNoLetter()
	}
	if _, err := a.dead.Delete(c.r.Context(), l.ID); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *API) replayDeadLetter(c *call) error {
	l, err := a.letter(c)
	if err != nil {
		return err
	}
	next, ok := events.NextReplay(c.id)
	switch {
	case l == nil && ok:
		return a.replayed(c, next)
	case l == nil:
		return errNoLetter()
	case l.Payload == nil || !ok:
		return problem(CodeNotReplayable, "what was stored is no valid event")
	}
	if err := a.deps.Registry.Fresh(c.r.Context()); err != nil {
		return err
	}
	if e, ok := a.deps.Registry.Lookup(l.Subscription); !ok || e.Subscription.Tenant != l.Tenant {
		return problem(CodeNotReplayable, "its subscription is gone")
	}
	w, ok := stream.ReplayOf(l, time.Now().UTC())
	if !ok {
		return problem(CodeNotReplayable, "what was stored is no valid event")
	}
	if err := a.replay(c.r.Context(), w); err != nil {
		return err
	}
	return a.answerReplay(c, viewDelivery(&w.Delivery, events.StatePending))
}

// replay makes the delivery, unless it is there already, and removes the dead letter.
func (a *API) replay(ctx context.Context, w *stream.Waiting) error {
	_, known, err := a.history.Find(ctx, w.Delivery.ID)
	if err != nil {
		return err
	}
	return a.dead.Replay(ctx, a.deps.Writer, known, w)
}

// replayed answers for a dead letter that is gone: with its replay, if that is why.
func (a *API) replayed(c *call, next string) error {
	f, ok, err := a.history.Find(c.r.Context(), next)
	switch {
	case err != nil:
		return err
	case !ok || f.Record.ReplayOf != c.id || c.hidden(f.Record.Tenant):
		return errNoLetter()
	}
	return a.answerReplay(c, viewRecord(f.Record))
}

func (a *API) answerReplay(c *call, v deliveryView) error {
	c.w.Header().Set("Location", "/v1/deliveries/"+v.ID)
	return c.json(http.StatusCreated, v)
}
