package main

import (
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/hookfleet/hookfleet/events"
)

// lister is a command that shows a list of the API.
type lister struct {
	remote *remote
	target string                                  // path of the list
	header []string                                // of the table
	row    func(json.RawMessage) ([]string, error) // of one item; see rowOf

	params []param
	limit  int
	all    bool
}

// param is a flag that becomes a query parameter of its name.
type param struct {
	name, usage string
	time        bool // takes a time, or how long ago
	value       string
}

// rowOf makes a row function from one of a type.
func rowOf[T any](cells func(*T) []string) func(json.RawMessage) ([]string, error) {
	return func(raw json.RawMessage) ([]string, error) {
		var v T
		if err := json.Unmarshal(raw, &v); err != nil {
			return nil, fmt.Errorf("show an item of the answer: %w", err)
		}
		return cells(&v), nil
	}
}

// command makes the cobra command, with a flag for each parameter.
func (l *lister) command(short string) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return l.run(cmd) }}
	for i := range l.params {
		cmd.Flags().StringVar(&l.params[i].value, l.params[i].name, "", l.params[i].usage)
	}
	cmd.Flags().IntVar(&l.limit, "limit", pageSize, "show at most this many, newest first")
	cmd.Flags().BoolVar(&l.all, "all", false, "show all there are")
	return cmd
}

func (l *lister) run(cmd *cobra.Command) error {
	c, err := l.remote.client()
	if err != nil {
		return err
	}
	query, err := l.values(time.Now())
	if err != nil {
		return err
	}
	limit := l.limit
	if l.all {
		limit = 0
	}
	pages := c.pages(cmd.Context(), l.target, query, limit)
	if l.remote.output == "json" {
		return writeList(cmd.OutOrStdout(), pages)
	}
	t := newTable(cmd.OutOrStdout(), l.header...)
	for p, err := range pages {
		if err != nil {
			return err
		}
		for _, item := range p.Items {
			cells, err := l.row(item)
			if err != nil {
				return err
			}
			t.row(cells...)
		}
	}
	return t.flush()
}

// values are the query parameters that were given.
func (l *lister) values(now time.Time) (url.Values, error) {
	if l.limit < 1 {
		return nil, usagef("--limit: %d is not more than 0", l.limit)
	}
	query := url.Values{}
	for _, p := range l.params {
		switch {
		case p.value == "":
		case p.time:
			at, err := moment(p.value, now)
			if err != nil {
				return nil, usagef("--%s: %w", p.name, err)
			}
			query.Set(p.name, at)
		default:
			query.Set(p.name, p.value)
		}
	}
	return query, nil
}

// moment reads a time, or a duration as that long before now.
func moment(s string, now time.Time) (string, error) {
	if _, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return s, nil
	}
	ago, err := events.ParseDuration(s)
	if err != nil {
		return "", fmt.Errorf("%q is neither a time such as 2026-01-31T08:00:00Z nor a duration such as 15m or 2d", s)
	}
	return now.Add(-time.Duration(ago)).UTC().Format("2006-01-02T15:04:05.000Z"), nil
}

// writeList prints pages as one list in the API's form, items as they came. Nothing is printed before the first answer.
func writeList(w io.Writer, pages iter.Seq2[page, error]) error {
	const opening = `{"items":[`
	separator, next := opening, ""
	for p, err := range pages {
		if err != nil {
			return err
		}
		for _, item := range p.Items {
			if _, err := fmt.Fprintf(w, "%s\n%s", separator, item); err != nil {
				return err
			}
			separator = ","
		}
		next = p.Next
	}
	if separator == opening {
		fmt.Fprint(w, opening)
	}
	if next != "" {
		_, err := fmt.Fprintf(w, "\n],\"next\":%q}\n", next)
		return err
	}
	_, err := fmt.Fprint(w, "\n]}\n")
	return err
}
