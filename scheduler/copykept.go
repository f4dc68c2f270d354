package scheduler

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A process that ends in good order leaves its copy to the next one, which so needs to read only what was stored since: the
// files, and beside them what it had in memory. That is removed when it is read, so that nobody takes what a killed process
// left. Nothing is synced: what a power cut takes from files that are only appended to, the checksums find.
const (
	keptIndex = "index"
	keptFile  = "segment-" // + number
	keptMagic = "hookfleet statuses 1"
)

// leaveBehind writes down what is in memory, for the next process.
func (c *statusCopy) leaveBehind(through uint64, created time.Time) error {
	c.changing.Lock()
	defer c.changing.Unlock()
	b := make([]byte, 0, len(keptMagic)+64+40*len(c.segments)+16*len(c.first))
	add := func(values ...uint64) {
		for _, v := range values {
			b = binary.LittleEndian.AppendUint64(b, v)
		}
	}
	b = append(b, keptMagic...)
	add(through, uint64(created.UnixNano()), uint64(len(c.segments)), uint64(len(c.first)), uint64(len(c.more)))
	for _, s := range c.segments {
		if s == nil {
			add(0, 0, 0, 0)
			continue
		}
		add(uint64(s.size), uint64(s.live), uint64(s.count), uint64(s.oldest.UnixNano()))
	}
	for key, p := range c.first {
		add(key, uint64(p))
	}
	for key, places := range c.more {
		add(key, uint64(len(places)))
		for _, p := range places {
			add(uint64(p))
		}
	}
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	name := filepath.Join(c.dir, keptIndex)
	if err := os.WriteFile(name+".new", b, 0o600); err != nil {
		return fmt.Errorf("leave the copy of statuses: %w", err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return fmt.Errorf("leave the copy of statuses: %w", err)
	}
	for _, s := range c.segments {
		if s != nil {
			_ = s.file.Close() // what it was written to is whole, or the checksums tell
		}
	}
	return nil
}

var errKept = errors.New("it is not whole")

// takeUp takes what the process before has left, and removes what cannot be used.
func (c *statusCopy) takeUp() (through uint64, created time.Time, err error) {
	c.changing.Lock()
	defer c.changing.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return 0, created, fmt.Errorf("take up the copy of statuses: %w", err)
	}
	name := filepath.Join(c.dir, keptIndex)
	b, err := os.ReadFile(name)
	if err == nil {
		if err = os.Remove(name); err == nil {
			through, created, err = c.decode(b)
		}
	}
	if err == nil {
		return through, created, nil
	}
	c.clear()
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if err = errors.Join(err, c.sweep()); err != nil {
		err = fmt.Errorf("take up the copy of statuses: %w", err)
	}
	return 0, time.Time{}, err
}

// sweep removes what is left of a copy that nobody can take up, or is to.
func (c *statusCopy) sweep() (err error) {
	left, err := os.ReadDir(c.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, file := range left {
		if name := file.Name(); strings.HasPrefix(name, keptFile) || name == keptIndex || name == keptIndex+".new" {
			err = errors.Join(err, os.Remove(filepath.Join(c.dir, name)))
		}
	}
	return err
}

// decode reads what leaveBehind wrote, and opens the files.
func (c *statusCopy) decode(b []byte) (through uint64, created time.Time, err error) {
	end := len(b) - 4
	if end < len(keptMagic) || string(b[:len(keptMagic)]) != keptMagic || crc32.Checksum(b[:end], castagnoli) != binary.LittleEndian.Uint32(b[end:]) {
		return 0, created, errKept
	}
	b = b[len(keptMagic):end]
	next := func() (v uint64) {
		v, b = binary.LittleEndian.Uint64(b), b[8:]
		return v
	}
	through, created = next(), time.Unix(0, int64(next()))
	segments, first, more := int(next()), int(next()), int(next())
	for number := range segments {
		s := &segment{number: number, size: int64(next()), live: int64(next()), count: int(next()), oldest: time.Unix(0, int64(next()))}
		c.segments = append(c.segments, nil)
		if s.size == 0 {
			continue
		}
		s.name = c.nameOf(number)
		if s.file, err = os.OpenFile(s.name, os.O_RDWR, 0); err != nil {
			return 0, created, err
		}
		c.segments[number] = s
		if c.last == nil || s.size < c.last.size { // else each process would leave one that it has only begun
			c.last = s
		}
		if info, err := s.file.Stat(); err != nil || info.Size() < s.size {
			return 0, created, errors.Join(errKept, err)
		}
	}
	c.first = make(map[uint64]place, first)
	for range first {
		key := next()
		c.first[key] = place(next())
	}
	for range more {
		key, n := next(), int(next())
		for range n {
			c.more[key] = append(c.more[key], place(next()))
		}
	}
	c.complete, c.trusted = true, false
	return through, created, nil
}

// nameOf is the name of a segment's file.
func (c *statusCopy) nameOf(number int) string {
	return filepath.Join(c.dir, keptFile+strconv.Itoa(number))
}
