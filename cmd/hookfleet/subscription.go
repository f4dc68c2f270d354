package main

import (
	"cmp"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
)

// subscriptions is their path.
const subscriptions = "/v1/subscriptions"

// subscription is what tables show of one.
type subscription struct {
	ID     string   `json:"id"`
	Tenant string   `json:"tenant"`
	Types  []string `json:"types"`
	Sink   string   `json:"sink"`
	Own    string   `json:"sinkoverride"` // where events have a sink of their own
	Status struct {
		State   string `json:"state"`
		Reason  string `json:"reason"`
		Waiting int    `json:"waiting"`
	} `json:"status"`
	ProtocolSettings struct {
		Signing struct {
			Secret        string `json:"secret"`
			PublicKey     string `json:"publickey"`
			PreviousUntil string `json:"previousuntil"`
		} `json:"signing"`
	} `json:"protocolsettings"`
}

func newSubscription() *cobra.Command {
	r := &remote{}
	list := &lister{
		remote: r, target: subscriptions, params: []param{{name: "tenant", usage: "of this tenant only"}},
		header: []string{"ID", "TENANT", "STATE", "REASON", "WAITING", "TYPES", "SINK"},
		row: rowOf(func(s *subscription) []string {
			return []string{s.ID, s.Tenant, s.Status.State, s.Status.Reason, count(s.Status.Waiting), strings.Join(s.Types, ","), cmp.Or(s.Sink, s.Own)}
		}),
	}
	return r.register(group("subscription", "Say which events go to which sink, and how",
		list.command("List subscriptions"),
		newGet(r, subscriptions, "subscription", writeYAML),
		newApply(r),
		newAction(r, action{use: "delete", short: "Delete subscriptions; what waits for them is cancelled", target: subscriptions, noun: "subscription", method: http.MethodDelete, done: "deleted"}),
		newAction(r, action{use: "pause", short: "Pause subscriptions; their deliveries wait", target: subscriptions, noun: "subscription", verb: "pause", done: "paused"}),
		newAction(r, action{use: "resume", short: "Resume paused or disabled subscriptions", target: subscriptions, noun: "subscription", verb: "resume", done: "resumed"}),
		newRotateSecret(r),
		newTest(r),
	))
}
