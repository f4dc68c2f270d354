package stream

import (
	"bytes"
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// JetStream reads forward only. To read backward we read windows of growing size, each forward, and visit them in
// reverse. A window is read whole while what is looked for is dense in it, and by single gets of the next match when it
// is rare: the server then passes a block of 16,000 records in 13 ms, where reading it takes 100.
const (
	// firstWindow gives most pages of 100 in one read.
	firstWindow = 256
	// maxWindow bounds what is in memory: 8,192 messages of 700 bytes are 6 MB. Where messages are longer, because they hold
	// more records, windows grow to maxWindowBytes only; one that was just grown may have 16 times that.
	maxWindow      = 8192
	maxWindowBytes = 6 << 20
	// windowGrowth: a page that is not full after a few windows needs far more of them.
	windowGrowth = 4
	// sparseFrom is the least window that tells what is rare.
	sparseFrom = 1024
	// sparseWindow is how many sequences are searched at a time for what is rare.
	sparseWindow = 64 << 10
	// sparseHits bounds the single gets of a window; where there are more, its end is read whole.
	sparseHits = 256
	// sparseBelow: with fewer than one hit in so many messages, single gets are cheaper than reading all.
	sparseBelow = 64
	// maxRead and maxWalk bound one walk, in what its caller may have to remember and in time. One that is cut short goes on
	// from its cursor.
	maxRead = 64 << 10
	maxWalk = time.Second
)

// backward is a walk through a stream from the newest message to the oldest.
type backward struct {
	reader
	stream      string
	filter      string // subject filter that the server applies when single messages are asked for; "" = reads all
	headersOnly bool
	matches     func(subject string) bool // what filter says, for what is read whole
	visit       func(sequence uint64, msg *nats.Msg) bool

	sparse bool // what is looked for is rare where the walk is; kept from one page to the next
	read   uint64
	began  time.Time
}

// spent reports whether the walk has done as much as one call may.
func (w *backward) spent() bool {
	if w.began.IsZero() {
		w.began = time.Now()
	}
	return w.read >= maxRead || time.Since(w.began) >= maxWalk
}

// walk visits the matching messages in [first, before), newest first, until visit returns false or the bound of a walk
// is reached. It returns the sequence before which to go on; first or less = all was visited.
func (w *backward) walk(ctx context.Context, first, before uint64) (uint64, error) {
	size, bounded := uint64(firstWindow), false
	for before > first && !w.spent() {
		if w.sparse && !bounded {
			// Nothing is before the first match, so that ids that do not exist end here.
			oldest, err := w.direct(ctx, w.stream, getRequest{Sequence: 1, Next: w.filter})
			if err != nil {
				return before, err
			}
			if oldest == nil || oldest.Sequence >= before {
				return first, nil
			}
			first, size, bounded = max(first, oldest.Sequence), max(size, maxWindow), true
		}
		from := before - min(size, before-first)
		hits, err := w.window(ctx, &from, before)
		if err != nil {
			return before, err
		}
		for _, h := range slices.Backward(hits) {
			if !w.visit(h.sequence, h.msg) {
				return h.sequence, nil
			}
		}
		span, weight := before-from, uint64(1)
		for _, h := range hits {
			weight += uint64(len(h.msg.Data))
		}
		w.sparse = w.filter != "" && (w.sparse || span >= sparseFrom) && uint64(len(hits))*sparseBelow < span
		if before = from; w.sparse {
			size = min(max(span*sparseHits/2/uint64(max(len(hits), 1)), maxWindow), sparseWindow)
		} else {
			size = min(size*windowGrowth, maxWindow, max(firstWindow, maxWindowBytes*span/weight))
		}
	}
	return before, nil
}

// window returns the matches of [*from, before). It moves *from up when that is too much to read at once.
func (w *backward) window(ctx context.Context, from *uint64, before uint64) ([]hit, error) {
	if w.sparse {
		hits, ok, err := w.search(ctx, *from, before)
		if ok || err != nil {
			return hits, err
		}
	}
	if w.sparse {
		*from = max(*from, before-min(before, sparseFrom)) // of whatever size they are
	}
	*from = max(*from, before-min(before, maxWindow))
	return w.readAll(ctx, *from, before)
}

type hit struct {
	sequence uint64
	msg      *nats.Msg
}

// readAll reads every message of [from, before).
func (w *backward) readAll(ctx context.Context, from, before uint64) ([]hit, error) {
	w.read += before - from
	var hits []hit
	s := scan{stream: w.stream, from: from, to: before - 1, headersOnly: w.headersOnly}
	err := w.reader.read(ctx, s, func(sequence uint64, msg *nats.Msg) bool {
		w.read += uint64(bytes.Count(msg.Data, newline))
		if w.matches == nil || w.matches(msg.Subject) {
			hits = append(hits, hit{sequence, msg})
		}
		return true
	})
	return hits, err
}

// search asks for one match after the other in [from, before). ok is false when there are too many for that.
func (w *backward) search(ctx context.Context, from, before uint64) (hits []hit, ok bool, _ error) {
	if err := w.warm(ctx, w.stream, from, before-1); err != nil {
		return nil, false, err
	}
	for at := from; at < before; {
		m, err := w.direct(ctx, w.stream, getRequest{Sequence: at, Next: w.filter})
		if err != nil {
			return nil, false, err
		}
		if m == nil || m.Sequence >= before {
			break
		}
		if len(hits) == sparseHits {
			return nil, false, nil
		}
		hits = append(hits, hit{m.Sequence, &nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data}})
		at = m.Sequence + 1
	}
	return hits, true, nil
}

// The kinds of cursors.
const (
	cursorDead    = 'd' // a sequence in DEAD
	cursorRecords = 'r' // a sequence in ATTEMPTS and records of its message: sequence × maxBundle + records, fewer than that
	cursorSparse  = 's' // the same, in a walk for what is rare
	cursorPending = 'p' // a sequence in EVENTS
	cursorWaiting = 'w' // a delivery's id
	cursorEvent   = 'e' // a delivery's id
)

// formatCursor and parseCursor write a position as text. The kind says which walk it belongs to.
func formatCursor(kind byte, at uint64) string {
	return string(strconv.AppendUint([]byte{kind}, at, 36))
}

func parseCursor(cursor string) (kind byte, at uint64, ok bool) {
	if len(cursor) < 2 {
		return 0, 0, false
	}
	at, err := strconv.ParseUint(cursor[1:], 36, 64)
	return cursor[0], at, err == nil && formatCursor(cursor[0], at) == cursor
}
