package faults

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// call is one system call in strace's output. Lines are in the order in which the kernel stopped the threads, so a
// call that ended on an earlier line than another began on was over before.
type call struct {
	name       string
	args       string // with the strings that were written; "" once it is not needed
	result     string
	begun, end int // lines
}

// unfinished and resumed are how strace shows a call during which another thread was stopped.
var (
	lineWhole      = regexp.MustCompile(`^(\d+)\s+(\w+)\((.*)\)\s+= (-?\w+)`)
	lineUnfinished = regexp.MustCompile(`^(\d+)\s+(\w+)\((.*) <(?:unfinished|detached) \.\.\.>$`)
	lineResumed    = regexp.MustCompile(`^(\d+)\s+<\.\.\. (\w+) resumed>(.*)\)\s+= (-?\w+)`)
)

// readTrace gives each call of strace -f -o to visit, in the order of their ends; last those whose ends it does not show,
// because strace was ended before.
func readTrace(r io.Reader, visit func(call)) error {
	lines := bufio.NewReaderSize(r, 1<<20)
	open := map[string]call{} // by thread
	for n := 1; ; n++ {
		line, err := lines.ReadString('\n')
		line = strings.TrimRight(line, "\n")
		if m := lineUnfinished.FindStringSubmatch(line); m != nil {
			open[m[1]] = call{name: m[2], args: m[3], begun: n}
		} else if m := lineResumed.FindStringSubmatch(line); m != nil {
			c, ok := open[m[1]]
			if delete(open, m[1]); ok {
				c.args, c.result, c.end = c.args+m[3], m[4], n
				visit(c)
			}
		} else if m := lineWhole.FindStringSubmatch(line); m != nil {
			visit(call{name: m[2], args: m[3], result: m[4], begun: n, end: n})
		}
		if errors.Is(err, io.EOF) {
			for _, c := range open {
				c.end = n
				visit(c)
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// What is looked for: an id, in an event as it is stored and in an answer, as strace quotes it; the file of a call.
var (
	quotedID  = regexp.MustCompile(`\\"id\\":\\"([^"\\]+)\\"`)
	eventFile = regexp.MustCompile(`^\d+<([^>]*/EVENTS/msgs/\d+\.blk)>`)
)

// proof is what a trace shows of each answer 202.
type proof struct {
	answered int      // events that were answered
	synced   int      // of those, whose bytes were synced between their write and the answer
	faults   []string // the others
	syncs    int
}

// written is when an event's bytes were in the file.
type written struct {
	file string
	end  int
}

// proveSync reads a trace, and checks that each event that was answered had been written to a block of the event stream
// before, and that the block was synced between the write and the answer.
func proveSync(r io.Reader) (*proof, error) {
	p, events := &proof{}, map[string]written{}
	syncs := map[string][]call{} // by file, in order
	err := readTrace(r, func(c call) {
		file := ""
		if m := eventFile.FindStringSubmatch(c.args); m != nil {
			file = m[1]
		}
		switch c.name {
		case "write", "pwrite64", "writev", "pwritev":
			switch {
			case file != "":
				for _, m := range quotedID.FindAllStringSubmatch(c.args, -1) {
					events[m[1]] = written{file, c.end}
				}
			case strings.Contains(c.args, `"HTTP/1.1 202 `):
				p.answer(c, events, syncs)
			}
		case "fdatasync", "fsync":
			if file != "" && c.result == "0" {
				p.syncs++
				syncs[file] = append(syncs[file], call{begun: c.begun, end: c.end})
			}
		}
	})
	return p, err
}

// answer checks one answer, which may name many events.
func (p *proof) answer(c call, events map[string]written, syncs map[string][]call) {
	for _, m := range quotedID.FindAllStringSubmatch(c.args, -1) {
		id := m[1]
		p.answered++
		w, ok := events[id]
		switch {
		case !ok || w.end >= c.begun:
			p.faults = append(p.faults, fmt.Sprintf("%s was answered (line %d) before it was written", id, c.begun))
		case !between(syncs[w.file], w.end, c.begun):
			p.faults = append(p.faults, fmt.Sprintf("%s was answered (line %d) without a sync of %s since its write (line %d)", id, c.begun, w.file, w.end))
		default:
			p.synced++
		}
	}
}

// between reports whether a sync began after one line and ended before another.
func between(syncs []call, after, before int) bool {
	for _, sync := range slices.Backward(syncs) {
		if s := sync; s.begun > after && s.end < before {
			return true
		} else if s.end <= after {
			return false
		}
	}
	return false
}
