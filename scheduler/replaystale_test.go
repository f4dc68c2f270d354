package scheduler

import (
	"errors"
	"testing"
	"time"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/test/natstest"
)

// A dead letter was taken off the list before the delivery that replays it was on disk: a loss of power between the two
// lost the delivery.
func TestReplayedDeadLettersStayUntilTheirDeliveriesAreDurable(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.subscribe("sub", false)
	w := f.waiting(1, "sub", 10)
	letter, err := stream.DeadMessage(&events.DeadLetter{Delivery: w.Delivery, DeadAt: time.Now(), Payload: w.Event}, nil, nil)
	f.publish(letter, err)
	errNoSync := errors.New("the power is going")
	f.ReplayWriter = stream.NewWriter(f.js.Conn(), func(streams ...string) error {
		if streams[0] == stream.Retries {
			return errNoSync
		}
		return nil
	})
	start(t, f.ReplayWriter.Run)
	f.job("job", "sub", func(j *events.Replay) { j.From, j.Through = events.ReplayDeadLetters, 1 })
	for _, again := range []string{"at first", "taken over"} {
		r := newReplay(newReplays(f.Scheduler), &events.Replay{ID: "job", Subscription: "sub", Wish: events.ReplayRunning})
		_, err = r.takeOver(t.Context())
		if entry, ok := r.subscription(); ok && err == nil {
			_, err = r.advance(t.Context(), entry)
		}
		if !errors.Is(err, errNoSync) {
			t.Errorf("%s: %v", again, err)
		}
		if page, _, err := r.dead.After(t.Context(), "acme", "sub", 1, 1, 64); len(page) != 1 || err != nil {
			t.Errorf("%s: %d dead letters are left, %v", again, len(page), err)
		}
	}
}

// A job of few deliveries an hour read sixteen dead letters at once. One that was replayed by hand meanwhile was delivered again.
func TestReplayMakesNothingThatWasReplayedByHand(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.subscribe("sub", false)
	for i := range 3 {
		w := f.waiting(uint64(i+1), "sub", 10)
		letter, err := stream.DeadMessage(&events.DeadLetter{Delivery: w.Delivery, DeadAt: time.Now(), Payload: w.Event}, nil, nil)
		f.publish(letter, err)
	}
	f.job("job", "sub", func(j *events.Replay) { j.From, j.Through = events.ReplayDeadLetters, 3 })
	r := newReplay(newReplays(f.Scheduler), &events.Replay{ID: "job", Subscription: "sub", Wish: events.ReplayRunning})
	_, err := r.takeOver(t.Context())
	must(t, err)
	r.job.Rate = &events.Rate{Permit: 1, Per: events.Duration(time.Hour), Burst: 1}
	entry, _ := r.subscription()
	_, err = r.advance(t.Context(), entry)
	must(t, err)
	letters, _, err := r.dead.After(t.Context(), "acme", "sub", 1, 3, 64)
	must(t, err)
	if len(letters) != 2 {
		t.Fatalf("%d dead letters are left", len(letters))
	}
	w := f.worker(delivered)
	for _, l := range letters {
		other, _ := stream.ReplayOf(l, time.Now())
		must(t, r.dead.Replay(t.Context(), f.Writer, false, other))
	}
	natstest.Eventually(t, patience, func() bool { n, _ := w.total(); return n == 3 })
	s, err := f.js.Stream(t.Context(), stream.Retries) // as if more than two minutes had passed
	must(t, err)
	cfg := s.CachedInfo().Config
	cfg.Duplicates = 100 * time.Millisecond
	_, err = f.js.UpdateStream(t.Context(), cfg)
	must(t, err)
	batches := stream.NewBatches(f.js.Conn(), nil)
	for _, c := range r.queue {
		c.read = c.read.Add(-time.Hour)
		msg, err := c.waiting.ReplayMessage()
		must(t, err)
		natstest.Eventually(t, patience, func() bool {
			known, err := batches.Probe(t.Context(), msg)
			must(t, err)
			return known == 0
		})
	}
	natstest.Eventually(t, patience, func() bool {
		r.pace, r.fresh = replayPace{}, map[string]struct{}{}
		_, err := r.advance(t.Context(), entry)
		must(t, err)
		return r.through()
	})
	if n, err := f.waitlist.Total(t.Context()); err != nil || n.Timers != 0 || r.job.Run.Counts.Sent != 1 || r.job.Run.Counts.Skipped != 2 {
		t.Errorf("%d wait, %+v, %v", n.Timers, r.job.Run.Counts, err)
	}
	if n, most := w.total(); most != 1 {
		t.Errorf("%d deliveries, one of them %d times", n, most)
	}
}
