package stream

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/test/natstest"
)

const mib = 1 << 20

func TestRoomAdmits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		room  room
		n     int64
		want  bool
		ratio float64
	}{
		{"unknown", room{}, 1 << 40, true, 0},
		{"empty", room{used: 0, capacity: 1000 * mib}, 100 * mib, true, 0},
		{"a burst", room{used: 0, capacity: 1000 * mib}, 451 * mib, false, 0},
		{"just under", room{used: 899 * mib, capacity: 1000 * mib}, 0, true, 0.899},
		{"at 90 %", room{used: 900 * mib, capacity: 1000 * mib}, 0, false, 0.9},
		{"the last bytes under", room{used: 899 * mib, capacity: 1000 * mib}, mib, false, 0.899},
		{"a small disk keeps a reserve", room{used: 7 * mib, capacity: 10 * mib}, 0, false, 0.7},
		{"limit of EVENTS", room{used: 1, capacity: 1 << 40, events: 95, maxBytes: 100}, 0, false, 0.95},
		{"under the limit of EVENTS", room{used: 1, capacity: 1 << 40, events: 50, maxBytes: 100}, 10, true, 0.5},
		{"more than there was", room{used: -5, capacity: 1000 * mib}, 0, true, 0},
	} {
		if got := c.room.admits(c.n); got != c.want {
			t.Errorf("%s: admits %d: %v", c.name, c.n, got)
		}
		if got := c.room.ratio(); got < c.ratio-1e-6 || got > c.ratio+1e-6 {
			t.Errorf("%s: ratio %v, want %v", c.name, got, c.ratio)
		}
	}
}

// TestAdmitCountsBetweenLooks: what was admitted since the last look but one counts, and no more.
func TestAdmitCountsBetweenLooks(t *testing.T) {
	t.Parallel()
	s := &Storage{look: func(context.Context) (room, error) { return room{capacity: 1000 * mib}, nil }}
	look := func() {
		if err := s.refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	look()
	admitted := func(want bool) {
		t.Helper()
		if err := s.Admit(100 * mib); (err == nil) != want || err != nil && !errors.Is(err, ErrStorageFull) {
			t.Fatalf("Admit: %v, want %v", err, want)
		}
	}
	for range 4 {
		admitted(true)
	}
	admitted(false)
	look() // they may not be on the disk yet
	admitted(false)
	look()
	admitted(true)
}

func TestDiskStorageBeforeAndAfterTheStore(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data", "nats")
	s, err := NewDiskStorage(dir, 8*mib)
	if err != nil {
		t.Fatal(err)
	}
	if r := s.Ratio(); r < 0 || r > 0.01 {
		t.Errorf("ratio of no store: %v", r)
	}
	srv := natstest.Server(t, dir)
	_, js := natstest.Connect(t, srv)
	topology, err := NewTopology(js, DefaultConfig(), zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	if err := topology.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), EventSubject("acme", "t"), make([]byte, 900_000)); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, patience, func() bool { return s.Ratio() > 0.1 }) // of the limit of EVENTS
	if spare, known := s.Spare(StorageTight); !known || spare <= 0 {
		t.Errorf("%d bytes until it is tight, known %v", spare, known)
	}
	if over, _ := s.Spare(0); over > 0 {
		t.Errorf("%d bytes until nothing is in use", over)
	}
	account := NewAccountStorage(js)
	if _, known := account.Spare(StorageTight); known {
		t.Error("the disk of a cluster is known")
	}
	if r := account.Ratio(); r != 0 {
		t.Errorf("ratio before a look: %v", r)
	}
	if err := account.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := account.Ratio(); r < 0 || r > 1 {
		t.Errorf("ratio of the account: %v", r)
	}
	if err := account.Admit(1000); err != nil {
		t.Error(err)
	}
}

// tmpfsChild is set in the process that runs in a mount namespace of its own, to where the small disk is to be.
const tmpfsChild = "HOOKFLEET_TMPFS"

// TestBurstDoesNotFillTheDisk publishes as fast as it can onto a disk of 64 MB, only what is admitted. The broker, which a
// full disk would stop, must store all of it.
func TestBurstDoesNotFillTheDisk(t *testing.T) {
	dir := os.Getenv(tmpfsChild)
	if dir == "" {
		runOnTmpfs(t)
		return
	}
	s, err := NewDiskStorage(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = s.Run(ctx) })
	defer running.Wait()
	defer cancel()
	nc, js := natstest.Connect(t, unlimitedServer(t, dir))
	topology, err := NewTopology(js, DefaultConfig(), zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	if err := topology.Ensure(ctx); err != nil {
		t.Fatal(err)
	}
	w := NewWriter(nc, nil)
	running.Go(func() { _ = w.Run(ctx) })
	burst := func() (stored int) {
		const size = 10_000
		var mu sync.Mutex
		var publishers sync.WaitGroup
		for range 16 {
			publishers.Go(func() {
				for s.Admit(size) == nil {
					_, err := w.Write(ctx, &nats.Msg{Subject: EventSubject("acme", "t"), Data: make([]byte, size)}, Events)
					if err != nil {
						t.Errorf("an admitted event was not stored: %v", err)
						return
					}
					mu.Lock()
					stored++
					mu.Unlock()
				}
			})
		}
		publishers.Wait()
		return stored
	}
	total := 0
	deadline := time.Now().Add(patience)
	for s.Ratio() < 0.85 && time.Now().Before(deadline) && !t.Failed() {
		total += burst()
	}
	free, err := DiskFree(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("stored %d events of 10 kB; ratio %.2f, free %d kB", total, s.Ratio(), free/1000)
	if free < 4*mib {
		t.Errorf("only %d bytes are free", free)
	}
	stream, err := js.Stream(ctx, Events)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(ctx); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, patience, func() bool { return s.Admit(1000) == nil })
}

// unlimitedServer does not stop by itself at three quarters of the disk, as our embedded broker does not.
func unlimitedServer(t *testing.T, dir string) *server.Server {
	t.Helper()
	srv, err := server.NewServer(&server.Options{
		ServerName: t.Name(), JetStream: true, StoreDir: dir, JetStreamMaxStore: 1 << 60, DontListen: true, NoSigs: true, NoLog: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(patience) {
		t.Fatal("the broker is not ready")
	}
	t.Cleanup(func() { natstest.Stop(srv) })
	return srv
}

// runOnTmpfs runs this test again where a small disk is mounted, or skips it where that is not allowed.
func runOnTmpfs(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	script := `mount -t tmpfs -o size=64m tmpfs "$0" && exec "$@"`
	if out, err := exec.CommandContext(t.Context(), "unshare", "-rm", "sh", "-c", script, dir, "true").CombinedOutput(); err != nil {
		t.Skipf("no small disk here: unshare: %v: %s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), "unshare", "-rm", "sh", "-c", script, dir,
		os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=90s")
	cmd.Env = append(os.Environ(), tmpfsChild+"="+dir, "TMPDIR="+dir)
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}
