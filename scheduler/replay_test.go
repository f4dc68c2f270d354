package scheduler

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/test/natstest"
)

// accept stores n events of acme.
func (f *fixture) accept(n int) {
	f.Helper()
	for range n {
		w := f.waiting(1, "sub", 10)
		h, data := w.Event.Message()
		f.publish(&nats.Msg{Subject: stream.EventSubject("acme", "t"), Header: h, Data: data}, nil)
	}
}

// job makes a replay of everything there is.
func (f *fixture) job(id, subscription string, change func(*events.Replay)) *stream.StoredReplay {
	f.Helper()
	must(f, f.Registry.Fresh(f.Context()))
	e, ok := f.Registry.Lookup(subscription)
	if !ok {
		f.Fatalf("no subscription %s", subscription)
	}
	_, end, err := f.events.Bounds(f.Context())
	must(f, err)
	job := &events.Replay{
		ID: id, Tenant: "acme", Subscription: subscription, From: events.ReplayEvents, Wish: events.ReplayRunning,
		CreatedAt: time.Now().UTC(), Subscribed: e.CreatedAt, Through: end - 1, Rate: &events.Rate{Permit: 100_000, Per: events.Duration(time.Second), Burst: 1000},
	}
	if change != nil {
		change(job)
	}
	s, err := newReplays(f.Scheduler).store.Create(f.Context(), job)
	must(f, err)
	return s
}

// worker takes what is due and records what outcome says, each as often as it is made, until the test ends.
type fakeWorker struct {
	mu    sync.Mutex
	taken map[string]int
}

func (w *fakeWorker) total() (n, most int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, times := range w.taken {
		n, most = n+times, max(most, times)
	}
	return n, most
}

func (f *fixture) worker(outcome func(*stream.Waiting) events.State) *fakeWorker {
	f.Helper()
	w := &fakeWorker{taken: map[string]int{}}
	c, err := f.js.CreateOrUpdateConsumer(f.Context(), stream.Retries, jetstream.ConsumerConfig{
		Durable: stream.ConsumerDue, AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: stream.SubjectDue + ">",
	})
	must(f, err)
	consuming, err := c.Consume(func(m jetstream.Msg) {
		d, err := stream.ParseWaiting(m.Headers(), m.Data())
		if err != nil {
			f.Error(err)
			return
		}
		w.mu.Lock()
		w.taken[d.Delivery.ID]++
		w.mu.Unlock()
		r := &events.Record{Delivery: d.Delivery, State: outcome(d), EndedAt: time.Now(), First: true}
		if _, err := f.js.PublishMsg(context.WithoutCancel(f.Context()), stream.RecordMessage(r)); err != nil && f.Context().Err() == nil {
			f.Error(err)
		}
		_ = m.Ack()
	})
	must(f, err)
	f.Cleanup(func() { consuming.Stop(); <-consuming.Closed() })
	return w
}

func delivered(*stream.Waiting) events.State { return events.StateDelivered }

// ended waits for the end of a replay.
func (f *fixture) ended(id string) *stream.StoredReplay {
	f.Helper()
	store := newReplays(f.Scheduler).store
	var s *stream.StoredReplay
	natstest.Eventually(f, patience, func() bool {
		var err error
		s, _, err = store.Get(f.Context(), id)
		must(f, err)
		return s.Finished()
	})
	return s
}

// runFor runs the replays as the one that acts, until stop is called.
func (f *fixture) runReplays() (stop func()) {
	ctx, cancel := context.WithCancel(f.Context())
	var running sync.WaitGroup
	running.Go(func() { newReplays(f.Scheduler).run(ctx) })
	stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	f.Cleanup(stop)
	return stop
}

func TestReplayRuns(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.subscribe("sub", false)
	f.accept(200)
	w := f.worker(func(d *stream.Waiting) events.State {
		return []events.State{events.StateDelivered, events.StateDead, events.StateSkipped, events.StateCancelled}[d.Delivery.Event.Sequence%4]
	})
	stop := f.runReplays()
	f.job("first", "sub", nil)
	want := events.ReplayCounts{Matched: 200, Sent: 200, Delivered: 50, Dead: 50, Skipped: 50, Cancelled: 50}
	if s := f.ended("first"); s.Run.Counts != want || s.State() != events.ReplayDone || len(s.Run.Fresh)+len(s.Run.Open)+len(s.Run.Plan) > 0 {
		t.Errorf("%+v, want %+v", s, want)
	}
	f.job("second", "sub", nil)
	if s := f.ended("second"); s.Run.Counts != (events.ReplayCounts{Matched: 200, Skipped: 200}) {
		t.Errorf("again: %+v", s.Run.Counts)
	}
	f.job("third", "sub", func(j *events.Replay) { j.Again = true })
	if s := f.ended("third"); s.Run.Counts != want {
		t.Errorf("again, as asked for: %+v", s.Run.Counts)
	}
	if n, most := w.total(); n != 400 || most != 1 {
		t.Errorf("%d deliveries, one of them %d times", n, most)
	}
	stop()
	f.runReplays() // those that have ended are left alone
}

// TestReplayTakenOver: a scheduler is killed at any place of a step, again and again. Each delivery is made once, and the
// counts are exact.
func TestReplayTakenOver(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.subscribe("sub", false)
	const n = 300
	f.accept(n)
	w := f.worker(delivered)
	f.job("job", "sub", nil)
	for kill := range 30 {
		s := newReplays(f.Scheduler)
		r := newReplay(s, &events.Replay{ID: "job", Subscription: "sub", Wish: events.ReplayRunning})
		gone, err := r.takeOver(t.Context())
		must(t, err)
		if gone {
			break
		}
		entry, ok := r.subscription()
		if !ok || !r.turn(r) {
			t.Fatal("no subscription, or not its turn")
		}
		must(t, r.fill(t.Context(), entry, 20, 20))
		made := r.queue
		if kill%5 == 0 {
			continue // before it is stored
		}
		must(t, r.saveNow(t.Context()))
		switch kill % 5 {
		case 1: // before anything is made
		case 2: // after some of it is made
			must(t, r.make(t.Context(), made[:len(made)/2]))
		case 3: // after all is made
			must(t, r.make(t.Context(), made))
		case 4: // after it is counted
			must(t, r.make(t.Context(), made))
			must(t, r.tally(t.Context()))
			r.changed = true
			must(t, r.saveNow(t.Context()))
		}
	}
	f.runReplays()
	if s := f.ended("job"); s.Run.Counts != (events.ReplayCounts{Matched: n, Sent: n, Delivered: n}) {
		t.Errorf("%+v", s.Run.Counts)
	}
	if total, most := w.total(); total != n || most != 1 {
		t.Errorf("%d deliveries of %d events, one of them %d times", total, n, most)
	}
}

// TestReplayLost: who lost the lease makes nothing more.
func TestReplayLost(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.subscribe("sub", false)
	f.accept(10)
	f.job("job", "sub", nil)
	take := func() *replay {
		r := newReplay(newReplays(f.Scheduler), &events.Replay{ID: "job", Subscription: "sub", Wish: events.ReplayRunning})
		_, err := r.takeOver(t.Context())
		must(t, err)
		return r
	}
	old, next := take(), take()
	entry, _ := old.subscription()
	if _, err := old.advance(t.Context(), entry); !errors.Is(err, stream.ErrMoved) {
		t.Errorf("the old one goes on: %v", err)
	}
	if _, err := next.advance(t.Context(), entry); err != nil {
		t.Error(err)
	}
	counts, err := f.waitlist.Total(t.Context())
	must(t, err)
	if counts.Timers != next.job.Run.Counts.Sent || counts.Timers == 0 {
		t.Errorf("%d deliveries wait, %+v", counts.Timers, next.job.Run.Counts)
	}
}

// TestReplayDeadLetterTakenOver: the deliveries are made, the dead letters not yet removed.
func TestReplayDeadLetterTakenOver(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.subscribe("sub", false)
	for i := range 10 {
		w := f.waiting(uint64(i+1), "sub", 10)
		letter, err := stream.DeadMessage(&events.DeadLetter{Delivery: w.Delivery, DeadAt: time.Now(), Payload: w.Event}, nil, nil)
		f.publish(letter, err)
	}
	f.job("job", "sub", func(j *events.Replay) { j.From, j.Through = events.ReplayDeadLetters, 10 })
	r := newReplay(newReplays(f.Scheduler), &events.Replay{ID: "job", Subscription: "sub", Wish: events.ReplayRunning})
	_, err := r.takeOver(t.Context())
	must(t, err)
	entry, _ := r.subscription()
	must(t, r.fill(t.Context(), entry, 6, 6))
	made := r.queue
	must(t, r.saveNow(t.Context()))
	for _, c := range made[:4] {
		f.publish(c.waiting.ReplayMessage())
	}
	// One of the others is replayed by somebody else.
	letter, _, err := r.dead.Find(t.Context(), made[4].Letter)
	must(t, err)
	other, _ := stream.ReplayOf(letter, time.Now())
	must(t, r.dead.Replay(t.Context(), f.Writer, false, other))
	w := f.worker(delivered)
	f.runReplays()
	if s := f.ended("job"); s.Run.Counts.Matched != 10 || s.Run.Counts.Sent+s.Run.Counts.Skipped != 10 || s.Run.Counts.Delivered != s.Run.Counts.Sent {
		t.Errorf("%+v", s.Run.Counts)
	}
	if n, most := w.total(); n != 10 || most != 1 {
		t.Errorf("%d deliveries, one of them %d times", n, most)
	}
	_, end, err := r.dead.Bounds(t.Context())
	must(t, err)
	if page, _, err := r.dead.After(t.Context(), "acme", "sub", 1, end, 64); len(page) != 0 || err != nil {
		t.Errorf("%d dead letters are left, %v", len(page), err)
	}
}

// TestReplayUnsubscribed: a replay ends with its subscription.
func TestReplayUnsubscribed(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.subscribe("sub", false)
	f.accept(50)
	f.job("job", "sub", func(j *events.Replay) { j.Rate = &events.Rate{Permit: 10, Per: events.Duration(time.Second), Burst: 1} })
	w := f.worker(delivered)
	f.runReplays()
	natstest.Eventually(t, patience, func() bool { n, _ := w.total(); return n > 2 })
	must(t, f.Registry.Delete(t.Context(), "sub", 0))
	f.subscribe("sub", false) // another of its id
	s := f.ended("job")
	if s.State() != events.ReplayCancelled || s.Run.Reason != events.ReasonUnsubscribed || s.Run.Counts.Sent == 50 || s.Run.Counts.Delivered != s.Run.Counts.Sent {
		t.Errorf("%+v", s)
	}
}

// TestReplayWithoutRecord: a delivery that ended without a record does not keep its replay open.
func TestReplayWithoutRecord(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.subscribe("sub", false)
	f.accept(1)
	f.job("job", "sub", nil)
	r := newReplay(newReplays(f.Scheduler), &events.Replay{ID: "job", Subscription: "sub", Wish: events.ReplayRunning})
	_, err := r.takeOver(t.Context())
	must(t, err)
	_, err = r.step(t.Context())
	must(t, err)
	if len(r.fresh) != 1 {
		t.Fatalf("%d deliveries", len(r.fresh))
	}
	must(t, purge(f, stream.Retries))
	r.checked = time.Now().Add(-2 * replayPatience)
	_, err = r.step(t.Context())
	must(t, err)
	if !r.finished || r.job.Run.Counts.Delivered != 1 {
		t.Errorf("%+v", r.job.Run)
	}
}

// TestReplayReadsNotAllThatLiveDeliveriesLeft: a replay that was paused for hours, while one of its deliveries was retried, read all
// records of its subscription since when it made the next one.
func TestReplayReadsNotAllThatLiveDeliveriesLeft(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.subscribe("sub", false)
	f.accept(1)
	f.job("job", "sub", nil)
	r := newReplay(newReplays(f.Scheduler), &events.Replay{ID: "job", Subscription: "sub", Wish: events.ReplayRunning})
	_, err := r.takeOver(t.Context())
	must(t, err)
	record := func(sequence, replay uint64, state events.State) uint64 {
		w := f.waiting(sequence, "sub", 10)
		w.Delivery.ID = events.DeliveryID(sequence, "sub", replay)
		return f.publish(stream.RecordMessage(&events.Record{Delivery: w.Delivery, State: state, EndedAt: time.Now(), First: true}), nil)
	}
	const far, live = 5000, 90000
	ours := events.JobReplay(r.job.Run.Number)
	r.open[events.DeliveryID(far, "sub", ours)] = struct{}{}
	r.job.Run.Records = record(far, ours, events.StateRetrying)
	var end uint64
	for range 100 {
		end = record(live, 0, events.StateDelivered)
	}
	_, err = r.step(t.Context())
	must(t, err)
	if len(r.fresh) != 1 || r.job.Run.Records != end {
		t.Errorf("%d made, and records are read from %d on, of %d", len(r.fresh), r.job.Run.Records, end)
	}
	record(far, ours, events.StateDelivered)
	must(t, r.tally(t.Context()))
	if r.job.Run.Counts.Delivered != 1 {
		t.Errorf("%+v", r.job.Run.Counts)
	}
}

func purge(f *fixture, name string) error {
	s, err := f.js.Stream(f.Context(), name)
	must(f, err)
	return s.Purge(f.Context())
}

// TestReplayPace: whether deliveries are made when their time comes or ahead of it, each has its own time, evenly.
func TestReplayPace(t *testing.T) {
	t.Parallel()
	const interval = 10 * time.Millisecond
	begin := time.Now()
	for _, reach := range []time.Duration{0, 100 * time.Millisecond} {
		var p replayPace
		var last time.Time
		made := 0
		for now := begin; !now.After(begin.Add(10 * time.Second)); now = now.Add(25 * time.Millisecond) {
			page := make([]*candidate, p.allowed(now, reach, interval, 5))
			for i := range page {
				page[i] = &candidate{waiting: &stream.Waiting{}}
			}
			p.spread(page, now, interval)
			for _, c := range page {
				at := now.Add(c.waiting.After)
				if c.waiting.After > reach || !last.IsZero() && at.Sub(last) != interval {
					t.Fatalf("reach %v: one is to begin %v after it was made, %v after the one before", reach, c.waiting.After, at.Sub(last))
				}
				last = at
			}
			made += len(page)
		}
		if want := int((10*time.Second + reach) / interval); made < want || made > want+1 {
			t.Errorf("reach %v: %d in 10 s, want %d", reach, made, want)
		}
		if n := p.allowed(begin.Add(time.Minute), 0, interval, 5); n != 5 {
			t.Errorf("%d after a stall, want the burst", n)
		}
	}
}

func TestFreshLimit(t *testing.T) {
	t.Parallel()
	for want, s := range map[int]events.Subscription{
		32:   {Config: &events.DeliveryConfig{Concurrency: 64}},
		1:    {Config: &events.DeliveryConfig{Concurrency: 1}},
		200:  {Config: &events.DeliveryConfig{Concurrency: 4}, ProtocolSettings: events.ProtocolSettings{Batch: &events.Batch{MaxEvents: 100}}},
		1000: {Config: &events.DeliveryConfig{Concurrency: 1, Schedule: &events.Schedule{}}},
	} {
		if got := freshLimit(&s); got != want {
			t.Errorf("%+v: %d, want %d", s, got, want)
		}
	}
}
