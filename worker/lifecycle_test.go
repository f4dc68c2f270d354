package worker_test

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
)

// publishAt publishes an order's status with a time of its own.
func (b *bundle) publishAt(n int, subject, status string, at time.Time) uint64 {
	b.tb.Helper()
	text := fmt.Sprintf(`{"specversion":"1.0","id":"%d","source":"/orders","type":"order.status","subject":%q,"time":%q,"data":{"status":%q}}`,
		n, subject, at.UTC().Format(time.RFC3339Nano), status)
	msg := &nats.Msg{
		Subject: "hookfleet.events.default.order.status",
		Header:  nats.Header{"Content-Type": {"application/cloudevents+json"}, nats.MsgIdHdr: {fmt.Sprint(n)}}, Data: []byte(text),
	}
	return must[stream.Ack](b.tb)(b.events.Write(b.tb.Context(), msg, stream.Events)).Sequence
}

// awaitReason waits until a delivery has ended in this state for this reason.
func (b *bundle) awaitReason(subscription string, sequence uint64, state events.State, reason events.Reason) {
	b.tb.Helper()
	eventually(b.tb, fmt.Sprintf("%d of %s is %s %s", sequence, subscription, state, reason), func() bool {
		found, ok, err := b.history.Find(b.tb.Context(), events.DeliveryID(sequence, subscription, 0))
		return err == nil && ok && found.Record.State == state && found.Record.Reason == reason
	})
}

// TestLifecycle: a status that was delivered is skipped for ever, a terminal one silences, one that was given up counts
// for nothing, and all of that outlives the worker.
func TestLifecycle(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var refuse atomic.Bool
	s, url := newOrderSink(t, func(string, int) int {
		if refuse.Load() {
			return http.StatusBadRequest
		}
		return 0
	})
	b.subscribeLane("statuses", url, `{"lifecycle":{"terminal":["Ended"]},`+laneRetries+`}`)
	stop := b.work()
	for n, status := range []string{"Booked", "Moving", "Booked"} {
		b.publishOrder(n, "o", status)
	}
	b.awaitReason("statuses", 3, events.StateSkipped, events.ReasonDuplicateStatus)
	refuse.Store(true)
	b.awaitReason("statuses", b.publishOrder(10, "o", "Held"), events.StateDead, events.ReasonRejected)
	refuse.Store(false)
	stop()
	b.work()
	b.awaitReason("statuses", b.publishOrder(11, "o", "Moving"), events.StateSkipped, events.ReasonDuplicateStatus)
	b.awaitReason("statuses", b.publishOrder(12, "o", "Held"), events.StateDelivered, "")
	b.awaitReason("statuses", b.publishOrder(13, "o", ""), events.StateSkipped, events.ReasonNoStatus)
	b.awaitReason("statuses", b.publishOrder(14, "o", "Ended"), events.StateDelivered, "")
	b.awaitReason("statuses", b.publishOrder(15, "o", "Reopened"), events.StateSkipped, events.ReasonCompleted)
	b.awaitReason("statuses", b.publishOrder(16, "other", "Booked"), events.StateDelivered, "")
	if got := s.of("o"); !slices.Equal(got, []int{0, 1, 12, 14}) {
		t.Errorf("came: %v", got)
	}
}

// TestLatestOnly: of what waits for a key only the newest goes, by its time, and what is older than what was delivered
// does not.
func TestLatestOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s, url := newOrderSink(t, nil)
	b.subscribeLane("latest", url, `{"lifecycle":{"dedupe":false,"latestonly":true},`+laneRetries+`}`)
	if _, err := b.registry.SetPaused(t.Context(), "latest", true); err != nil {
		t.Fatal(err)
	}
	b.work()
	now := time.Now()
	var sequences []uint64
	for n := range 300 { // the newest of each key is the middle one
		sequences = append(sequences, b.publishAt(n, "o-"+strconv.Itoa(n%3), strconv.Itoa(n), now.Add(-time.Duration(max(150-n, n-150))*time.Second)))
	}
	if _, err := b.registry.SetPaused(t.Context(), "latest", false); err != nil {
		t.Fatal(err)
	}
	for n, sequence := range sequences {
		if n < 149 || n > 151 {
			b.awaitReason("latest", sequence, events.StateSkipped, events.ReasonSuperseded)
		}
	}
	b.awaitReason("latest", b.publishAt(301, "o-0", "late", now.Add(-time.Hour)), events.StateSkipped, events.ReasonSuperseded)
	b.awaitReason("latest", b.publishAt(302, "o-0", "new", now.Add(time.Hour)), events.StateDelivered, "")
	if got := s.of("o-0"); !slices.Equal(got, []int{150, 302}) {
		t.Errorf("came: %v", got)
	}
	if n := s.count(); n != 4 {
		t.Errorf("%d came", n)
	}
}

// TestLaneAge: what waits in a lane ends in a dead letter at its maximal age, also while the subscription is paused.
func TestLaneAge(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, url := newOrderSink(t, nil)
	b.subscribeLane("aged", url, `{"ordering":{"key":"subject"},"retry":{"maxage":"3s"}}`)
	if _, err := b.registry.SetPaused(t.Context(), "aged", true); err != nil {
		t.Fatal(err)
	}
	b.work()
	for n := range 20 {
		b.publishOrder(n, "o", "x")
	}
	for n := range 20 {
		b.awaitReason("aged", uint64(n+1), events.StateDead, events.ReasonExpiredRetry)
	}
	b.nothingWaits("aged")
}
