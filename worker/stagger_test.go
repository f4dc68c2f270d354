package worker_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

// TestReplaysMadeTogetherBeginApart: what a replay makes at once begins at the times that it is given, and what waits for
// its own is there for another worker when this one ends.
func TestReplaysMadeTogetherBeginApart(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var mu sync.Mutex
	var got []time.Time
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(got)
	}
	b.subscribe("apart", sink(t, func(http.ResponseWriter, *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, time.Now())
	}), `{}`)
	stop := b.work()
	afters := []time.Duration{0, 150 * time.Millisecond, 300 * time.Millisecond}
	began := time.Now()
	b.replays("apart", 0, afters...)
	eventually(t, "all are delivered", func() bool { return count() == len(afters) })
	for i, after := range afters {
		if took := got[i].Sub(began); took < after {
			t.Errorf("one was sent after %v, when it was to begin after %v", took, after)
		}
	}
	b.replays("apart", len(afters), 0, stream.MaxAfter)
	eventually(t, "the first is delivered, and the other waits", func() bool { return count() == len(afters)+1 })
	stop()
	b.work()
	eventually(t, "the other is delivered", func() bool { return count() == len(afters)+2 })
}

// replays stores what a replay makes of some events at once.
func (b *bundle) replays(subscription string, from int, afters ...time.Duration) {
	b.tb.Helper()
	for i, after := range afters {
		n := uint64(from + i + 1)
		m := orderEvent(int(n))
		e := must[*events.Event](b.tb)(events.ParseNATS(m.Header, m.Data))
		w := &stream.Waiting{Event: e, After: after, Delivery: events.Delivery{
			ID: events.DeliveryID(n, subscription, events.JobReplay(1)), Subscription: subscription, Tenant: "default", Event: events.Ref(e, n),
			CreatedAt: time.Now(), NextAt: time.Now(), ReplayOf: events.DeliveryID(n, subscription, 0), Replay: "job",
		}}
		must[stream.Ack](b.tb)(b.events.Write(b.tb.Context(), must[*nats.Msg](b.tb)(w.ReplayMessage()), stream.Retries))
	}
}
