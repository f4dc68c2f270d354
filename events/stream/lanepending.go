package stream

import (
	"context"
	"errors"
	"math"

	"github.com/nats-io/nats.go/jetstream"
)

// LaneRange is what the lane of a subscription takes by one of its versions: the events of a tenant with
// From < sequence <= Until. Until of the present version is math.MaxUint64.
type LaneRange struct {
	From, Until uint64
	Tenant      string
	Types       []string // exact, or with a trailing .*; none = any
}

// inLane reports whether the event at sequence is a lane's.
func inLane(ranges []LaneRange, sequence uint64) bool {
	for _, r := range ranges {
		if sequence > r.From && sequence <= r.Until {
			return true
		}
	}
	return false
}

// pendingInLane adds the deliveries of a lane that have no record yet. Only what its consumer is not through with is looked
// at: a lane may stand far behind all others, as one does that waits for a tick.
func (b *Backlog) pendingInLane(
	ctx context.Context, tenant, id string, ranges []LaneRange, state streamState, counts map[string]uint64,
) (looked uint64, err error) {
	for _, r := range ranges {
		if tenant != "" && r.Tenant != tenant {
			continue
		}
		floor, behind, err := b.laneFloor(ctx, id, r)
		if err != nil {
			return looked, err
		}
		from, to := max(floor+1, state.First), min(state.Last, r.Until)
		if !behind || from > to {
			continue
		}
		s := scan{stream: Events, filter: laneFilter(r), from: from, to: min(to, from+maxBacklogEvents-1)}
		looked += s.to - s.from + 1
		wanted := func(match string, sequence uint64) bool { return match == id && inLane([]LaneRange{r}, sequence) }
		taken, since, err := b.countEvents(ctx, r.Tenant, math.MaxUint64, s, wanted, counts)
		if err != nil {
			return looked, err
		}
		if len(taken) > 0 {
			if err := b.leaveOutRecorded(ctx, id, since, taken, counts); err != nil {
				return looked, err
			}
		}
	}
	return looked, nil
}

// laneFilter is one subject for all that a lane reads, and more when it has several types.
func laneFilter(r LaneRange) string {
	if subjects := EventSubjects(r.Tenant, r.Types); len(subjects) == 1 {
		return subjects[0]
	}
	return SubjectEvents + r.Tenant + ".>"
}

// laneFloor is up to where a lane is through, and whether there is anything behind that. A consumer that is not there has
// not been made yet, or has been removed because a former version of the subscription is settled.
func (b *Backlog) laneFloor(ctx context.Context, id string, r LaneRange) (floor uint64, behind bool, err error) {
	var info struct {
		Floor struct {
			Stream uint64 `json:"stream_seq"`
		} `json:"ack_floor"`
		Pending    uint64 `json:"num_pending"`
		AckPending int    `json:"num_ack_pending"`
	}
	err = b.call(ctx, "CONSUMER.INFO."+Events+"."+LaneConsumer(id, r.From), struct{}{}, &info)
	if e, isAPI := errors.AsType[*jetstream.APIError](err); isAPI && e.ErrorCode == jetstream.JSErrCodeConsumerNotFound {
		return r.From, r.Until == math.MaxUint64, nil
	}
	return max(info.Floor.Stream, r.From), info.Pending > 0 || info.AckPending > 0, err
}
