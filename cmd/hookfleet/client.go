package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/hookfleet/hookfleet/auth/secret"
	"github.com/hookfleet/hookfleet/config"
)

// Bounds of the client.
const (
	requestTimeout = 6 * time.Minute // a test delivery takes up to its subscription's timeout, which is at most 5m
	pageSize       = 100             // items asked for at once: the API's own default
	maxAnswer      = 256 << 20       // a page of dead letters, each with an event of 1 MB, fits twice
	maxShown       = 300             // of an answer that is no problem document, in an error
)

// remote is the fleet that the client commands talk to, as flags say it.
type remote struct{ url, key, output string }

// register adds the flags to cmd and the commands below it.
func (r *remote) register(cmd *cobra.Command) *cobra.Command {
	fs := cmd.PersistentFlags()
	fs.StringVar(&r.url, "url", "", "where the API is (default "+config.EnvURL+", else http://127.0.0.1:8080)")
	fs.StringVar(&r.key, "key", "", "API key (default "+config.EnvKey+", "+config.EnvOperatorKey+", else the operator.key of the data directory)")
	fs.StringVarP(&r.output, "output", "o", "table", "table for people, json for programs: what the API answered")
	return cmd
}

// client checks the flags and makes the client they describe.
func (r *remote) client() (*client, error) {
	if r.output != "table" && r.output != "json" {
		return nil, usagef("--output: %q is not one of table, json", r.output)
	}
	base := cmp.Or(r.url, os.Getenv(config.EnvURL), "http://127.0.0.1:8080")
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, usagef("--url: %q is not an http or https URL", base)
	}
	key, err := r.apiKey()
	if err != nil {
		return nil, err
	}
	return newClient(base, key), nil
}

// apiKey is the key that was given, else the one that the first start on this machine wrote. None is no error: the
// server says what it wants.
func (r *remote) apiKey() (secret.Text, error) {
	if key := cmp.Or(r.key, os.Getenv(config.EnvKey), os.Getenv(config.EnvOperatorKey)); key != "" {
		return secret.New(strings.TrimSpace(key)), nil
	}
	path := filepath.Join(cmp.Or(os.Getenv("HOOKFLEET_DATA"), "data"), "operator.key")
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return secret.Text{}, fmt.Errorf("read the operator key (give one with --key or %s): %w", config.EnvKey, err)
	}
	return secret.New(strings.TrimSpace(string(b))), nil
}

// client calls the API. It uses net/http and not auth/egress, because the guard is for addresses that partners chose;
// here the operator calls the operator's own API.
type client struct {
	base string
	key  secret.Text
	http *http.Client
}

func newClient(base string, key secret.Text) *client {
	return &client{base: strings.TrimRight(base, "/"), key: key, http: &http.Client{
		Timeout:       requestTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the key goes to no other place
	}}
}

// answer is what the API said to a request that it carried out.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// problem is a refusal: an RFC 9457 document, or whatever else came instead of a 2xx.
type problem struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Code   string `json:"code"`
	Errors []struct {
		Pointer string `json:"pointer"`
		Detail  string `json:"detail"`
	} `json:"errors"`
	retryAfter time.Duration // what the answer asked for; negative = nothing
}

// Error names every fault on a line of its own.
func (p *problem) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s", p.Status, cmp.Or(p.Code, p.Title, http.StatusText(p.Status)))
	if p.Detail != "" && !p.repeats() {
		b.WriteString(": " + clean(p.Detail))
	}
	for _, e := range p.Errors {
		b.WriteString("\n" + clean(e.Pointer) + ": " + clean(e.Detail))
	}
	if p.Status == http.StatusUnauthorized {
		b.WriteString("\ngive a key with --key or " + config.EnvKey)
	}
	return b.String()
}

// repeats reports whether the detail is only the first of the faults once more.
func (p *problem) repeats() bool {
	return len(p.Errors) > 0 && strings.Contains(p.Detail, p.Errors[0].Detail)
}

// path joins the segments of a path, each escaped.
func path(segments ...string) string {
	var b strings.Builder
	for _, s := range segments {
		b.WriteString("/" + url.PathEscape(s))
	}
	return b.String()
}

// do makes one request. A refusal is an error of type *problem.
func (c *client) do(ctx context.Context, method, target, contentType string, body []byte) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+target, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, target, err)
	}
	if !c.key.IsZero() {
		req.Header.Set("Authorization", "Bearer "+c.key.Reveal())
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	req.Header.Set("User-Agent", "hookfleet-cli/"+version())
	resp, err := c.http.Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("%w\nis hookfleet serve running there? --url or %s says where the API is", err, config.EnvURL)
	}
	if err != nil {
		return nil, err // names method and URL
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s %s: read the answer: %w", method, target, err)
	case len(b) > maxAnswer:
		return nil, fmt.Errorf("%s %s: the answer is longer than %d bytes", method, target, maxAnswer)
	case resp.StatusCode/100 != 2:
		return nil, asProblem(resp, b)
	}
	return &answer{status: resp.StatusCode, header: resp.Header, body: b}, nil
}

func asProblem(resp *http.Response, body []byte) error {
	p := &problem{}
	if err := json.Unmarshal(body, p); err != nil || p.Title == "" && p.Code == "" && p.Detail == "" {
		p = &problem{Detail: string(body[:min(len(body), maxShown)])}
	}
	p.Status, p.retryAfter = resp.StatusCode, -1
	if s, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 31); err == nil {
		p.retryAfter = time.Duration(s) * time.Second
	}
	return p
}

// page is one page of a list.
type page struct {
	raw   []byte            // the whole answer
	Items []json.RawMessage `json:"items"`
	Next  string            `json:"next"`
}

// pages follows the cursor until limit items have come; limit 0 = all there are.
func (c *client) pages(ctx context.Context, target string, query url.Values, limit int) iter.Seq2[page, error] {
	return func(yield func(page, error) bool) {
		for left := limit; limit == 0 || left > 0; {
			size := pageSize
			if limit > 0 {
				size = min(left, pageSize)
			}
			query.Set("limit", strconv.Itoa(size))
			p, err := c.page(ctx, target+"?"+query.Encode())
			if !yield(p, err) || err != nil || p.Next == "" {
				return
			}
			left -= len(p.Items)
			query.Set("cursor", p.Next)
		}
	}
}

func (c *client) page(ctx context.Context, target string) (page, error) {
	a, err := c.do(ctx, http.MethodGet, target, "", nil)
	if err != nil {
		return page{}, err
	}
	p := page{raw: a.body}
	if err := json.Unmarshal(a.body, &p); err != nil {
		return page{}, fmt.Errorf("GET %s: %w", target, err)
	}
	return p, nil
}
