package worker

import (
	"context"
	"time"

	"github.com/hookfleet/hookfleet/events/stream"
)

// How a lane looks after what waits in it.
const (
	// laneStuck is how long an event waits in our hands behind one that takes long. Then it goes to HELD: the stream need not
	// wait for it, and what a take-over has to look up stays little.
	laneStuck = 2 * time.Second
	// laneLooks bounds the retries that one round looks for: 5 ms of the broker.
	laneLooks = 32
	// laneMoves bounds the events that are on their way to HELD at a time.
	laneMoves = 256
	// laneRecount is how often what lies in HELD is counted, to find what nobody told of.
	laneRecount = 5 * time.Second
)

// care looks after what waits, once a laneCare.
func (t *tenure) care(now time.Time) {
	if left := laneCare - now.Sub(t.cared); left > 0 {
		if t.inflight+t.pull.window+len(t.blocked)+len(t.held) > 0 || !t.version.Current() || !t.shut.IsZero() {
			t.wakeBy(now.Add(left))
		}
		return
	}
	t.cared = now
	t.adapt(now)
	t.expire(now)
	t.moveStuck(now)
	t.lookForRetries(now)
	t.withdraw()
	t.countHeld(now)
	t.expireStream(now)
	t.conclude()
	if t.inflight+t.pull.window > 0 { // also when nothing else comes
		t.wakeBy(now.Add(laneCare))
	}
}

// moveStuck moves what cannot go soon to HELD: everything while the gate is shut, what waits for a tick that is over, and
// what is behind a delivery that takes long.
func (t *tenure) moveStuck(now time.Time) {
	shut := !t.shut.IsZero() && now.Sub(t.shut) > laneStuck
	for _, k := range t.keys.all() {
		idle := t.tick.scheduled && !t.tick.open
		if !shut && !idle && k.stuck(now) <= laneStuck {
			continue
		}
		for _, it := range k.waiting {
			if t.moving >= laneMoves {
				return
			}
			if it.inHand() && (shut || k.stuck(now) > laneStuck || it.first) && now.Sub(it.came) > laneStuck {
				t.move(k, it)
			}
		}
	}
}

// expire lets what is too old end, whatever it waits for.
func (t *tenure) expire(now time.Time) {
	if t.entry == nil {
		return
	}
	age := time.Duration(t.entry.Subscription.Config.Retry.MaxAge)
	if age == 0 {
		return
	}
	limit := cap(t.w.first.sends)
	for _, k := range t.keys.all() {
		for len(k.waiting) > 0 && t.inflight < limit {
			it := k.waiting[0]
			if it.moving || !now.After(it.created.Add(age)) {
				break
			}
			k.waiting = k.waiting[1:]
			t.start(&laneKey{running: it}, it)
		}
		t.keys.list(k)
	}
}

// expireStream takes events that grow too old in the stream, while the lane does not read it.
func (t *tenure) expireStream(now time.Time) {
	if t.entry == nil || !t.rests() || t.pull.window+t.pull.asked > 0 {
		return
	}
	age := time.Duration(t.entry.Subscription.Config.Retry.MaxAge)
	if age == 0 || now.Before(t.aging) {
		return
	}
	at, ok, err := t.lanes.store.Next(t.ctx, t.version.Tenant, t.version.Types, t.pull.read)
	if err != nil || !ok {
		t.aging = now.Add(min(age, time.Minute))
		return
	}
	if t.aging = at.Add(age); now.Before(t.aging) {
		return
	}
	if err := t.request(laneFirst, time.Second, 0); err != nil {
		t.log().Warn().Err(err).Msg("events that are too old not asked for; trying again")
	}
}

// lookForRetries looks whether the retries that keys wait for are still there: one may have been cancelled, or held by
// another worker that could not tell.
func (t *tenure) lookForRetries(now time.Time) {
	looks := 0
	for delivery, k := range t.blocked {
		if looks == laneLooks || t.ctx.Err() != nil {
			return
		}
		if now.Sub(k.since) < laneStuck {
			continue
		}
		looks++
		t.find(delivery)
	}
}

// countHeld finds what lies in HELD and nobody told of, and takes the mark off when nothing does.
func (t *tenure) countHeld(now time.Time) {
	if !t.w.registry.Health(t.id).Backlog || now.Sub(t.counted) < laneRecount {
		return
	}
	t.counted = now
	left, err := t.w.waitlist.Count(t.ctx, t.id)
	if err != nil {
		t.notSeen(err)
		return
	}
	known := uint64(len(t.held))
	switch {
	case left.Held > known || left.Held > 0 && t.moving+t.inflight == 0 && left.Held < known:
		t.readHeld()
	case left.Held == 0 && known == 0 && t.moving == 0:
		if err := t.w.clearBacklog(t.ctx, t.id); err != nil && t.ctx.Err() == nil {
			t.log().Warn().Err(err).Msg("backlog of a lane not cleared; trying again")
		}
	}
}

// notSeen says that what lies in HELD could not be looked at; the next round does.
func (t *tenure) notSeen(err error) {
	if t.ctx.Err() == nil {
		t.log().Warn().Err(err).Msg("held deliveries of a lane not looked at; trying again")
	}
}

// readHeld takes what lies in HELD and is not known.
func (t *tenure) readHeld() {
	for p, err := range t.w.waitlist.All(t.ctx, t.id) {
		if err != nil {
			t.notSeen(err)
			return
		}
		if p.Place == stream.PlaceHeld && t.blocked[p.Delivery.ID] == nil {
			t.addHeld(t.keys.of(t.keyOf(p.Event)), p, false)
		}
	}
}

// conclude ends the lane's work for an earlier version of the subscription once all its events are settled or wait
// elsewhere, and the tenure with it.
func (t *tenure) conclude() {
	if t.version.Current() || t.pull.window+t.moving > 0 {
		return
	}
	if !t.pull.past {
		state, err := readConsumer(t.ctx, t.w.nc, stream.Events, t.pull.consumer)
		if err != nil || state.NumPending+uint64(state.NumAckPending) > 0 {
			return
		}
	}
	// The tenure may end as soon as the registry knows that it is over.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), settleTimeout)
	defer cancel()
	err := t.w.registry.ForgetLane(ctx, t.id, t.version.From)
	if err == nil {
		err = t.lanes.store.Drop(ctx, t.pull.consumer)
	}
	if err != nil {
		if t.ctx.Err() == nil {
			t.log().Warn().Err(err).Msg("earlier version of a lane not concluded; trying again")
		}
		return
	}
	t.versions--
	t.end()
}
