package worker_test

import (
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

// door is where guests of the broker come in.
type door struct {
	mu    sync.Mutex
	guest bool
	leave func()
	tries int // how often the worker wanted to begin its feed
}

func (d *door) alone(leave func()) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.guest {
		return false
	}
	if leave != nil {
		d.leave = leave
		d.tries++
	}
	return true
}

// come lets a guest in, once the worker has left its feed.
func (d *door) come() {
	d.mu.Lock()
	d.guest = true
	leave := d.leave
	d.mu.Unlock()
	if leave != nil {
		leave()
	}
}

func (d *door) tried() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.tries
}

func (d *door) goAway() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.guest = false
}

// setupFed is setup for workers that may have a feed.
func setupFed(tb testing.TB) (*bundle, *door) {
	tb.Helper()
	b, d := setup(tb), &door{}
	b.alone = d.alone
	return b, d
}

func (b *bundle) offer(sequence uint64, n int) {
	b.tb.Helper()
	e := must[*events.Event](b.tb)(events.ParseStructured(orderEvent(n).Data))
	b.worker.Offer(sequence, []*events.Event{e}, time.Now())
}

func (b *bundle) publishAndOffer(n int) (sequence uint64) {
	b.tb.Helper()
	sequence = b.publish(n)
	b.offer(sequence, n)
	return sequence
}

// dispatch is the state of the consumer that workers share.
func (b *bundle) dispatch() *jetstream.ConsumerInfo {
	b.tb.Helper()
	c := must[jetstream.Consumer](b.tb)(b.js.Consumer(b.tb.Context(), stream.Events, stream.ConsumerDispatch))
	return c.CachedInfo()
}

// awaitFeed waits until the worker takes events from its feed; awaitPull until it pulls.
func (b *bundle) awaitFeed() {
	b.tb.Helper()
	<-b.worker.Loaded()
	eventually(b.tb, "the worker has its feed", func() bool { return b.worker.Feeds() })
}

func (b *bundle) awaitPull() {
	b.tb.Helper()
	<-b.worker.Loaded()
	eventually(b.tb, "the worker pulls", func() bool { return !b.worker.Feeds() && b.dispatch().NumWaiting > 0 })
}

// settledUpTo waits until the consumer says that all is settled up to a sequence, and that it has nothing in hand.
func (b *bundle) settledUpTo(sequence uint64) {
	b.tb.Helper()
	eventually(b.tb, "the consumer is moved", func() bool {
		c := b.dispatch()
		return c.AckFloor.Stream == sequence && c.NumAckPending == 0 && c.NumPending == 0
	})
}

// counter is a sink that counts the arrivals of each event. What is in hold answers when that is closed.
type counter struct {
	url  string
	mu   sync.Mutex
	got  map[string]int
	all  atomic.Int64
	hold map[string]chan struct{}
}

func newCounter(tb testing.TB, holds ...string) *counter {
	tb.Helper()
	c := &counter{got: map[string]int{}, hold: map[string]chan struct{}{}}
	for _, id := range holds {
		c.hold[id] = make(chan struct{})
	}
	c.url = sink(tb, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		e, err := events.ParseStructured(body)
		if err != nil {
			tb.Errorf("%s: %v", body, err)
			return
		}
		c.mu.Lock()
		c.got[e.ID()]++
		c.mu.Unlock()
		c.all.Add(1)
		if held := c.hold[e.ID()]; held != nil {
			select {
			case <-held:
			case <-r.Context().Done():
			}
		}
	})
	return c
}

func (c *counter) times(id string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.got[id]
}

// exactly fails the test unless n events came, each once.
func (c *counter) exactly(tb testing.TB, n int) {
	tb.Helper()
	c.came(tb, n, 1)
}

// came fails the test unless n events came, each that often.
func (c *counter) came(tb testing.TB, n, often int) {
	tb.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.got) != n {
		tb.Errorf("%d events came, not %d", len(c.got), n)
	}
	for id, times := range c.got {
		if times != often {
			tb.Errorf("event %s came %d times, not %d", id, times, often)
		}
	}
}

const structured = `{"retry":{"policy":"fixed","initial":"50ms","maxattempts":3}}`

func TestFeedTakesOffersInAnyOrder(t *testing.T) {
	t.Parallel()
	b, _ := setupFed(t)
	c := newCounter(t)
	b.subscribe("fed", c.url, structured)
	b.work()
	b.awaitFeed()
	sequences := make([]uint64, 50)
	for n := range sequences {
		sequences[n] = b.publish(n)
	}
	for n, sequence := range slices.Backward(sequences) {
		b.offer(sequence, n)
		b.offer(sequence, n) // as after a look at the stream
	}
	b.settledUpTo(sequences[len(sequences)-1])
	c.exactly(t, len(sequences))
}

// TestFeedFindsWhatNobodyOffered: a producer's wait for its answer ended before the event was durable, or it came before the start.
func TestFeedFindsWhatNobodyOffered(t *testing.T) {
	t.Parallel()
	b, _ := setupFed(t)
	c := newCounter(t)
	b.subscribe("fed", c.url, structured)
	b.publish(0)
	b.publish(1)
	b.work()
	b.awaitFeed()
	b.publish(2)
	b.publishAndOffer(3)
	b.publish(4)
	b.publish(5)
	b.publishAndOffer(6)
	last := b.publish(7)
	b.settledUpTo(last)
	c.exactly(t, 8)
}

// TestFeedPassesWhatWasDeleted: nothing waits for an event that is gone.
func TestFeedPassesWhatWasDeleted(t *testing.T) {
	t.Parallel()
	b, _ := setupFed(t)
	c := newCounter(t)
	b.subscribe("fed", c.url, structured)
	gone := []uint64{b.publish(0), 0, b.publish(2), b.publish(3)}
	gone[1] = gone[0]
	s := must[jetstream.Stream](t)(b.js.Stream(t.Context(), stream.Events))
	for _, sequence := range []uint64{gone[0], gone[2], gone[3]} {
		if err := s.DeleteMsg(t.Context(), sequence); err != nil {
			t.Fatal(err)
		}
	}
	b.work()
	b.awaitFeed()
	last := b.publishAndOffer(4)
	b.settledUpTo(last)
	c.exactly(t, 1)
	if err := s.DeleteMsg(t.Context(), b.publish(5)); err != nil {
		t.Fatal(err)
	}
	b.publish(6)
	eventually(t, "what comes after it", func() bool { return c.times("6") == 1 })
}

// TestFeedMoreThanMemoryHolds: what does not fit into memory is read from the stream.
func TestFeedMoreThanMemoryHolds(t *testing.T) {
	t.Parallel()
	b, _ := setupFed(t)
	c := newCounter(t)
	b.subscribe("fed", c.url, `{"concurrency":64}`)
	b.work()
	b.awaitFeed()
	const n = 3000
	var first uint64
	for at := 0; at < n; at += 500 {
		var batch []*nats.Msg
		for i := at; i < at+500; i++ {
			batch = append(batch, orderEvent(i))
		}
		sequence := must[uint64](t)(b.batches.Write(t.Context(), stream.Events, batch))
		if at == 0 {
			first = sequence
		}
		if at%1000 == 0 {
			for i := at; i < at+500; i += 7 { // with holes
				b.offer(sequence+uint64(i-at), i)
			}
		}
	}
	b.settledUpTo(first + n - 1)
	c.exactly(t, n)
}

func TestFeedTriesAgainWhatFailedToSettle(t *testing.T) {
	t.Parallel()
	b, _ := setupFed(t)
	c := newCounter(t)
	b.subscribe("fed", c.url, structured)
	b.work()
	b.awaitFeed()
	b.settledUpTo(b.publishAndOffer(0))
	s := must[jetstream.Stream](t)(b.js.Stream(t.Context(), stream.Attempts))
	was, full := s.CachedInfo().Config, s.CachedInfo().Config
	full.MaxMsgs, full.Discard = 1, jetstream.DiscardNew
	must[jetstream.Stream](t)(b.js.UpdateStream(t.Context(), full))
	last := b.publishAndOffer(1)
	eventually(t, "it is sent", func() bool { return c.times("1") > 0 })
	must[jetstream.Stream](t)(b.js.UpdateStream(t.Context(), was))
	b.settledUpTo(last)
	found, ok, err := b.history.Find(t.Context(), events.DeliveryID(last, "fed", 0))
	if err != nil || !ok || found.Record.State != events.StateDelivered {
		t.Errorf("%+v, %v, %v", found, ok, err)
	}
}

// TestFeedStopNotesHowFarItIs: what is handed back at a stop comes again, and nothing else.
func TestFeedStopNotesHowFarItIs(t *testing.T) {
	t.Parallel()
	b, _ := setupFed(t)
	c := newCounter(t, "1")
	b.subscribe("fed", c.url, structured)
	stop := b.workWith(time.Millisecond)
	b.awaitFeed()
	first := b.publishAndOffer(0)
	b.publishAndOffer(1)
	last := b.publishAndOffer(2)
	eventually(t, "all are sent", func() bool { return c.all.Load() == 3 })
	eventually(t, "two are settled", func() bool {
		_, one, _ := b.history.Find(t.Context(), events.DeliveryID(first, "fed", 0))
		_, two, _ := b.history.Find(t.Context(), events.DeliveryID(last, "fed", 0))
		return one && two
	})
	stop()
	if at := b.dispatch(); at.AckFloor.Stream != first || at.NumPending != 2 || at.NumAckPending != 0 {
		t.Errorf("the consumer is at %d, %d pending, %d in hand", at.AckFloor.Stream, at.NumPending, at.NumAckPending)
	}
	close(c.hold["1"])
	b.work()
	b.settledUpTo(last)
	if c.times("0") != 1 || c.times("1") != 2 || c.times("2") != 1 {
		t.Errorf("%v", c.got)
	}
}

// TestPendingWhileSomethingHangs: what was settled since the event that hangs counted as pending, because the consumer stands before it.
func TestPendingWhileSomethingHangs(t *testing.T) {
	t.Parallel()
	b, _ := setupFed(t)
	c := newCounter(t, "1")
	b.subscribe("fed", c.url, structured)
	b.work()
	b.awaitFeed()
	first := b.publishAndOffer(0)
	b.publishAndOffer(1)
	var last uint64
	for n := 2; n < 20; n++ {
		last = b.publishAndOffer(n)
	}
	eventually(t, "all are sent", func() bool { return c.all.Load() == 20 })
	backlog := stream.NewBacklog(b.history).WithUnsettled(b.worker.Unsettled)
	eventually(t, "one is pending", func() bool {
		s := must[stream.State](t)(backlog.State(t.Context()))
		return s.Pending == 1 && b.dispatch().AckFloor.Stream == first
	})
	close(c.hold["1"])
	b.settledUpTo(last)
	if s := must[stream.State](t)(backlog.State(t.Context())); s.Pending != 0 || !s.Oldest.IsZero() {
		t.Errorf("%+v", s)
	}
}

// TestGuestComesWhileSomethingHangs: the consumer has what hangs, and the worker does not send it again.
func TestGuestComesWhileSomethingHangs(t *testing.T) {
	t.Parallel()
	b, d := setupFed(t)
	c := newCounter(t, "1")
	b.subscribe("fed", c.url, structured)
	b.work()
	b.awaitFeed()
	first := b.publishAndOffer(0)
	b.publishAndOffer(1)
	b.publishAndOffer(2)
	eventually(t, "all are sent", func() bool { return c.all.Load() == 3 })
	d.come()
	if b.worker.Feeds() {
		t.Error("the guest was let in while events go from memory")
	}
	b.awaitPull()
	last := b.publishAndOffer(3)
	eventually(t, "what comes is pulled", func() bool { return c.times("3") == 1 })
	if at := b.dispatch(); at.AckFloor.Stream != first || at.NumAckPending == 0 {
		t.Errorf("the consumer is at %d, with %d in hand", at.AckFloor.Stream, at.NumAckPending)
	}
	close(c.hold["1"])
	b.settledUpTo(last)
	c.exactly(t, 4)
}

// TestGuestsComeAndGo: under load nothing is lost and nothing comes twice, and when all is quiet the feed is back.
func TestGuestsComeAndGo(t *testing.T) {
	t.Parallel()
	b, d := setupFed(t)
	c := newCounter(t)
	b.subscribe("fed", c.url, `{"concurrency":64}`)
	b.work()
	b.awaitFeed()
	n := 0
	publish := func(more int) (last uint64) {
		for range more {
			last = b.publishAndOffer(n)
			n++
		}
		return last
	}
	for range 2 {
		var loading sync.WaitGroup
		loading.Go(func() { publish(1000) })
		d.come()
		b.awaitPull()
		loading.Wait()
		b.settledUpTo(publish(100))
		d.goAway()
		b.awaitFeed()
	}
	b.settledUpTo(publish(100))
	c.exactly(t, n)
}

// TestFeedLeavesWhatOthersHaveInHand: who pulled an event and lost its connection may be sending it. It was sent again at once.
func TestFeedLeavesWhatOthersHaveInHand(t *testing.T) {
	t.Parallel()
	b, _ := setupFed(t)
	c := newCounter(t)
	b.subscribe("fed", c.url, structured)
	stop := b.work()
	<-b.worker.Loaded()
	stop()
	b.publish(0)
	consumer := must[jetstream.Consumer](t)(b.js.Consumer(t.Context(), stream.Events, stream.ConsumerDispatch))
	var theirs jetstream.Msg
	for m := range must[jetstream.MessageBatch](t)(consumer.Fetch(1)).Messages() {
		theirs = m
	}
	b.work()
	last := b.publish(1)
	eventually(t, "the other one comes", func() bool {
		if err := theirs.InProgress(); err != nil {
			t.Fatal(err)
		}
		return c.times("1") == 1
	})
	if err := theirs.DoubleAck(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.settledUpTo(last)
	b.awaitFeed()
	c.exactly(t, 1)
}

// TestFeedWithoutConsumer: one that somebody deleted is made again, and nothing is sent twice for it.
func TestFeedWithoutConsumer(t *testing.T) {
	t.Parallel()
	b, _ := setupFed(t)
	c := newCounter(t)
	b.subscribe("fed", c.url, structured)
	b.work()
	b.awaitFeed()
	b.settledUpTo(b.publishAndOffer(0))
	if err := b.js.DeleteConsumer(t.Context(), stream.Events, stream.ConsumerDispatch); err != nil {
		t.Fatal(err)
	}
	last := b.publishAndOffer(1)
	eventually(t, "the consumer is made again", func() bool {
		_, err := b.js.Consumer(t.Context(), stream.Events, stream.ConsumerDispatch)
		return err == nil
	})
	b.settledUpTo(last)
	c.exactly(t, 2)
}
