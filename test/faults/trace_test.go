package faults

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hookfleet/hookfleet/test/fleettest"
)

// TestProof: the reader of traces tells what is synced in time from what is not.
func TestProof(t *testing.T) {
	t.Parallel()
	const (
		write  = `7 write(9</d/EVENTS/msgs/1.blk>, "\1\0hookfleet.events.default.x{\"id\":\"e1\"}", 40) = 40` + "\n"
		sync   = `8 fdatasync(12</d/EVENTS/msgs/1.blk>) = 0` + "\n"
		answer = `9 write(5<TCP:[1]>, "HTTP/1.1 202 Accepted\r\n\r\n{\"id\":\"e1\",\"sequence\":1}", 60) = 60` + "\n"
	)
	for name, tc := range map[string]struct {
		trace  string
		synced int
	}{
		"in order":               {write + sync + answer, 1},
		"not at all":             {write + answer, 0},
		"after the answer":       {write + answer + sync, 0},
		"before the write":       {sync + write + answer, 0},
		"before it was written":  {answer + write + sync, 0},
		"another file":           {write + strings.Replace(sync, "1.blk", "2.blk", 1) + answer, 0},
		"failed":                 {write + strings.Replace(sync, "= 0", "= -1 EIO", 1) + answer, 0},
		"begun before the write": {"8 fdatasync(12</d/EVENTS/msgs/1.blk> <unfinished ...>\n" + write + "8 <... fdatasync resumed>) = 0\n" + answer, 0},
		"ended after the answer": {write + "8 fdatasync(12</d/EVENTS/msgs/1.blk> <unfinished ...>\n" + answer + "8 <... fdatasync resumed>) = 0\n", 0},
		"end not seen":           {write + sync + "9 write(5<TCP:[1]>, \"HTTP/1.1 202 Accepted\\r\\n\\r\\n{\\\"id\\\":\\\"e1\\\"}\", 60 <unfinished ...>\n", 1},
		"detached":               {write + sync + "9 write(5<TCP:[1]>, \"HTTP/1.1 202 Accepted\\r\\n\\r\\n{\\\"id\\\":\\\"e1\\\"}\", 60 <detached ...>\n", 1},
		"sync not seen to end":   {write + "8 fdatasync(12</d/EVENTS/msgs/1.blk> <unfinished ...>\n" + answer, 0},
		"interrupted":            {write + "8 fdatasync(12</d/EVENTS/msgs/1.blk> <unfinished ...>\n--- SIGURG ---\n8 <... fdatasync resumed>) = 0\n" + answer, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := proveSync(strings.NewReader(tc.trace))
			if err != nil || p.answered != 1 || p.synced != tc.synced || len(p.faults) != 1-tc.synced {
				t.Errorf("%+v, %v, want %d of 1 synced", p, err, tc.synced)
			}
		})
	}
}

// trace runs a load on a fleet under strace, and gives what the trace proves.
func (c *campaign) trace(o fleettest.Options, events int) *proof {
	c.t.Helper()
	s := whole(c.t, o)
	c.sink.Subscribe(c.t, s.Client())
	file := filepath.Join(c.t.TempDir(), "trace")
	strace := fleettest.Exec(c.t, "strace", nil, "-f", "-y", "-s", "1000000", "-e", "trace=write,writev,pwrite64,pwritev,fdatasync,fsync",
		"-o", file, "-p", itoa(s.PID()))
	fleettest.Eventually(c.t, "strace is attached", func() (bool, any) {
		select {
		case <-strace.Done():
			c.t.Skipf("SKIPPED: strace cannot attach here, so the order of syncs was not seen: %s", strace.Log())
		default:
		}
		return strings.Contains(strace.Log(), "attached"), strace.Log()
	})
	c.start(500, s.Client())
	c.awaitAccepted(events)
	c.load.Stop()
	strace.Signal(syscall.SIGINT)
	strace.Exit(c.t)
	c.finish(s)
	s.MustStop(c.t)
	f, err := os.Open(file)
	if err != nil {
		c.t.Fatal(err)
	}
	defer f.Close()
	p, err := proveSync(f)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Logf("%d events answered with 202, %d of them synced between write and answer, by %d syncs", p.answered, p.synced, p.syncs)
	return p
}

func needsStrace(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("SKIPPED: there is no strace here, so the order of syncs was not seen")
	}
}

// TestSyncedBeforeAnswer: for each 202, the bytes of the event were synced between their write and the answer.
func TestSyncedBeforeAnswer(t *testing.T) {
	c := newCampaign(t)
	needsStrace(t)
	p := c.trace(fleettest.Options{}, c.pick(500, 5_000))
	if accepted, _, _ := c.ledger.Counts(); p.answered < accepted {
		t.Errorf("the trace shows %d answers of %d", p.answered, accepted)
	}
	for _, fault := range p.faults[:min(len(p.faults), maxNamed)] {
		t.Error(fault)
	}
}

// TestUnsyncedIsSeen: with nats.sync interval nothing is synced before the answer, and the trace must show that.
func TestUnsyncedIsSeen(t *testing.T) {
	c := newCampaign(t)
	needsStrace(t)
	p := c.trace(fleettest.Options{Args: []string{"--nats-sync", "interval"}}, c.pick(200, 1_000))
	if p.synced*2 > p.answered {
		t.Errorf("%d of %d answers look synced although none is: this proves nothing", p.synced, p.answered)
	}
}
