package scheduler

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A copy outlives its process, however that ends: files that are only appended to, and a checkpoint, which says how much of them
// counts and which part of the stream that is. It is written after what it speaks of was handed to the kernel, which a kill does not
// touch, and in place of the one before at once. No file goes before a checkpoint does without it. So whichever checkpoint is found
// is true of the files as they were then, and what came behind is read from the stream.
//
// Nothing is synced. What the files lack after a power cut the checksums find; but the stream may lack its newest messages then, too,
// and have others in their place. So a checkpoint counts until the machine is started again, and longer only where what it
// speaks of is in the stream for good.
const (
	keptCheckpoint = "checkpoint"
	keptNew        = keptCheckpoint + ".new"
	keptFile       = "segment-" // + name of the copy, dash, number
	keptFormat     = 2          // 1 was in a file "index"
	keptBefore     = "index"
)

// checkpoint is what is written down of a copy.
type checkpoint struct {
	Format   int         `json:"format"`
	Copy     string      `json:"copy"`
	Boot     string      `json:"boot"`    // when the machine was started
	Durable  bool        `json:"durable"` // the stream keeps it, also when the machine loses its power
	Created  time.Time   `json:"created"` // when the stream was
	Through  uint64      `json:"through"` // everything in the stream up to here is in the files, as far as it is not replaced
	Subjects int         `json:"subjects"`
	Segments []keptBytes `json:"segments"`
}

// keptBytes is how much of a file counts.
type keptBytes struct {
	Number int   `json:"number"`
	Size   int64 `json:"size"`
}

// bootID is another one each time the machine is started; "" where that is not to be known.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// note writes down that everything in the stream that was made at a time is in it, up to a sequence; durable says that the
// stream has that for good. Of a copy that lacks something nothing is written: the checkpoint before is as true as it was.
func (c *statusCopy) note(through uint64, created time.Time, durable bool) error {
	c.changing.Lock()
	defer c.changing.Unlock()
	c.noted = checkpoint{Format: keptFormat, Copy: c.name, Boot: c.boot, Durable: durable, Created: created, Through: through}
	if c.lacks() {
		return nil
	}
	return c.check(nil)
}

// lacks reports whether nobody can be told that all of the stream is in it.
func (c *statusCopy) lacks() bool {
	return !c.kept || !c.complete || c.partial || c.damaged || c.noted.Through == 0 || c.boot == "" && !c.noted.Durable
}

// check writes the checkpoint, without a segment that is to go.
func (c *statusCopy) check(without *segment) error {
	p := c.noted
	p.Subjects = len(c.first)
	for _, s := range c.segments {
		if s != nil && s != without {
			p.Segments = append(p.Segments, keptBytes{s.number, s.size})
		}
	}
	b, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("write down what is copied of the statuses: %w", err)
	}
	if bytes.Equal(b, c.checked) {
		return nil
	}
	name := filepath.Join(c.dir, keptNew)
	if err := os.WriteFile(name, b, 0o600); err != nil {
		return fmt.Errorf("write down what is copied of the statuses: %w", err)
	}
	if err := os.Rename(name, filepath.Join(c.dir, keptCheckpoint)); err != nil {
		return fmt.Errorf("write down what is copied of the statuses: %w", err)
	}
	c.checked = b
	return nil
}

// checkWithout sees to it that no checkpoint speaks of a segment, which is to go.
func (c *statusCopy) checkWithout(s *segment) error {
	switch {
	case !c.kept:
		return nil
	case c.lacks():
		return c.uncheck()
	default:
		return c.check(s)
	}
}

// uncheck removes the checkpoint.
func (c *statusCopy) uncheck() error {
	c.checked = nil
	if err := os.Remove(filepath.Join(c.dir, keptCheckpoint)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the checkpoint of the statuses' copy: %w", err)
	}
	return nil
}

// leaveBehind closes the files, and leaves them to the next process.
func (c *statusCopy) leaveBehind() {
	c.changing.Lock()
	defer c.changing.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.segments {
		if s != nil {
			_ = s.file.Close() // what it was written to is whole, or the checksums tell
		}
	}
	c.reset()
	c.generation++
}

var errKept = errors.New("it is not whole")

// takeUp takes what the process before has left, and removes what cannot be used. It returns up to where in which stream that is;
// 0 = nothing.
func (c *statusCopy) takeUp(ctx context.Context) (through uint64, created time.Time, err error) {
	c.changing.Lock()
	defer c.changing.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return 0, created, fmt.Errorf("take up the copy of statuses: %w", err)
	}
	b, err := os.ReadFile(filepath.Join(c.dir, keptCheckpoint))
	if err == nil {
		err = c.recover(ctx, b)
	}
	switch {
	case err == nil:
	case ctx.Err() != nil: // it is as good as before
		return 0, created, context.Cause(ctx)
	default:
		c.clear()
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
	}
	if err = errors.Join(err, c.sweep()); err != nil {
		err = fmt.Errorf("take up the copy of statuses: %w", err)
	}
	return c.noted.Through, c.noted.Created, err
}

// recover opens the files that a checkpoint speaks of, and reads what is in them.
func (c *statusCopy) recover(ctx context.Context, text []byte) error {
	var p checkpoint
	if err := json.Unmarshal(text, &p); err != nil {
		return fmt.Errorf("%w: %w", errKept, err)
	}
	if p.Format != keptFormat || !p.Durable && (p.Boot == "" || p.Boot != c.boot) || p.Through == 0 {
		return os.ErrNotExist // of another release, or from before a power cut
	}
	c.name = p.Copy
	for _, k := range p.Segments {
		if k.Number < 0 || k.Number >= c.segmentsMost {
			return errKept
		}
		for len(c.segments) <= k.Number {
			c.segments = append(c.segments, nil)
		}
		s, err := c.openSegment(k.Number)
		if err != nil {
			return err
		}
		c.segments[k.Number] = s
		s.size = k.Size
		if c.last == nil || s.size < c.last.size { // else each process would leave one that it has only begun
			c.last = s
		}
	}
	if err := c.scan(ctx, min(max(p.Subjects, 0), c.subjectsMost)); err != nil {
		return err
	}
	for _, s := range c.segments {
		if s == nil {
			continue
		}
		if err := s.file.Truncate(s.size); err != nil { // what came behind is read again
			return err
		}
	}
	p.Subjects, p.Segments, p.Durable, p.Boot = 0, nil, false, c.boot
	c.noted, c.checked, c.complete, c.trusted = p, text, true, false
	return nil
}

// sweep removes what is left of copies that nobody can take up, or is to.
func (c *statusCopy) sweep() (err error) {
	left, err := os.ReadDir(c.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	used := map[string]bool{keptCheckpoint: c.checked != nil}
	for _, s := range c.segments {
		if s != nil {
			used[filepath.Base(s.name)] = true
		}
	}
	for _, file := range left {
		name := file.Name()
		ours := strings.HasPrefix(name, keptFile) || name == keptCheckpoint || name == keptNew || name == keptBefore || name == keptBefore+".new"
		if ours && !used[name] {
			err = errors.Join(err, os.Remove(filepath.Join(c.dir, name)))
		}
	}
	return err
}

// nameOf is the name of a segment's file. Each copy has its own, so that no checkpoint is taken for another's.
func (c *statusCopy) nameOf(number int) string {
	return filepath.Join(c.dir, keptFile+c.name+"-"+strconv.Itoa(number))
}
