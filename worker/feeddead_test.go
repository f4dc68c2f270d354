package worker_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

// TestDeletedDeadLetterStaysDeletedWhenAGuestComes: the consumer stands before an event that hangs, and hands out what was settled since
// when a guest of the broker comes. A dead letter of that, which was deleted or replayed meanwhile, was there again.
func TestDeletedDeadLetterStaysDeletedWhenAGuestComes(t *testing.T) {
	t.Parallel()
	b, d := setupFed(t)
	answer := make(chan struct{})
	defer close(answer)
	b.subscribe("fed", sink(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch e, err := events.ParseStructured(body); {
		case err != nil:
			t.Errorf("%s: %v", body, err)
		case e.ID() == "0":
			select {
			case <-answer:
			case <-r.Context().Done():
			}
		case e.ID() == "1":
			w.WriteHeader(http.StatusBadRequest)
		}
	}), structured)
	b.work()
	b.awaitFeed()
	b.publishAndOffer(0)
	dead := events.DeliveryID(b.publishAndOffer(1), "fed", 0)
	letters := func() int {
		found, _, err := b.dead.List(t.Context(), stream.DeadQuery{Subscription: "fed"})
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	eventually(t, "it is dead", func() bool { return letters() == 1 })
	if deleted, err := b.dead.Delete(t.Context(), dead); err != nil || !deleted {
		t.Fatalf("deleted %v, %v", deleted, err)
	}
	d.come()
	b.awaitPull()
	last := b.publish(2)
	b.awaitState("fed", []uint64{last}, events.StateDelivered)
	eventually(t, "what was settled is acknowledged", func() bool {
		c := b.dispatch()
		return c.NumPending == 0 && c.NumAckPending == 1
	})
	if n := letters(); n != 0 {
		t.Errorf("%d dead letters are there again", n)
	}
}
