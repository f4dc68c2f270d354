package worker_test

import (
	"strconv"
	"testing"

	"github.com/hookfleet/hookfleet/events/stream"
)

// TestScheduledLaneKeepsTheStoreFull: a lane that waited for a tick kept its events in the stream, however little room there
// was. They go to HELD like those of a lane that is paused, and still wait for the tick, in order.
func TestScheduledLaneKeepsTheStoreFull(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s, url := newOrderSink(t, nil)
	b.subscribeLane("ticked", url, `{"ordering":{"key":"subject"},"schedule":{"every":"720h"},`+laneRetries+`}`)
	b.work()
	const all = 300
	publish := func(from int) (last uint64) {
		for n := from; n < from+all; n++ {
			last = b.publishOrder(n, "o-"+strconv.Itoa(n%5), "x")
		}
		return last
	}
	publish(0)
	eventually(t, "the lane has its consumer", func() bool { return len(b.laneConsumers()) == 1 })
	b.tight.Store(true)
	last := publish(all)
	eventually(t, "nothing is left in the stream", func() bool {
		c, err := b.js.Consumer(t.Context(), stream.Events, b.laneConsumers()[0])
		return err == nil && c.CachedInfo().AckFloor.Stream >= last
	})
	if c, err := b.waitlist.Count(t.Context(), "ticked"); err != nil || c.Held != 2*all || s.count() != 0 {
		t.Errorf("%+v wait, %d were sent; %v", c, s.count(), err)
	}
	b.subscribeLane("ticked", url, `{"ordering":{"key":"subject"},"schedule":{"every":"1s","batch":200},`+laneRetries+`}`)
	publish(2 * all)
	b.tight.Store(false)
	eventually(t, "all arrive", func() bool { return s.count() >= 3*all })
	s.check()
	if s.count() != 3*all {
		t.Errorf("%d arrived", s.count())
	}
	b.nothingWaits("ticked")
}
