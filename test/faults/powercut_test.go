package faults

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/hookfleet/hookfleet/test/fleettest"
)

// TestDiskLosesWhatIsNotSynced: the disk of these tests keeps what was synced, and nothing else.
func TestDiskLosesWhatIsNotSynced(t *testing.T) {
	t.Parallel()
	d := newFickleDisk(t)
	write := func(name, text string, sync bool) {
		t.Helper()
		f, err := os.OpenFile(filepath.Join(d.Mount, name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		if sync {
			if err := f.Sync(); err != nil {
				t.Fatal(err)
			}
		}
	}
	write("a", "synced", true)
	write("a", " and not", false)
	write("b", "never", false)
	write("c.tmp", "whole", true)
	if err := os.Rename(filepath.Join(d.Mount, "c.tmp"), filepath.Join(d.Mount, "c")); err != nil {
		t.Fatal(err)
	}
	write("d", "gone", true)
	if err := os.Remove(filepath.Join(d.Mount, "d")); err != nil {
		t.Fatal(err)
	}
	d.Cut()
	for name, want := range map[string]string{"a": "synced", "b": "", "c": "whole"} {
		if got, err := os.ReadFile(filepath.Join(d.Durable, name)); err != nil || string(got) != want {
			t.Errorf("%s has %q, %v, want %q", name, got, err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(d.Durable, "d")); !os.IsNotExist(err) {
		t.Errorf("d is there: %v", err)
	}
}

// cutPower runs a load on a store whose disk loses power while it lasts, several times, and gives the verdict. With
// lossy, subscriptions may be lost as well, and are stored again.
func (c *campaign) cutPower(times int, lossy bool, args ...string) *Verdict {
	c.t.Helper()
	d := newFickleDisk(c.t)
	s := fleettest.New(c.t, fleettest.Options{Data: filepath.Join(d.Mount, "data"), Key: "an-operator-key-of-tests", Args: args})
	s.Start(c.t)
	c.sink.Subscribe(c.t, s.Client())
	c.start(300, s.Client())
	for i := range times {
		if i == times-1 { // what comes now waits on the disk alone
			if i > 0 {
				s.AwaitReady(c.t)
			}
			s.Client().Must(c.t, http.StatusOK, http.MethodPost, "/v1/subscriptions/all/pause", nil, nil)
		}
		c.awaitAccepted((i + 1) * c.pick(200, 1000))
		c.kill(s)
		d.Cut()
		after := newFickleDisk(c.t)
		if err := os.CopyFS(after.volatile, os.DirFS(d.Durable)); err != nil {
			c.t.Fatal(err)
		}
		if err := os.CopyFS(after.Durable, os.DirFS(d.Durable)); err != nil {
			c.t.Fatal(err)
		}
		d = after
		s.Data = filepath.Join(d.Mount, "data")
		s.Launch(c.t)
	}
	s.AwaitReady(c.t)
	c.load.Stop()
	if lossy {
		c.sink.Subscribe(c.t, s.Client())
	}
	s.Client().Must(c.t, http.StatusOK, http.MethodPost, "/v1/subscriptions/all/resume", nil, nil)
	c.nothingWaits(s)
	s.MustStop(c.t)
	d.Cut()
	return c.ledger.Check(c.kills, nil)
}

// TestPowerCut: what was answered with 202 survives the loss of power.
func TestPowerCut(t *testing.T) {
	c := newCampaign(t)
	v := c.cutPower(c.pick(3, 20), false)
	t.Log(v)
	for what, which := range map[string][]string{"lost": v.Missing, "altered": v.Altered, "renamed": v.Renamed} {
		if len(which) > 0 {
			t.Errorf("%d of %d accepted events are %s: %v", len(which), v.Accepted, what, which)
		}
	}
}

// TestPowerCutUnsynced: the disk of TestPowerCut shows what is not synced: with nats.sync interval it must lose.
func TestPowerCutUnsynced(t *testing.T) {
	c := newCampaign(t)
	v := c.cutPower(1, true, "--nats-sync", "interval")
	t.Log(v)
	if len(v.Missing) == 0 {
		t.Error("nothing is lost although nothing was synced before its answer: this disk proves nothing")
	}
}
