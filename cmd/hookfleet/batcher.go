package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
)

// Bounds of trying again. Sending again is harmless: what was accepted the first time is a duplicate.
const (
	maxTries   = 8                      // of one batch, when the API is away or full: about half a minute
	firstPause = 100 * time.Millisecond // doubles with each try
	maxPause   = 30 * time.Second       // whatever Retry-After asks for
)

// batcher publishes lines and counts what became of them.
type batcher struct {
	client *client
	json   bool
	out    io.Writer
	errs   io.Writer // for what is refused
	bar    *progressbar.ProgressBar

	reached                       bool // the API has answered before, so it may be worth to try again
	accepted, duplicates, refused int
}

// send publishes a batch. A batch is accepted or refused as a whole, so of one that is refused the lines at fault are
// taken out, and the others sent again. The error is of something that would refuse every batch.
func (b *batcher) send(ctx context.Context, batch []line) error {
	batch = b.refuseLocally(batch)
	for len(batch) > 0 {
		items, err := b.post(ctx, batch)
		if err == nil {
			return b.count(items, len(batch))
		}
		p, ok := errors.AsType[*problem](err)
		faults := map[int]string{}
		if ok {
			faults = p.byIndex(len(batch))
		}
		switch {
		case len(faults) > 0:
			batch = b.refuse(batch, faults)
		case !ok || !aboutContent(p.Status):
			return fmt.Errorf("stopped at line %d: %w", batch[0].number, err)
		case len(batch) == 1:
			batch = b.refuse(batch, map[int]string{0: strings.ReplaceAll(p.Error(), "\n", "; ")})
		default: // it does not say which lines: halves tell
			half := len(batch) / 2
			if err := b.send(ctx, batch[:half]); err != nil {
				return err
			}
			batch = batch[half:]
		}
	}
	return nil
}

// aboutContent reports whether a refusal with this status is for what was sent, not for who sent it or when.
func aboutContent(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return true
	default:
		return false
	}
}

// byIndex are the faults of the members of a batch of n, by their index.
func (p *problem) byIndex(n int) map[int]string {
	faults := map[int]string{}
	for _, e := range p.Errors {
		first, rest, nested := strings.Cut(strings.TrimPrefix(e.Pointer, "/"), "/")
		i, err := strconv.Atoi(first)
		if err != nil || i < 0 || i >= n || !strings.HasPrefix(e.Pointer, "/") {
			continue
		}
		fault := e.Detail
		if nested {
			fault = "/" + rest + ": " + fault
		}
		if faults[i] != "" {
			fault = faults[i] + "; " + fault
		}
		faults[i] = fault
	}
	return faults
}

// refuseLocally takes out empty lines, and those that would make a batch unreadable.
func (b *batcher) refuseLocally(batch []line) []line {
	faults := map[int]string{}
	for i, l := range batch {
		if l.fault != "" {
			faults[i] = l.fault
		}
	}
	batch = b.refuse(batch, faults)
	return slices.DeleteFunc(batch, func(l line) bool { return len(l.text) == 0 })
}

// refuse names the lines with faults and gives the others. The batch itself stays as it is.
func (b *batcher) refuse(batch []line, faults map[int]string) []line {
	var good []line
	for i, l := range batch {
		fault := faults[i]
		if fault == "" {
			good = append(good, l)
			continue
		}
		b.refused++
		_ = b.bar.Clear() //  decoration
		fmt.Fprintf(b.errs, "line %d: %s\n", l.number, clean(fault))
	}
	return good
}

// post sends one batch, and again when the API is away or full.
func (b *batcher) post(ctx context.Context, batch []line) ([]json.RawMessage, error) {
	body := []byte{'['}
	for i, l := range batch {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, l.text...)
	}
	body = append(body, ']')
	for try := 1; ; try++ {
		a, err := b.client.do(ctx, http.MethodPost, eventsPath, typeBatch, body)
		if err == nil {
			b.reached = true
			var p page
			if err := json.Unmarshal(a.body, &p); err != nil {
				return nil, fmt.Errorf("read the answer: %w", err)
			}
			return p.Items, nil
		}
		pause, again := b.pause(err, try)
		if !again || try == maxTries {
			return nil, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// pause says whether err may pass, and how long to wait for that. An API that never answered is not waited for: its
// address is probably wrong.
func (b *batcher) pause(err error, try int) (time.Duration, bool) {
	backoff := firstPause << (try - 1)
	p, ok := errors.AsType[*problem](err)
	if !ok {
		return backoff, b.reached && !errors.Is(err, context.Canceled)
	}
	b.reached = true
	switch p.Status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout:
		if p.retryAfter >= 0 {
			backoff = min(p.retryAfter, maxPause)
		}
		return backoff, true
	default:
		return 0, false
	}
}

// count takes note of an answer.
func (b *batcher) count(items []json.RawMessage, sent int) error {
	if len(items) != sent {
		return fmt.Errorf("the answer to %d events has %d items", sent, len(items))
	}
	for _, item := range items {
		var got receipt
		if err := json.Unmarshal(item, &got); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		if got.Duplicate {
			b.duplicates++
		} else {
			b.accepted++
		}
		if b.json {
			if err := writeJSON(b.out, item); err != nil {
				return err
			}
		}
	}
	return nil
}

// summary says what became of all lines, and gives the error of the whole. In JSON, standard output is the API's answers
// and nothing else.
func (b *batcher) summary(err error) error {
	to := b.out
	if b.json {
		to = b.errs
	}
	_, werr := fmt.Fprintf(to, "%d accepted, %d duplicates, %d refused\n", b.accepted, b.duplicates, b.refused)
	if err == nil && b.refused > 0 {
		err = fmt.Errorf("refused %d lines", b.refused)
	}
	if err == nil {
		err = werr
	}
	return err
}
