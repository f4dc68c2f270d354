package worker

import (
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events"
)

// laneItem is a delivery that waits in a lane. Its event is in our hands, or it lies in HELD.
type laneItem struct {
	id       string // of the delivery
	sequence uint64 // of its event
	created  time.Time
	came     time.Time // when it came into our hands
	first    bool      // no attempt was made yet

	m        *nats.Msg // in our hands: from the event stream, or a timer that fired
	kept     *kept     // of m
	from     delivered // of m
	due      bool      // m is a timer that fired
	delivery events.Delivery
	event    *events.Event
	held     uint64 // in HELD: its sequence there

	suspect   bool // it may have been settled by the lane's last owner
	moving    bool // it is on its way to HELD
	cancelled bool // before it came
	ticked    bool // it goes at a tick

	at         time.Time // of its event, as lifecycles see it
	superseded bool      // a newer one of its key came, and only the newest goes
}

// inHand reports whether the item's message is in our hands and has not been asked to go anywhere.
func (i *laneItem) inHand() bool { return i.m != nil && !i.moving }

// laneKey is all that waits for one key, oldest first.
type laneKey struct {
	name    string // "" = of one item alone, which needs no order
	waiting []*laneItem
	running *laneItem // of which an attempt is under way
	since   time.Time // when the delivery that is under way or waits for its retry came to be the first; zero = none
	blocked string    // the delivery that waits for its retry; "" = none
	aside   bool      // it is not the key itself, but for one item that ends beside it
	listed  bool      // it is in a list of those that may go on
}

// goes reports whether the key's first item may be attempted.
func (k *laneKey) goes() bool {
	return k.running == nil && k.blocked == "" && len(k.waiting) > 0 && !k.waiting[0].moving
}

// stuck reports for how long what waits for the key cannot go on.
func (k *laneKey) stuck(now time.Time) time.Duration {
	if k.since.IsZero() {
		return 0
	}
	return now.Sub(k.since)
}

// laneKeys are the keys of a lane for which something waits or is under way.
type laneKeys struct {
	named map[string]*laneKey
	// ready may go on now, in the order in which they became so; ticked wait for a tick, their first item being a first
	// attempt.
	ready, ticked []*laneKey
	ticks         bool // first attempts wait for ticks
}

func newLaneKeys(ticks bool) *laneKeys { return &laneKeys{named: map[string]*laneKey{}, ticks: ticks} }

// of returns the key of that name; "" = one for a single item.
func (l *laneKeys) of(name string) *laneKey {
	if name == "" {
		return &laneKey{}
	}
	k := l.named[name]
	if k == nil {
		k = &laneKey{name: name}
		l.named[name] = k
	}
	return k
}

// add puts an item into its key's queue, by the sequence of its event.
func (l *laneKeys) add(k *laneKey, it *laneItem) {
	at := len(k.waiting)
	for at > 0 && k.waiting[at-1].sequence > it.sequence {
		at--
	}
	k.waiting = slices.Insert(k.waiting, at, it)
	l.list(k)
}

// list puts the key into the list that it belongs to, if it may go on, and forgets one that has nothing left.
func (l *laneKeys) list(k *laneKey) {
	switch {
	case k.listed:
	case !k.goes():
		if k.running == nil && k.blocked == "" && len(k.waiting) == 0 && k.name != "" && !k.aside {
			delete(l.named, k.name)
		}
	case l.ticks && k.waiting[0].first:
		k.listed = true
		l.ticked = append(l.ticked, k)
	default:
		k.listed = true
		l.ready = append(l.ready, k)
	}
}

// next takes the first item that may be attempted: a retry, or a first attempt when there are no ticks. nil = none.
func (l *laneKeys) next(now time.Time) (*laneKey, *laneItem) {
	return l.take(&l.ready, false, ^uint64(0), now)
}

// nextTicked takes the first item that waits for a tick, of those up to a sequence.
func (l *laneKeys) nextTicked(until uint64, now time.Time) (*laneKey, *laneItem) {
	return l.take(&l.ticked, true, until, now)
}

func (l *laneKeys) take(list *[]*laneKey, ticked bool, until uint64, now time.Time) (*laneKey, *laneItem) {
	keys := *list
	var beyond []*laneKey
	for len(keys) > 0 {
		k := keys[0]
		keys = keys[1:]
		k.listed = false
		if !k.goes() || (l.ticks && k.waiting[0].first) != ticked {
			l.list(k) // it changed since, and belongs elsewhere
			continue
		}
		if k.waiting[0].sequence > until {
			k.listed = true
			beyond = append(beyond, k)
			continue
		}
		it := k.waiting[0]
		k.waiting = k.waiting[1:]
		k.running = it
		if k.since.IsZero() {
			k.since = now
		}
		if beyond != nil {
			keys = append(beyond, keys...)
		}
		*list = keys
		return k, it
	}
	*list = beyond
	return nil, nil
}

// back puts an item whose attempt was not made to the head of its key's queue again.
func (l *laneKeys) back(k *laneKey, it *laneItem) {
	k.running = nil
	if !it.due {
		k.since = time.Time{}
	}
	k.waiting = slices.Insert(k.waiting, 0, it)
	l.list(k)
}

// done ends what was under way for the key: its delivery ended, or waits for its retry as blocked.
func (l *laneKeys) done(k *laneKey, blocked string) {
	k.running = nil
	if k.blocked = blocked; blocked == "" {
		k.since = time.Time{}
	}
	l.list(k)
}

// free says that the retry that blocked the key waits no more.
func (l *laneKeys) free(k *laneKey) {
	k.blocked, k.since = "", time.Time{}
	l.list(k)
}

// remove takes an item out of its key's queue.
func (l *laneKeys) remove(k *laneKey, it *laneItem) {
	k.waiting = slices.DeleteFunc(k.waiting, func(other *laneItem) bool { return other == it })
}

// hasTicked reports whether something waits for a tick that takes events up to a sequence.
func (l *laneKeys) hasTicked(until uint64) bool {
	return slices.ContainsFunc(l.ticked, func(k *laneKey) bool { return k.goes() && k.waiting[0].sequence <= until })
}

// all returns all keys for which something waits.
func (l *laneKeys) all() []*laneKey {
	keys := slices.Collect(maps.Values(l.named))
	for _, list := range [2][]*laneKey{l.ready, l.ticked} {
		for _, k := range list {
			if k.name == "" {
				keys = append(keys, k)
			}
		}
	}
	return keys
}
