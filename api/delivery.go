package api

import (
	"github.com/hookfleet/hookfleet/events"
)

// allStates are the states of deliveries, in the order that they may follow each other.
var allStates = []events.State{
	events.StatePending, events.StateRetrying, events.StateHeld,
	events.StateDelivered, events.StateDead, events.StateSkipped, events.StateCancelled,
}

// deliveryView is a delivery in an answer.
type deliveryView struct {
	ID           string          `json:"id"`
	Subscription string          `json:"subscription"`
	Tenant       string          `json:"tenant"`
	State        events.State    `json:"state"`
	Reason       events.Reason   `json:"reason" doc:"of the last attempt, hold or ending; empty when there is none. Held for order: another delivery of its key, or a tick, comes first"`
	Event        events.EventRef `json:"event"`
	AttemptCount int             `json:"attemptcount"`
	CreatedAt    Time            `json:"createdat" doc:"acceptance of the event, or of the replay"`
	EndedAt      Time            `json:"endedat,omitzero"`
	NextAt       Time            `json:"nextat,omitzero" doc:"when the next attempt is due"`
	ReplayOf     string          `json:"replayof,omitempty" doc:"the delivery that this one repeats; of an event that was none for the subscription, the one that would have been"`
	Replay       string          `json:"replay,omitempty" doc:"the replay that made it"`
}

// deliveryDetail is one delivery with its attempts.
type deliveryDetail struct {
	deliveryView
	Attempts []attemptView `json:"attempts" doc:"oldest first; kept 7 days"`
}

// attemptView is one try on the wire.
type attemptView struct {
	Number     int              `json:"number"`
	At         Time             `json:"at"`
	DurationMS float64          `json:"durationms"`
	Outcome    events.Outcome   `json:"outcome"`
	Reason     events.Reason    `json:"reason"`
	Status     int              `json:"status,omitempty" doc:"of the answer; absent when none came"`
	URL        string           `json:"url" doc:"query secrets are masked"`
	Response   *events.Response `json:"response,omitempty" doc:"at most 4 KiB of the body are kept"`
	NextAt     Time             `json:"nextat,omitzero"`
	WebhookID  string           `json:"webhookid,omitempty" doc:"in content mode batch: that of the batch, which all its deliveries show"`
}

// viewRecord is a delivery as its newest record has it.
func viewRecord(r *events.Record) deliveryView {
	v := viewDelivery(&r.Delivery, r.State)
	v.EndedAt = Time(r.EndedAt)
	if r.State.Ended() {
		v.NextAt = Time{}
	}
	return v
}

func viewDelivery(d *events.Delivery, state events.State) deliveryView {
	return deliveryView{
		ID: d.ID, Subscription: d.Subscription, Tenant: d.Tenant, State: state, Reason: d.Reason, Event: d.Event,
		AttemptCount: d.Attempts, CreatedAt: Time(d.CreatedAt), NextAt: Time(d.NextAt), ReplayOf: d.ReplayOf, Replay: d.Replay,
	}
}

func viewAttempt(a *events.Attempt) attemptView {
	return attemptView{
		Number: a.Number, At: Time(a.At), DurationMS: a.DurationMS, Outcome: a.Outcome, Reason: a.Reason, Status: a.Status,
		URL: a.URL, Response: a.Response, NextAt: Time(a.NextAt), WebhookID: a.WebhookID,
	}
}

func viewAttempts(list []events.Attempt) []attemptView {
	views := make([]attemptView, 0, len(list))
	for i := range list {
		views = append(views, viewAttempt(&list[i]))
	}
	return views
}
