package main

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/hookfleet/hookfleet/events"
)

// eventsPath takes events.
const eventsPath = "/v1/events"

// The media types of events.
const (
	typeEvent = "application/cloudevents+json"
	typeBatch = "application/cloudevents-batch+json"
)

// draft is one event as flags say it.
type draft struct {
	id, source, typ, subject, tenant, time, contentType, data, dataFile string

	extensions map[string]string
}

func newPublish() *cobra.Command {
	r := &remote{}
	d := &draft{}
	cmd := &cobra.Command{
		Use:   "publish [--type TYPE ... | FILE | -]",
		Short: "Publish one event, or a file of them",
		Long: `Publish one event that flags describe, or many: each line of FILE, or of standard input with -, is one CloudEvent in
structured JSON. Lines go out in batches; one that was sent before is a duplicate and not delivered again, so the same
file can be sent again after an error. Lines that are refused are named, all others are published, and the exit code
is then 1.`,
		Example: `  hookfleet publish --type order.status --source /shop --subject order-1 --data '{"status":"Booked"}'
  hookfleet publish events.jsonl
  tail -f events.jsonl | hookfleet publish -`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			if len(args) == 1 {
				return publishLines(cmd, c, r.output == "json", args[0])
			}
			if d.typ == "" && !isTerminal(cmd.InOrStdin()) {
				return publishLines(cmd, c, r.output == "json", "-")
			}
			return d.publish(cmd, c, r.output == "json")
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&d.typ, "type", "", "type of the event, such as order.status")
	fs.StringVar(&d.source, "source", "/hookfleet/cli", "where it happened: a URI reference")
	fs.StringVar(&d.subject, "subject", "", "what it is about")
	fs.StringVar(&d.id, "id", "", "id, unique within the source (default a random one)")
	fs.StringVar(&d.tenant, "tenant", "", "whose event it is (default \"default\")")
	fs.StringVar(&d.time, "time", "", "when it happened, as in 2026-01-31T08:00:00Z")
	fs.StringVar(&d.data, "data", "", "data: JSON, unless --content-type says otherwise")
	fs.StringVar(&d.dataFile, "data-file", "", "file with the data, - for standard input")
	fs.StringVar(&d.contentType, "content-type", "application/json", "media type of the data")
	fs.StringToStringVar(&d.extensions, "attribute", nil, "extension attribute as name=value; may be given several times")
	cmd.MarkFlagsMutuallyExclusive("data", "data-file")
	return r.register(cmd)
}

// isTerminal reports whether a person sits at this end.
func isTerminal(end any) bool {
	f, ok := end.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// publish sends the one event.
func (d *draft) publish(cmd *cobra.Command, c *client, asJSON bool) error {
	if d.typ == "" {
		return usagef("name the event's --type, or a file of events")
	}
	text, err := d.event(cmd)
	if err != nil {
		return err
	}
	a, err := c.do(cmd.Context(), http.MethodPost, eventsPath, typeEvent, text)
	if err != nil {
		return err
	}
	if asJSON {
		return writeJSON(cmd.OutOrStdout(), a.body)
	}
	var got receipt
	if err := json.Unmarshal(a.body, &got); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	done := "accepted"
	if got.Duplicate {
		done = "is a duplicate"
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "event/%s %s, sequence %d\n", clean(got.ID), done, got.Sequence)
	return err
}

// receipt is what the API answers to an event.
type receipt struct {
	ID        string `json:"id"`
	Sequence  uint64 `json:"sequence"`
	Duplicate bool   `json:"duplicate"`
}

// event is the structured form. It has no time unless one is given: with one made up here, the same id sent twice would
// be two different events.
func (d *draft) event(cmd *cobra.Command) ([]byte, error) {
	b := &bytes.Buffer{}
	member := func(name, value string) {
		if value == "" {
			return
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(b, "%s:%s", quote(name), quote(value))
	}
	member("specversion", "1.0")
	member("id", cmp.Or(d.id, strings.ToLower(rand.Text())))
	member("source", d.source)
	member("type", d.typ)
	member("subject", d.subject)
	member("time", d.time)
	member("tenant", d.tenant)
	for name, value := range d.extensions {
		member(name, value)
	}
	if cmd.Flags().Changed("data") || d.dataFile != "" {
		data, err := d.bytes(cmd.InOrStdin())
		if err != nil {
			return nil, err
		}
		member("datacontenttype", d.contentType)
		fmt.Fprintf(b, ",%s", data)
	}
	return fmt.Appendf(nil, "{%s}", b.Bytes()), nil
}

// bytes is the data member: JSON as it is written, text as a string, all else in base64.
func (d *draft) bytes(stdin io.Reader) ([]byte, error) {
	data := []byte(d.data)
	if d.dataFile != "" {
		var err error
		if data, err = readInput(stdin, d.dataFile, events.MaxEventBytes); err != nil {
			return nil, err
		}
	}
	switch isJSON := isJSONType(d.contentType); {
	case isJSON && !json.Valid(data):
		return nil, usagef("the data is not JSON; name its --content-type")
	case isJSON:
		return append([]byte(`"data":`), data...), nil
	case utf8.Valid(data):
		return append([]byte(`"data":`), quote(string(data))...), nil
	default:
		return fmt.Appendf(nil, `"data_base64":"%s"`, base64.StdEncoding.EncodeToString(data)), nil
	}
}

// isJSONType reports whether CloudEvents takes data of this type for a JSON value.
func isJSONType(contentType string) bool {
	t, _, err := mime.ParseMediaType(contentType)
	_, subtype, _ := strings.Cut(t, "/")
	return err == nil && (subtype == "json" || strings.HasSuffix(subtype, "+json"))
}

// quote is a JSON string, with HTML left as it is.
func quote(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(fmt.Sprintf("hookfleet: encode a string: %v", err)) // cannot happen
	}
	return strings.TrimSuffix(b.String(), "\n")
}
