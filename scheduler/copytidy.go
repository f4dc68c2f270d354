package scheduler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// tidyStep is how much of a segment is looked through at a time, a millisecond or two; while it is, nothing is put.
const tidyStep = 1 << 20

// tidy gives the room of records back that no name has any more, until none takes half of a segment. It rests as long as it
// works.
func (c *statusCopy) tidy(ctx context.Context) error {
	for {
		s := c.untidy()
		if s == nil {
			return nil
		}
		for at := int64(0); at < s.size; {
			began := time.Now()
			next, err := c.tidyPart(s, at)
			if err != nil {
				return fmt.Errorf("tidy the copy of statuses: %w", err)
			}
			at = next
			rest(ctx, time.Since(began))
			if ctx.Err() != nil {
				return nil
			}
		}
		if err := c.giveUp(s); err != nil {
			return fmt.Errorf("tidy the copy of statuses: %w", err)
		}
	}
}

// rest leaves the machine to others for a while.
func rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// untidy is a segment of which more than half is dead, or that has had something expired for a quarter of the time that it was
// kept; nil = there is none. So each record is moved a few times at most.
func (c *statusCopy) untidy() *segment {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, s := range c.segments {
		if s != nil && s != c.last && (s.live < s.size/2 || c.expired(s.oldest, max(c.keep/4, clockMargin))) {
			return s
		}
	}
	return nil
}

// tidyPart moves what is alive in a part of a segment behind the last record, and returns where the next part begins.
func (c *statusCopy) tidyPart(s *segment, at int64) (next int64, err error) {
	c.changing.Lock()
	defer c.changing.Unlock()
	if !c.has(s) {
		return s.size, nil // it was dropped meanwhile
	}
	b := make([]byte, min(tidyStep, s.size-at))
	n, err := s.file.ReadAt(b, at)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	b = b[:n]
	var text []byte
	var moved, gone []newRecord
	early := false // the stream has something that is gone by our clock
	next = at
	for len(b) >= recordHead {
		g, err := glanceAt(b)
		if errors.Is(err, errRecord) && next > at {
			break // it may be cut off: it is the first of the next part
		}
		if err != nil {
			return 0, err
		}
		if g.size > len(b) {
			if next > at {
				break
			}
			b = make([]byte, g.size) // a record that is larger than a part
			if _, err := s.file.ReadAt(b, at); err != nil {
				return 0, err
			}
		}
		r := newRecord{key: c.key(g.subject), replaces: newPlace(s.number, next, g.size), size: g.size, at: g.at}
		switch {
		case !slices.Contains(c.places(r.key), r.replaces): // dead
		case c.expired(g.at, clockMargin):
			gone, early = append(gone, r), early || g.sequence >= c.floor
		default:
			text, moved = append(text, b[:g.size]...), append(moved, r)
		}
		b, next = b[g.size:], next+int64(g.size)
	}
	if next == at {
		return 0, errRecord
	}
	if early {
		c.leaveOut()
	}
	c.forget(gone)
	return next, c.write(text, moved, true)
}

// forget takes what has expired out of the index.
func (c *statusCopy) forget(records []newRecord) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range records {
		c.remove(r.key, r.replaces)
	}
}

// has reports whether a segment is still there.
func (c *statusCopy) has(s *segment) bool {
	return s.number < len(c.segments) && c.segments[s.number] == s
}
