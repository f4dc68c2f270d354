package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/sync/semaphore"

	"github.com/hookfleet/hookfleet/events"
)

// Bounds of publishing lines. A batch is what the API takes at most.
const (
	batchLines = 1000
	batchBytes = 8 << 20
	maxLine    = 2 * events.MaxEventBytes // white space may make a line longer than its event; the API has the last word
	readAhead  = batchBytes + maxLine     // bytes of lines in memory: a batch, and what is read while it is on its way
)

// line is one event of the input.
type line struct {
	number int    // from 1
	text   []byte // without white space around it
	size   int64  // bytes of the input
	fault  string // why it is refused without asking; "" = it is not
}

// lineReader reads lines.
type lineReader struct {
	in     *bufio.Reader
	number int
}

// next reads one line; io.EOF when there is none. Of a line that is too long only the beginning is kept in memory.
func (r *lineReader) next() (line, error) {
	r.number++
	l := line{number: r.number}
	for {
		part, err := r.in.ReadSlice('\n')
		l.size += int64(len(part))
		if l.size <= maxLine {
			l.text = append(l.text, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil && (!errors.Is(err, io.EOF) || l.size == 0) {
			return line{}, err
		}
		l.text = bytes.TrimSpace(l.text)
		switch {
		case l.size > maxLine:
			l.fault = fmt.Sprintf("is longer than %d bytes", maxLine)
		case len(l.text) > 0 && (l.text[0] != '{' || !json.Valid(l.text)):
			l.fault = "is not a JSON object" // inside a batch it would make the whole of it unreadable
		}
		return l, nil
	}
}

// publishLines publishes the events of a file, or of standard input for "-".
func publishLines(cmd *cobra.Command, c *client, asJSON bool, name string) error {
	in, size := cmd.InOrStdin(), int64(-1) // -1: not known
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		if stat, err := f.Stat(); err == nil && stat.Mode().IsRegular() && stat.Size() > 0 {
			size = stat.Size()
		}
		in = f
	}
	b := &batcher{client: c, json: asJSON, out: cmd.OutOrStdout(), errs: cmd.ErrOrStderr(), bar: newBar(cmd.ErrOrStderr(), size)}
	err := sendLines(cmd.Context(), in, b)
	_ = b.bar.Clear() // decoration
	return b.summary(err)
}

// newBar shows progress to a person at w, and nothing to anybody else.
func newBar(w io.Writer, size int64) *progressbar.ProgressBar {
	return progressbar.NewOptions64(size,
		progressbar.OptionSetWriter(w), progressbar.OptionSetVisibility(isTerminal(w)), progressbar.OptionSetDescription("publishing"),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionShowBytes(true), progressbar.OptionSetWidth(30),
		progressbar.OptionClearOnFinish(), progressbar.OptionSetSpinnerChangeInterval(0)) // 0: no goroutine
}

// sendLines reads on while a batch is on its way. A batch is what has been read by then: it never waits for more, so a
// slow input is published line by line and a fast one up to a thousand at a time.
func sendLines(ctx context.Context, in io.Reader, b *batcher) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		lines   = make(chan line, batchLines)
		room    = semaphore.NewWeighted(readAhead)
		readErr error // valid once lines is closed
		reader  sync.WaitGroup
	)
	// Nobody waits for the reader when sending fails: nothing can interrupt a read from a terminal, and the process ends.
	reader.Go(func() {
		defer close(lines)
		readErr = readLines(ctx, in, lines, room)
	})
	var rest []line
	for {
		batch, more := collect(ctx, lines, rest)
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(batch) == 0 {
			return readErr
		}
		if err := b.send(ctx, batch); err != nil {
			return err
		}
		b.bar.Describe(fmt.Sprintf("%d events", b.accepted+b.duplicates))
		for _, l := range batch {
			room.Release(l.size)
			_ = b.bar.Add64(l.size) // decoration
		}
		rest = more
	}
}

// readLines gives lines as long as there is room for them.
func readLines(ctx context.Context, in io.Reader, lines chan<- line, room *semaphore.Weighted) error {
	r := lineReader{in: bufio.NewReaderSize(in, 64<<10)}
	for {
		l, err := r.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read line %d: %w", r.number, err)
		}
		l.size = min(l.size, maxLine) // what is kept
		if err := room.Acquire(ctx, l.size); err != nil {
			return err
		}
		select {
		case lines <- l:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// collect makes a batch of rest, one line that it waits for when there is no rest, and the lines that are there already.
// What did not fit is the next rest. An empty batch is the end of the input.
func collect(ctx context.Context, lines <-chan line, rest []line) (batch, more []line) {
	batch = rest
	if len(batch) == 0 {
		select {
		case l, ok := <-lines:
			if !ok {
				return nil, nil
			}
			batch = append(batch, l)
		case <-ctx.Done():
			return nil, nil
		}
	}
	size := 2 + len(batch[0].text)
	for len(batch) < batchLines {
		select {
		case l, ok := <-lines:
			if !ok {
				return batch, nil
			}
			if size += 1 + len(l.text); size > batchBytes {
				return batch, []line{l}
			}
			batch = append(batch, l)
		default:
			return batch, nil
		}
	}
	return batch, nil
}
