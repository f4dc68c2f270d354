package scheduler

import (
	"cmp"
	"slices"
	"time"
)

// maxSpans bounds the spans of a calendar; where there are more, each becomes twice as long. So deliveries held over three
// days are known to within ten minutes, those of a quarter of an hour to the second.
const maxSpans = 1024

// calendar says where in HELD to look for what is held since a time, or until one. It holds only hints: what has left HELD
// meanwhile is found gone.
type calendar struct {
	width int64  // of a span, in seconds
	spans []span // in the order of their times
}

// span is where the messages with times in a part of the calendar are.
type span struct {
	until       int64 // Unix seconds: none of them is later
	first, last uint64
}

// note says that a message with a time is at sequence.
func (c *calendar) note(at time.Time, sequence uint64) {
	c.width = max(c.width, 1)
	c.put(span{(at.Unix()/c.width + 1) * c.width, sequence, sequence})
	for len(c.spans) > maxSpans {
		old := c.spans
		c.width, c.spans = 2*c.width, make([]span, 0, maxSpans)
		for _, s := range old {
			s.until = (s.until + c.width - 1) / c.width * c.width
			c.put(s)
		}
	}
}

func (c *calendar) put(s span) {
	i, found := slices.BinarySearchFunc(c.spans, s.until, func(s span, until int64) int { return cmp.Compare(s.until, until) })
	if !found {
		c.spans = slices.Insert(c.spans, i, s)
		return
	}
	have := &c.spans[i]
	have.first, have.last = min(have.first, s.first), max(have.last, s.last)
}

// take takes out the spans whose times have all come at t.
func (c *calendar) take(t time.Time) []span {
	n := 0
	for n < len(c.spans) && c.spans[n].until <= t.Unix() {
		n++
	}
	taken := slices.Clone(c.spans[:n])
	c.spans = slices.Delete(c.spans, 0, n)
	return taken
}
