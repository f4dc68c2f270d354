package worker

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events"
	"github.com/hookfleet/hookfleet/events/registry"
	"github.com/hookfleet/hookfleet/events/stream"
)

// Bounds of what a lane has in hand.
const (
	// laneWindow is how many events of a lane are in hand at most: some hundred milliseconds of a fast sink, and 1 MB at
	// 1 KiB. What a take-over has to look up is no more than what went on around them.
	laneWindow = 1024
	// laneFirst is how many a lane takes at first, until it has shown how fast they go.
	laneFirst = 64
	// lanePullBytes bounds what one request brings, when events are large.
	lanePullBytes = 4 << 20
	// laneSlow is how long what is ready may wait before fewer are taken.
	laneSlow = time.Second
)

// Times of a lane's pull requests. An idle lane asks once a laneExpires: a thousand of them cost 8 requests and 33
// heartbeats a second.
const (
	laneExpires   = 2 * time.Minute
	laneHeartbeat = 30 * time.Second
	laneSilence   = 3 * laneHeartbeat
)

// lanePull is how a lane reads the event stream.
type lanePull struct {
	consumer string
	inbox    string
	listener *nats.Subscription
	window   int    // events in hand
	room     int    // how many may be, as fast as they go
	asked    int    // messages that the broker owes us
	behind   bool   // there is more in the stream
	read     uint64 // sequence of the newest event that came
	unsure   int    // events that the last owner may have had in hand although the broker does not know any more
	past     bool   // it has met an event after its version
	lost     bool   // the consumer is gone
	last     time.Time

	mu   sync.Mutex
	come []*nats.Msg
}

// listen begins to take what the broker sends.
func (t *tenure) listen() (err error) {
	t.pull.inbox = t.w.nc.NewInbox()
	if t.pull.listener, err = t.w.nc.Subscribe(t.pull.inbox, t.come); err != nil {
		return fmt.Errorf("listen for events of lane %s: %w", t.id, err)
	}
	if err := t.pull.listener.SetPendingLimits(-1, -1); err != nil { // what was asked for bounds it
		return fmt.Errorf("listen for events of lane %s: %w", t.id, err)
	}
	return nil
}

func (t *tenure) deafen() { _ = t.pull.listener.Unsubscribe() } // the connection may be gone

// prepare makes the consumer of the oldest version that is not through, learns what waits already, and takes the
// consumer back to its floor: so nothing newer of a key comes before what was in the last owner's hands.
func (t *tenure) prepare() error {
	ctx, cancel := context.WithTimeout(t.ctx, prepareTimeout)
	defer cancel()
	if err := t.w.registry.Fresh(ctx); err != nil {
		return err
	}
	versions := t.w.registry.LaneVersions(t.id)
	if len(versions) == 0 {
		t.end() // it is no lane any more
		return nil
	}
	t.version, t.versions = versions[0], len(versions)
	t.entry, _ = t.w.registry.Lookup(t.id)
	t.shape = shapeOf(t.entry)
	t.w.progress.Drop(t.id)
	if err := t.prepareTicks(); err != nil {
		return err
	}
	t.keys = newLaneKeys(t.tick.scheduled)
	for _, v := range versions { // all of them, so that none of their events is trimmed
		if err := t.ensure(ctx, &v); err != nil {
			return err
		}
	}
	t.pull.consumer, t.pull.room = stream.LaneConsumer(t.id, t.version.From), laneFirst
	state, err := readConsumer(ctx, t.w.nc, stream.Events, t.pull.consumer)
	if err != nil {
		return err
	}
	t.pull.behind, t.pull.read = state.NumPending > 0, state.Delivered.Stream
	t.lease.Fence = max(t.lease.Fence, state.Delivered.Stream)
	if err := t.readHistory(ctx, state, &t.before); err != nil {
		return err
	}
	if err := t.readWaiting(ctx); err != nil {
		return err
	}
	if err := t.readCancelled(ctx, state.AckFloor.Stream); err != nil {
		return err
	}
	if state.NumAckPending == 0 && state.Delivered.Stream == state.AckFloor.Stream {
		return nil
	}
	t.pull.behind = true
	t.pull.read = state.AckFloor.Stream
	// Noted first: once it is rewound, the consumer does not tell any more how far it was.
	if err := t.record(); err != nil {
		return err
	}
	return t.lanes.store.Rewind(ctx, t.pull.consumer)
}

func (t *tenure) ensure(ctx context.Context, v *registry.LaneVersion) error {
	return t.lanes.store.Ensure(ctx, stream.LaneConsumerConfig{
		Subscription: t.id, From: v.From, Tenant: v.Tenant, Types: v.Types, AckWait: ackWait, Window: 2 * laneWindow,
	})
}

// laneMemory is how far back the history is read at a take-over, beside the subscription's timeout: an event that is in
// hand has been there no longer, because what is stuck goes to HELD.
const laneMemory = 2 * time.Minute

// readHistory learns what the last owner may have settled: any event that was there. How far it was, the broker may have
// forgotten with its last 100 ms, if it was killed as well. before is the lease as that one left it.
func (t *tenure) readHistory(ctx context.Context, state *consumerState, before *stream.LaneLease) (err error) {
	if t.fence, err = t.lanes.store.LastEvent(ctx); err != nil {
		return err
	}
	end, err := t.lastEnd(ctx, before)
	if err != nil {
		return err
	}
	t.since = end.Add(-laneMemory - t.timeout())
	if state.AckFloor.Stream < before.Fence { // nor had the last owner come through what the one before it had in hand
		t.since = earlier(t.since, before.Since)
	}
	t.lease.Since = t.since
	if t.fence <= state.AckFloor.Stream && t.lease.Tick.IsZero() && t.lease.Until == 0 && !t.w.registry.Health(t.id).Backlog {
		return nil // nothing was in hand
	}
	_, _, err = t.w.settled.lookup(ctx, "", t.since, true)
	return err
}

// lastEnd is until when the last owner settled anything, at the latest.
func (t *tenure) lastEnd(ctx context.Context, before *stream.LaneLease) (end time.Time, err error) {
	recorded, err := t.lanes.store.LastRecord(ctx)
	if err != nil {
		return end, err
	}
	var alive time.Time
	if before.Owner != "" && before.Owner != t.w.fleet.id {
		if alive, err = t.lanes.store.LastAlive(ctx, before.Owner); err != nil {
			return end, err
		}
	}
	return endOf(time.Now(), recorded, alive, before), nil
}

// endOf is until when an owner settled anything, at the latest. That is the last record, if no worker came after it; but
// while none is there the API goes on to record what is cancelled, and its own last sign of life tells better.
func endOf(now, recorded, alive time.Time, lease *stream.LaneLease) time.Time {
	end := earlier(now, recorded)
	switch {
	case lease.Owner == "":
		return earlier(end, lease.GivenUp()) // it gave the lane up when all was settled
	case alive.IsZero():
		return end
	default:
		return earlier(end, alive.Add(aliveInterval+heartbeatTTL))
	}
}

func (t *tenure) timeout() time.Duration {
	if t.entry == nil {
		return events.MaxTimeout
	}
	return time.Duration(t.entry.Subscription.Config.Timeout)
}

// readWaiting learns what waits in RETRIES and HELD.
func (t *tenure) readWaiting(ctx context.Context) error {
	t.moved = map[string]bool{}
	for p, err := range t.w.waitlist.All(ctx, t.id) {
		if err != nil {
			return fmt.Errorf("read what waits in lane %s: %w", t.id, err)
		}
		t.moved[p.Delivery.ID] = true
		k := t.keys.of(t.keyOf(p.Event))
		if p.Place != stream.PlaceHeld {
			t.block(k, p.Delivery.ID)
			continue
		}
		t.addHeld(k, p, true)
	}
	return nil
}

// block says that a delivery of the key waits in RETRIES.
func (t *tenure) block(k *laneKey, delivery string) {
	if k.name == "" {
		return // nothing waits for it
	}
	t.blocked[delivery] = k
	if k.blocked == "" {
		k.blocked, k.since = delivery, time.Now()
	}
}

// addHeld takes what lies in HELD into its key's queue, once.
func (t *tenure) addHeld(k *laneKey, p *stream.Parked, suspect bool) {
	if t.held[p.Delivery.ID] {
		return
	}
	t.held[p.Delivery.ID] = true
	t.queue(k, &laneItem{
		at: events.LifecycleTime(p.Event, p.Delivery.CreatedAt),
		id: p.Delivery.ID, sequence: p.Delivery.Event.Sequence, created: p.Delivery.CreatedAt,
		first: p.Delivery.Attempts == 0 && !isTest(p.Event), held: p.Sequence, suspect: suspect, delivery: events.Delivery{Subscription: t.id, Replay: p.Delivery.Replay},
	})
}

// isTest reports whether an event is a test of the sink, which order and status do not concern.
func isTest(e *events.Event) bool { return e.Type() == events.TypeTest }

// ask asks for as many events as are worth having in hand.
func (t *tenure) ask(now time.Time) {
	p := &t.pull
	if p.asked > 0 && now.Sub(p.last) >= laneSilence {
		t.log().Warn().Int("messages", p.asked).Msg("asking the broker anew")
		p.asked = 0
	}
	n := min(p.room, laneWindow) - p.window - p.asked
	switch {
	case t.ctx.Err() != nil || p.lost:
		return
	case t.catchesUp():
		if p.asked > 0 {
			return
		}
	case t.rests():
		if !t.w.tight() || p.asked > 0 && n < p.room/4 {
			return // else what it has goes to HELD, so that the events of others before it can be deleted
		}
	case t.tick.scheduled:
		n = min(n, t.tick.wanted(p.asked, len(t.keys.ticked), t.shape.latest))
	case p.asked > 0 && n < p.room/4:
		return
	}
	if n <= 0 {
		return
	}
	expires, heartbeat := laneExpires, laneHeartbeat
	if t.tick.scheduled {
		expires, heartbeat = time.Second, 0
	}
	if err := t.request(n, expires, heartbeat); err != nil {
		t.log().Warn().Err(err).Msg("events of a lane not asked for; trying again")
		t.wakeBy(now.Add(laneRetry))
	}
}

// rests reports whether no first attempt can begin: the gate is shut, or no tick is open.
func (t *tenure) rests() bool { return !t.shut.IsZero() || t.tick.scheduled && !t.tick.open }

// catchesUp reports whether the lane reads on although nothing may be sent now: what the last owner had in hand is settled or
// goes to HELD while the history is at hand that tells, and not at a take-over in some hours.
func (t *tenure) catchesUp() bool {
	return (t.tick.scheduled || !t.shut.IsZero()) && (t.pull.read < t.lease.Fence || t.pull.unsure > 0)
}

func (t *tenure) request(n int, expires, heartbeat time.Duration) error {
	p := &t.pull
	p.asked, p.last = p.asked+n, time.Now()
	body := fmt.Appendf(nil, `{"batch":%d,"max_bytes":%d,"expires":%d,"idle_heartbeat":%d}`, n, lanePullBytes, expires.Nanoseconds(), heartbeat.Nanoseconds())
	err := t.w.nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+stream.Events+"."+p.consumer, p.inbox, body)
	if err != nil {
		p.asked -= n
		return fmt.Errorf("ask for messages of %s: %w", p.consumer, err)
	}
	return nil
}

// take takes what the broker has sent, once the registry is as new as it.
func (t *tenure) take() {
	p := &t.pull
	p.mu.Lock()
	batch := p.come
	p.come = nil
	p.mu.Unlock()
	if len(batch) == 0 || t.ctx.Err() != nil {
		return
	}
	p.last = time.Now()
	var msgs []*nats.Msg
	for _, m := range batch {
		if len(m.Data) == 0 && m.Header.Get("Status") != "" {
			t.status(m)
			continue
		}
		p.asked = max(0, p.asked-1)
		msgs = append(msgs, m)
	}
	if len(msgs) == 0 {
		return
	}
	if err := t.w.registry.Fresh(t.ctx); err != nil {
		t.end() // the broker is away; they come again, in order, to the next tenure
		return
	}
	t.reload()
	for _, m := range msgs {
		if t.ctx.Err() != nil {
			return
		}
		t.takeEvent(m)
	}
}

// takeEvent takes one event into the lane.
func (t *tenure) takeEvent(m *nats.Msg) {
	from, ok := parseDelivered(m.Reply)
	if !ok {
		t.log().Error().Str("reply", m.Reply).Msg("message without a place in the stream")
		return
	}
	t.pull.behind, t.pull.read = pendingOf(m.Reply) > 0, max(t.pull.read, from.Sequence)
	t.pull.unsure = max(0, t.pull.unsure-1)
	t.tick.came(from.Sequence)
	if from.Sequence > t.version.Until {
		t.pull.past = true // of a later version; this one's consumer goes
		return
	}
	kept := t.w.keeper.add(t.pull.consumer, from.Sequence, m.Reply)
	if kept == nil {
		return // it came again while it is in our hands
	}
	id := events.DeliveryID(from.Sequence, t.id, 0)
	e, err := events.ParseNATS(m.Header, m.Data)
	switch {
	case err != nil, !e.Own(tenantOf(m.Subject)), // dispatch buries it
		!t.version.Takes(e, from.Sequence),
		from.Sequence <= t.fence && t.moved[id]:
		t.w.letGo(kept, m, nil)
		return
	}
	if from.Sequence > t.fence {
		t.moved = nil
	}
	t.pull.window++
	it := &laneItem{
		at: events.LifecycleTime(e, from.Stored),
		id: id, sequence: from.Sequence, created: from.Stored.UTC(), came: time.Now(), first: true, m: m, kept: kept, from: from,
		event: e, suspect: from.Sequence <= t.fence || from.Times > 1,
		delivery: events.Delivery{
			ID: id, Subscription: t.id, Tenant: e.Tenant(), Event: events.Ref(e, from.Sequence), CreatedAt: from.Stored.UTC(),
		},
	}
	if t.cancelled[id] {
		delete(t.cancelled, id)
		it.cancelled = true
		t.start(&laneKey{aside: true, running: it}, it)
		return
	}
	t.queue(t.keys.of(t.keyOf(e)), it)
}

// queue puts an item into its key's queue. Where only the newest of a key goes, what is older ends at once.
func (t *tenure) queue(k *laneKey, it *laneItem) {
	if !t.shape.latest || k.name == "" || t.entry == nil {
		t.keys.add(k, it)
		return
	}
	l := t.entry.Subscription.Config.Lifecycle
	for _, other := range slices.Clone(k.waiting) {
		switch {
		case other.moving:
		case other.sequence < it.sequence && l.Supersedes(it.at, other.at), other.sequence > it.sequence && !l.Supersedes(other.at, it.at):
			t.keys.remove(k, other)
			t.supersede(k, other)
		default:
			t.supersede(k, it)
			return
		}
	}
	t.keys.add(k, it)
}

// supersede ends an item because a newer one waits.
func (t *tenure) supersede(k *laneKey, it *laneItem) {
	it.superseded = true
	t.start(&laneKey{name: k.name, aside: true, running: it}, it)
}

// pendingOf reads how many messages of the consumer were still to come, from a reply subject.
func pendingOf(reply string) uint64 {
	tokens := strings.Split(reply, ".")
	at := 8
	if len(tokens) >= 11 {
		at = 10
	}
	if len(tokens) <= at {
		return 0
	}
	n, err := strconv.ParseUint(tokens[at], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// status takes the broker's word about a request.
func (t *tenure) status(m *nats.Msg) {
	p := &t.pull
	switch m.Header.Get("Status") {
	case "100": // heartbeat
		return
	case "503":
		p.lost = true
	case "409":
		p.lost = strings.Contains(m.Header.Get("Description"), "Consumer Deleted")
	}
	unsent, err := strconv.Atoi(m.Header.Get("Nats-Pending-Messages"))
	if err != nil {
		unsent = p.asked
	}
	p.asked -= min(unsent, p.asked)
	t.tick.unsent()
}

// adapt lets the lane have as much in hand as goes within laneSlow.
func (t *tenure) adapt(now time.Time) {
	p := &t.pull
	var oldest time.Duration
	for _, k := range t.keys.ready {
		if k.goes() && k.waiting[0].m != nil {
			oldest = max(oldest, now.Sub(k.waiting[0].came))
			break
		}
	}
	switch {
	case oldest > laneSlow:
		p.room = max(laneFirst, p.room/2)
	case p.window+p.asked >= p.room/2:
		p.room = min(laneWindow, p.room*2)
	}
}
