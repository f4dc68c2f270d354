package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
)

// maxSecretFile bounds a file with a secret: the longest has 4 KiB.
const maxSecretFile = 16 << 10

func newRotateSecret(r *remote) *cobra.Command {
	var overlap, file string
	cmd := &cobra.Command{
		Use:   "rotate-secret ID",
		Short: "Replace the secret that requests are signed with, and show the new one, once",
		Long: `Replace the secret that requests are signed with, and show the new one, once. The one before signs as well until the
overlap is over, so that the receiver can change over in between.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			body, err := rotation(cmd.InOrStdin(), overlap, file)
			if err != nil {
				return err
			}
			a, err := c.do(cmd.Context(), http.MethodPost, subscriptions+path(args[0], "rotate-secret"), "application/json", body)
			if err != nil {
				return fmt.Errorf("subscription/%s: %w", args[0], err)
			}
			if r.output == "json" {
				return writeJSON(cmd.OutOrStdout(), a.body)
			}
			var s subscription
			if err := json.Unmarshal(a.body, &s); err != nil {
				return fmt.Errorf("read the answer: %w", err)
			}
			return s.writeRotated(cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&overlap, "overlap", "", "how long the secret before signs as well, 0s to 30d (default 24h)")
	cmd.Flags().StringVar(&file, "secret-file", "", "file with the new secret, - is standard input (default: one is made up)")
	return cmd
}

// rotation is the body of the request.
func rotation(stdin io.Reader, overlap, file string) ([]byte, error) {
	body := map[string]string{}
	if overlap != "" {
		body["overlap"] = overlap
	}
	if file != "" {
		text, err := readInput(stdin, file, maxSecretFile)
		if err != nil {
			return nil, err
		}
		if body["secret"] = strings.TrimRight(string(text), "\r\n"); body["secret"] == "" {
			return nil, usagef("--secret-file: %s is empty", file)
		}
	}
	b, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	return b, nil
}

func (s *subscription) writeRotated(w io.Writer) error {
	until := ""
	if at := s.ProtocolSettings.Signing.PreviousUntil; at != "" {
		until = "; the one before signs as well until " + clean(at)
	}
	if _, err := fmt.Fprintf(w, "subscription/%s signs with a new secret%s\n", clean(s.ID), until); err != nil {
		return err
	}
	return s.writeSecret(w)
}

// writeSecret prints the secret that an answer shows, if it does, and the public key of an asymmetric one.
func (s *subscription) writeSecret(w io.Writer) error {
	sg := &s.ProtocolSettings.Signing
	if sg.Secret == "" || strings.HasPrefix(sg.Secret, "••••") {
		return nil
	}
	if _, err := fmt.Fprintf(w, "  signing secret, shown only now: %s\n", clean(sg.Secret)); err != nil || sg.PublicKey == "" {
		return err
	}
	_, err := fmt.Fprintf(w, "  public key, for the receiver: %s\n", clean(sg.PublicKey))
	return err
}
