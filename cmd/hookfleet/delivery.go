package main

import (
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/hookfleet/hookfleet/events"
)

// deliveries is their path.
const deliveries = "/v1/deliveries"

// delivery is what tables show of one.
type delivery struct {
	ID           string           `json:"id"`
	Subscription string           `json:"subscription"`
	Tenant       string           `json:"tenant"`
	State        string           `json:"state"`
	Reason       string           `json:"reason"`
	Event        events.EventRef  `json:"event"`
	AttemptCount int              `json:"attemptcount"`
	CreatedAt    string           `json:"createdat"`
	EndedAt      string           `json:"endedat"`
	NextAt       string           `json:"nextat"`
	ReplayOf     string           `json:"replayof"`
	Attempts     []events.Attempt `json:"attempts"`
}

func newDelivery() *cobra.Command {
	r := &remote{}
	list := &lister{
		remote: r, target: deliveries,
		params: []param{
			{name: "subscription", usage: "of this subscription only"},
			{name: "tenant", usage: "of this tenant only"},
			{name: "state", usage: "pending, retrying, held, delivered, dead, skipped or cancelled"},
			{name: "event", usage: "of the event with this sequence only"},
			{name: "since", usage: "created at or after this time, or this long ago", time: true},
			{name: "until", usage: "created before this time, or longer ago than this", time: true},
		},
		header: []string{"ID", "SUBSCRIPTION", "STATE", "REASON", "ATTEMPTS", "TYPE", "SUBJECT", "CREATED", "NEXT"},
		row: rowOf(func(d *delivery) []string {
			return []string{d.ID, d.Subscription, d.State, d.Reason, count(d.AttemptCount), d.Event.Type, d.Event.Subject, d.CreatedAt, d.NextAt}
		}),
	}
	return r.register(group("delivery", "See what became of events",
		list.command("List deliveries"),
		newGet(r, deliveries, "delivery with its attempts", showDelivery),
		newAction(r, action{use: "retry", short: "Try deliveries again now", target: deliveries, noun: "delivery", verb: "retry", done: "is tried now"}),
		newAction(r, action{use: "cancel", short: "Cancel deliveries that have not ended", target: deliveries, noun: "delivery", verb: "cancel", done: "cancelled"}),
	))
}

func showDelivery(w io.Writer, raw []byte) error {
	d, err := decodeDelivery(raw)
	if err != nil {
		return err
	}
	err = details(w, "delivery", d.ID, "subscription", d.Subscription, "tenant", d.Tenant, "state", d.State, "reason", d.Reason,
		"event", fmt.Sprintf("%d %s", d.Event.Sequence, d.Event.ID), "source", d.Event.Source, "type", d.Event.Type, "subject", d.Event.Subject,
		"created", d.CreatedAt, "next", d.NextAt, "ended", d.EndedAt, "replay of", d.ReplayOf)
	if err != nil || len(d.Attempts) == 0 {
		return err
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	t := newTable(w, "ATTEMPT", "AT", "MS", "OUTCOME", "REASON", "STATUS", "URL", "ANSWER")
	for _, a := range d.Attempts {
		t.row(attemptCells(&a)...)
	}
	return t.flush()
}

func attemptCells(a *events.Attempt) []string {
	answer := ""
	if a.Response != nil {
		answer = clip(a.Response.Body)
	}
	return []string{
		count(a.Number), a.At.UTC().Format("2006-01-02T15:04:05.000Z"), strconv.FormatFloat(a.DurationMS, 'f', 1, 64),
		string(a.Outcome), string(a.Reason), count(a.Status), a.URL, answer,
	}
}

// clip shortens a text to what a table has room for.
func clip(s string) string {
	const most = 60
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	return string(r[:most]) + "…"
}
