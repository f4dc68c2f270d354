package worker

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/events/stream"
)

// How a batch that failed comes together again. Each of its deliveries waits by itself, with its event, and knows where
// the list of all of them is. The first on the list that still waits leads: its timer is set for the time of the retry,
// and whoever has its message fetches the others from where they wait. Their own timers are set for later, and only
// matter when the leader is gone: cancelled, say.
const (
	// standbySlack is how long after the leader's exchange must have ended the others come up by themselves.
	standbySlack = 10 * time.Second
	// standbyStep is between two who come up because the leader is gone, so that one leads before the next comes up.
	standbyStep = time.Second
	maxSteps    = 20
	// standbyHeld is how often the others come up while the leader is held: each time costs a durable write.
	standbyHeld = 5 * time.Minute
	// interruptedPause is how long after a kill the leader waits for the others to come up from their first attempts.
	interruptedPause = time.Second
	// fetchers bounds the look-ups for one batch that are under way at a time.
	fetchers = 16
)

// standby is how long after the leader's time the one at place comes up.
func standby(entry *registry.Entry, place int) time.Duration {
	return time.Duration(entry.Subscription.Config.Timeout) + standbySlack + time.Duration(min(place, maxSteps))*standbyStep
}

// bounds are those of a subscription's batches.
func bounds(entry *registry.Entry) events.Batch {
	if b := entry.Subscription.ProtocolSettings.Batch; b != nil {
		return *b
	}
	return events.DefaultBatch()
}

// attemptInBatch takes a delivery through its next attempt, in a batch.
func (w *Worker) attemptInBatch(ctx, turn context.Context, d *delivery, from delivered) error {
	switch {
	case d.Batch != nil:
		return w.regather(ctx, turn, d, from)
	case d.Attempts > 0 || d.ReplayOf != "":
		return w.attemptOne(ctx, turn, d)
	default:
		return w.gather(ctx, turn, d)
	}
}

// attemptOne sends a delivery as a batch of one.
func (w *Worker) attemptOne(ctx, turn context.Context, d *delivery) (err error) {
	d.Batch = nil
	b := &batch{slots: d.slots, members: []*member{{delivery: d, done: func(e error) { err = e }}}}
	w.sendBatch(ctx, turn, b)
	return err
}

// gather lets a delivery wait for others of its subscription. One with an errand is settled later.
func (w *Worker) gather(ctx, turn context.Context, d *delivery) error {
	text, verdict, ok := w.textOf(d, nil)
	if !ok {
		return w.settle(ctx, d, verdict, nil)
	}
	if reason, closed := w.closed(d); closed {
		return w.settle(ctx, d, w.notNow(d, reason), nil)
	}
	room, limit := w.rooms.of(d.Subscription), w.gatherer.limit()
	if !room.tryAcquire(limit, time.Now()) {
		w.gatherer.flush(gatherKey{d.Subscription, d.slots})
		if !room.acquire(turn, limit, w.patience(d)) {
			if turn.Err() != nil || w.stopping() {
				return errReturned
			}
			return w.settle(ctx, d, w.notNow(d, events.ReasonConcurrency), nil)
		}
	}
	since := time.Now()
	m := &member{delivery: d, text: text}
	if x := d.errand; x != nil {
		x.add()
		m.done = func(err error) { room.release(time.Since(since)); x.done(err) }
		if !w.gatherer.add(m, bounds(d.entry)) {
			m.done(errReturned)
		}
		return nil
	}
	result := make(chan error, 1)
	m.done = func(err error) { room.release(time.Since(since)); result <- err }
	if !w.gatherer.add(m, bounds(d.entry)) {
		m.done(errReturned)
	}
	return <-result
}

// regather takes a delivery that was sent in a batch through its next attempt, in that batch.
func (w *Worker) regather(ctx, turn context.Context, d *delivery, from delivered) error {
	list, err := w.settled.history.BatchList(ctx, d.Batch.List)
	if err != nil {
		return err
	}
	if list == nil || !slices.Contains(list.Members, d.ID) {
		w.log.Warn().Str(fieldDelivery, d.ID).Msg("the list of its batch is gone; it goes alone")
		return w.attemptOne(ctx, turn, d)
	}
	place := slices.Index(list.Members, d.ID)
	leader, err := w.firstWaiting(ctx, list, place)
	if err != nil {
		return err
	}
	if leader != nil {
		return w.stepBack(ctx, d, leader, place)
	}
	if place > 0 {
		// It may have been settled by who led the batch, while somebody else had its message and set its timer again.
		newest, err := w.settled.history.Newest(ctx, &d.Delivery)
		if err != nil {
			return err
		}
		if newest != nil && newest.State.Ended() {
			return nil
		}
	}
	return w.lead(ctx, turn, d, list, place > 0 || w.settled.suspect(d.slots.stream, from))
}

// firstWaiting returns the first member before place that still waits; nil when there is none.
func (w *Worker) firstWaiting(ctx context.Context, list *stream.BatchList, place int) (*stream.Parked, error) {
	for _, id := range list.Members[:place] {
		p, ok, err := w.waitlist.Find(ctx, list.Subscription, id)
		if err != nil {
			return nil, err
		}
		if ok && p.Delivery.Batch != nil && p.Delivery.Batch.ID == list.ID {
			return p, nil
		}
	}
	return nil, nil
}

// stepBack lets a delivery wait on, because another one leads its batch. When somebody wants it earlier than the leader
// is due, the leader comes up now.
func (w *Worker) stepBack(ctx context.Context, d *delivery, leader *stream.Parked, place int) error {
	d.at = time.Now().Add(standby(d.entry, place))
	wanted := d.Attempts == leader.Delivery.Attempts && d.NextAt.Before(leader.Delivery.NextAt)
	switch {
	case leader.Place == stream.PlaceHeld:
		d.at = time.Now().Add(standbyHeld)
	case leader.Place == stream.PlaceTimer && wanted:
		if err := w.hasten(ctx, leader, d.NextAt); err != nil {
			return err
		}
	}
	return w.setTimer(context.WithoutCancel(ctx), d)
}

// hasten sets a leader's timer to an earlier time, unless it has fired or was set again.
func (w *Worker) hasten(ctx context.Context, leader *stream.Parked, to time.Time) error {
	leader.Delivery.NextAt = to
	msg, err := leader.TimerMessage()
	if err != nil {
		return err
	}
	for name, value := range stream.IfStill(leader) {
		msg.Header.Set(name, value)
	}
	if _, err := w.waits.Write(context.WithoutCancel(ctx), msg, stream.Retries); err != nil && !errors.Is(err, stream.ErrMoved) {
		return err
	}
	return nil
}

// lead sends a batch again. Its first delivery is in our hands, the others are fetched. When the sink may not be sent to
// now, the first alone goes to HELD: it brings the others with it when it comes back. suspect says that some of the batch
// may have been settled by whoever led it before.
func (w *Worker) lead(ctx, turn context.Context, d *delivery, list *stream.BatchList, suspect bool) (err error) {
	plan, ended := w.load(d)
	if plan == nil && d.entry != nil { // it has ended, and the others of the batch may not have
		plan, _ = w.plans.of(d.entry)
	}
	if plan == nil {
		return w.settle(ctx, d, ended, nil)
	}
	by, verdict := w.admit(turn, d, plan)
	if by == nil {
		if ended.Outcome != "" {
			verdict = ended
		}
		return w.settle(ctx, d, verdict, nil)
	}
	b := &batch{slots: d.slots, list: list}
	members, answered, err := w.fetch(ctx, d, list, suspect)
	if err != nil {
		w.backOut(d, by)
		return err
	}
	for _, m := range members {
		if m.delivery == d {
			m.done = func(e error) { err = e }
		}
		m.entry, m.slots = d.entry, d.slots
		b.members = append(b.members, m)
	}
	if answered != nil {
		w.backOut(d, by)
		w.settleAll(ctx, b, deliveredBy(answered))
		return err
	}
	if w.screen(ctx, b); len(b.members) == 0 {
		w.backOut(d, by)
		return err
	}
	w.sendAdmitted(ctx, b, by)
	return err
}

// fetch returns the members of a batch in their order: the leader, and the others from where they wait. What has ended is
// left out. answered is the attempt by which the batch was delivered, when we were killed after that and before all
// members were settled.
func (w *Worker) fetch(ctx context.Context, leader *delivery, list *stream.BatchList, suspect bool) (members []*member, answered *events.Attempt, err error) {
	found := make([]*member, len(list.Members))
	ended := make([]*events.Record, len(list.Members))
	var fetching errgroup.Group
	fetching.SetLimit(fetchers)
	for i, id := range list.Members {
		if id == leader.ID {
			found[i] = &member{delivery: leader}
			continue
		}
		fetching.Go(func() (err error) {
			found[i], ended[i], err = w.fetchOne(ctx, leader, list, id, suspect)
			return err
		})
	}
	if err := fetching.Wait(); err != nil {
		return nil, nil, err
	}
	for i := range found {
		if found[i] != nil {
			members = append(members, found[i])
		}
		if r := ended[i]; r != nil && delivers(r, list) {
			answered = r.Attempt
		}
	}
	return members, answered, nil
}

// delivers reports whether a record says that a batch was delivered.
func delivers(r *events.Record, list *stream.BatchList) bool {
	return r.State == events.StateDelivered && r.Attempt != nil && r.Attempt.WebhookID == list.ID
}

// deliveredBy is the verdict for members of a batch whose delivery others of it have recorded.
func deliveredBy(answered *events.Attempt) func(*member) (events.Verdict, *events.Attempt) {
	return func(m *member) (events.Verdict, *events.Attempt) {
		attempt := *answered
		attempt.Number = m.number()
		return events.Verdict{Outcome: events.Delivered}, &attempt
	}
}

// fetchOne finds one member: where it waits, or else, when it is still on its first attempt, among the events. One that
// has ended comes as its record.
func (w *Worker) fetchOne(ctx context.Context, leader *delivery, list *stream.BatchList, id string, suspect bool) (*member, *events.Record, error) {
	p, ok, err := w.waitlist.Find(ctx, list.Subscription, id)
	if err != nil {
		return nil, nil, err
	}
	if ok && (p.Delivery.Batch == nil || p.Delivery.Batch.ID != list.ID) {
		return nil, nil, nil // it goes its own way since
	}
	if ok {
		d := &delivery{Delivery: p.Delivery, event: p.Event}
		if suspect {
			newest, err := w.settled.history.Newest(ctx, &d.Delivery)
			if err != nil || newest != nil && newest.State.Ended() {
				return nil, newest, err
			}
		}
		// Its message may be older than the leader's: whoever steps back at this moment writes what it had.
		d.Attempts, d.Uncounted = max(d.Attempts, leader.Attempts), max(d.Uncounted, leader.Uncounted)
		return &member{delivery: d, parked: p, done: func(err error) { w.reportMember(d, err) }}, nil, nil
	}
	return w.fetchEvent(ctx, leader, id)
}

// fetchEvent finds a member that waits nowhere: it has ended, or its first attempt was cut short.
func (w *Worker) fetchEvent(ctx context.Context, leader *delivery, id string) (*member, *events.Record, error) {
	f, ok, err := w.settled.history.Find(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	if ok && f.Record.State.Ended() {
		return nil, f.Record, nil
	}
	sequence, subscription, _, _ := events.ParseDeliveryID(id)
	stored, err := w.settled.history.EventAt(ctx, sequence)
	if err != nil || stored == nil {
		return nil, nil, err
	}
	e, err := stored.Event()
	if err != nil {
		return nil, nil, nil // its end is that of an invalid event
	}
	d := &delivery{event: e, Delivery: events.Delivery{
		ID: id, Subscription: subscription, Tenant: e.Tenant(), Event: events.Ref(e, sequence), CreatedAt: stored.At.UTC(),
		Attempts: leader.Attempts, Uncounted: leader.Uncounted,
	}}
	return &member{delivery: d, done: func(err error) { w.reportMember(d, err) }}, nil, nil
}

// reportMember says what went wrong with a member whose message is in nobody's hands: it comes up again by itself.
func (w *Worker) reportMember(d *delivery, err error) {
	if err != nil && !errors.Is(err, errReturned) {
		w.log.Error().Err(err).Str(fieldDelivery, d.ID).Msg("not settled; it will come again")
	}
}

// interrupted takes up a delivery whose first attempt was cut short after its batch was about to be sent: it waits in
// that batch from now on, or was delivered with it. done says that its message is settled.
func (w *Worker) interrupted(ctx context.Context, d *delivery, from delivered) (done bool, err error) {
	if d.Batch != nil || d.Attempts > 0 || !batches(d.entry) {
		return false, nil
	}
	list := w.settled.listOf(d.ID)
	if list == nil {
		return false, nil
	}
	for _, id := range list.Members {
		m, ok, err := w.settled.lookup(ctx, id, from.Stored, false)
		if err != nil {
			return false, err
		}
		if !ok || m.state != events.StateDelivered {
			continue
		}
		r, err := w.settled.history.Record(ctx, m.record, id)
		if err != nil {
			return false, err
		}
		if r != nil && delivers(r, list) {
			verdict, attempt := deliveredBy(r.Attempt)(&member{delivery: d})
			d.Batch = &events.BatchRef{ID: list.ID, List: list.Sequence}
			return true, w.settle(ctx, d, verdict, attempt)
		}
	}
	d.Batch = &events.BatchRef{ID: list.ID, List: list.Sequence}
	d.NextAt = time.Now().Add(interruptedPause).UTC()
	if place := slices.Index(list.Members, d.ID); place > 0 {
		d.at = d.NextAt.Add(standby(d.entry, place))
	}
	return true, w.setTimer(context.WithoutCancel(ctx), d)
}
