package worker_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// TestStuckEventStaysInHand: what was behind an attempt that took long stayed in the worker's hands for half a minute where
// nothing else came, and not for two seconds.
func TestStuckEventStaysInHand(t *testing.T) {
	t.Parallel()
	b := setup(t)
	end, over := make(chan struct{}), make(chan struct{})
	var once sync.Once
	sink := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then is it seen that who asks is gone
		select {
		case <-r.Context().Done(): // its timeout
			once.Do(func() { close(over) })
		case <-end:
		}
	}))
	t.Cleanup(sink.Close)
	defer close(end)
	b.subscribeLane("ordered", sink.URL, `{"timeout":"20s","ordering":{"key":"subject"},`+laneRetries+`}`)
	b.work()
	eventually(t, "the lane has its consumer", func() bool { return len(b.laneConsumers()) == 1 })
	rest := time.NewTimer(1100 * time.Millisecond) // it has looked after what waits, and rests
	<-rest.C
	b.publishOrder(1, "a", "x")
	b.publishOrder(2, "a", "x")
	eventually(t, "the second is held", func() bool {
		c, err := b.waitlist.Count(t.Context(), "ordered")
		return err == nil && c.Held == 1
	})
	select {
	case <-over:
		t.Error("it was held only when the first attempt was over")
	default:
	}
}
