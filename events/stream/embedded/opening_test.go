package embedded_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/events/stream/embedded"
)

// TestStoreThatIsStillOpenedIsGivenToAnother: the lock of a store that was left to the end of the process was let go by the garbage collector.
func TestStoreThatIsStillOpenedIsGivenToAnother(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	stuck := filepath.Join(dir, "jetstream", "$G", "streams", "EVENTS")
	if err := os.MkdirAll(stuck, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(stuck, "meta.inf"), 0o600); err != nil { // reading it never ends
		t.Fatal(err)
	}
	cfg := embedded.Config{Dir: dir, Sync: embedded.SyncGroup}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	func() { // nothing here has it afterwards
		b, err := embedded.New(cfg, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- b.Run(ctx) }()
		<-b.Locked()
		cancel()
		if err := <-ended; !errors.Is(err, embedded.ErrOpening) {
			t.Fatalf("the end while the store is opened: %v", err)
		}
	}()
	let := make(chan struct{})
	runtime.AddCleanup(new([64]byte), func(let chan struct{}) { close(let) }, let)
	for range 3 {
		runtime.GC()
	}
	<-let // cleanups have run
	other, err := embedded.New(cfg, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	limited, stop := context.WithTimeout(t.Context(), 5*time.Second)
	defer stop()
	if err := other.Run(limited); !errors.Is(err, embedded.ErrInUse) {
		t.Errorf("another had the store while it was opened: %v", err)
	}
}
