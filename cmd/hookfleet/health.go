package main

import (
	"context"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

// healthTimeout is below the interval of any health check that starts this command.
const healthTimeout = 5 * time.Second

// newHealth is the health check of a container, whose image has no other program that could ask.
func newHealth() *cobra.Command {
	r := &remote{}
	var live bool
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Say whether a fleet is ready, by exit code too",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), healthTimeout)
			defer cancel()
			target := "/readyz"
			if live {
				target = "/healthz"
			}
			a, err := c.do(ctx, http.MethodGet, target, "", nil)
			if err != nil {
				return err
			}
			return writeJSON(cmd.OutOrStdout(), a.body)
		},
	}
	cmd.Flags().BoolVar(&live, "live", false, "ask only whether the process answers")
	return r.register(cmd)
}
