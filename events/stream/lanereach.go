package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events"
)

// LaneVersion is a version of a subscription whose events its lane takes: some of those of its tenant and types, with
// From < sequence <= Until.
type LaneVersion struct {
	Subscription string
	From, Until  uint64 // Until of the present version is math.MaxUint64
	Tenant       string
	Types        []string // exact, or with a trailing .*; none = any
	Whole        bool     // it takes all events of its tenant and types
}

func (v *LaneVersion) holds(sequence uint64) bool { return v.From < sequence && sequence <= v.Until }

// LaneLister tells the versions that have a lane: of a subscription, or "" = of all. It is handed in from above, as Matcher.
type LaneLister func(subscription string) []LaneVersion

// WithLanes returns a History that knows of lanes: that what waits for them is pending.
func (h *History) WithLanes(list LaneLister) *History {
	with := *h
	with.lanes = list
	return &with
}

// laneReach is how far a lane is with the events of one version.
type laneReach struct {
	LaneVersion
	floor     uint64          // all up to it is settled, or waits elsewhere
	taken     uint64          // what is after it was never in an owner's hands: it has no record, or is in cancelled
	left      uint64          // events of its subjects after taken
	exact     bool            // left is all that it takes, and nothing else
	cancelled map[string]bool // deliveries that the lane has not come to; true = with a record
}

// consumerReach is what a consumer tells of itself.
type consumerReach struct {
	Name      string `json:"name"`
	Delivered struct {
		Stream uint64 `json:"stream_seq"`
	} `json:"delivered"`
	Floor struct {
		Stream uint64 `json:"stream_seq"`
	} `json:"ack_floor"`
	AckPending uint64 `json:"num_ack_pending"`
	Pending    uint64 `json:"num_pending"`
}

func (c *consumerReach) idle() bool { return c.Pending == 0 && c.AckPending == 0 }

// consumerReach asks for a consumer of EVENTS; nil = there is none.
func (r reader) consumerReach(ctx context.Context, name string) (*consumerReach, error) {
	c := &consumerReach{}
	err := r.call(ctx, "CONSUMER.INFO."+Events+"."+name, struct{}{}, c)
	if e, isAPI := errors.AsType[*jetstream.APIError](err); isAPI && e.ErrorCode == jetstream.JSErrCodeConsumerNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at consumer %s: %w", name, err)
	}
	return c, nil
}

// fewLanes: so many consumers are asked for one by one; more are listed, 256 in an answer.
const fewLanes = 16

// laneConsumers returns the consumers of the versions, by name. What is not there has none.
func (r reader) laneConsumers(ctx context.Context, versions []LaneVersion) (map[string]*consumerReach, error) {
	found := map[string]*consumerReach{}
	if len(versions) > fewLanes {
		if err := r.listConsumers(ctx, found); err != nil {
			return nil, err
		}
	}
	for _, v := range versions { // of a cluster's list, those may be missing that did not answer in time
		name := LaneConsumer(v.Subscription, v.From)
		if found[name] != nil {
			continue
		}
		c, err := r.consumerReach(ctx, name)
		if err != nil {
			return nil, err
		}
		if c != nil {
			found[name] = c
		}
	}
	return found, nil
}

func (r reader) listConsumers(ctx context.Context, found map[string]*consumerReach) error {
	for offset := 0; ; {
		var answer struct {
			Total     int              `json:"total"`
			Consumers []*consumerReach `json:"consumers"`
		}
		req := struct {
			Offset int `json:"offset"`
		}{offset}
		if err := r.call(ctx, "CONSUMER.LIST."+Events, req, &answer); err != nil {
			return fmt.Errorf("list consumers: %w", err)
		}
		for _, c := range answer.Consumers {
			found[c.Name] = c
		}
		if offset += len(answer.Consumers); len(answer.Consumers) == 0 || offset >= answer.Total {
			return nil
		}
	}
}

// laneReaches tells how far the lanes are of a subscription, or of all (""), at least as far as when last was the newest
// event. Those that are through with the events have the highest floor.
func (h *History) laneReaches(ctx context.Context, subscription string, last uint64) ([]*laneReach, error) {
	if h.lanes == nil {
		return nil, nil
	}
	versions := h.lanes(subscription)
	if len(versions) == 0 {
		return nil, nil
	}
	consumers, err := h.laneConsumers(ctx, versions)
	if err != nil {
		return nil, err
	}
	var reaches []*laneReach
	var busy []*laneReach
	for _, v := range versions {
		r, c := &laneReach{LaneVersion: v}, consumers[LaneConsumer(v.Subscription, v.From)]
		reaches = append(reaches, r)
		switch {
		case c == nil: // not made yet, or removed just now, when all is settled: then the records tell
			r.floor, r.taken = v.From, last
		case c.idle():
			r.floor, r.taken = math.MaxUint64, math.MaxUint64
			continue
		default:
			r.floor, r.taken, r.left, r.exact = max(c.Floor.Stream, v.From), c.Delivered.Stream, c.Pending, v.Whole
		}
		busy = append(busy, r)
	}
	return reaches, h.readLeases(ctx, subscription, busy)
}

// readLeases adds what lies beside the leases of lanes.
func (h *History) readLeases(ctx context.Context, subscription string, lanes []*laneReach) error {
	if len(lanes) == 0 {
		return nil
	}
	if subscription == "" {
		subscription = "*"
	}
	cancelled, err := h.laneCancelled(ctx, subscription)
	if err != nil {
		return err
	}
	for _, r := range lanes {
		r.cancelled = cancelled
		m, err := h.leader(ctx, "KV_"+BucketLanes, getRequest{Last: "$KV." + BucketLanes + "." + r.Subscription})
		if err != nil {
			return err
		}
		var lease LaneLease
		if m == nil || json.Unmarshal(m.Data, &lease) != nil {
			continue // none yet; what nobody can read its owner complains of
		}
		if lease.Fence > r.taken { // it was taken back, and what is left counts what was settled before
			r.taken, r.exact = lease.Fence, false
		}
	}
	return nil
}

// positions tells how far whoever takes events from the stream is.
type positions struct {
	dispatched
	lanes map[string][]*laneReach // by subscription
}

// positions looks at dispatch, and at the lanes of a subscription, or of all (""). last is the newest event.
func (h *History) positions(ctx context.Context, subscription string, last uint64) (*positions, error) {
	p := &positions{lanes: map[string][]*laneReach{}}
	var err error
	if p.dispatched, _, err = h.dispatched(ctx); err != nil { // no worker was ever there: nothing is settled
		return nil, err
	}
	reaches, err := h.laneReaches(ctx, subscription, last)
	if err != nil {
		return nil, err
	}
	for _, r := range reaches {
		p.lanes[r.Subscription] = append(p.lanes[r.Subscription], r)
	}
	return p, nil
}

// laneOf is the lane that takes the event at a sequence for a subscription; nil = dispatch does.
func (p *positions) laneOf(subscription string, sequence uint64) *laneReach {
	for _, r := range p.lanes[subscription] {
		if r.holds(sequence) {
			return r
		}
	}
	return nil
}

// of tells whether the delivery of the event at a sequence may be pending, and whether it may have a record.
func (p *positions) of(subscription string, sequence uint64) (pending, recorded bool) {
	r := p.laneOf(subscription, sequence)
	if r == nil {
		return sequence > p.floor, sequence <= p.delivered
	}
	if len(r.cancelled) > 0 && r.cancelled[events.DeliveryID(sequence, subscription, 0)] {
		return false, true
	}
	return sequence > r.floor, sequence <= r.taken
}

// unreached reports whether a lane has the event at a sequence before it, so that its delivery has no record yet. It is
// false where dispatch takes the event.
func (h *History) unreached(ctx context.Context, subscription string, sequence uint64) (bool, error) {
	if h.lanes == nil || len(h.lanes(subscription)) == 0 {
		return false, nil
	}
	state, err := h.state(ctx, Events)
	if err != nil {
		return false, err
	}
	reaches, err := h.laneReaches(ctx, subscription, state.Last)
	if err != nil {
		return false, err
	}
	p := &positions{lanes: map[string][]*laneReach{subscription: reaches}}
	if p.laneOf(subscription, sequence) == nil {
		return false, nil
	}
	pending, recorded := p.of(subscription, sequence)
	return pending && !recorded, nil
}

// Unreached reports whether the delivery of an event waits in the event stream for its lane, untouched.
func (h *History) Unreached(ctx context.Context, subscription string, sequence uint64) (bool, error) {
	is, err := h.unreached(ctx, subscription, sequence)
	if err != nil {
		return false, fmt.Errorf("look how far lane %s is: %w", subscription, err)
	}
	return is, nil
}

// Taken reports whether a worker may have an event in hand, or come to have it: not all of its deliveries for the subscription
// have ended, or wait elsewhere. What a worker stores for a delivery is there before it lets go of its event.
func (h *History) Taken(ctx context.Context, subscription string, sequence uint64) (bool, error) {
	state, err := h.state(ctx, Events)
	if err != nil {
		return false, fmt.Errorf("look who has event %d: %w", sequence, err)
	}
	p, err := h.positions(ctx, subscription, state.Last)
	if err != nil {
		return false, fmt.Errorf("look who has event %d: %w", sequence, err)
	}
	pending, _ := p.of(subscription, sequence)
	return pending, nil
}
