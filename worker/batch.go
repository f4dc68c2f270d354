package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/hookfleet/hookfleet/auth/egress"
	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/worker/render"
)

// batch is deliveries of one subscription that are settled by one request.
type batch struct {
	slots   *slots
	members []*member
	size    int               // of the body
	linger  *time.Timer       // of one that may still grow
	list    *stream.BatchList // its first composition; nil = it was never about to be sent
}

// member is one delivery of a batch.
type member struct {
	*delivery
	text   []byte
	done   func(error)    // called once, when the delivery is settled or handed back
	parked *stream.Parked // where it waits meanwhile; nil = its message is in our hands
}

// batches reports whether a subscription takes batches.
func batches(entry *registry.Entry) bool {
	return entry != nil && entry.Subscription.ProtocolSettings.ContentMode == events.ModeBatch
}

// bodySize is what a body with this member alone takes: its text and two brackets. Each further member takes a comma
// instead.
func bodySize(m *member) int { return len(m.text) + len("[]") }

func (b *batch) add(m *member) {
	if b.size == 0 {
		b.size = bodySize(m)
	} else {
		b.size += bodySize(m) - 1
	}
	b.members = append(b.members, m)
}

// settled tells all members the same.
func (b *batch) settled(err error) {
	for _, m := range b.members {
		m.done(err)
	}
}

// id is the batch's webhook-id.
func (b *batch) id() string { return b.list.ID }

// name gives a batch that was never sent its id and list.
func (b *batch) name() {
	if b.list != nil {
		return
	}
	first := b.members[0]
	b.list = &stream.BatchList{Subscription: first.Subscription}
	for _, m := range b.members {
		b.list.Members = append(b.list.Members, m.ID)
	}
	b.list.ID = events.BatchID(b.list.Members, first.event, first.Subscription)
}

// text is what a batch's body has for an event.
func (p *plan) text(d *delivery) []byte { return p.content.Member(d.event) }

// textOf loads a delivery's subscription and renders its part of a batch, unless there is one. ok is false for what is not
// to be sent; then the verdict says why. A panic is an outcome of this delivery alone.
func (w *Worker) textOf(d *delivery, have []byte) (text []byte, verdict events.Verdict, ok bool) {
	defer func() {
		if p := recover(); p != nil {
			w.log.Error().Str(fieldDelivery, d.ID).Bytes("stack", debug.Stack()).Msgf("panic in a delivery: %v", p)
			text, verdict, ok = nil, events.Verdict{Outcome: events.Dead, Reason: events.ReasonPanic}, false
		}
	}()
	plan, verdict := w.load(d)
	if plan == nil {
		return nil, verdict, false
	}
	if have == nil {
		have = plan.text(d)
	}
	return have, events.Verdict{}, true
}

// renderBatch makes the request of a batch: an array of its members' texts, byte for byte.
func (p *plan) renderBatch(b *batch, now time.Time) (*egress.Request, error) {
	size := len("]")
	for _, m := range b.members {
		size += len(m.text) + len(",")
	}
	body := make([]byte, 0, size)
	for _, m := range b.members {
		body = append(append(body, ','), m.text...)
	}
	body[0] = '['
	first := b.members[0]
	h := make(http.Header, 4+len(p.entry.Subscription.ProtocolSettings.Headers))
	in := render.Input{Event: first.event, WebhookID: b.id(), Subscription: first.Subscription, Attempt: first.number(), Now: now}
	u, err := p.content.Batch(&in, h)
	if err != nil {
		return nil, err
	}
	return p.request(b.id(), u, h, append(body, ']'), now), nil
}

// sendBatch takes the gathered deliveries of a batch through an attempt and settles each of them.
func (w *Worker) sendBatch(ctx, turn context.Context, b *batch) {
	entry, _ := w.registry.Lookup(b.members[0].Subscription) // as it is now
	for _, m := range b.members {
		if m.entry != entry {
			m.entry, m.text = entry, nil
		}
	}
	if entry != nil && !batches(entry) {
		w.scatter(ctx, turn, b)
		return
	}
	if w.screen(ctx, b); len(b.members) == 0 {
		return
	}
	p, err := w.plans.of(b.members[0].entry)
	if err != nil { // screen has found one for each of them
		b.settled(err)
		return
	}
	by, verdict := w.admit(turn, b.members[0].delivery, p)
	if by == nil {
		w.settleAll(ctx, b, func(*member) (events.Verdict, *events.Attempt) { return verdict, nil })
		return
	}
	w.sendAdmitted(ctx, b, by)
}

// scatter delivers the members each by itself: the subscription does not take batches any more.
func (w *Worker) scatter(ctx, turn context.Context, b *batch) {
	var all sync.WaitGroup
	for _, m := range b.members {
		all.Go(func() { m.done(w.attemptAlone(ctx, turn, m.delivery)) })
	}
	all.Wait()
}

// screen settles the members that are not to be sent, and leaves the others with their texts.
func (w *Worker) screen(ctx context.Context, b *batch) {
	b.members = slices.DeleteFunc(b.members, func(m *member) bool {
		text, verdict, ok := w.textOf(m.delivery, m.text)
		if m.text = text; !ok {
			m.done(w.settleMember(context.WithoutCancel(ctx), m, verdict, nil))
		}
		return !ok
	})
}

// dropLate settles the members that are not to be sent any more.
func (w *Worker) dropLate(ctx context.Context, b *batch) {
	b.members = slices.DeleteFunc(b.members, func(m *member) bool {
		v, late := tooLate(m.delivery, time.Now())
		if late {
			m.done(w.settleMember(context.WithoutCancel(ctx), m, v, nil))
		}
		return late
	})
}

// sendAdmitted sends a batch that was admitted by its first delivery, whose slot it keeps until its members are
// settled. A panic is the end of this batch alone.
func (w *Worker) sendAdmitted(ctx context.Context, b *batch, by *pass) {
	first := b.members[0].delivery
	defer w.freeSlot(first)
	if w.dropLate(ctx, b); len(b.members) == 0 { // they waited for their turn
		by.giveBack()
		return
	}
	b.members[0].probe = first.probe // if the first has gone
	a, plan, start, took, err := w.exchangeBatch(ctx, b, by)
	switch {
	case errors.Is(err, errPanic):
		dead := events.Verdict{Outcome: events.Dead, Reason: events.ReasonPanic}
		w.settleAll(ctx, b, func(*member) (events.Verdict, *events.Attempt) { return dead, nil })
	case a.unsent:
		verdict := w.unsent(ctx, b.members[0].delivery, a.err)
		w.settleAll(ctx, b, func(*member) (events.Verdict, *events.Attempt) { return verdict, nil })
	case err != nil:
		b.settled(err)
	default:
		w.settleAnswered(ctx, b, plan, a, start, took)
	}
}

var errPanic = errors.New("panic")

// exchangeBatch writes down what is in the batch, and sends it. It gives the permit back.
func (w *Worker) exchangeBatch(ctx context.Context, b *batch, by *pass) (a answer, p *plan, start time.Time, took time.Duration, err error) {
	sent, first := false, b.members[0]
	defer func() {
		if r := recover(); r != nil {
			w.log.Error().Str(fieldSubscription, first.Subscription).Bytes("stack", debug.Stack()).Msgf("panic in a batch: %v", r)
			err = errPanic
		}
		if !sent {
			by.giveBack()
		}
	}()
	if p, err = w.plans.of(first.entry); err != nil {
		return a, nil, start, 0, err
	}
	if err = w.writeList(ctx, b); err != nil {
		return a, nil, start, 0, err
	}
	start = time.Now()
	a = w.sendAs(ctx, p, true, func() (*egress.Request, error) { return p.renderBatch(b, time.Now()) })
	if a.unsent {
		return a, p, start, 0, nil
	}
	took = time.Since(start)
	sent = true
	if errors.Is(a.err, context.Canceled) {
		by.gate.release(took)
		return a, nil, start, took, errReturned
	}
	// The sink is judged once, before the next one may be sent.
	v := classify(a, first.entry.Subscription.Config, first.counted(), first.CreatedAt, start.Add(took), 0)
	w.judgeSink(ctx, first.delivery, &v, by.gate)
	by.gate.release(took)
	return a, p, start, took, nil
}

// listRefresh is after how long a list is written anew: the history is kept for seven days.
const listRefresh = 24 * time.Hour

// writeList makes sure that the history says what is in the batch, before it is sent.
func (w *Worker) writeList(ctx context.Context, b *batch) error {
	b.name()
	if b.list.Sequence == 0 || time.Since(b.list.Stored) > listRefresh {
		msg, err := b.list.Message()
		if err != nil {
			return err
		}
		ack, err := w.records.Write(context.WithoutCancel(ctx), msg, "")
		if err != nil {
			return fmt.Errorf("write the list of batch %s: %w", b.id(), err)
		}
		b.list.Sequence, b.list.Stored = ack.Sequence, time.Now()
	}
	ref := &events.BatchRef{ID: b.id(), List: b.list.Sequence}
	for _, m := range b.members {
		m.Batch = ref
	}
	return nil
}

// settleAnswered settles the members of a batch by the answer to it: the sink is judged once, each delivery by its own
// age and count.
func (w *Worker) settleAnswered(ctx context.Context, b *batch, p *plan, a answer, start time.Time, took time.Duration) {
	random, now := rand.Float64(), time.Now() //nolint:gosec // jitter is no secret
	attempts := make(map[*member]*events.Attempt, len(b.members))
	verdicts := make(map[*member]events.Verdict, len(b.members))
	var leads *member
	var shown *events.Response
	for i, m := range b.members {
		v := classify(a, m.entry.Subscription.Config, m.counted(), m.CreatedAt, now, random)
		attempt := describe(m.delivery, p, a, v, start, took)
		attempt.WebhookID = b.id()
		if i == 0 {
			shown = attempt.Response
		}
		attempt.Response = shown // the same, once in memory
		attempts[m], verdicts[m] = attempt, v
		if v.Outcome != events.Retry {
			continue
		}
		if leads == nil {
			leads = m
		} else {
			m.at = v.NextAt.Add(standby(m.entry, i))
		}
	}
	w.settleAll(ctx, b, func(m *member) (events.Verdict, *events.Attempt) { return verdicts[m], attempts[m] })
}

// settleAll settles the members side by side, so that the writers store them in groups.
func (w *Worker) settleAll(ctx context.Context, b *batch, of func(*member) (events.Verdict, *events.Attempt)) {
	ctx = context.WithoutCancel(ctx)
	var all sync.WaitGroup
	for _, m := range b.members {
		verdict, attempt := of(m)
		all.Go(func() {
			if verdict.Outcome == events.Returned {
				m.done(errReturned)
				return
			}
			m.done(w.settleMember(ctx, m, verdict, attempt))
		})
	}
	all.Wait()
}

// settleMember settles one member, and removes it from where it waited.
func (w *Worker) settleMember(ctx context.Context, m *member, v events.Verdict, attempt *events.Attempt) error {
	if err := w.settle(ctx, m.delivery, v, attempt); err != nil {
		return err
	}
	if m.parked == nil || v.Outcome == events.Retry && m.parked.Place == stream.PlaceTimer || v.Outcome == events.Held && m.parked.Place == stream.PlaceHeld {
		return nil // it has been replaced, or is where it should be
	}
	_, err := w.waitlist.Remove(ctx, m.parked)
	return err
}
