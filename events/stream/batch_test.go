package stream_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hookfleet/hookfleet/events/stream"
	"github.com/hookfleet/hookfleet/test/natstest"
)

// TestBrokerAwayBatchesDoNotQueueForEver: batches that wait for one that gets no answer are given up with their callers, and
// who comes behind them has the turn.
func TestBrokerAwayBatchesDoNotQueueForEver(t *testing.T) {
	t.Parallel()
	broker := natstest.Server(t, t.TempDir())
	nc, _ := natstest.Connect(t, broker)
	batches := stream.NewBatches(nc, nil)
	broker.Shutdown()
	write := func(ctx context.Context) <-chan error {
		ended := make(chan error, 1)
		go func() {
			_, err := batches.Write(ctx, stream.Events, []*nats.Msg{{Subject: "x", Header: nats.Header{}, Data: []byte("x")}})
			ended <- err
		}()
		return ended
	}
	first := write(t.Context())
	natstest.Eventually(t, time.Minute, func() bool { return nc.Stats().OutMsgs > 0 })
	ctx, cancel := context.WithCancel(t.Context())
	second, third := write(ctx), write(ctx)
	last := write(t.Context())
	cancel()
	for _, ended := range []<-chan error{second, third} {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("what waited ended with %v", err)
		}
	}
	nc.Close()
	for _, ended := range []<-chan error{first, last} {
		if err := <-ended; err == nil || errors.Is(err, context.Canceled) {
			t.Errorf("what was stored ended with %v", err)
		}
	}
}
