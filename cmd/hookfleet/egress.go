package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
)

// newEgress shows what partners ask for who let in only what they know.
func newEgress() *cobra.Command {
	r := &remote{}
	cmd := &cobra.Command{
		Use: "egress", Short: "Show where requests come from, for partners' allow-lists", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			a, err := c.do(cmd.Context(), http.MethodGet, "/v1/egress", "", nil)
			if err != nil {
				return err
			}
			if r.output == "json" {
				return writeJSON(cmd.OutOrStdout(), a.body)
			}
			var from struct {
				Addresses []string `json:"addresses"`
				Proxy     string   `json:"proxy"`
			}
			if err := json.Unmarshal(a.body, &from); err != nil {
				return fmt.Errorf("read the answer: %w", err)
			}
			return details(cmd.OutOrStdout(), "addresses", strings.Join(from.Addresses, ", "), "proxy", from.Proxy)
		},
	}
	return r.register(cmd)
}
