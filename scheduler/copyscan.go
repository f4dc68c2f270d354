package scheduler

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"hash/maphash"
	"io"

	"golang.org/x/sync/errgroup"
)

const (
	// scanPart is how much is read at a time, unless a record is larger.
	scanPart = 1 << 20
	// scanAhead parts are read while one is taken in.
	scanAhead = 4
)

// scanned is a record that was read.
type scanned struct {
	key      uint64
	name     uint64 // a hash of its subject in the stream: of one key there are few, and another process has other hashes
	sequence uint64
	place    place
}

// copyScan reads the files of a copy, of which nothing is in memory. Of each name the record with the highest sequence counts, as
// when they were written. Every byte must be as it was.
type copyScan struct {
	*statusCopy
	seed  maphash.Seed
	parts chan []scanned
	first map[uint64]scanned
	more  map[uint64][]scanned
}

// scan reads all segments. One goroutine reads, and one finds out what counts: most of that is waiting for memory.
func (c *statusCopy) scan(ctx context.Context, subjects int) error {
	s := copyScan{c, maphash.MakeSeed(), make(chan []scanned, scanAhead), make(map[uint64]scanned, subjects), map[uint64][]scanned{}}
	reading, ctx := errgroup.WithContext(ctx)
	reading.Go(func() error {
		defer close(s.parts)
		for _, g := range c.segments {
			if g == nil {
				continue
			}
			if err := s.segment(ctx, g); err != nil {
				return fmt.Errorf("read %s: %w", g.name, err)
			}
		}
		return nil
	})
	for part := range s.parts {
		for _, r := range part {
			s.take(r)
		}
	}
	if err := reading.Wait(); err != nil {
		return err
	}
	s.index()
	return nil
}

// segment reads one file.
func (s *copyScan) segment(ctx context.Context, g *segment) error {
	b := make([]byte, min(scanPart, g.size))
	have := 0 // of b, from at on
	for at := int64(0); at < g.size; {
		n := int(min(int64(len(b)), g.size-at))
		if _, err := io.ReadFull(io.NewSectionReader(g.file, at+int64(have), int64(n-have)), b[have:n]); err != nil {
			return fmt.Errorf("%w: %w", errKept, err)
		}
		part, used, want := s.records(g, at, b[:n])
		if used == 0 {
			if want <= n || int64(want) > g.size-at {
				return errRecord
			}
			b, have = append(b[:n], make([]byte, want-n)...), n
			continue
		}
		at += int64(used)
		have = copy(b, b[used:n])
		select {
		case s.parts <- part:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// records reads the whole records at the beginning of b, which lies at an offset, and says how long they are together. When there is
// none it says how long the first one is, 0 = it is none.
func (s *copyScan) records(g *segment, at int64, b []byte) (part []scanned, used, want int) {
	for {
		rest := b[used:]
		if len(rest) < recordHead {
			return part, used, recordHead
		}
		size := int(binary.LittleEndian.Uint32(rest))
		if size < recordHead || size > maxRecord {
			return part, used, 0
		}
		if size > len(rest) {
			return part, used, size
		}
		head, err := glanceAt(rest[:size])
		if err != nil || crc32.Checksum(rest[8:size], castagnoli) != binary.LittleEndian.Uint32(rest[4:]) {
			return part, used, 0
		}
		if g.oldest.IsZero() || head.at.Before(g.oldest) {
			g.oldest = head.at
		}
		part = append(part, scanned{s.key(head.subject), maphash.String(s.seed, head.subject), head.sequence, newPlace(g.number, at+int64(used), size)})
		used += size
	}
}

// take takes one in, unless a newer one of its name is there.
func (s *copyScan) take(r scanned) {
	s.highest = max(s.highest, r.sequence)
	have, ok := s.first[r.key]
	if !ok || have.name == r.name {
		if !ok || have.sequence < r.sequence {
			s.first[r.key] = r
		}
		return
	}
	more := s.more[r.key]
	for i := range more {
		if more[i].name == r.name {
			if more[i].sequence < r.sequence {
				more[i] = r
			}
			return
		}
	}
	s.more[r.key] = append(more, r)
}

// index makes the index of the copy of what counts.
func (s *copyScan) index() {
	c := s.statusCopy
	c.first = make(map[uint64]place, len(s.first))
	count := func(p place) {
		g := c.segments[p.segment()]
		g.live += int64(p.most())
		g.count++
	}
	for key, r := range s.first {
		c.first[key] = r.place
		count(r.place)
	}
	for key, more := range s.more {
		for _, r := range more {
			c.more[key] = append(c.more[key], r.place)
			count(r.place)
		}
	}
}
