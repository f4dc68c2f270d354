package faults

import (
	"context"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/test/fleettest"
)

// never is for a sink that is never slow, or never fails.
const never = 1 << 31

// broker connects to a server's broker as its operator.
func broker(t *testing.T, s *fleettest.Server) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(s.BrokerURL(s.Key), nats.Timeout(fleettest.Patience))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(fleettest.Patience))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// recorded counts, for each delivery, the records that say it was delivered. The history is read as it is stored.
func recorded(t *testing.T, s *fleettest.Server) map[string]int {
	t.Helper()
	js := broker(t, s)
	info, err := js.Stream(t.Context(), stream.Attempts)
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	last := info.CachedInfo().State.LastSeq
	if last == 0 {
		return counts
	}
	c, err := js.OrderedConsumer(t.Context(), stream.Attempts, jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	messages, err := c.Messages()
	if err != nil {
		t.Fatal(err)
	}
	defer messages.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), fleettest.Patience)
	defer cancel()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			t.Fatalf("read the history: %v", err)
		}
		records, err := stream.ParseRecords(m.Data())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			if r.State == events.StateDelivered {
				counts[r.ID]++
			}
		}
		meta, err := m.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		if meta.Sequence.Stream >= last {
			return counts
		}
	}
}

// recordedOnce checks that no delivery was recorded as delivered twice: what is settled is not sent again. tolerated are
// those of times in which the broker could store and not say so.
func recordedOnce(t *testing.T, s *fleettest.Server, owed, tolerated int) {
	t.Helper()
	counts := recorded(t, s)
	twice := 0
	for id, n := range counts {
		if n > 1 {
			if twice++; twice > tolerated && twice <= tolerated+maxNamed {
				t.Errorf("delivery %s was recorded as delivered %d times", id, n)
			}
		}
	}
	if len(counts) != owed {
		t.Errorf("%d deliveries are recorded as delivered, want %d (twice: %d)", len(counts), owed, twice)
	}
}

// TestSettledIsNotSentAgain: the broker forgets the acks of its last 100 ms when it is killed. What they settled is not
// sent again all the same.
func TestSettledIsNotSentAgain(t *testing.T) {
	c := newCampaign(t)
	c.sink.slow, c.sink.fails = never, never // a sink that is as fast as it can be
	n := c.pick(6_000, 30_000)
	s := whole(t, fleettest.Options{Roles: "api,scheduler"})
	c.sink.Subscribe(t, s.Client())
	c.start(1_000_000, s.Client())
	c.awaitAccepted(n)
	c.load.Stop()
	s.MustStop(t)
	accepted, _, _ := c.ledger.Counts()

	s.SetRoles("")
	forgotten := 0
	for round := 1; round <= 3; round++ {
		_, before, _ := c.ledger.Counts()
		s.Start(t)
		c.await("a backlog is delivered", func(_, received, _ int) bool { return received >= before+accepted/5 })
		c.kill(s)
		forgotten += c.forgottenAcks(s, accepted)
	}
	s.Start(t)
	v := c.finish(s)
	t.Logf("%d acks were forgotten by the broker, %d deliveries came twice", forgotten, v.Duplicates)
	// On a loaded machine little is acknowledged within 100 ms.
	if c.full && forgotten < 1000 {
		t.Errorf("only %d acks were forgotten: this has shown nothing", forgotten)
	}
	s.MustStop(t)
}

// forgottenAcks starts the broker without a worker, and counts the events whose deliveries are all recorded and whose
// acks it does not know.
func (c *campaign) forgottenAcks(s *fleettest.Server, accepted int) int {
	c.t.Helper()
	s.SetRoles("api")
	s.Start(c.t)
	done := len(recorded(c.t, s))
	info, err := broker(c.t, s).Consumer(c.t.Context(), stream.Events, stream.ConsumerDispatch)
	if err != nil {
		c.t.Fatal(err)
	}
	state := info.CachedInfo()
	unknown := int(state.NumPending) + state.NumAckPending
	// An event for both sinks has two records: what is not counted here makes the number smaller, never larger.
	forgotten := max(0, min(done*10/11, accepted)-(accepted-unknown))
	c.t.Logf("killed with %d of %d deliveries recorded; the broker thinks that %d events are open, %d acks are forgotten", done, accepted, unknown, forgotten)
	s.MustStop(c.t)
	s.SetRoles("")
	return forgotten
}
