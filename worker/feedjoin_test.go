package worker_test

import (
	"slices"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events/stream"
)

// flow publishes events one after the other until stop, which returns how many and the last one's sequence.
func (b *bundle) flow(from int) (stop func() (next int, last uint64)) {
	done := make(chan struct{})
	var last uint64
	var flowing sync.WaitGroup
	flowing.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				last = b.publishAndOffer(from)
				from++
			}
		}
	})
	return func() (int, uint64) {
		close(done)
		flowing.Wait()
		return from, last
	}
}

// TestFeedComesBackUnderLoad: after a guest had been there the worker went on pulling for as long as anything was in hand.
func TestFeedComesBackUnderLoad(t *testing.T) {
	t.Parallel()
	b, d := setupFed(t)
	hang := newCounter(t, "1", "2")
	b.subscribe("fed", hang.url, `{"concurrency":64,"timeout":"60s"}`)
	b.work()
	b.awaitFeed()
	d.come()
	b.awaitPull()
	b.publishAndOffer(1) // hangs
	b.publishAndOffer(2) // and so does this one
	stop := b.flow(3)
	eventually(t, "events are pulled", func() bool { return hang.all.Load() > 20 })
	d.goAway()
	b.awaitFeed()
	if at := b.dispatch(); at.NumAckPending > 0 {
		t.Errorf("the broker has %d in hand", at.NumAckPending)
	}
	close(hang.hold["1"]) // ends while the feed is on
	came := hang.all.Load()
	eventually(t, "events come from the feed", func() bool { return hang.all.Load() > came+20 })
	d.come() // the other one hangs on
	b.awaitPull()
	came = hang.all.Load()
	eventually(t, "events are pulled again", func() bool { return hang.all.Load() > came+20 })
	n, last := stop()
	close(hang.hold["2"])
	b.settledUpTo(last)
	eventually(t, "what is held has come", func() bool { return hang.all.Load() >= int64(n-1) })
	hang.exactly(t, n-1)
}

// TestFeedComesBackWhileBatchesFill: what waits for its batch is in hand; when the feed is left next it is handed back.
func TestFeedComesBackWhileBatchesFill(t *testing.T) {
	t.Parallel()
	b, d := setupFed(t)
	c := newBatchSink(t, nil)
	b.subscribeBatch("batched", c.url, `{"maxevents":10,"linger":"5m"}`, `{}`)
	b.work()
	b.awaitFeed()
	d.come()
	b.awaitPull()
	for n := range 5 {
		b.publishAndOffer(n)
	}
	eventually(t, "they are in hand", func() bool { return b.dispatch().NumAckPending == 5 })
	d.goAway()
	b.awaitFeed()
	b.publishAndOffer(5)
	d.come()
	b.awaitPull()
	var last uint64
	for n := 6; n < 10; n++ {
		last = b.publishAndOffer(n)
	}
	b.settledUpTo(last)
	var came []string
	for _, r := range c.requests() {
		came = append(came, r.events...)
	}
	slices.Sort(came)
	if want := []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}; !slices.Equal(came, want) {
		t.Errorf("%v", came)
	}
}

// TestFeedStaysAwayFromOthersEvents: what a guest took and has in hand when its connection breaks is not begun by the feed.
func TestFeedStaysAwayFromOthersEvents(t *testing.T) {
	t.Parallel()
	b, d := setupFed(t)
	c := newCounter(t, "1")
	b.subscribe("fed", c.url, `{"timeout":"60s"}`)
	stop := b.work()
	b.awaitFeed()
	b.settledUpTo(b.publishAndOffer(0))
	stop()
	d.come()
	b.publish(99)
	consumer := must[jetstream.Consumer](t)(b.js.Consumer(t.Context(), stream.Events, stream.ConsumerDispatch))
	var theirs jetstream.Msg
	for m := range must[jetstream.MessageBatch](t)(consumer.Fetch(1)).Messages() {
		theirs = m
	}
	b.work()
	b.publish(1) // hangs: ours
	eventually(t, "ours is in hand", func() bool { return c.times("1") == 1 })
	d.goAway()
	tries := d.tried()
	eventually(t, "the feed wanted to begin, and we pull again", func() bool {
		if err := theirs.InProgress(); err != nil {
			t.Fatal(err)
		}
		return d.tried() > tries && b.dispatch().NumWaiting > 0
	})
	if b.worker.Feeds() || c.times("99") > 0 {
		t.Error("the feed began with an event of others")
	}
	if err := theirs.DoubleAck(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(c.hold["1"])
	b.awaitFeed()
	b.settledUpTo(b.publishAndOffer(2))
	c.exactly(t, 3)
}
