package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/spf13/cobra"
)

// newApply creates and updates subscriptions and sources from files.
func newApply(r *remote) *cobra.Command {
	var files []string
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Create or update subscriptions and sources from YAML or JSON",
		Long: `Create or update subscriptions and status sources from YAML or JSON files; - is standard input. A file may hold several
documents, separated by ---, of both kinds: a document with the member url is a source, all others are subscriptions. One
without an id is created, with an id that is made up. All documents are tried, also after one that was refused.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			a := &applier{cmd: cmd, client: c, json: r.output == "json"}
			var errs []error
			for _, file := range files {
				errs = append(errs, a.file(file))
			}
			return errors.Join(errs...)
		},
	}
	cmd.Flags().StringArrayVarP(&files, "file", "f", nil, "file to read, - for standard input; may be given several times")
	if err := cmd.MarkFlagRequired("file"); err != nil {
		panic(err)
	}
	return cmd
}

// applier is one run of apply.
type applier struct {
	cmd    *cobra.Command
	client *client
	json   bool
}

// file applies every document of a file.
func (a *applier) file(name string) error {
	text, err := readInput(a.cmd.InOrStdin(), name, maxManifest)
	if err != nil {
		return err
	}
	docs, err := toJSON(text)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if len(docs) == 0 {
		return fmt.Errorf("%s: has no document", name)
	}
	var errs []error
	for i, doc := range docs {
		if err := a.cmd.Context().Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		if err := a.document(doc); err != nil {
			where := name
			if len(docs) > 1 {
				where = fmt.Sprintf("%s, document %d", name, i+1)
			}
			errs = append(errs, fmt.Errorf("%s: %w", where, err))
		}
	}
	return errors.Join(errs...)
}

// document creates or updates one subscription or source.
func (a *applier) document(doc json.RawMessage) error {
	var head struct {
		ID  *string         `json:"id"`
		URL json.RawMessage `json:"url"` // what sources have, and subscriptions do not
	}
	if err := json.Unmarshal(doc, &head); err != nil {
		return errors.New("is not a subscription or source: an object whose id is text")
	}
	noun, all := "subscription", subscriptions
	if head.URL != nil {
		noun, all = "source", sources
	}
	method, target := http.MethodPost, all
	if head.ID != nil {
		method, target = http.MethodPut, all+path(*head.ID)
	}
	answer, err := a.client.do(a.cmd.Context(), method, target, "application/json", doc)
	if err != nil {
		return err
	}
	if a.json {
		return writeJSON(a.cmd.OutOrStdout(), answer.body)
	}
	var made struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(answer.body, &made); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	done := "updated"
	if answer.status == http.StatusCreated {
		done = "created"
	}
	if _, err := fmt.Fprintf(a.cmd.OutOrStdout(), "%s/%s %s\n", noun, clean(made.ID), done); err != nil || noun == "source" {
		return err
	}
	var s subscription // a source calls a text status, and has no secret to be shown
	if err := json.Unmarshal(answer.body, &s); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return s.writeSecret(a.cmd.OutOrStdout())
}

// readInput reads a file, or standard input for "-", up to a bound.
func readInput(stdin io.Reader, name string, bound int64) ([]byte, error) {
	in := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, bound+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(b)) > bound {
		return nil, fmt.Errorf("%s is longer than %d bytes", name, bound)
	}
	return b, nil
}
