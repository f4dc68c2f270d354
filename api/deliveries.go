package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/events/stream"
)

func (a *API) deliveryRoutes() []route {
	states := make([]string, 0, len(allStates))
	for _, s := range allStates {
		states = append(states, string(s))
	}
	return []route{
		{
			method: "GET", path: "/v1/deliveries", id: "listDeliveries", tag: "deliveries", summary: "Find deliveries", roles: managers,
			text: "Newest first by their first attempt, hold or ending, which is the order of creation but for what was on its way at the same time; " +
				"those without one (pending) come first. A replay or test is listed from its first attempt on, and found by its id before. " +
				"One that changes while pages are read may come twice.",
			query: append([]param{
				{name: "subscription", kind: kindID, text: "only this subscription's"},
				{name: "tenant", kind: kindID, text: "only this tenant's"},
				{name: "state", kind: kindEnum, values: states, text: "only those in this state"},
				{name: "event", kind: kindSequence, text: "only those of the event with this sequence; all are on one page"},
				{name: "since", kind: kindTime, text: "created at this time or later"},
				{name: "until", kind: kindTime, text: "created before this time"},
			}, pageParams...),
			handle:  a.listDeliveries,
			answers: []answer{{status: 200, text: "a page of deliveries", value: typeOf[page[deliveryView]]()}},
		},
		{
			method: "GET", path: "/v1/deliveries/{id}", id: "getDelivery", tag: "deliveries", summary: "Read a delivery and its attempts", roles: managers,
			handle: a.getDelivery, answers: []answer{{status: 200, text: "the delivery", value: typeOf[deliveryDetail]()}},
		},
		{
			method: "POST", path: "/v1/deliveries/{id}/retry", id: "retryDelivery", tag: "deliveries", summary: "Try a delivery now", roles: managers,
			text: "Its next attempt is made now instead of when it is due, and counts as any other. One that is on its way already is left alone. " +
				"Refused with ended when it has ended (a dead one is replayed, not retried), and with held while its subscription is paused, disabled or " +
				"held: resume that first. What waits for its turn in a lane, for others of its key (held for order) or in the event stream (pending), " +
				"keeps its place.",
			codes: []Code{CodeEnded, CodeHeld}, handle: a.retryDelivery,
			answers: []answer{{status: 202, text: "the delivery; its attempt follows", value: typeOf[deliveryView]()}},
		},
		{
			method: "POST", path: "/v1/deliveries/{id}/cancel", id: "cancelDelivery", tag: "deliveries", summary: "Cancel a delivery", roles: managers,
			text: "What waits is cancelled when this answers, but for what waits for its turn in a lane (pending, or held for order): that is " +
				"cancelled some seconds later, also while the subscription is paused. A request that is in flight goes on: should the sink take it, the delivery ends as " +
				"delivered, else no attempt follows and it ends as cancelled. No dead letter is made. Cancelling what is cancelled changes nothing.",
			codes: []Code{CodeEnded}, handle: a.cancelDelivery,
			answers: []answer{
				{status: 200, text: "the delivery, cancelled", value: typeOf[deliveryView]()},
				{status: 202, text: "the delivery, which is in flight and ends with it, or is in a lane, which ends it", value: typeOf[deliveryView]()},
			},
		},
	}
}

func (a *API) listDeliveries(c *call) error {
	_, cursor, _, err := c.query.at(c.tenant(), 0)
	if err != nil {
		return err
	}
	p := page[deliveryView]{Items: []deliveryView{}}
	tenant, none := c.wants()
	if none {
		return c.json(http.StatusOK, p)
	}
	if err := a.deps.Registry.Fresh(c.r.Context()); err != nil {
		return err
	}
	records, next, err := a.history.List(c.r.Context(), stream.Query{
		Subscription: c.query.text("subscription"), Tenant: tenant, State: events.State(c.query.text("state")), Event: c.query.sequence("event"),
		Since: c.query.time("since"), Until: c.query.time("until"), Cursor: cursor, Limit: c.query.limit,
	})
	switch {
	case errors.Is(err, stream.ErrCursor):
		return badCursor()
	case err != nil:
		return err
	}
	for _, r := range records {
		p.Items = append(p.Items, viewRecord(r))
	}
	if next != "" {
		p.Next = c.query.cursor(c.tenant(), next)
	}
	return c.json(http.StatusOK, p)
}

// maxEventDeliveries bounds the deliveries that are shown with an event; the list of deliveries has them all.
const maxEventDeliveries = 1000

// deliveriesOf returns the deliveries of an event.
func (a *API) deliveriesOf(ctx context.Context, sequence uint64, tenant string) ([]deliveryView, error) {
	if err := a.deps.Registry.Fresh(ctx); err != nil {
		return nil, err
	}
	records, _, err := a.history.List(ctx, stream.Query{Event: sequence, Tenant: tenant, Limit: maxEventDeliveries})
	if err != nil {
		return nil, err
	}
	views := make([]deliveryView, 0, min(len(records), maxEventDeliveries))
	for _, r := range records[:min(len(records), maxEventDeliveries)] {
		views = append(views, viewRecord(r))
	}
	return views, nil
}

// delivery returns the delivery in the path, if the caller may see it.
func (a *API) delivery(c *call) (*stream.Found, error) {
	if err := a.deps.Registry.Fresh(c.r.Context()); err != nil {
		return nil, err
	}
	f, ok, err := a.history.Find(c.r.Context(), c.id)
	if err != nil {
		return nil, err
	}
	if !ok || c.hidden(f.Record.Tenant) {
		return nil, problem(CodeNotFound, "there is no such delivery, or none any more")
	}
	return f, nil
}

func (a *API) getDelivery(c *call) error {
	f, err := a.delivery(c)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, deliveryDetail{deliveryView: viewRecord(f.Record), Attempts: viewAttempts(f.Attempts)})
}

// Bounds of a retry of a delivery that moves meanwhile.
const (
	retryTries    = 3                     // timers that fired or were replaced under our eyes
	retryPatience = 5 * time.Second       // a timer follows its record within milliseconds; a killed worker's message comes again after 4 s
	retryLook     = 20 * time.Millisecond // some milliseconds of the broker each
)

// errUnsettled says that the last attempt of a delivery is recorded, and that it does not wait for the next one yet.
var errUnsettled = errors.New("the last attempt of the delivery is being settled")

func (a *API) retryDelivery(c *call) error {
	over := time.Now().Add(retryPatience)
	for moved := 0; moved < retryTries; {
		r, err := a.retryable(c)
		if err != nil {
			return err
		}
		err = a.hasten(c.r.Context(), r)
		switch {
		case errors.Is(err, stream.ErrMoved):
			moved++
		case errors.Is(err, errUnsettled):
			if err := awaitSettled(c.r.Context(), over); err != nil {
				return err
			}
		case err != nil:
			return err
		default:
			return c.json(http.StatusAccepted, viewRecord(r))
		}
	}
	return a.answerRetried(c)
}

// retryable returns the newest record of the delivery in the path, if an attempt of it may be made now.
func (a *API) retryable(c *call) (*events.Record, error) {
	f, err := a.delivery(c)
	if err != nil {
		return nil, err
	}
	if f.Record.State.Ended() {
		return nil, problem(CodeEnded, "the delivery has ended as %s", f.Record.State)
	}
	if e, ok := a.deps.Registry.Lookup(f.Record.Subscription); ok && e.Owns(&f.Record.Delivery) { // else a worker cancels it
		if err := a.checkOpen(f.Record.Subscription); err != nil {
			return nil, err
		}
	}
	return f.Record, nil
}

// awaitSettled waits before the next look at a delivery whose attempt is being settled. When that takes too long, no
// attempt is promised.
func awaitSettled(ctx context.Context, over time.Time) error {
	if time.Now().After(over) {
		p := problem(CodeUnavailable, "%s; try again", errUnsettled)
		p.RetryAfter = unavailableFor
		return p
	}
	select {
	case <-time.After(retryLook):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// answerRetried answers for a delivery that fires all the time by itself.
func (a *API) answerRetried(c *call) error {
	f, err := a.delivery(c)
	if err != nil {
		return err
	}
	return c.json(http.StatusAccepted, viewRecord(f.Record))
}

// checkOpen refuses what cannot be sent now, as a worker would.
func (a *API) checkOpen(subscription string) error {
	e, ok := a.deps.Registry.Lookup(subscription)
	if !ok {
		return nil // its end is near: a worker cancels it
	}
	st := statusOf(e, a.deps.Registry.Health(subscription), time.Now())
	if st.State == registry.SinkActive {
		return nil
	}
	return problem(CodeHeld, "the subscription is %s (%s); resume it first", st.State, st.Reason)
}

// hasten sets the timer of a delivery to now. It is replaced only if it is still the one that was seen: one that has
// fired must not be set again, or there would be two. What is due, held behind an open gate or on its first attempt is
// on its way by itself. Where a delivery lay before the attempt of its record is not where it waits for the next:
// errUnsettled.
func (a *API) hasten(ctx context.Context, r *events.Record) error {
	p, ok, err := a.waiting.Find(ctx, r.Subscription, r.ID)
	switch {
	case err != nil:
		return err
	case r.State == events.StateRetrying && (!ok || p.Delivery.Attempts < r.Attempts):
		return errUnsettled
	case !ok || p.Place != stream.PlaceTimer:
		return nil
	}
	p.Delivery.NextAt = time.Now().UTC()
	if err := a.setTimer(ctx, &p.Waiting, stream.IfStill(p)); err != nil {
		return err
	}
	r.NextAt = p.Delivery.NextAt
	return nil
}
