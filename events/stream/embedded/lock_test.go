package embedded_test

import (
	"errors"
	"testing"

	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/events/stream/embedded"
)

// TestStoreInUse: two brokers over one store would overwrite each other's blocks. The second is refused, and takes over
// when the first has ended.
func TestStoreInUse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	t.Run("first", func(t *testing.T) {
		start(t, embedded.Config{Dir: dir})
		second, err := embedded.New(embedded.Config{Dir: dir, Sync: embedded.SyncGroup}, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		if err := second.Run(t.Context()); !errors.Is(err, embedded.ErrInUse) {
			t.Errorf("a second broker over the store: %v, want ErrInUse", err)
		}
	})
	start(t, embedded.Config{Dir: dir})
}
