package stream

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrStorageFull says that so little room is left that no event may be accepted. Storage.Admit returns it.
var ErrStorageFull = errors.New("the storage is nearly full")

const (
	// StorageTight is the part of the store above which settled events are deleted before their time.
	StorageTight = 0.80
	// storageStop is the part above which no event is accepted. The rest is for what the accepted ones still need: records,
	// timers, dead letters. A disk that is really full stops the broker until it is restarted.
	storageStop = 0.90
	// storageReserve is what stays free on a small disk: the broker's state files, written anew before the old are gone.
	storageReserve = 4 << 20
	// storageExhausted is what is free when the broker itself cannot go on: it writes what it deletes, too.
	storageExhausted = 256 << 10
	// storageLook: at 500 MB/s, faster than any broker stores, 125 MB pass between two looks, and Admit counts those.
	storageLook = 250 * time.Millisecond
	// accountLook is the same for a cluster, where a look is two requests.
	accountLook = 2 * time.Second
	// storageSurvey is how often our own files are summed up, which takes some milliseconds.
	storageSurvey = 15 * time.Second
	// storageStaging: an event may be on the disk twice for a moment, staged in a batch and stored.
	storageStaging = 2
)

// Storage knows how full the broker's store is. It is safe for concurrent use.
//
// On a disk, full means what we could have: what we use and what is free. What others keep there does not count. In a
// cluster the account's limit is all that can be seen; without one the ratio is 0.
type Storage struct {
	look func(context.Context) (room, error) // at most every storageLook

	mu       sync.Mutex
	room     room
	looked   time.Time
	accepted int64 // bytes since the last look
	before   int64 // bytes between the last look and the one before: they may not have been on the disk yet
	disk     *disk // nil in a cluster
}

// room is what a look found.
type room struct {
	used, capacity   int64 // of the store; capacity 0 = unknown
	events, maxBytes int64 // of EVENTS; maxBytes 0 = it has no limit of its own
}

func (r room) ratio() float64 {
	return max(part(r.used, r.capacity), part(r.events, r.maxBytes))
}

func part(used, of int64) float64 {
	if of <= 0 {
		return 0
	}
	return float64(max(used, 0)) / float64(of)
}

// admits reports whether n more bytes may be stored.
func (r room) admits(n int64) bool {
	n *= storageStaging
	return (r.capacity <= 0 || part(r.used+n, r.capacity) < storageStop && r.capacity-r.used-n > storageReserve) &&
		(r.maxBytes <= 0 || part(r.events+n, r.maxBytes) < storageStop)
}

// NewDiskStorage watches the store of an embedded broker in dir, which need not be there yet. maxEvents is the limit of
// EVENTS in bytes, 0 = none.
func NewDiskStorage(dir string, maxEvents int64) (*Storage, error) {
	d := &disk{dir: dir, maxEvents: maxEvents}
	s := &Storage{disk: d, look: func(context.Context) (room, error) { return d.look() }}
	if err := d.survey(); err != nil {
		return nil, err
	}
	if err := s.refresh(context.Background()); err != nil {
		return nil, err
	}
	return s, nil
}

// NewAccountStorage watches our account on a cluster. It knows nothing before Run.
func NewAccountStorage(js jetstream.JetStream) *Storage {
	return &Storage{look: func(ctx context.Context) (room, error) { return accountRoom(ctx, js) }}
}

// Run looks again and again until ctx ends. A look that fails leaves the last one.
func (s *Storage) Run(ctx context.Context) error {
	interval := storageLook
	if s.disk == nil {
		interval = accountLook
	}
	look, survey := time.NewTicker(interval), time.NewTicker(storageSurvey)
	defer look.Stop()
	defer survey.Stop()
	for {
		_ = s.refresh(ctx) // the broker is away, which others tell
		select {
		case <-ctx.Done():
			return nil
		case <-survey.C:
			if s.disk != nil {
				_ = s.disk.survey()
			}
		case <-look.C:
		}
	}
}

// Ratio is the part of the store in use, 0 to 1.
func (s *Storage) Ratio() float64 {
	s.lookIfOld()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.room.ratio()
}

// Spare is how many bytes may be stored before a part of the disk is in use; known is false where the disk is not ours.
func (s *Storage) Spare(part float64) (bytes int64, known bool) {
	s.lookIfOld()
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(part*float64(s.room.capacity)) - max(s.room.used, 0), s.disk != nil && s.room.capacity > 0
}

// Exhausted reports whether the disk is full, by whatever else is on it. The broker must then be left alone: v2.15.2 locks
// itself up when it purges a stream and cannot write that down.
func (s *Storage) Exhausted() bool {
	s.lookIfOld()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.disk != nil && s.room.capacity > 0 && s.room.capacity-s.room.used < storageExhausted
}

// Admit counts n bytes that are to be stored, or returns ErrStorageFull: it counts what was admitted since the last
// look, so that no burst outruns it. Admit(0) only asks.
func (s *Storage) Admit(n int) error {
	s.lookIfOld()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.room.admits(s.accepted + s.before + int64(n)) {
		return fmt.Errorf("%w: %.0f %% is in use", ErrStorageFull, 100*s.room.ratio())
	}
	s.accepted += int64(n)
	return nil
}

// lookIfOld looks at the disk when nobody else does, because Run has not begun or is over.
func (s *Storage) lookIfOld() {
	if s.disk == nil {
		return
	}
	s.mu.Lock()
	old := time.Since(s.looked) > 2*storageLook
	s.mu.Unlock()
	if old {
		_ = s.refresh(context.Background())
	}
}

func (s *Storage) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	r, err := s.look(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.room, s.looked = r, time.Now()
	s.before, s.accepted = s.accepted, 0
	return nil
}

// disk measures a directory and its file system.
type disk struct {
	dir       string
	maxEvents int64

	mu       sync.Mutex
	capacity int64 // what our files used at the last survey, and what was free then
}

// survey sums up our files.
func (d *disk) survey() error {
	own, err := diskUsage(d.dir)
	if err != nil {
		return fmt.Errorf("survey %s: %w", d.dir, err)
	}
	free, err := DiskFree(d.dir)
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.capacity = own + free
	d.mu.Unlock()
	return nil
}

// look takes what is not free any more for ours, until the next survey.
func (d *disk) look() (room, error) {
	free, err := DiskFree(d.dir)
	if err != nil {
		return room{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	r := room{used: max(d.capacity-free, 0), capacity: d.capacity, maxBytes: d.maxEvents}
	if d.maxEvents > 0 {
		if r.events, err = diskUsage(filepath.Join(d.dir, "jetstream", "$G", "streams", Events)); err != nil {
			return room{}, fmt.Errorf("size of %s: %w", Events, err)
		}
	}
	return r, nil
}

// diskUsage is what the files under dir take on the disk; 0 when it is not there. Files that vanish meanwhile do not count.
func diskUsage(dir string) (used int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			used += st.Blocks * 512 // POSIX: the unit of st_blocks
		}
		return nil
	})
	return used, err
}

// DiskFree is what we may still write to the file system of dir, or of where it will be.
func DiskFree(dir string) (int64, error) {
	for {
		var st syscall.Statfs_t
		err := syscall.Statfs(dir, &st)
		if parent := filepath.Dir(dir); errors.Is(err, fs.ErrNotExist) && parent != dir {
			dir = parent
			continue
		}
		if err != nil {
			return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
		}
		return int64(st.Bavail) * st.Bsize, nil
	}
}

// accountRoom asks the cluster for the account's limit, and for that of EVENTS.
func accountRoom(ctx context.Context, js jetstream.JetStream) (room, error) {
	account, err := js.AccountInfo(ctx)
	if err != nil {
		return room{}, fmt.Errorf("account: %w", err)
	}
	r := room{used: int64(account.Store), capacity: account.Limits.MaxStore}
	for _, tier := range account.Tiers { // limits by number of replicas; the fullest one counts
		if part(int64(tier.Store), tier.Limits.MaxStore) > part(r.used, r.capacity) {
			r.used, r.capacity = int64(tier.Store), tier.Limits.MaxStore
		}
	}
	s, err := js.Stream(ctx, Events)
	if err != nil {
		return room{}, fmt.Errorf("size of %s: %w", Events, err)
	}
	info := s.CachedInfo()
	r.events, r.maxBytes = int64(info.State.Bytes), max(info.Config.MaxBytes, 0)
	return r, nil
}
