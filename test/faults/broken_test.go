package faults

import (
	"testing"

	"github.com/hookfleet/hookfleet/test/fleettest"
)

// TestBrokenOrderIsReported: a worker that acknowledges before it has sent and recorded loses what is in flight at a
// kill. The same campaign that finds nothing in the real one must report that.
func TestBrokenOrderIsReported(t *testing.T) {
	c := newCampaign(t)
	c.sink.slow = 5 // the more is in flight for longer than the broker takes to write its state, the more is lost
	s := whole(t, fleettest.Options{Binary: fleettest.Binary(t, "brokenack")})
	c.sink.Subscribe(t, s.Client())
	c.start(rate, s.Client())
	// Each kill comes when there is work in hand again: what a start accepts before its worker delivers is not lost.
	for range c.pick(5, 12) {
		accepted, _, _ := c.ledger.Counts()
		c.awaitAccepted(accepted + 2_000)
		c.kill(s)
		c.restart(s)
	}
	c.load.Stop()
	c.nothingWaits(s) // what is lost never comes
	v := c.ledger.Check(c.kills, nil)
	t.Logf("%s", v)
	if len(v.Missing) == 0 {
		t.Error("the checker reports no loss for a worker that acknowledges first")
	}
}
