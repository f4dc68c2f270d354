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
	// keptBacklog begins the names of files of statuses that wait to be stored.
	keptBacklog = "waiting-"
)

// checkpoint is what is written down of a copy.
type checkpoint struct {
	Format   int         `json:"format"`
	Copy     string      `json:"copy"`
	Boot     string      `json:"boot"`    // when the machine was started
	Durable  bool        `json:"durable"` // the stream keeps it, also when the machine loses its power
	Created  time.Time   `json:"created"` // when the stream was
	Through  uint64      `json:"through"` // everything in the stream up to here is in the files, as far as it is not replaced
	Saved    uint64      `json:"saved,omitempty"`
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

// note writes down how far it is. Of a copy that lacks something nothing is written: the checkpoint before is as true as it was. It is
// called by one goroutine at a time, as giveUp is.
func (c *statusCopy) note(p checkpoint) error {
	c.changing.Lock()
	p.Format, p.Copy, p.Boot = keptFormat, c.name, c.boot
	c.noted = p
	text, generation := c.checkpoint(nil), c.generation
	c.changing.Unlock()
	if text == nil {
		return nil
	}
	return c.check(text, generation)
}

// checkpoint is the text of one without a segment that is to go; nil = nobody can be told that all of the stream is in the copy.
// c.changing is held.
func (c *statusCopy) checkpoint(without *segment) []byte {
	p := c.noted
	if !c.kept || !c.complete || c.partial || c.damaged || p.Through == 0 || c.boot == "" && !p.Durable {
		return nil
	}
	p.Subjects = len(c.first)
	for _, s := range c.segments {
		if s != nil && s != without {
			p.Segments = append(p.Segments, keptBytes{s.number, s.size})
		}
	}
	text, err := json.Marshal(p)
	if err != nil {
		return nil // which cannot be, of numbers and texts
	}
	return text
}

// check writes a checkpoint in place of the one before. No lock is held: the file system may keep one waiting whenever the broker
// syncs. Should the copy have been dropped meanwhile, nobody will find what this one speaks of.
func (c *statusCopy) check(text []byte, generation uint64) error {
	c.changing.Lock()
	same := bytes.Equal(text, c.checked)
	c.changing.Unlock()
	if same {
		return nil
	}
	name := c.path(keptNew)
	if err := os.WriteFile(name, text, 0o600); err != nil {
		return fmt.Errorf("write down what is copied of the statuses: %w", err)
	}
	if err := os.Rename(name, c.path(keptCheckpoint)); err != nil {
		return fmt.Errorf("write down what is copied of the statuses: %w", err)
	}
	c.changing.Lock()
	defer c.changing.Unlock()
	if c.generation == generation {
		c.checked = text
	}
	return nil
}

// path is where a file of it is.
func (c *statusCopy) path(name string) string { return filepath.Join(c.dir, c.prefix+name) }

// uncheck removes the checkpoint.
func (c *statusCopy) uncheck() error {
	if err := os.Remove(c.path(keptCheckpoint)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the checkpoint of the statuses' copy: %w", err)
	}
	return nil
}

// giveUp closes a segment that has nothing any more, once no checkpoint speaks of it.
func (c *statusCopy) giveUp(s *segment) error {
	c.changing.Lock()
	has, count, text, generation := c.has(s), s.count, c.checkpoint(s), c.generation
	if text == nil {
		c.checked = nil
	}
	c.changing.Unlock()
	if !has {
		return nil
	}
	if count > 0 {
		return errRecord
	}
	if err := c.recheck(text, generation); err != nil {
		return err
	}
	c.changing.Lock()
	defer c.changing.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.has(s) {
		c.segments[s.number] = nil
		s.close()
	}
	return nil
}

// recheck writes a checkpoint, or removes the one before.
func (c *statusCopy) recheck(text []byte, generation uint64) error {
	switch {
	case !c.kept:
		return nil
	case text == nil:
		return c.uncheck()
	default:
		return c.check(text, generation)
	}
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
	b, err := os.ReadFile(c.path(keptCheckpoint))
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
	used := map[string]bool{c.prefix + keptCheckpoint: c.checked != nil}
	for _, s := range c.segments {
		if s != nil {
			used[filepath.Base(s.name)] = true
		}
	}
	for _, file := range left {
		name := file.Name()
		plain, ours := strings.CutPrefix(name, c.prefix)
		ours = ours && (strings.HasPrefix(plain, keptFile) || plain == keptCheckpoint || plain == keptNew || plain == keptBefore || plain == keptBefore+".new")
		if ours && !used[name] {
			err = errors.Join(err, os.Remove(filepath.Join(c.dir, name)))
		}
	}
	return err
}

// nameOf is the name of a segment's file. Each copy has its own, so that no checkpoint is taken for another's.
func (c *statusCopy) nameOf(number int) string {
	return c.path(keptFile + c.name + "-" + strconv.Itoa(number))
}
