package worker

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookfleet/hookfleet/events/stream"
)

// lookForLeftovers removes what a full disk has left, until nothing of the time before we connected can be left.
func (w *Worker) lookForLeftovers(ctx context.Context) {
	before := w.before.Load()
	if before == 0 {
		return
	}
	floor, err := w.dropLeftovers(ctx)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		w.log.Warn().Err(err).Msg("acknowledged timers not looked for; trying again")
	case floor >= before:
		w.before.CompareAndSwap(before, 0)
	}
}

// dropLeftovers removes fired timers that were acknowledged and are there all the same, and returns the sequence up to
// which all are acknowledged. A work queue removes a message with its ack; when the disk is full just then, the broker
// keeps the ack and cannot write the removal. After a restart its consumer is beyond such a message: nobody gets it, and
// it counts as waiting for ever.
func (w *Worker) dropLeftovers(ctx context.Context) (floor uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	state, err := readConsumer(ctx, w.nc, stream.Retries, stream.ConsumerDue)
	if err != nil {
		return 0, err
	}
	s, err := w.js.Stream(ctx, stream.Retries)
	if err != nil {
		return 0, fmt.Errorf("look at stream %s: %w", stream.Retries, err)
	}
	floor = state.AckFloor.Stream
	for next := uint64(1); next <= floor; {
		m, err := s.GetMsg(ctx, next, jetstream.WithGetMsgSubject(stream.SubjectDue+">"))
		if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && m.Sequence > floor {
			break
		}
		if err != nil {
			return 0, fmt.Errorf("look for fired timers: %w", err)
		}
		if err := s.DeleteMsg(ctx, m.Sequence); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			return 0, fmt.Errorf("remove fired timer %d: %w", m.Sequence, err)
		}
		next = m.Sequence + 1
	}
	return floor, nil
}
