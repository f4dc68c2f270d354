package scheduler

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events/stream"
)

// lanes removes the consumers of lanes that are no more, which a worker could not remove, and returns the others. floor is
// the sequence up to which lanes that have no consumer yet need no events.
func (s *Scheduler) lanes(
	ctx context.Context, from jetstream.Stream, consumers []*jetstream.ConsumerInfo,
) (left []*jetstream.ConsumerInfo, floor uint64, err error) {
	// After the list: a version whose consumer is in it, and that is not known now, is gone for good.
	if err := s.Registry.Fresh(ctx); err != nil {
		return nil, 0, err
	}
	missing := map[string]uint64{}
	for id := range s.Registry.Lanes() {
		for _, v := range s.Registry.LaneVersions(id) {
			missing[stream.LaneConsumer(id, v.From)] = v.From
		}
	}
	floor = math.MaxUint64
	for _, c := range consumers {
		_, known := missing[c.Name]
		delete(missing, c.Name)
		if _, _, lane := stream.ParseLaneConsumer(c.Name); !lane || known {
			left = append(left, c)
			continue
		}
		if err := from.DeleteConsumer(ctx, c.Name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return nil, 0, fmt.Errorf("remove consumer %s of a lane that is no more: %w", c.Name, err)
		}
	}
	for _, after := range missing {
		floor = min(floor, after)
	}
	return left, floor, nil
}
