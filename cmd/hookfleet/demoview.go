package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/hookfleet/hookfleet/test/partners"
)

// maxBodyShown is how much of a body a line shows: two lines of a wide terminal.
const maxBodyShown = 160

// Colours of a terminal.
const (
	plain  = "\x1b[0m"
	green  = "\x1b[32m"
	red    = "\x1b[31m"
	yellow = "\x1b[33m"
	grey   = "\x1b[90m"
	erase  = "\r\x1b[K"
)

// view shows a demo: one line for each thing that happens, and on a terminal one below that counts.
type view struct {
	mu     sync.Mutex // guards all below: partner and producer speak at the same time
	out    io.Writer
	live   bool
	status string

	events, calls, taken int
	subscription         string
	waiting              int
}

func newView(w io.Writer) *view { return &view{out: w, live: isTerminal(w)} }

// line prints one line above the one that counts.
func (v *view) line(colour, format string, args ...any) {
	text := time.Now().Format("15:04:05.000") + "  " + fmt.Sprintf(format, args...)
	if !v.live {
		fmt.Fprintln(v.out, text)
		return
	}
	v.status = fmt.Sprintf("%d published · %d requests · %d taken · %s, %d waiting", v.events, v.calls, v.taken, v.subscription, v.waiting)
	fmt.Fprint(v.out, erase, colour, text, plain, "\n", grey, v.status, plain)
}

func (v *view) begin(name, api, partner string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.line(grey, "%s: the fleet's API is at %s, the partner at %s", name, api, partner)
}

func (v *view) published(said string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.events++
	v.line(grey, "%s", clean(said))
}

// call shows one request with its answer.
func (v *view) call(c *partners.Call) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.calls++
	colour := green
	if c.Taken() {
		v.taken++
	} else {
		colour = yellow
	}
	if len(c.Faults) > 0 {
		colour = red
	}
	target := c.Path
	if c.Query != "" {
		target += "?" + c.Query
	}
	body := strings.TrimSpace(clean(string(c.Body)))
	if len(body) > maxBodyShown {
		body = body[:maxBodyShown] + "…"
	}
	text := fmt.Sprintf("→ %s %s  %s  ← %d", c.Method, clean(target), body, c.Status)
	if len(c.Faults) > 0 {
		text += "  WRONG: " + clean(strings.Join(c.Faults, "; "))
	}
	v.line(colour, "%s", text)
}

// state takes note of the subscription's state, and says it when it changes.
func (v *view) state(state string, waiting int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.waiting = waiting
	if v.subscription == state {
		return
	}
	v.subscription = state
	v.line(grey, "the subscription is %s", state)
}

// end says what came of it all.
func (v *view) end(calls, taken, repeats int, faults []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.live {
		fmt.Fprint(v.out, erase)
	}
	fmt.Fprintf(v.out, "%d events published, %d requests, %d taken, %d of them again, %d faults\n", v.events, calls, taken, repeats, len(faults))
	for _, f := range faults {
		fmt.Fprintln(v.out, "fault:", clean(f))
	}
}
