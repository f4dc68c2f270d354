package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
)

// apiKeys is their path.
const apiKeys = "/v1/keys"

// apiKey is what tables show of one.
type apiKey struct {
	ID          string   `json:"id"`
	Key         string   `json:"key"` // in the answer that made it, and never again
	Role        string   `json:"role"`
	Tenants     []string `json:"tenants"`
	Types       []string `json:"types"`
	Description string   `json:"description"`
	CreatedAt   string   `json:"createdat"`
}

func newKey() *cobra.Command {
	r := &remote{}
	list := &lister{
		remote: r, target: apiKeys, header: []string{"ID", "ROLE", "TENANTS", "TYPES", "CREATED", "DESCRIPTION"},
		row: rowOf(func(k *apiKey) []string {
			return []string{k.ID, k.Role, strings.Join(k.Tenants, ","), strings.Join(k.Types, ","), k.CreatedAt, k.Description}
		}),
	}
	return r.register(group("key", "Say who may call",
		list.command("List API keys, without their texts"),
		newKeyCreate(r),
		newRotateSecrets(r),
		newNewSecret(),
		newAction(r, action{use: "delete", short: "Delete API keys; they are refused from then on", target: apiKeys, noun: "key", method: http.MethodDelete, done: "deleted"}),
	))
}

func newKeyCreate(r *remote) *cobra.Command {
	var k struct {
		Role        string   `json:"role"`
		Tenants     []string `json:"tenants,omitempty"`
		Types       []string `json:"types,omitempty"`
		Description string   `json:"description,omitempty"`
	}
	cmd := &cobra.Command{
		Use: "create --role ROLE", Short: "Create an API key and show it, once", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			body, err := json.Marshal(k)
			if err != nil {
				return fmt.Errorf("encode the key: %w", err)
			}
			a, err := c.do(cmd.Context(), http.MethodPost, apiKeys, "application/json", body)
			if err != nil {
				return err
			}
			if r.output == "json" {
				return writeJSON(cmd.OutOrStdout(), a.body)
			}
			var made apiKey
			if err := json.Unmarshal(a.body, &made); err != nil {
				return fmt.Errorf("read the answer: %w", err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "key/%s created\n  key, shown only now: %s\n", clean(made.ID), clean(made.Key))
			return err
		},
	}
	cmd.Flags().StringVar(&k.Role, "role", "", "operator, producer or partner")
	cmd.Flags().StringSliceVar(&k.Tenants, "tenants", nil, "tenants that the key is for; of a partner exactly one")
	cmd.Flags().StringSliceVar(&k.Types, "types", nil, "producer: the event types that it may publish, exact or with a trailing dot or .*")
	cmd.Flags().StringVar(&k.Description, "description", "", "who has it")
	if err := cmd.MarkFlagRequired("role"); err != nil {
		panic(err)
	}
	return cmd
}
