package faults

import (
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/test/fleettest"
)

// TestStoreOpensAgain: a store that was left by SIGKILL opens again, at whatever moment of a start or of work it came.
func TestStoreOpensAgain(t *testing.T) {
	c := newCampaign(t)
	s := whole(t, fleettest.Options{})
	c.sink.Subscribe(t, s.Client())
	c.start(rate, s.Client())
	for range c.pick(8, 100) {
		moment := time.NewTimer(time.Duration(c.random.IntN(1500)) * time.Millisecond)
		select {
		case <-moment.C:
		case <-s.Done():
			t.Fatalf("it ended by itself with %d:\n%s", s.Exit(t), s.Log())
		}
		c.kill(s)
		s.Launch(t)
	}
	s.AwaitReady(t)
	accepted, _, _ := c.ledger.Counts()
	c.awaitAccepted(accepted + 1000)
	c.finish(s)
	s.MustStop(t)
}
