package stream

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
)

// flushLook is between two tries to flush a connection that is on its way back.
const flushLook = 5 * time.Millisecond

// Flush returns when the broker has taken what was published on nc before. A connection that breaks off meanwhile is waited for: the client
// calls it closed then, as if it did not come back. Errors are ctx's, and that it is closed for good.
func Flush(ctx context.Context, nc *nats.Conn) error {
	for {
		err := nc.FlushWithContext(ctx)
		if !errors.Is(err, nats.ErrConnectionClosed) || nc.IsClosed() {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(flushLook):
		}
	}
}
