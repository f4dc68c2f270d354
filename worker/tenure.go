package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/events/stream"
)

// Times of a tenure.
const (
	laneRetry   = time.Second            // after something at the broker went wrong
	lanePause   = 100 * time.Millisecond // after an attempt was handed back, before the next
	laneCare    = time.Second            // how often it looks after what waits
	laneWaiting = 250 * time.Millisecond // how often it looks whether the gate has opened
	laneRest    = 2 * laneCare           // it gives its goroutine up when there is nothing to do for longer
)

// tenure is this worker's time as the owner of a lane. Everything but the mailbox belongs to the goroutine of serve.
type tenure struct {
	lanes *lanes
	w     *Worker
	id    string // of the subscription

	ctx  context.Context //nolint:containedctx // its life: what waits for a turn ends with it
	end  context.CancelFunc
	mail mailbox

	lease    stream.LaneLease
	before   stream.LaneLease // as the last owner left it
	entry    *registry.Entry  // as it is now; nil = deleted
	version  registry.LaneVersion
	versions int // that are left, this one included
	shape    laneShape

	keys      *laneKeys
	blocked   map[string]*laneKey // by the delivery that blocks it
	held      map[string]bool     // deliveries that wait in HELD
	cancelled map[string]bool     // deliveries of events that are still to come
	moved     map[string]bool     // what lay in RETRIES or HELD when the tenure began; nil = nothing that comes may be of it
	fence     uint64              // events up to it may have been settled by the last owner
	since     time.Time           // and were not recorded before
	inflight  int
	moving    int
	pausing   time.Time // no attempt before
	shut      time.Time // the gate is shut since; zero = it is open
	wake      time.Time // when to look again, at the latest
	cared     time.Time
	counted   time.Time // what lies in HELD
	aging     time.Time // no event in the stream is too old before

	pull lanePull
	tick laneTick
}

// laneShape is what of a subscription's settings a tenure is built on: when it changes, another begins.
type laneShape struct {
	key, every, cron, zone, source string
	batch                          int
	latest                         bool
}

func shapeOf(e *registry.Entry) (s laneShape) {
	if e == nil {
		return s
	}
	s.key = e.Subscription.LaneKey()
	c := e.Subscription.Config
	if c.Schedule != nil {
		s.every, s.cron, s.zone = time.Duration(c.Schedule.Every).String(), c.Schedule.Cron, c.Schedule.Timezone
		s.source, s.batch = c.Schedule.Source, c.Schedule.Batch
	}
	s.latest = c.Lifecycle != nil && c.Lifecycle.LatestOnly
	return s
}

func newTenure(ctx context.Context, l *lanes, id string) *tenure {
	t := &tenure{
		lanes: l, w: l.w, id: id,
		mail: mailbox{poke: make(chan struct{}, 1)}, blocked: map[string]*laneKey{}, held: map[string]bool{},
		cancelled: map[string]bool{},
	}
	t.ctx, t.end = context.WithCancel(ctx)
	return t
}

// serve takes the lane over and runs it. It returns when the tenure has ended, or is parked.
func (t *tenure) serve() {
	if t.takeOver() {
		t.run()
		return
	}
	t.close()
}

// takeOver reports whether the lane is ours. If it is not yet, another tenure tries again.
func (t *tenure) takeOver() bool {
	if err := t.acquire(); err != nil {
		if t.ctx.Err() == nil && !errors.Is(err, stream.ErrLaneTaken) {
			t.log().Warn().Err(err).Msg("lane not taken over; trying again")
			t.sleep(laneRetry)
		}
		t.sleep(laneLook)
		return false
	}
	err := t.listen()
	if err == nil {
		if err = t.prepare(); err == nil {
			t.log().Debug().Str("consumer", t.pull.consumer).Uint64("fence", t.fence).Msg("runs the lane")
			return true
		}
		t.deafen()
	}
	if t.ctx.Err() == nil {
		t.log().Warn().Err(err).Msg("lane not taken over; trying again")
		t.sleep(laneRetry)
	}
	t.handBack()
	return false
}

// run runs the lane until the tenure has ended, or until it is parked because there is nothing to do: then it is called
// again when there is.
func (t *tenure) run() {
	timer := time.NewTimer(laneCare)
	defer timer.Stop()
	for t.work(); t.ctx.Err() == nil; t.work() {
		t.pump()
		left := time.Until(t.wake)
		if t.inflight+t.moving == 0 && left > laneRest && t.mail.park(left, t.resume) {
			return
		}
		timer.Reset(left)
		select {
		case <-t.ctx.Done():
		case <-timer.C:
		case <-t.mail.poke:
		}
	}
	t.finish()
	t.deafen()
	t.release()
	t.close()
}

func (t *tenure) resume() { t.lanes.pool.do(t.run) }

// quit ends the tenure from outside.
func (t *tenure) quit() {
	t.end()
	t.mail.nudge()
}

// close ends the tenure. Retries that came too late go back to the broker.
func (t *tenure) close() {
	t.end()
	for _, do := range t.mail.close() {
		do()
	}
	t.lanes.over(t)
}

// log is the worker's, for the lane. It is made when something is said: a thousand of them would be half a MiB.
func (t *tenure) log() *zerolog.Logger {
	log := t.w.log.With().Str(fieldSubscription, t.id).Logger()
	return &log
}

// work does what is in the mailbox.
func (t *tenure) work() {
	for _, do := range t.mail.take() {
		do()
	}
	t.take()
}

// finish waits for what is under way, and lets go of what is in our hands: it comes again to the next owner.
func (t *tenure) finish() {
	for t.inflight > 0 || t.moving > 0 {
		<-t.mail.poke
		for _, do := range t.mail.take() {
			do()
		}
	}
	t.drop()
}

func (t *tenure) sleep(d time.Duration) {
	select {
	case <-t.ctx.Done():
	case <-time.After(d):
	}
}

// wakeBy has the lane looked at again at a time.
func (t *tenure) wakeBy(at time.Time) {
	if at.Before(t.wake) {
		t.wake = at
	}
}

// reload takes the subscription as it is now. What the tenure is built on may have changed: then the next one begins.
func (t *tenure) reload() {
	t.entry, _ = t.w.registry.Lookup(t.id)
	versions := t.w.registry.LaneVersions(t.id)
	if len(versions) == 0 || shapeOf(t.entry) != t.shape || versions[0].From != t.version.From {
		t.end()
		return
	}
	t.version, t.versions = versions[0], len(versions)
}

// pump begins what may begin.
func (t *tenure) pump() {
	now := time.Now()
	t.wake = now.Add(laneHeartbeat)
	if t.pull.lost {
		t.end()
		return
	}
	t.care(now)
	if !t.mayStart(now) {
		t.ask(now)
		return
	}
	t.ticking(now)
	for limit := t.limit(); t.inflight < limit && !t.gathering(); {
		k, it := t.keys.next(now)
		if it == nil {
			k, it = t.tick.next(t.keys, now)
		}
		if it == nil {
			break
		}
		t.start(k, it)
	}
	t.ask(now)
}

// mayStart reports whether attempts may begin: the sink may be sent to, and the fleet knows that we live.
func (t *tenure) mayStart(now time.Time) bool {
	open := t.entry == nil || t.w.opens(t.entry) && !now.Before(t.w.gates.of(t.id).closedUntil())
	switch {
	case open:
		t.shut = time.Time{}
	case t.shut.IsZero():
		t.shut = now
	}
	switch {
	case !open:
		t.wakeBy(now.Add(laneWaiting))
		t.passTick(now)
		return false
	case t.entry != nil && !t.w.drains(t.entry): // its rate is used up
		t.wakeBy(now.Add(laneWaiting))
		return false
	case now.Before(t.pausing):
		t.wakeBy(t.pausing)
		return false
	case !t.w.fleet.fresh(now): // another may have taken us for dead
		t.wakeBy(now.Add(lanePause))
		return false
	}
	return true
}

// gathering reports whether the newest events are still to come, of a lane in which only the newest of a key goes.
func (t *tenure) gathering() bool {
	switch {
	case !t.shape.latest || t.pull.window >= laneWindow:
		return false
	case t.tick.scheduled:
		return t.tick.open && (t.tick.recount || t.tick.remaining > 0)
	default:
		return t.pull.behind
	}
}

// limit is how many attempts may be under way.
func (t *tenure) limit() int {
	if t.entry == nil {
		return cap(t.w.first.sends)
	}
	return max(1, min(t.w.laneSlots(t.entry), t.w.soon(t.entry)))
}

// laneSlots is how many deliveries of a lane are in hand at a time: what may be sent, of batches what fills one.
func (w *Worker) laneSlots(e *registry.Entry) int {
	n := min(e.Subscription.Config.Concurrency, cap(w.first.sends))
	if batches(e) {
		n = min(n*bounds(e).MaxEvents, max(bounds(e).MaxEvents, 2*cap(w.first.sends)))
	}
	return n
}

func (t *tenure) start(k *laneKey, it *laneItem) {
	t.inflight++
	entry := t.entry
	t.lanes.pool.do(func() {
		done := t.w.runItem(t, entry, k.name, it)
		t.mail.put(func() { t.ended(k, it, done) })
	})
}

// ended takes what became of an attempt.
func (t *tenure) ended(k *laneKey, it *laneItem, done laneResult) {
	now := time.Now()
	t.inflight--
	t.tick.ended(it, done.err != nil)
	switch {
	case errors.Is(done.err, errReturned):
		if it.held != 0 {
			t.held[it.id] = true
		}
		t.pausing = now.Add(lanePause)
		t.back(k, it)
	case done.err != nil:
		t.log().Error().Err(done.err).Str(fieldDelivery, it.id).Msg("delivery of a lane not settled; trying again")
		t.pausing = now.Add(laneRetry)
		t.back(k, it)
	default:
		t.settled(k, it, done)
	}
}

// back lets an item wait again whose attempt was not made.
func (t *tenure) back(k *laneKey, it *laneItem) {
	if k.aside {
		it.superseded = false
		t.queue(t.keys.of(k.name), it)
		return
	}
	t.keys.back(k, it)
}

func (t *tenure) settled(k *laneKey, it *laneItem, done laneResult) {
	delete(t.held, it.id)
	if it.kept != nil && !it.due {
		t.pull.window--
	}
	if !done.waits || k.name == "" || k.aside {
		t.keys.done(k, "")
		return
	}
	t.blocked[it.id] = k
	t.keys.done(k, it.id)
}

// String names the lane in errors.
func (t *tenure) String() string { return fmt.Sprintf("lane %s", t.id) }

// come takes what the broker sent, on its callback.
func (t *tenure) come(m *nats.Msg) {
	t.pull.mu.Lock()
	t.pull.come = append(t.pull.come, m)
	t.pull.mu.Unlock()
	t.mail.nudge()
}

var errNotAlone = fmt.Errorf("%w: its last owner is alive", stream.ErrLaneTaken)

// acquire takes the lane's lease, once its last owner has given it up or is dead.
func (t *tenure) acquire() error {
	lease, err := t.lanes.store.Lease(t.ctx, t.id)
	if err != nil {
		return err
	}
	if lease.Owner != "" && lease.Owner != t.w.fleet.id && t.w.fleet.alive(lease.Owner) {
		return errNotAlone
	}
	if lease.Owner != "" && lease.Owner != t.w.fleet.id { // it was killed, and maybe the broker with it
		t.pull.unsure = laneWindow
	}
	t.before = lease
	lease.Owner = t.w.fleet.id
	if err := t.lanes.store.Write(t.ctx, t.id, &lease); err != nil {
		return err
	}
	t.lease = lease
	return nil
}

// release gives the lease up, so that the next owner need not wait. A lane that is no more leaves none.
func (t *tenure) release() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), settleTimeout)
	defer cancel()
	var err error
	if t.versions == 0 {
		err = t.lanes.store.Forget(ctx, t.id)
	} else {
		t.lease.Owner, t.lease.Ended = "", time.Time{}
		err = t.lanes.store.Write(ctx, t.id, &t.lease)
	}
	if err != nil && !errors.Is(err, stream.ErrLaneTaken) {
		t.log().Warn().Err(err).Msg("lease of a lane not given up; it ends with this worker")
	}
}

// handBack leaves the lease as the last owner left it, after a take-over that came to nothing: what that owner may have settled
// nobody has looked up, and the next one must.
func (t *tenure) handBack() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), settleTimeout)
	defer cancel()
	switch t.before.Owner {
	case "":
		t.lease.Owner, t.lease.Ended = "", t.before.GivenUp()
	case t.w.fleet.id: // it could not be written when we gave it up
		t.lease.Owner, t.lease.Ended = "", time.Time{}
	default:
		t.lease.Owner = t.before.Owner
	}
	if err := t.lanes.store.Write(ctx, t.id, &t.lease); err != nil && !errors.Is(err, stream.ErrLaneTaken) {
		t.log().Warn().Err(err).Msg("lease of a lane not handed back; it ends with this worker")
	}
}

// record notes how far the schedule is, durably enough for the next owner.
func (t *tenure) record() error {
	if err := t.lanes.store.Write(t.ctx, t.id, &t.lease); err != nil {
		if errors.Is(err, stream.ErrLaneTaken) {
			t.end()
		}
		return err
	}
	return nil
}

// laneResult is what became of an item.
type laneResult struct {
	waits bool // for its retry
	err   error
}

// keyOf is the name of the key that an event belongs to; "" = it needs no order.
func (t *tenure) keyOf(e *events.Event) string {
	if t.entry == nil || t.shape.key == "" || isTest(e) {
		return ""
	}
	key, ok := t.entry.Subscription.KeyOf(e)
	if !ok {
		return ""
	}
	return "=" + key // an empty key is one too
}
