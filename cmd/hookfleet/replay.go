package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// replays is their path.
const replays = "/v1/replays"

// replayLook is how often a replay that is waited for is looked at.
const replayLook = time.Second

// replay is what tables show of one.
type replay struct {
	ID           string `json:"id"`
	Tenant       string `json:"tenant"`
	Subscription string `json:"subscription"`
	From         string `json:"from"`
	Since        string `json:"since"`
	Until        string `json:"until"`
	DryRun       bool   `json:"dryrun"`
	State        string `json:"state"`
	Reason       string `json:"reason"`
	Matched      uint64 `json:"matched"`
	Sent         uint64 `json:"sent"`
	Delivered    uint64 `json:"delivered"`
	Dead         uint64 `json:"dead"`
	Skipped      uint64 `json:"skipped"`
	Cancelled    uint64 `json:"cancelled"`
	CreatedAt    string `json:"createdat"`
	EndedAt      string `json:"endedat"`
}

func (x *replay) counts() []string {
	var cells []string
	for _, n := range []uint64{x.Matched, x.Sent, x.Delivered, x.Dead, x.Skipped, x.Cancelled} {
		cells = append(cells, strconv.FormatUint(n, 10))
	}
	return cells
}

func newReplay() *cobra.Command {
	r := &remote{}
	list := &lister{
		remote: r, target: replays,
		params: []param{
			{name: "subscription", usage: "of this subscription only"},
			{name: "tenant", usage: "of this tenant only"},
			{name: "state", usage: "running, paused, done or cancelled"},
		},
		header: []string{"ID", "SUBSCRIPTION", "FROM", "STATE", "MATCHED", "SENT", "DELIVERED", "DEAD", "SKIPPED", "CANCELLED", "CREATED"},
		row: rowOf(func(x *replay) []string {
			return append(append([]string{x.ID, x.Subscription, x.From, x.State}, x.counts()...), x.CreatedAt)
		}),
	}
	return r.register(group("replay", "Deliver events or dead letters once more",
		list.command("List replays"),
		newGet(r, replays, "replay", showReplay),
		newReplayCreate(r),
		newAction(r, action{use: "pause", short: "Make no more deliveries for now", target: replays, noun: "replay", verb: "pause", done: "paused"}),
		newAction(r, action{use: "resume", short: "Go on with paused replays", target: replays, noun: "replay", verb: "resume", done: "resumed"}),
		newAction(r, action{use: "cancel", short: "Cancel replays, and what they made that waits", target: replays, noun: "replay", method: http.MethodDelete, done: "cancelled"}),
	))
}

func showReplay(w io.Writer, raw []byte) error {
	var x replay
	if err := json.Unmarshal(raw, &x); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	c := x.counts()
	return details(w, "replay", x.ID, "tenant", x.Tenant, "subscription", x.Subscription, "from", x.From, "since", x.Since, "until", x.Until,
		"state", x.State, "reason", x.Reason, "matched", c[0], "sent", c[1], "delivered", c[2], "dead", c[3], "skipped", c[4], "cancelled", c[5],
		"created", x.CreatedAt, "ended", x.EndedAt)
}

// replayOrder is what `replay create` asks for.
type replayOrder struct {
	ID           string            `json:"id,omitempty"`
	Subscription string            `json:"subscription"`
	From         string            `json:"from"`
	Since        string            `json:"since,omitempty"`
	Until        string            `json:"until,omitempty"`
	Filters      []json.RawMessage `json:"filters,omitempty"`
	Rate         int               `json:"rate,omitempty"`
	DryRun       bool              `json:"dryrun,omitempty"`
	Again        bool              `json:"again,omitempty"`

	filters []string
	wait    bool
}

func newReplayCreate(r *remote) *cobra.Command {
	var o replayOrder
	cmd := &cobra.Command{
		Use: "create --subscription ID", Short: "Deliver once more what a subscription takes, or its dead letters", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			body, err := o.body(time.Now())
			if err != nil {
				return err
			}
			a, err := c.do(cmd.Context(), http.MethodPost, replays, "application/json", body)
			if err != nil {
				return err
			}
			text, x := a.body, &replay{}
			if err := json.Unmarshal(text, x); err != nil {
				return fmt.Errorf("read the answer: %w", err)
			}
			if o.wait {
				if text, err = x.await(cmd.Context(), c); err != nil {
					return err
				}
			}
			switch {
			case r.output == "json":
				return writeJSON(cmd.OutOrStdout(), text)
			case o.wait:
				return showReplay(cmd.OutOrStdout(), text)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "replay/%s %s\n", clean(x.ID), clean(x.State))
			return err
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&o.ID, "id", "", "its id; made up if absent")
	fs.StringVar(&o.Subscription, "subscription", "", "whose deliveries are made once more")
	fs.StringVar(&o.From, "from", "events", "events, or dead-letters")
	fs.StringVar(&o.Since, "since", "", "accepted (or given up) at or after this time, or this long ago")
	fs.StringVar(&o.Until, "until", "", "accepted (or given up) before this time, or longer ago than this; default: now")
	fs.StringArrayVar(&o.filters, "filter", nil, `a filter as JSON, such as '{"cel":"data.amount > 100"}'; several must all hold`)
	fs.IntVar(&o.Rate, "rate", 0, "new deliveries a second; default: as many as leave room for live traffic")
	fs.BoolVar(&o.DryRun, "dry-run", false, "only count")
	fs.BoolVar(&o.Again, "again", false, "also what an earlier replay made")
	fs.BoolVar(&o.wait, "wait", false, "wait until all its deliveries have ended")
	if err := cmd.MarkFlagRequired("subscription"); err != nil {
		panic(err)
	}
	return cmd
}

func (o *replayOrder) body(now time.Time) ([]byte, error) {
	order := *o
	for _, at := range []struct {
		flag  string
		value *string
	}{{"since", &order.Since}, {"until", &order.Until}} {
		if *at.value == "" {
			continue
		}
		var err error
		if *at.value, err = moment(*at.value, now); err != nil {
			return nil, usagef("--%s: %w", at.flag, err)
		}
	}
	for _, f := range o.filters {
		if !json.Valid([]byte(f)) || !strings.HasPrefix(strings.TrimSpace(f), "{") {
			return nil, usagef("--filter: %q is no JSON object", f)
		}
		order.Filters = append(order.Filters, json.RawMessage(f))
	}
	body, err := json.Marshal(order)
	if err != nil {
		return nil, fmt.Errorf("encode the replay: %w", err)
	}
	return body, nil
}

// await looks at the replay until all its deliveries have ended, and returns what the API says of it then.
func (x *replay) await(ctx context.Context, c *client) ([]byte, error) {
	tick := time.NewTicker(replayLook)
	defer tick.Stop()
	for {
		a, err := c.do(ctx, http.MethodGet, replays+path(x.ID), "", nil)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(a.body, x); err != nil {
			return nil, fmt.Errorf("read the answer: %w", err)
		}
		if x.EndedAt != "" {
			return a.body, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}
