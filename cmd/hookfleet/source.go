package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hookfleet/hookfleet/events"
)

// sources is their path.
const sources = "/v1/sources"

// maxKeyFile bounds a file of keys: a quarter of a million of the longest.
const maxKeyFile = 64 << 20

// source is what tables show of one.
type source struct {
	ID     string `json:"id"`
	Tenant string `json:"tenant"`
	Every  string `json:"every"`
	Type   string `json:"type"`
	URL    string `json:"url"`
	Items  struct {
		Open      int `json:"open"`
		Completed int `json:"completed"`
	} `json:"items"`
	LastPoll struct {
		At     string `json:"at"`
		Failed int    `json:"failed"`
		Error  string `json:"error"`
	} `json:"lastpoll"`
}

// item is what tables show of one.
type item struct {
	Key       string `json:"key"`
	State     string `json:"state"`
	Status    string `json:"status"`
	Changes   int    `json:"changes"`
	ChangedAt string `json:"changedat"`
	Error     string `json:"error"`
}

func newSource() *cobra.Command {
	r := &remote{}
	list := &lister{
		remote: r, target: sources, params: []param{{name: "tenant", usage: "of this tenant only"}},
		header: []string{"ID", "TENANT", "EVERY", "OPEN", "COMPLETED", "LAST TICK", "FAILED", "ERROR", "TYPE", "URL"},
		row: rowOf(func(s *source) []string {
			return []string{
				s.ID, s.Tenant, s.Every, count(s.Items.Open), count(s.Items.Completed), s.LastPoll.At, count(s.LastPoll.Failed), s.LastPoll.Error,
				s.Type, s.URL,
			}
		}),
	}
	return r.register(group("source", "Poll a system for statuses, and publish what changes",
		list.command("List status sources"),
		newGet(r, sources, "source", writeYAML),
		newApply(r),
		newAction(r, action{use: "delete", short: "Delete status sources; their items are forgotten", target: sources, noun: "source", method: http.MethodDelete, done: "deleted"}),
		newItems(r),
		newAddItems(r),
	))
}

// newItems lists the items of a source.
func newItems(r *remote) *cobra.Command {
	list := &lister{
		remote: r, params: []param{{name: "state", usage: "open or completed only"}},
		header: []string{"KEY", "STATE", "STATUS", "CHANGES", "CHANGED AT", "ERROR"},
		row: rowOf(func(i *item) []string {
			return []string{i.Key, i.State, i.Status, count(i.Changes), i.ChangedAt, i.Error}
		}),
	}
	cmd := list.command("List the items of a source")
	cmd.Use, cmd.Args = "items ID", cobra.ExactArgs(1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		list.target = sources + path(args[0], "items")
		return list.run(cmd)
	}
	return cmd
}

// newAddItems begins to watch items.
func newAddItems(r *remote) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "add ID [KEY...]",
		Short: "Watch items of a source: those that are named, and those of a file",
		Long: `Watch items of a source: those that are named, and those of a file, one a line; - is standard input. What is watched
already stays as it is.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			keys := args[1:]
			if file != "" {
				text, err := readInput(cmd.InOrStdin(), file, maxKeyFile)
				if err != nil {
					return err
				}
				keys = append(keys, linesOf(text)...)
			}
			if len(keys) == 0 {
				return usagef("no items: name them, or a file with --file")
			}
			c, err := r.client()
			if err != nil {
				return err
			}
			return addItems(cmd, c, r.output == "json", args[0], keys)
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "file with a key a line, - for standard input")
	return cmd
}

// linesOf are the lines of a text that are not empty.
func linesOf(text []byte) (lines []string) {
	scanner := bufio.NewScanner(bytes.NewReader(text))
	scanner.Buffer(nil, len(text)+1)
	for scanner.Scan() {
		if line := strings.TrimSuffix(scanner.Text(), "\r"); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// addItems adds as many at a time as the API takes.
func addItems(cmd *cobra.Command, c *client, asJSON bool, id string, keys []string) error {
	type one struct {
		Key string `json:"key"`
	}
	total := len(keys)
	for len(keys) > 0 {
		n := min(len(keys), events.MaxItemBatch)
		items := make([]one, n)
		for i, key := range keys[:n] {
			items[i].Key = key
		}
		body, err := json.Marshal(map[string]any{"items": items})
		if err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
		a, err := c.do(cmd.Context(), http.MethodPost, sources+path(id, "items"), "application/json", body)
		if err != nil {
			return fmt.Errorf("source/%s: after %d items: %w", id, total-len(keys), err)
		}
		if asJSON {
			if err := writeJSON(cmd.OutOrStdout(), a.body); err != nil {
				return err
			}
		}
		keys = keys[n:]
	}
	if asJSON {
		return nil
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "source/%s watches %s\n", clean(id), plural(total, "item"))
	return err
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}
