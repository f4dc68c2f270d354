package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/hookfleet/hookfleet/auth/secret"
	"github.com/hookfleet/hookfleet/auth/sign"
)

// Bounds of the receiver.
const (
	maxHook     = 32 << 20         // a batch of the largest events; a partner would take less
	hookTimeout = 30 * time.Second // to read a request: the sender's own timeout is usually shorter
)

// receiver is a webhook endpoint that shows what it gets.
type receiver struct {
	keys       []sign.Verifier
	statuses   []int
	retryAfter string
	json       bool

	mu    sync.Mutex // guards all below: requests come in parallel
	out   io.Writer
	count int
}

func newListen() *cobra.Command {
	var (
		addr, retryAfter, output string
		secrets                  []string
		statuses                 []int
	)
	cmd := &cobra.Command{
		Use:   "listen",
		Short: "Receive webhooks on this machine, check their signatures and print them",
		Long: `Receive webhooks on this machine, check their signatures (Standard Webhooks) and print them. A request whose signature
does not hold is answered 401. Without --secret, signatures are not checked.

The fleet sends to addresses of the machine itself only when it is told so: hookfleet serve --egress-allow 127.0.0.0/8
--egress-plainhttp.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r := &receiver{statuses: statuses, retryAfter: retryAfter, json: output == "json", out: cmd.OutOrStdout()}
			if output != "table" && output != "json" {
				return usagef("--output: %q is not one of table, json", output)
			}
			if err := r.configure(secrets); err != nil {
				return err
			}
			return r.serve(cmd.Context(), addr, cmd.ErrOrStderr())
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&addr, "addr", "127.0.0.1:9000", "address to listen at")
	fs.StringSliceVar(&secrets, "secret", nil, "signing secret, whsec_..., or public key, whpk_...; with several, one must fit")
	fs.IntSliceVar(&statuses, "status", []int{http.StatusNoContent}, "status to answer with; of several each in turn, the last for all that follow")
	fs.StringVar(&retryAfter, "retry-after", "", "Retry-After header to answer with, in seconds")
	fs.StringVarP(&output, "output", "o", "table", "table for people, json for programs: one object a line")
	return cmd
}

// configure checks the flags.
func (r *receiver) configure(secrets []string) error {
	var errs []error
	for _, s := range secrets {
		k, err := sign.ParseVerifier(secret.New(s))
		if err != nil {
			errs = append(errs, fmt.Errorf("--secret: %w", err))
			continue
		}
		r.keys = append(r.keys, k)
	}
	for _, s := range r.statuses {
		if s < 200 || s > 599 {
			errs = append(errs, fmt.Errorf("--status: %d is not within 200..599", s))
		}
	}
	if len(r.statuses) == 0 {
		errs = append(errs, errors.New("--status: is empty"))
	}
	if err := errors.Join(errs...); err != nil {
		return &usageError{err}
	}
	return nil
}

// serve answers until ctx ends, which is how a receiver is meant to end.
func (r *receiver) serve(ctx context.Context, addr string, errs io.Writer) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	fmt.Fprintf(errs, "listening at http://%s\n", l.Addr())
	s := &http.Server{Handler: r, ReadTimeout: hookTimeout}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() }) // a tool for trying has nothing to drain
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// hook is one request, as it is printed for programs.
type hook struct {
	At        time.Time         `json:"at"`
	Method    string            `json:"method"`
	URL       string            `json:"url"`
	Headers   map[string]string `json:"headers"`
	Body      string            `json:"body"`      // as it came, byte for byte if it is UTF-8
	Signature string            `json:"signature"` // ok, unchecked, or what is wrong
	Status    int               `json:"status"`    // what was answered
}

// ServeHTTP takes one webhook.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxHook))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	now := time.Now()
	h := &hook{At: now.UTC().Truncate(time.Millisecond), Method: req.Method, URL: req.URL.RequestURI(), Headers: map[string]string{}}
	for name, values := range req.Header {
		h.Headers[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	var ok bool
	if h.Signature, ok = r.verify(req.Header, body, now); !ok {
		h.Status = http.StatusUnauthorized
	}
	if r.retryAfter != "" {
		w.Header().Set("Retry-After", r.retryAfter)
	}
	w.WriteHeader(r.print(h, body))
}

// verify checks the signature against every secret.
func (r *receiver) verify(header http.Header, body []byte, now time.Time) (signature string, ok bool) {
	if len(r.keys) == 0 {
		return "unchecked", true
	}
	var err error
	for _, k := range r.keys {
		if err = k.Verify(header, body, now); err == nil {
			return "ok", true
		}
	}
	return err.Error(), false
}

// print shows a request and gives the status to answer with.
func (r *receiver) print(h *hook, body []byte) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if h.Status == 0 {
		h.Status = r.statuses[min(r.count, len(r.statuses)-1)]
		r.count++
	}
	if r.json {
		h.Body = string(body)
		_ = json.NewEncoder(r.out).Encode(h) // an error says that nobody reads any more: the end is not far
		return h.Status
	}
	fmt.Fprintf(r.out, "%s  %s %s  signature %s  answered %d\n", h.At.Format("15:04:05.000"), h.Method, clean(h.URL), clean(h.Signature), h.Status)
	for _, name := range slices.Sorted(maps.Keys(h.Headers)) {
		if strings.HasPrefix(name, "webhook-") || strings.HasPrefix(name, "ce-") || name == "content-type" {
			fmt.Fprintf(r.out, "  %s: %s\n", name, clean(h.Headers[name]))
		}
	}
	fmt.Fprintf(r.out, "  %s\n\n", clean(string(body)))
	return h.Status
}
