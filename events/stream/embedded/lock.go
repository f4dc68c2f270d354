package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// lockFile is held locked in the store's directory while a broker runs over it. The server does not look whether another
// one does: two of them over one store overwrite each other's blocks. The lock ends with the process, also when it is
// killed; the file stays.
const lockFile = "lock"

// ErrInUse says that another process runs a broker over the store. Run returns it.
var ErrInUse = errors.New("another process uses the store")

// lock takes the lock of dir, or returns ErrInUse.
func lock(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the store's directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the store: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close() // nothing was written
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s", ErrInUse, dir)
		}
		return nil, fmt.Errorf("lock the store: %w", err)
	}
	return f, nil
}
