package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"
)

// newGet is a command that shows one object.
func newGet(r *remote, target, noun string, show func(io.Writer, []byte) error) *cobra.Command {
	return &cobra.Command{
		Use: "get ID", Short: "Show one " + noun, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			a, err := c.do(cmd.Context(), http.MethodGet, target+path(args[0]), "", nil)
			if err != nil {
				return err
			}
			if r.output == "json" {
				return writeJSON(cmd.OutOrStdout(), a.body)
			}
			return show(cmd.OutOrStdout(), a.body)
		},
	}
}

// action is a command that does one thing to each object that it names.
type action struct {
	use, short   string
	target, noun string
	method       string // "" = POST
	verb         string // last segment of the path; "" = none
	done         string // what is said when it is done
}

func newAction(r *remote, x action) *cobra.Command {
	return &cobra.Command{
		Use: x.use + " ID...", Short: x.short, Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			return each(cmd.Context(), args, func(id string) error {
				if err := x.run(cmd.Context(), c, cmd.OutOrStdout(), r.output, id); err != nil {
					return fmt.Errorf("%s/%s: %w", x.noun, id, err)
				}
				return nil
			})
		},
	}
}

func (x *action) run(ctx context.Context, c *client, w io.Writer, output, id string) error {
	target := x.target + path(id)
	if x.verb != "" {
		target += path(x.verb)
	}
	a, err := c.do(ctx, cmp.Or(x.method, http.MethodPost), target, "", nil)
	if err != nil {
		return err
	}
	if output == "json" {
		return writeJSON(w, a.body)
	}
	var made struct {
		ID string `json:"id"`
	}
	_ = json.Unmarshal(a.body, &made) // an answer without a body names nothing
	_, err = fmt.Fprintf(w, "%s/%s %s%s\n", x.noun, id, x.done, as(made.ID, id))
	return err
}

// as names what came of an action, if it has an id of its own.
func as(made, id string) string {
	if made == "" || made == id {
		return ""
	}
	return " as " + made
}

// each does f for every id, also after one that went wrong, and joins the errors. It ends early with ctx.
func each(ctx context.Context, ids []string, f func(id string) error) error {
	var errs []error
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		if err := f(id); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
