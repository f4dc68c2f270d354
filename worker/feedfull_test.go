package worker_test

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events/stream"
)

// fill has a worker of few sends pull events until it has no place for more: the first hangs at four subscriptions, the others wait for
// their turn.
func fill(t *testing.T) (b *bundle, d *door, c *counter) {
	t.Helper()
	b, d = setupFed(t)
	b.sends = 4 // two of them for first attempts, which have four in hand
	c = newCounter(t, "1")
	for _, id := range []string{"a", "b", "c", "d"} {
		b.subscribe(id, c.url, `{"timeout":"60s"}`)
	}
	b.work()
	b.awaitFeed()
	b.settledUpTo(b.publishAndOffer(0))
	d.come()
	b.awaitPull()
	b.publishAndOffer(1)
	eventually(t, "the first is sent", func() bool { return c.times("1") == 2 })
	for n := 2; n < 5; n++ {
		b.publishAndOffer(n)
	}
	eventually(t, "all places are taken", func() bool { return b.dispatch().NumAckPending == 4 })
	return b, d, c
}

// TestGuestAndWorkerBothSendWhatWaitedForItsTurn: what was pulled before the feed began, and waited for its turn still when a guest came, was
// left to the guest, and sent by us as well.
func TestGuestAndWorkerBothSendWhatWaitedForItsTurn(t *testing.T) {
	t.Parallel()
	b, d, c := fill(t)
	d.goAway()
	b.awaitFeed()
	d.come()
	consumer := must[jetstream.Consumer](t)(b.js.Consumer(t.Context(), stream.Events, stream.ConsumerDispatch))
	for m := range must[jetstream.MessageBatch](t)(consumer.Fetch(4)).Messages() {
		if err := m.DoubleAck(t.Context()); err != nil { // the guest has sent it
			t.Fatal(err)
		}
	}
	close(c.hold["1"])
	b.settledUpTo(b.publishAndOffer(5))
	eventually(t, "the last has come", func() bool { return c.times("5") == 4 })
	c.came(t, 3, 4) // 0, 1 and 5
}

// TestFeedSendsAgainWhenItsConsumerWasMadeAgain: a consumer that was made again stands at the first event. A worker without a place for more
// did not see that: its feed began there, with what it had in hand as well.
func TestFeedSendsAgainWhenItsConsumerWasMadeAgain(t *testing.T) {
	t.Parallel()
	b, d, c := fill(t)
	made := must[jetstream.Consumer](t)(b.js.Consumer(t.Context(), stream.Events, stream.ConsumerDispatch)).CachedInfo().Config
	if err := b.js.DeleteConsumer(t.Context(), stream.Events, stream.ConsumerDispatch); err != nil {
		t.Fatal(err)
	}
	must[jetstream.Consumer](t)(b.js.CreateConsumer(t.Context(), stream.Events, made))
	tries := d.tried()
	d.goAway()
	eventually(t, "the feed wants to begin", func() bool { return d.tried() > tries })
	close(c.hold["1"])
	b.awaitFeed()
	b.settledUpTo(b.publishAndOffer(5))
	c.came(t, 6, 4)
}
