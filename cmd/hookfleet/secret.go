package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/hookfleet/hookfleet/auth/vault"
)

// maxStalls is how many calls may rotate nothing although something is left: others change it at that moment.
const maxStalls = 10

// rotated is what came of a rotation, of all its calls together.
type rotated struct {
	Key       string `json:"key"`
	Rotated   int    `json:"rotated"`
	Remaining int    `json:"remaining"`
	Locked    int    `json:"locked"`
}

// newRotateSecrets encrypts stored secrets with the first key of secrets.keys.
func newRotateSecrets(r *remote) *cobra.Command {
	return &cobra.Command{
		Use: "rotate-secrets", Short: "Encrypt all stored secrets with the first key of secrets.keys", Args: cobra.NoArgs,
		Long: `Encrypt all stored secrets with the first key of secrets.keys of the process that answers.

To change the key: put a new one (hookfleet key new-secret) before the old one in secrets.keys of every process, or in the
first line of secrets.key in the data directory, and restart them; run this; take the old one out.

The process that answered then sees to it that nothing of before is left in the store's files, and says in its log when
that is done.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			all, err := rotateSecrets(cmd, c)
			if err != nil {
				return err
			}
			if r.output == "json" {
				b, err := json.Marshal(all)
				if err != nil {
					return fmt.Errorf("encode the answer: %w", err)
				}
				return writeJSON(cmd.OutOrStdout(), b)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "secrets of %d subscriptions rotated; all are encrypted with key %s\n", all.Rotated, clean(all.Key))
			return err
		},
	}
}

// rotateSecrets calls until nothing is left.
func rotateSecrets(cmd *cobra.Command, c *client) (all rotated, err error) {
	for stalls := 0; stalls < maxStalls; {
		a, err := c.do(cmd.Context(), http.MethodPost, "/v1/secrets/rotate", "", nil)
		if err != nil {
			return all, err
		}
		done := all.Rotated
		if err := json.Unmarshal(a.body, &all); err != nil {
			return all, fmt.Errorf("read the answer: %w", err)
		}
		if all.Rotated == 0 {
			stalls++
		}
		all.Rotated += done
		switch {
		case all.Remaining > 0:
		case all.Locked > 0:
			return all, fmt.Errorf("secrets of %d subscriptions rotated; those of %d cannot be opened and stay as they are", all.Rotated, all.Locked)
		default:
			return all, nil
		}
	}
	return all, errors.New("others change the secrets all the time; try again")
}

// newNewSecret prints a key for secrets.keys. It needs no fleet.
func newNewSecret() *cobra.Command {
	return &cobra.Command{
		Use: "new-secret", Short: "Make a key for secrets.keys, and print it", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), vault.NewKey().Reveal())
			return err
		},
	}
}
