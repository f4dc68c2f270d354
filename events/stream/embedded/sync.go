package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
)

// The file layout of nats-server v2.15 that syncing depends on, all of it in this file: a stream's messages are appended
// to <store>/jetstream/<account>/streams/<stream>/msgs/<n>.blk, n rising by one, and are written to the file before the
// server acknowledges them. TestSyncLayout fails when that changes.
// What a stream or consumer is lies in files of its own beside that, which the server never syncs.
const (
	messageDir     = "msgs"
	blockExtension = ".blk"
)

var metadataFiles = []string{"meta.inf", "meta.sum"}

// syncer makes appended messages durable: fdatasync of the blocks that were written to since the last time.
type syncer struct {
	dir     string // of all streams
	mu      sync.Mutex
	streams map[string]*streamSync
}

func newSyncer(dir string) *syncer { return &syncer{dir: dir, streams: map[string]*streamSync{}} }

func (s *syncer) sync(stream string) error {
	s.mu.Lock()
	t, ok := s.streams[stream]
	if !ok {
		t = &streamSync{dir: filepath.Join(s.dir, stream, messageDir)}
		t.turn = sync.NewCond(&t.mu)
		s.streams[stream] = t
	}
	s.mu.Unlock()
	if err := t.sync(); err != nil {
		return fmt.Errorf("sync stream %s: %w", stream, err)
	}
	return nil
}

// streamSync is the state of one stream. A call that comes while a sync runs is served by the next one, together with
// all that came meanwhile: the one that runs may have begun before the caller's bytes were written.
type streamSync struct {
	dir   string
	block uint64 // newest block synced; 0 = none yet

	mu      sync.Mutex
	turn    *sync.Cond
	running bool
	begun   uint64 // syncs started
	ended   uint64 // newest sync that ended
	err     error  // of sync number ended
}

func (t *streamSync) sync() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	want := t.begun + 1
	for t.running && t.ended < want {
		t.turn.Wait()
	}
	if t.ended >= want {
		return t.err
	}
	t.running = true
	t.begun++
	number := t.begun
	t.mu.Unlock()
	err := t.syncBlocks()
	t.mu.Lock()
	t.running, t.ended, t.err = false, number, err
	t.turn.Broadcast()
	return err
}

// syncBlocks syncs the newest block that was known and every one after it. Blocks are opened anew each time, because
// the server replaces a block's file when it compacts it.
func (t *streamSync) syncBlocks() error {
	if t.block == 0 {
		newest, err := newestBlock(t.dir)
		if err != nil {
			return err
		}
		// What older blocks hold was written by an earlier run; it may be in the page cache only.
		if err := syncAll(t.dir); err != nil {
			return err
		}
		t.block = newest
	}
	found, err := syncBlock(t.path(t.block))
	if err != nil {
		return err
	}
	rolled := false
	for next := t.block + 1; ; next++ {
		ok, err := syncBlock(t.path(next))
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		t.block, rolled = next, true
	}
	if rolled {
		return syncDir(t.dir)
	}
	if !found {
		// The newest block is gone and none follows its number: look again, the stream was purged and went on.
		return t.relocate()
	}
	return nil
}

func (t *streamSync) relocate() error {
	newest, err := newestBlock(t.dir)
	if err != nil {
		return err
	}
	if err := syncAll(t.dir); err != nil {
		return err
	}
	t.block = newest
	return nil
}

func (t *streamSync) path(block uint64) string {
	return filepath.Join(t.dir, strconv.FormatUint(block, 10)+blockExtension)
}

// newestBlock is the highest block number in dir, or 1 when there is none yet.
func newestBlock(dir string) (uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	newest := uint64(1)
	for _, e := range entries {
		var n uint64
		if _, err := fmt.Sscanf(e.Name(), "%d"+blockExtension, &n); err == nil {
			newest = max(newest, n)
		}
	}
	return newest, nil
}

// syncAll syncs every block of dir and dir itself.
func syncAll(dir string) error {
	blocks, err := filepath.Glob(filepath.Join(dir, "*"+blockExtension))
	if err != nil {
		return err
	}
	for _, path := range blocks {
		if _, err := syncBlock(path); err != nil {
			return err
		}
	}
	return syncDir(dir)
}

// syncMetadata makes durable what the streams and consumers in dir are, and the names of all directories. Without that a
// loss of power soon after the first start leaves blocks of streams that nobody knows.
func syncMetadata(dir string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		if err == nil && slices.Contains(metadataFiles, e.Name()) {
			_, err = syncBlock(path)
		}
		if err == nil && e.IsDir() {
			if err = syncDir(path); errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
		}
		return err
	})
}

// syncBlock makes a file's content durable. found is false when there is no such file.
func syncBlock(path string) (found bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	err = fdatasync(f)
	return true, errors.Join(err, f.Close())
}

func fdatasync(f *os.File) error {
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
