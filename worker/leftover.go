package worker

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events/stream"
)

// dropLeftovers removes fired timers that were acknowledged and are there all the same. A work queue removes a message
// with its ack; when the disk is full just then, the broker keeps the ack and cannot write the removal. After a restart
// the consumer is beyond such a message: nobody gets it, and it counts as waiting for ever.
func (w *Worker) dropLeftovers(ctx context.Context) error {
	s, err := w.js.Stream(ctx, stream.Retries)
	if err != nil {
		return fmt.Errorf("look at stream %s: %w", stream.Retries, err)
	}
	// First what is there, then what the consumer knows of: what comes between is counted on the safe side.
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(stream.SubjectDue+">"))
	if err != nil {
		return fmt.Errorf("count fired timers: %w", err)
	}
	state, err := readConsumer(ctx, w.nc, stream.Retries, stream.ConsumerDue)
	if err != nil {
		return err
	}
	there := uint64(0)
	for _, n := range info.State.Subjects {
		there += n
	}
	if there <= state.NumPending+uint64(state.NumAckPending) || state.AckFloor.Stream == 0 {
		return nil // purging looks through the whole stream, which may be large
	}
	err = s.Purge(ctx, jetstream.WithPurgeSubject(stream.SubjectDue+">"), jetstream.WithPurgeSequence(state.AckFloor.Stream+1))
	if err != nil {
		return fmt.Errorf("remove fired timers that are acknowledged: %w", err)
	}
	return nil
}
