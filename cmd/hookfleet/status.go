package main

import (
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

func newStatus() *cobra.Command {
	r := &remote{}
	return r.register(group("status", "See the newest status of a subject, whatever was delivered", newStatusGet(r)))
}

func newStatusGet(r *remote) *cobra.Command {
	var tenant, typ string
	cmd := &cobra.Command{
		Use: "get SUBJECT", Short: "Show the newest event of a subject that has a status", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			query := url.Values{"subject": {args[0]}}
			for name, value := range map[string]string{"tenant": tenant, "type": typ} {
				if value != "" {
					query.Set(name, value)
				}
			}
			a, err := c.do(cmd.Context(), http.MethodGet, "/v1/statuses?"+query.Encode(), "", nil)
			if err != nil {
				return err
			}
			if r.output == "json" {
				return writeJSON(cmd.OutOrStdout(), a.body)
			}
			return writeYAML(cmd.OutOrStdout(), a.body)
		},
	}
	cmd.Flags().StringVar(&tenant, "tenant", "", "whose (default: the key's tenant, else default)")
	cmd.Flags().StringVar(&typ, "type", "", "of this type of events only")
	return cmd
}
