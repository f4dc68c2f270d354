package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/hookfleet/hookfleet/events"
)

// testPoll is how often it is looked whether the test event has been sent.
const testPoll = 200 * time.Millisecond

// newTest sends one test event to the sink. The exit code says whether the sink took it.
func newTest(r *remote) *cobra.Command {
	var wait time.Duration
	cmd := &cobra.Command{
		Use: "test ID", Short: "Send a test event to the sink and show what it answers", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			raw, d, err := sendTest(cmd.Context(), c, args[0], wait)
			if err != nil {
				return err
			}
			show := showDelivery
			if r.output == "json" {
				show = writeJSON
			}
			if err := show(cmd.OutOrStdout(), raw); err != nil {
				return err
			}
			if wait > 0 && d.State != string(events.StateDelivered) {
				return fmt.Errorf("the sink has not taken it: %s", cmp.Or(d.Reason, d.State))
			}
			return nil
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", time.Minute, "wait at most this long for the first attempt; 0: do not wait")
	return cmd
}

// sendTest makes the test delivery and gives it as it is after the first attempt, or when the wait is over.
func sendTest(ctx context.Context, c *client, id string, wait time.Duration) ([]byte, *delivery, error) {
	a, err := c.do(ctx, http.MethodPost, subscriptions+path(id, "test"), "", nil)
	if err != nil {
		return nil, nil, err
	}
	d, err := decodeDelivery(a.body)
	if err != nil || wait <= 0 {
		return a.body, d, err
	}
	id = d.ID
	for over := time.After(wait); ; {
		raw, d, err := look(ctx, c, id)
		if err != nil || d != nil && (d.AttemptCount > 0 || d.State != string(events.StatePending)) {
			return raw, d, err
		}
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-over:
			return nil, nil, fmt.Errorf("delivery %s was not tried within %s", id, wait)
		case <-time.After(testPoll):
		}
	}
}

// look reads a delivery; nil when nothing is known of it yet.
func look(ctx context.Context, c *client, id string) ([]byte, *delivery, error) {
	a, err := c.do(ctx, http.MethodGet, deliveries+path(id), "", nil)
	if p, ok := errors.AsType[*problem](err); ok && p.Status == http.StatusNotFound {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	d, err := decodeDelivery(a.body)
	return a.body, d, err
}

func decodeDelivery(raw []byte) (*delivery, error) {
	d := &delivery{}
	if err := json.Unmarshal(raw, d); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	return d, nil
}
