package main

import (
	"encoding/json"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/hookfleet/hookfleet/events"
)

// deadLetters is their path.
const deadLetters = "/v1/dead-letters"

// deadLetter is what tables show of one.
type deadLetter struct {
	ID           string          `json:"id"`
	Subscription string          `json:"subscription"`
	Tenant       string          `json:"tenant"`
	Reason       string          `json:"reason"`
	AttemptCount int             `json:"attemptcount"`
	LastAttempt  *events.Attempt `json:"lastattempt"`
	Event        json.RawMessage `json:"event"`
	DeadAt       string          `json:"deadat"`
}

// name is what tables call the event of a dead letter. One that is not valid has no type.
func (d *deadLetter) name() (typ, subject string) {
	var e struct {
		Type    string `json:"type"`
		Subject string `json:"subject"`
	}
	_ = json.Unmarshal(d.Event, &e)
	return e.Type, e.Subject
}

func newDeadLetter() *cobra.Command {
	r := &remote{}
	list := &lister{
		remote: r, target: deadLetters,
		params: []param{
			{name: "subscription", usage: "of this subscription only"},
			{name: "reason", usage: "with this reason only"},
			{name: "since", usage: "given up at or after this time, or this long ago", time: true},
		},
		header: []string{"ID", "SUBSCRIPTION", "REASON", "ATTEMPTS", "STATUS", "TYPE", "SUBJECT", "DEAD"},
		row: rowOf(func(d *deadLetter) []string {
			typ, subject := d.name()
			status := ""
			if d.LastAttempt != nil {
				status = count(d.LastAttempt.Status)
			}
			return []string{d.ID, d.Subscription, d.Reason, count(d.AttemptCount), status, typ, subject, d.DeadAt}
		}),
	}
	return r.register(group("deadletter", "See what was given up, and send it again",
		list.command("List dead letters"),
		newGet(r, deadLetters, "dead letter with its event", writeYAML),
		newAction(r, action{use: "replay", short: "Send dead letters again, each as a new delivery", target: deadLetters, noun: "deadletter", verb: "replay", done: "replayed"}),
		newAction(r, action{use: "delete", short: "Forget dead letters", target: deadLetters, noun: "deadletter", method: http.MethodDelete, done: "deleted"}),
	))
}
