package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/test/fleettest"
)

func TestMain(m *testing.M) { os.Exit(fleettest.Main(m)) }

// Variables that say how long the campaigns are, and which seed they follow.
const (
	envLength = "HOOKFLEET_FAULTS"      // full, or short (the default)
	envSeed   = "HOOKFLEET_FAULTS_SEED" // of an earlier run, to have its faults again
)

// campaign is one load with its ledger and sinks.
type campaign struct {
	t      *testing.T
	full   bool
	seed   uint64
	random *rand.Rand
	ledger *Ledger
	sink   *Sink
	load   *Load
	kills  []Kill
	pad    int // bytes that each event has beside its own
	keys   int // that events are in order for; 0 = in any
}

// newCampaign prepares a campaign, and skips it with -short.
func newCampaign(t *testing.T) *campaign {
	t.Helper()
	if testing.Short() {
		t.Skip("a fault campaign")
	}
	c := &campaign{t: t, full: os.Getenv(envLength) == "full", seed: uint64(time.Now().UnixNano()) % 1e9}
	if text := os.Getenv(envSeed); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", envSeed, err)
		}
		c.seed = seed
	}
	c.random = rand.New(rand.NewPCG(c.seed, 0))
	path := filepath.Join(t.ArtifactDir(), "ledger.jsonl")
	ledger, err := NewLedger(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ledger.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the ledger is %s (kept with -artifacts)", path)
		}
	})
	c.ledger = ledger
	c.sink = StartSink(t, ledger)
	t.Logf("seed %d (%s)", c.seed, envSeed)
	return c
}

// pick chooses by the length of the campaign.
func (c *campaign) pick(short, full int) int {
	if c.full {
		return full
	}
	return short
}

// start begins the load.
func (c *campaign) start(rate int, clients ...*fleettest.Client) {
	c.t.Helper()
	c.load = StartLoad(c.t, c.ledger, c.seed, rate, c.pad, c.keys, clients...)
}

// progress is how long a campaign waits for something to move before it gives up.
const progress = 3 * time.Minute

// await waits until holds is true of the ledger's counts. It gives up when nothing has changed for long.
func (c *campaign) await(what string, holds func(accepted, received, missing int) bool) {
	c.t.Helper()
	for {
		changed := c.ledger.Changed()
		a, r, m := c.ledger.Counts()
		if holds(a, r, m) {
			return
		}
		idle := time.NewTimer(progress)
		select {
		case <-changed:
			idle.Stop()
		case <-idle.C:
			c.t.Fatalf("%s: nothing has come for %v; %d accepted, %d received, %d missing", what, progress, a, r, m)
		case <-c.t.Context().Done():
			c.t.Fatalf("%s: the test ended; %d accepted, %d received, %d missing", what, a, r, m)
		}
	}
}

// awaitAccepted waits until so many events are accepted.
func (c *campaign) awaitAccepted(n int) {
	c.t.Helper()
	c.await(fmt.Sprintf("%d events accepted", n), func(accepted, _, _ int) bool { return accepted >= n })
}

// finish ends the load, waits for what is to come, and checks the ledgers. s is the process with the broker.
func (c *campaign) finish(s *fleettest.Server) *Verdict {
	c.t.Helper()
	c.load.Stop()
	stopped := time.Now()
	c.drained()
	c.nothingWaits(s)
	v := c.ledger.Check(c.kills, nil)
	took := stopped.Sub(c.load.begun)
	c.t.Logf("%.0f events/s accepted for %v (%d offered a second), %d requests repeated, drained %v after the end; %s",
		float64(v.Accepted)/took.Seconds(), took.Round(time.Second), c.load.rate, c.load.repeated.Load(), time.Since(stopped).Round(100*time.Millisecond), v)
	for _, fault := range v.Faults() {
		c.t.Error(fault)
	}
	tolerated := 0
	for i, k := range c.kills {
		if !k.Until.IsZero() {
			tolerated += v.PerKill[i]
		}
	}
	recordedOnce(c.t, s, v.Owed, tolerated)
	return v
}

// nothingWaits waits until the fleet says that all deliveries have ended.
func (c *campaign) nothingWaits(s *fleettest.Server) {
	c.t.Helper()
	js := broker(c.t, s)
	ids := []string{"all", "both"}
	if c.keys > 0 {
		ids = []string{"ordered"}
	}
	for _, id := range ids {
		fleettest.Eventually(c.t, "subscription "+id+" has nothing waiting", func() (bool, any) {
			n := s.Client().Subscription(c.t, id).Status.Waiting
			return n == 0, fmt.Sprintf("%d wait; %s", n, whatWaits(c.t.Context(), js))
		})
	}
}

// whatWaits is where deliveries wait in the broker, for whoever looks for the reason of a failure.
func whatWaits(ctx context.Context, js jetstream.JetStream) string {
	var b strings.Builder
	for _, name := range []string{stream.Events, stream.Retries, stream.HeldName} {
		st, err := js.Stream(ctx, name)
		if err != nil {
			return err.Error()
		}
		info, err := st.Info(ctx, jetstream.WithSubjectFilter(">"))
		if err != nil {
			return err.Error()
		}
		fmt.Fprintf(&b, "%s %d to %d", name, info.State.FirstSeq, info.State.LastSeq)
		for c := range st.ListConsumers(ctx).Info() {
			fmt.Fprintf(&b, ", %s floor %d delivered %d pending %d+%d", c.Name, c.AckFloor.Stream, c.Delivered.Stream, c.NumPending, c.NumAckPending)
		}
		if name == stream.Events {
			b.WriteString("; ")
			continue
		}
		for subject := range info.State.Subjects {
			m, err := st.GetLastMsgForSubject(ctx, subject)
			if err != nil {
				return err.Error()
			}
			fmt.Fprintf(&b, ", %d %s %v", m.Sequence, subject, m.Header)
		}
		b.WriteString("; ")
	}
	return b.String()
}

// drained waits until everything accepted has come, or nothing comes any more.
func (c *campaign) drained() {
	c.t.Helper()
	for {
		changed := c.ledger.Changed()
		if _, _, missing := c.ledger.Counts(); missing == 0 {
			return
		}
		idle := time.NewTimer(drainPatience)
		select {
		case <-changed:
			idle.Stop()
		case <-idle.C:
			return // the checker names what is missing
		case <-c.t.Context().Done():
			return
		}
	}
}

// drainPatience is how long nothing may come before what is missing is called lost: far more than an AckWait, a retry
// and a slow answer together.
const drainPatience = 45 * time.Second

func itoa(n int) string { return strconv.Itoa(n) }
