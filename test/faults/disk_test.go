package faults

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/test/fleettest"
)

// ackWait is after what time a worker's message that was not acknowledged comes again, at least.
const ackWait = 4 * time.Second

// envBinary is the fleet's binary in a test process that runs in name spaces of its own.
const envBinary = "HOOKFLEET_FAULTS_BINARY"

// inNamespaces runs the test that calls it again in user and mount name spaces of its own, where it may mount. It gives
// false in the outer process, when that is over.
func inNamespaces(t *testing.T) bool {
	t.Helper()
	if os.Getenv(envBinary) != "" {
		return true
	}
	if err := exec.CommandContext(t.Context(), "unshare", "-rm", "true").Run(); err != nil {
		t.Skipf("SKIPPED: there are no name spaces to be had here (unshare -rm: %v), so a full disk was not tried", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	args := []string{"-rm", os.Args[0], "-test.run", "^" + t.Name() + "$", "-test.v", "-test.count=1"}
	if flag.Lookup("test.artifacts").Value.String() == "true" {
		args = append(args, "-test.artifacts", "-test.outputdir", t.ArtifactDir())
	}
	cmd := exec.CommandContext(ctx, "unshare", args...)
	cmd.Env = append(os.Environ(), envBinary+"="+fleettest.Binary(t))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Errorf("in name spaces of its own: %v", err)
	}
	return false
}

// disk is a small file system, part of which somebody else uses.
type disk struct {
	t       *testing.T
	dir     string
	ballast string
}

// newDisk mounts a tmpfs of so many MiB.
func newDisk(t *testing.T, mib, ballast int) *disk {
	t.Helper()
	d := &disk{t: t, dir: t.TempDir()}
	d.ballast = filepath.Join(d.dir, "ballast")
	if err := syscall.Mount("tmpfs", d.dir, "tmpfs", 0, "size="+itoa(mib)+"m"); err != nil {
		t.Fatalf("mount: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(d.dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	if err := os.WriteFile(d.ballast, make([]byte, ballast<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	return d
}

// free is how many bytes are.
func (d *disk) free() int64 {
	d.t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(d.dir, &st); err != nil {
		d.t.Fatal(err)
	}
	return int64(st.Bavail) * st.Bsize
}

// fill lets somebody else take all that is free.
func (d *disk) fill() {
	d.t.Helper()
	f, err := os.OpenFile(d.ballast, os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	block := make([]byte, 64<<10)
	for err == nil {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		d.t.Errorf("fill the disk: %v", err)
	}
	if err := f.Close(); err != nil {
		d.t.Error(err)
	}
}

// clear gives back what somebody else took.
func (d *disk) clear() {
	d.t.Helper()
	if err := os.Remove(d.ballast); err != nil {
		d.t.Fatal(err)
	}
}

// readiness is the answer of /readyz.
func readiness(t *testing.T, s *fleettest.Server) (ready bool, why string) {
	t.Helper()
	r := s.Client().Do(t, http.MethodGet, "/readyz", nil)
	var answer struct {
		Ready    bool
		Problems []struct{ Name, Detail string }
	}
	if err := json.Unmarshal(r.Body, &answer); err != nil || answer.Ready != (r.Status == http.StatusOK) {
		t.Fatalf("readyz is answered %d %s", r.Status, r.Body)
	}
	for _, p := range answer.Problems {
		why += p.Name + ": " + p.Detail + "; "
	}
	return answer.Ready, why
}

// TestFullStore: a store that fills refuses events with 503 before the disk is full, says so, delivers what it has, and
// goes on by itself when there is room.
func TestFullStore(t *testing.T) {
	c := newCampaign(t)
	if !inNamespaces(t) {
		return
	}
	d := newDisk(t, 64, 20)
	// Without a scheduler, which would trim what is settled.
	s := whole(t, fleettest.Options{Data: filepath.Join(d.dir, "data"), Roles: "api,worker", Binary: os.Getenv(envBinary)})
	c.sink.Subscribe(t, s.Client())
	c.pad = 20_000
	c.start(400, s.Client())
	least := d.free()
	c.watch(s, "the store is nearly full and it says so", func(ready bool, why string) bool {
		least = min(least, d.free())
		return !ready && strings.Contains(why, "storage")
	})
	r := s.Client().Send(t, http.MethodPost, "/v1/events", http.Header{"Content-Type": {fleettest.Structured}}, c.load.event(-1).text)
	r.Refused(t, http.StatusServiceUnavailable, "storage_full")
	if r.Header.Get("Retry-After") == "" {
		t.Error("the refusal says no Retry-After")
	}
	c.drained()
	least = min(least, d.free())
	t.Logf("refused with %d KiB free at least", least>>10)
	if least <= 0 {
		t.Error("the disk was full")
	}
	accepted, _, _ := c.ledger.Counts()
	d.clear()
	c.watch(s, "there is room again", func(ready bool, _ string) bool { return ready })
	c.awaitAccepted(accepted + 200)
	c.finish(s)
	s.MustStop(t)
}

// TestFullDisk: a disk that somebody else fills stops the broker. It says so, loses nothing, and is started again when
// there is room; where the server has locked itself up, by whoever supervises the process, which ends.
func TestFullDisk(t *testing.T) {
	c := newCampaign(t)
	if !inNamespaces(t) {
		return
	}
	d := newDisk(t, 64, 1)
	s := whole(t, fleettest.Options{Data: filepath.Join(d.dir, "data"), Binary: os.Getenv(envBinary)})
	c.sink.Subscribe(t, s.Client())
	c.start(400, s.Client())
	for range c.pick(1, 5) {
		accepted, _, _ := c.ledger.Counts()
		c.awaitAccepted(accepted + 300)
		full := time.Now()
		d.fill()
		c.watch(s, "the disk is full and it says so", func(ready bool, why string) bool { return !ready && why != "" })
		d.clear()
		c.recover(s)
		// What is sent while the store fails cannot be recorded, and comes again after each AckWait.
		again := 1 + int(time.Since(full)/ackWait)
		c.kills = append(c.kills, Kill{At: full, Until: time.Now(), InFlight: again * concurrency})
		if err := os.WriteFile(d.ballast, make([]byte, 1<<20), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	accepted, _, _ := c.ledger.Counts()
	c.awaitAccepted(accepted + 300)
	c.finish(s)
	s.MustStop(t)
}

// recover waits until s is ready again, and starts it when it has ended.
func (c *campaign) recover(s *fleettest.Server) {
	c.t.Helper()
	fleettest.Eventually(c.t, "there is room again", func() (bool, any) {
		r, err := s.Client().Call(c.t.Context(), http.MethodGet, "/readyz", nil, nil)
		if err == nil {
			return r.Status == http.StatusOK, string(r.Body)
		}
		select {
		case <-s.Done():
			c.t.Logf("the process ended with %d, its last word: %s", s.Exit(c.t), lastLine(s.Log()))
			s.Start(c.t)
		default:
		}
		return false, err
	})
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// watch waits for the readiness of s to be as holds says.
func (c *campaign) watch(s *fleettest.Server, what string, holds func(ready bool, why string) bool) {
	c.t.Helper()
	fleettest.Eventually(c.t, what, func() (bool, any) {
		ready, why := readiness(c.t, s)
		return holds(ready, why), why
	})
}
